# SPDX-License-Identifier: Apache-2.0
"""Bugs that the proofs about the program-and-verify controller must notice."""

from pathlib import Path

import pytest
from plant import Mutation, named, planted
from test_writer_formal import ANY_START, verdict
from writer_specs import WIDTHS, JudgementSpec, PulseSpec, TerminationSpec

from ohmtwin.rtl import writer

_SOURCE = "ohmtwin.rtl.writer"

ENDLESS = named(
    Mutation(
        "the limit is not looked at",
        _SOURCE,
        "final = self._iterations == self._limit",
        "final = self._iterations == 0x1FFFF",
    ),
    Mutation(
        "an array that refuses is asked once more, and once more",
        _SOURCE,
        "self._limit.eq(self._iterations + 1)",
        "self._limit.eq(self._iterations + 2)",
    ),
)
WRONG_PULSES = named(
    Mutation(
        "cells that read right get the pulses of their error",
        _SOURCE,
        "count.eq(Cat(count, pulses[k] & off)[1:])",
        "count.eq(Cat(count, pulses[k])[1:])",
    ),
    Mutation(
        "a write counts once, whatever lanes it is for",
        _SOURCE,
        "self.pulses.eq(self.pulses + (number << power))",
        "self.pulses.eq(self.pulses + (1 << power))",
    ),
    Mutation(
        "what was found of a beat is kept for another one",
        _SOURCE,
        "mask.addr.eq(self._beat),\n            mask.data",
        "mask.addr.eq(self._beat + 1),\n            mask.data",
    ),
)
WRONG_JUDGEMENT = named(
    Mutation(
        "a cell just within its tolerance is pulsed",
        _SOURCE,
        "off.eq(judged & (distance > tolerance))",
        "off.eq(judged & (distance >= tolerance))",
    ),
    Mutation(
        "cells that have read right are judged again",
        _SOURCE,
        "judged.eq(now_before[0] | self._recheck | (self._iterations == 0))",
        "judged.eq(1)",
    ),
    Mutation(
        "no pulse where less than half of one is wanted",
        _SOURCE,
        "m.d.comb += pulses.eq(1)",
        "m.d.comb += pulses.eq(0)",
    ),
)


def proven(spec: object, mode: str, depth: int, folder: Path, start: str = "") -> bool:
    """Whether it passes; a proof that no longer closes is none."""
    try:
        return verdict(spec, mode, depth, folder, start) == "PASS"
    except AssertionError as error:
        if "DONE (UNKNOWN" not in str(error):
            raise
        return False


@pytest.mark.parametrize("bug", ENDLESS)
def test_rows_without_an_end(bug: str, tmp_path: Path) -> None:
    with planted(ENDLESS[bug]):
        assert not proven(TerminationSpec(), "prove", 2, tmp_path)


@pytest.mark.parametrize("bug", WRONG_PULSES)
def test_wrong_pulses(bug: str, tmp_path: Path) -> None:
    with planted(WRONG_PULSES[bug]):
        assert not proven(PulseSpec(), "prove", 2, tmp_path)


@pytest.mark.parametrize("bug", WRONG_JUDGEMENT)
def test_wrong_judgement(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, width in WIDTHS.items():
        monkeypatch.setattr(writer, name, width)
    with planted(WRONG_JUDGEMENT[bug]):
        spec = JudgementSpec()
        assert not proven(spec, "bmc", spec.cycles, tmp_path, ANY_START)
