# SPDX-License-Identifier: Apache-2.0
"""The AN-code unit, as RTL: what it corrects, how fast, and how large it is (``docs/ecc.md``)."""

from amaranth.sim import Simulator, SimulatorContext

from ..arch.chip import Chip
from ..fpga.area import Area, core_area
from ..rtl.ancode import AnUnit

__all__ = ["CHIP", "area", "single_errors_corrected"]

CHIP = Chip(name="code", cores=1, code_a=69, code_b=3)
"""128 x 128 2-bit cells, 8 ADCs; corrects the code of one slice off by up to 3."""

_ROWS = 16
_OUTPUTS = 16
_WEIGHT = 255


def single_errors_corrected() -> tuple[float, float, int]:
    """Feed the unit every sum of 16 stored 8-bit weights with every single error of its model.

    Returns
    -------
    corrected : float
        Share that comes out as the sum without the error, flagged as corrected.
    rate : float
        Of those, how many a cycle and output, from the first one in to the last one out, less the
        latency.
    count : int
        Codewords.
    """
    code = CHIP.an_code
    if code is None:
        raise ValueError("The chip of this figure has a code")
    full = CHIP.sum_range[1]
    unit = AnUnit(code=code, outputs=_OUTPUTS, low=min(code.errors), high=full)
    words = [
        (share, share * code.product + error)
        for share in range(_ROWS * _WEIGHT + 1)
        for error in code.errors
    ]
    groups = [words[at : at + _OUTPUTS] for at in range(0, len(words), _OUTPUTS)]
    mask, out_mask = (1 << unit.bits) - 1, (1 << unit.out_bits) - 1
    good = cycles = 0

    async def bench(ctx: SimulatorContext) -> None:
        nonlocal good, cycles
        ctx.set(unit.write, 1)
        for residue, entry in enumerate(code.words):
            ctx.set(unit.write_addr, residue)
            ctx.set(unit.write_data, entry)
            await ctx.tick()
        ctx.set(unit.write, 0)
        while cycles < len(groups) + unit.latency:
            if cycles >= unit.latency:
                out = ctx.get(unit.o)
                fine = ctx.get(unit.corrected) & ~ctx.get(unit.detected)
                for lane, (share, _) in enumerate(groups[cycles - unit.latency]):
                    found = out >> lane * unit.out_bits & out_mask
                    good += found == share and fine >> lane & 1
            if cycles < len(groups):
                packed = 0
                for lane, (_, total) in enumerate(groups[cycles]):
                    packed |= (total & mask) << lane * unit.bits
                ctx.set(unit.i, packed)
            await ctx.tick()
            cycles += 1

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    rate = good / (cycles - unit.latency) / _OUTPUTS
    return good / len(words), rate, len(words)


def area() -> Area:
    """Transistors of a core of :data:`CHIP` and of the unit in it.

    Raises
    ------
    ToolError
        If Yosys is missing.
    """
    return core_area(CHIP)
