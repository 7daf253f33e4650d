# SPDX-License-Identifier: Apache-2.0
"""Proofs about the receiving side of the link."""

from pathlib import Path

import pytest
from link_specs import InboxSpec, ReceiverSpec
from proving import prove


@pytest.mark.parametrize(
    ("mode", "depth"), [("prove", 3), ("cover", 24)], ids=["proof", "reachable"]
)
def test_the_receiver_accepts_no_wrong_frame(mode: str, depth: int, tmp_path: Path) -> None:
    prove(ReceiverSpec(), mode, depth, tmp_path)


@pytest.mark.parametrize(
    ("mode", "depth"),
    [("prove", 3), ("bmc", 10), ("cover", 20)],
    ids=["proof", "words", "reachable"],
)
def test_no_frame_is_delivered_twice(mode: str, depth: int, tmp_path: Path) -> None:
    prove(InboxSpec(data=mode != "prove"), mode, depth, tmp_path)
