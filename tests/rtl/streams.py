# SPDX-License-Identifier: Apache-2.0
"""Coroutines on streams that the unit simulations share; both sides may stall at random."""

from random import Random
from typing import Any

from amaranth.sim import SimulatorContext

__all__ = ["stream_collect", "stream_get", "stream_put"]


async def stream_put(ctx: SimulatorContext, stream: Any, payload: Any, idle: int = 0) -> None:
    """Offer a payload after some idle cycles and hold it until it is taken."""
    # Plain ticks: what is waited for otherwise complains if another coroutine fails meanwhile.
    for _ in range(idle):
        await ctx.tick()
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    taken = False
    while not taken:
        _, _, taken = await ctx.tick().sample(stream.ready)
    ctx.set(stream.valid, 0)


async def stream_get(ctx: SimulatorContext, stream: Any, idle: int = 0) -> Any:
    """Take one payload, after some cycles in which it is not wanted."""
    if idle:
        await ctx.tick().repeat(idle)
    ctx.set(stream.ready, 1)
    (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
    ctx.set(stream.ready, 0)
    return payload


async def stream_collect(
    ctx: SimulatorContext, stream: Any, to: list[Any], rng: Random, stall: float = 0.0
) -> None:
    """Take payloads for ever, each cycle not ready with probability ``stall``.

    A payload that was offered and not taken must be offered unchanged in the next cycle.
    """
    offered = None
    while True:
        ready = rng.random() >= stall
        ctx.set(stream.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        if offered is not None:
            assert valid, f"{offered} was withdrawn"
            assert payload == offered, f"{offered} changed to {payload} before it was taken"
        offered = payload if valid and not ready else None
        if valid and ready:
            to.append(payload)
