# SPDX-License-Identifier: Apache-2.0
"""The soak of the link, short: it passes, and it sees a word that is done twice."""

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("serial", reason="pyserial is not installed")
pytest.importorskip("termios", reason="this system has no pseudo-terminals")

import soak_link
from link_words import Adder


@pytest.mark.parametrize("byte_errors", [0.0, 0.001])
def test_frames(byte_errors: float) -> None:
    assert soak_link.frames_at(byte_errors, 300)


def test_kills() -> None:
    assert soak_link.killed(1)


def test_a_word_done_twice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(Adder):
        def take(self, words: NDArray[np.uint64]) -> int:
            if self.taken == 16:
                super().take(words[:1])
            return super().take(words)

    monkeypatch.setattr(soak_link, "Adder", Twice)
    assert not soak_link.frames_at(0.0, 50)
