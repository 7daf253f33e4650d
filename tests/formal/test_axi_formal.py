# SPDX-License-Identifier: Apache-2.0
"""Proofs about the AXI top: streams stand still, answers are owed, words are kept."""

from collections.abc import Callable
from pathlib import Path

import pytest
from amaranth.lib import wiring
from axi_specs import LiteSpec, SliceSpec, StableSpec
from proving import prove


@pytest.mark.parametrize("spec", [SliceSpec, LiteSpec, StableSpec])
@pytest.mark.parametrize(("mode", "depth"), [("prove", 4), ("cover", 24)], ids=["proof", "reach"])
def test_the_buses(
    spec: Callable[[], wiring.Component], mode: str, depth: int, tmp_path: Path
) -> None:
    prove(spec(), mode, depth, tmp_path)
