# SPDX-License-Identifier: Apache-2.0
"""Proofs about network interfaces: no unread word is overwritten, no FIFO overfilled."""

from pathlib import Path

import pytest
from amaranth.lib import wiring
from noc_interface_specs import FeederSpec, SlotsSpec
from proving import prove


@pytest.mark.parametrize("spec", [SlotsSpec, FeederSpec])
@pytest.mark.parametrize(("mode", "depth"), [("prove", 2), ("cover", 24)])
def test_interface(spec: type[wiring.Component], mode: str, depth: int, tmp_path: Path) -> None:
    prove(spec(), mode, depth, tmp_path)
