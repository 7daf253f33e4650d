# SPDX-License-Identifier: Apache-2.0
"""Sources, sinks and monitors of valid/ready streams. Runs inside the simulator.

A transfer happens in each cycle in which valid and ready are both 1. Once valid is 1 it must stay,
and the payload with it, until the transfer; ready may come and go. All coroutines here look at
signals as the clock edge saw them and drive after it, on every simulator.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.handle import LogicObject
from cocotb.task import Task
from cocotb.triggers import Event, RisingEdge

from .clock import Signal
from .stalls import Pattern, never

__all__ = ["Beat", "StreamError", "StreamMonitor", "StreamPort", "StreamSink", "StreamSource"]

Beat = dict[str, int]
"""One transfer: the payload's fields by name."""


class StreamError(AssertionError):
    """A stream broke the valid/ready rules."""


@dataclass(frozen=True)
class StreamPort:
    """The wires of one stream.

    Parameters
    ----------
    name : str
        Stands in messages.
    clock : handle
        The clock **at the top of the design**. A copy further down changes after registers did on
        some simulators, and would show the values of the wrong cycle.
    valid, ready : handle
    payload : mapping of str to handle
        At least one field.
    """

    name: str
    clock: LogicObject
    valid: Signal
    ready: Signal
    payload: Mapping[str, Signal]

    def __post_init__(self) -> None:
        if not self.payload:
            raise ValueError(f"Stream {self.name} needs at least one payload field")

    @classmethod
    def of(
        cls,
        scope: Any,
        prefix: str,
        clock: LogicObject,
        *,
        fields: Iterable[str] = ("payload",),
        separator: str = "__",
    ) -> "StreamPort":
        """Find ``<prefix><separator>valid`` and so on among the signals of ``scope``.

        The defaults fit Amaranth's ``lib.stream`` interfaces; ``separator="_"`` fits the crossbar
        macro.
        """

        def wire(name: str) -> Signal:
            handle: Signal = getattr(scope, f"{prefix}{separator}{name}")
            return handle

        return cls(
            f"{prefix}", clock, wire("valid"), wire("ready"), {name: wire(name) for name in fields}
        )

    def read(self) -> Beat:
        """The payload as it stands.

        Raises
        ------
        StreamError
            If a bit is X or Z.
        """
        return {name: known(f"{self.name}.{name}", wire) for name, wire in self.payload.items()}


def known(name: str, signal: Signal) -> int:
    """The unsigned value of a signal.

    Raises
    ------
    StreamError
        If a bit of it is X or Z.
    """
    value = signal.value
    if not value.is_resolvable:
        raise StreamError(f"{name} is {value}, where every bit must be known")
    return int(value)


class StreamSource:
    """Drives a stream from a queue.

    Parameters
    ----------
    port : StreamPort
    idle : iterator of bool, optional
        Cycles in which nothing new is offered.
    rng : random.Random, optional
        While valid is 0 the payload is driven with noise from here, so that a design that looks
        at it all the same does not get away with it.
    """

    def __init__(
        self, port: StreamPort, idle: Pattern | None = None, rng: random.Random | None = None
    ) -> None:
        self.port = port
        self._idle = never() if idle is None else idle
        self._rng = rng
        self._queue: deque[Beat] = deque()
        self._empty = Event()
        self._empty.set()
        self.sent = 0
        """Transfers so far."""

    def start(self) -> Task[None]:
        """Begin to drive."""
        self.port.valid.value = 0
        return cocotb.start_soon(self._run())

    def put(self, *beats: Beat | int) -> None:
        """Queue transfers; an int stands for the only field of the payload."""
        for beat in beats:
            if isinstance(beat, int):
                (name,) = self.port.payload
                beat = {name: beat}
            if set(beat) != set(self.port.payload):
                raise ValueError(
                    f"Stream {self.port.name} has the fields {sorted(self.port.payload)}, "
                    f"not {sorted(beat)}"
                )
            self._queue.append(beat)
        if self._queue:
            self._empty.clear()

    async def drain(self) -> None:
        """Wait until everything queued has been taken."""
        await self._empty.wait()

    async def _run(self) -> None:
        offered = False
        while True:
            await RisingEdge(self.port.clock)
            if offered and known(f"{self.port.name}.ready", self.port.ready):
                self._queue.popleft()
                self.sent += 1
                offered = False
                if not self._queue:
                    self._empty.set()
            idle = next(self._idle)
            if not offered and self._queue and not idle:
                offered = True
                for name, value in self._queue[0].items():
                    self.port.payload[name].value = value
            elif not offered and self._rng is not None:
                for wire in self.port.payload.values():
                    wire.value = self._rng.getrandbits(len(wire))
            self.port.valid.value = int(offered)


class StreamSink:
    """Takes what a stream offers.

    Parameters
    ----------
    port : StreamPort
    stall : iterator of bool, optional
        Cycles in which ready is 0.
    """

    def __init__(self, port: StreamPort, stall: Pattern | None = None) -> None:
        self.port = port
        self._stall = never() if stall is None else stall
        self._arrived = Event()
        self.beats: list[Beat] = []
        """All transfers so far."""

    @property
    def words(self) -> list[int]:
        """All transfers of a payload with one field."""
        (name,) = self.port.payload
        return [beat[name] for beat in self.beats]

    def start(self) -> Task[None]:
        """Begin to drive ready."""
        self.port.ready.value = 0
        return cocotb.start_soon(self._run())

    async def wait_for(self, count: int) -> None:
        """Wait until ``count`` transfers have been seen since the start."""
        while len(self.beats) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def _run(self) -> None:
        ready = False
        while True:
            await RisingEdge(self.port.clock)
            if ready and known(f"{self.port.name}.valid", self.port.valid):
                self.beats.append(self.port.read())
                self._arrived.set()
            ready = not next(self._stall)
            self.port.ready.value = int(ready)


class StreamMonitor:
    """Watches a stream and holds it to the rules.

    Parameters
    ----------
    port : StreamPort
    on_transfer : callable, optional
        Called with the cycle (counted from the start of the monitor) and the beat.

    A broken rule fails the test with a :class:`StreamError` that names the stream and the cycle.
    """

    def __init__(
        self, port: StreamPort, on_transfer: Callable[[int, Beat], None] | None = None
    ) -> None:
        self.port = port
        self._on_transfer = on_transfer
        self.cycle = 0
        """Edges seen."""
        self.transfers = 0
        self.stalled = 0
        """Cycles with valid and without ready."""

    def start(self) -> Task[None]:
        """Begin to watch."""
        return cocotb.start_soon(self._run())

    async def _run(self) -> None:
        port = self.port
        held: Beat | None = None
        while True:
            await RisingEdge(port.clock)
            self.cycle += 1
            valid = known(f"{port.name}.valid", port.valid)
            beat = port.read() if valid else None
            if held is not None and beat != held:
                now = "valid fell" if beat is None else f"the payload became {_hex(beat)}"
                raise StreamError(
                    f"Stream {port.name}, cycle {self.cycle}: {_hex(held)} was offered and not "
                    f"taken, yet {now}"
                )
            held = None
            if beat is not None:
                if known(f"{port.name}.ready", port.ready):
                    self.transfers += 1
                    if self._on_transfer is not None:
                        self._on_transfer(self.cycle, beat)
                else:
                    self.stalled += 1
                    held = beat


def _hex(beat: Beat) -> str:
    return "{" + ", ".join(f"{name}: {value:#x}" for name, value in beat.items()) + "}"
