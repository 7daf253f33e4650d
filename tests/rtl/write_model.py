# SPDX-License-Identifier: Apache-2.0
"""A macro with a write port in a unit simulation, served from behavioral cells; both may stall."""

from random import Random
from typing import Any

import numpy as np
from amaranth.sim import SimulatorContext

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.writing import PulsedEngine

__all__ = ["serve_macro"]


async def serve_macro(
    ctx: SimulatorContext,
    dut: Any,
    chip: Chip,
    engine: PulsedEngine,
    rng: Random,
    stall: float = 0.0,
    refuses: bool = False,
) -> None:
    """Answer reads and writes of ``dut`` for ever, in the order in which they are taken."""
    beats: list[int] = []
    answer: int | None = None
    signs = np.zeros(chip.cols, np.int8)
    offered = False
    while True:
        ready = answer is None and rng.random() >= stall
        reads = ready and not beats
        ctx.set(dut.cmd.ready, reads)
        ctx.set(dut.write.ready, reads)
        offered = bool(beats) and (offered or rng.random() >= stall)
        ctx.set(dut.codes.valid, offered)
        ctx.set(dut.codes.payload, beats[0] if offered else 0)
        answers = answer is not None and rng.random() >= stall
        ctx.set(dut.response.valid, answers)
        ctx.set(dut.response.payload, answer or 0)
        _, _, cmd, read, write, pulse, taken, heard = await ctx.tick().sample(
            dut.cmd.valid, dut.cmd.payload, dut.write.valid, dut.write.payload, dut.codes.ready,
            dut.response.ready,
        )  # fmt: skip
        if offered and taken:
            beats.pop(0)
            offered = False
        if answers and heard:
            answer = None
        assert not (cmd and write), "a read and a write at once"
        if reads and cmd:
            mask = _mask(read.rows, chip.rows)
            codes = engine.read_fine(mask, read.fine, read.beats * chip.lanes)
            for first in range(0, len(codes), chip.lanes):
                part = codes[first : first + chip.lanes]
                beats.append(sum(int(c) << chip.adc_bits * k for k, c in enumerate(part)))
        if reads and write:
            assert not pulse.up & pulse.down
            for lane in range(chip.lanes):
                sign = (pulse.up >> lane & 1) - (pulse.down >> lane & 1)
                signs[pulse.beat * chip.lanes + lane] = sign
            answer = int(refuses)
            if pulse.fire:
                if not refuses:
                    engine.pulse(_mask(pulse.rows, chip.rows), signs, pulse.pulses)
                signs = np.zeros(chip.cols, np.int8)


def _mask(rows: int, count: int) -> Any:
    return np.array([rows >> r & 1 for r in range(count)], np.bool_)
