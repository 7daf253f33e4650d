# SPDX-License-Identifier: Apache-2.0
"""Running a component in Amaranth's simulator under a watchdog."""

from collections.abc import Awaitable, Callable, Sequence

from amaranth.hdl import Fragment
from amaranth.lib.wiring import Component
from amaranth.sim import Simulator, SimulatorContext

__all__ = ["Bench", "simulate"]

Bench = Callable[[SimulatorContext], Awaitable[None]]


def simulate(
    dut: Component, *benches: Bench, cycles: int, background: Sequence[Bench] = ()
) -> None:
    """Run all testbenches to their end; those in the background may go on for ever.

    Raises
    ------
    TimeoutError
        If they have not ended after ``cycles`` clock cycles.
    """
    # As gates have it: what a simulation need not compute is tested where all of a tile is.
    simulator = Simulator(Fragment.get(dut, "gates"))
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    for bench in background:
        simulator.add_testbench(bench, background=True)
    for _ in range(2 * cycles):  # a step is half a clock period
        if not simulator.advance():
            return
    raise TimeoutError(f"The testbench has not ended after {cycles} cycles")
