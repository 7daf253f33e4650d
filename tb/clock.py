# SPDX-License-Identifier: Apache-2.0
"""Clock, reset and watchdog for cocotb benches. Runs inside the simulator."""

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from cocotb.clock import Clock
from cocotb.handle import LogicArrayObject, LogicObject
from cocotb.triggers import ClockCycles, select

__all__ = ["PERIOD_NS", "Signal", "WatchdogError", "start", "within"]

Signal = LogicObject | LogicArrayObject
"""Handle of a wire: cocotb tells scalars and vectors apart, the kit does not need to."""

PERIOD_NS = 10

T = TypeVar("T")


class WatchdogError(AssertionError):
    """A bench did not come to its end in the cycles it was given."""


async def start(clock: LogicObject, reset: LogicObject | None = None, *, cycles: int = 2) -> None:
    """Start the clock and hold an active-high synchronous reset for some cycles.

    Returns right after the first edge that no longer sees the reset asserted, so that everything
    a bench drives next is seen from the following edge on.
    """
    Clock(clock, PERIOD_NS, unit="ns").start()
    if reset is None:
        await ClockCycles(clock, cycles)
        return
    reset.value = 1
    await ClockCycles(clock, cycles)
    reset.value = 0
    await ClockCycles(clock, 1)


async def within(clock: LogicObject, cycles: int, work: Coroutine[Any, Any, T], what: str) -> T:
    """Await ``work``, but not for more than ``cycles`` clock cycles.

    Parameters
    ----------
    what : str
        What is waited for, as it is to stand in the message.

    Raises
    ------
    WatchdogError
        If the cycles are over first. ``work`` is cancelled.
    """
    first, result = await select(work, ClockCycles(clock, cycles))
    if first:
        raise WatchdogError(f"Waited {cycles} cycles in vain for {what}")
    return cast(T, result)
