# SPDX-License-Identifier: Apache-2.0
"""Threefry-2x32 in gates: the words of :func:`~ohmtwin.behavioral.threefry.threefry2x32`.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
section 4.2.
"""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...behavioral.threefry import ROUNDS

__all__ = ["ThreefryIterative", "ThreefryPipeline", "block_layout", "check_rounds"]

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA

_ADDITIONS = 2
"""Of a stage of the pipeline: about 10 ns on an ECP5 of the slow grade."""

block_layout = data.StructLayout({"low": 32, "high": 32})
"""A key, a counter or a block of two output words, low first."""


def check_rounds(rounds: object) -> int:
    """The number of rounds.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is not 1 to 20.
    """
    if not isinstance(rounds, int):
        raise TypeError(f"Rounds must be an integer, not {rounds!r}")
    if not 1 <= rounds <= 20:
        raise ValueError(f"Threefry-2x32 has 1 to 20 rounds, not {rounds}")
    return rounds


def _steps(rounds: int) -> list[int | None]:
    """What is done in each step after the first: rotate by so much, or add the key (None)."""
    steps: list[int | None] = []
    for r in range(rounds):
        steps.append(_ROTATIONS[r % 8])
        if r % 4 == 3:
            steps.append(None)
    return steps


def _schedule(m: Module, key: Any, rounds: int) -> list[tuple[Signal, Signal]]:
    """What the key adds before the rounds and after every fourth; the key holds still."""
    words = [key.low, key.high, key.low ^ key.high ^ Const(_PARITY, 32)]
    added = []
    for s in range(rounds // 4 + 1):
        low = Signal(32, name=f"low_key{s}", reset_less=True)
        high = Signal(32, name=f"high_key{s}", reset_less=True)
        m.d.sync += [low.eq(words[s % 3]), high.eq(words[(s + 1) % 3] + s)]
        added.append((low, high))
    return added


class ThreefryPipeline(wiring.Component):
    """A block a cycle.

    Parameters
    ----------
    rounds : int

    Members
    -------
    key : In({low, high})
        Must stand still for a cycle before, and all the time in which blocks are under way.
    i : In({low, high})
        Counter.
    o : Out({low, high})
        The block of the counter :attr:`latency` cycles before.

    Raises
    ------
    TypeError
        If ``rounds`` is no integer.
    ValueError
        If ``rounds`` is not 1 to 20.
    """

    def __init__(self, *, rounds: int = ROUNDS) -> None:
        self._rounds = check_rounds(rounds)
        super().__init__({"key": In(block_layout), "i": In(block_layout), "o": Out(block_layout)})

    @property
    def latency(self) -> int:
        """Cycles from counter to block: one for every two additions."""
        return -(-(1 + len(_steps(self._rounds))) // _ADDITIONS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        keys = iter(_schedule(m, self.key, self._rounds))
        x0: Any = self.i.low
        x1: Any = self.i.high
        steps: list[int | None] = [None, *_steps(self._rounds)]
        for k, rotation in enumerate(steps):
            y0 = Signal(32, name=f"x0_{k}", reset_less=True)
            y1 = Signal(32, name=f"x1_{k}", reset_less=True)
            if rotation is None:
                low, high = next(keys)
                x0, x1 = x0 + low, x1 + high
            else:
                x0 = (x0 + x1)[:32]
                x1 = x1.rotate_left(rotation) ^ x0
            ends = k % _ADDITIONS == _ADDITIONS - 1 or k == len(steps) - 1
            m.d[("comb", "sync")[ends]] += [y0.eq(x0), y1.eq(x1)]
            x0, x1 = y0, y1
        m.d.comb += [self.o.low.eq(x0), self.o.high.eq(x1)]
        return m


class ThreefryIterative(wiring.Component):
    """One block after another, an addition a cycle.

    Parameters
    ----------
    rounds : int

    Members
    -------
    key : In({low, high})
        Must stand still from the cycle before ``start`` on while busy.
    start : In(1)
        Take the counter; what was under way is forgotten.
    i : In({low, high})
    busy : Out(1)
        For :attr:`latency` cycles after ``start``.
    o : Out({low, high})
        The block, once not busy.

    Raises
    ------
    TypeError
        If ``rounds`` is no integer.
    ValueError
        If ``rounds`` is not 1 to 20.
    """

    def __init__(self, *, rounds: int = ROUNDS) -> None:
        self._rounds = check_rounds(rounds)
        super().__init__(
            {
                "key": In(block_layout),
                "start": In(1),
                "i": In(block_layout),
                "busy": Out(1),
                "o": Out(block_layout),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``start`` to the block."""
        return 1 + len(_steps(self._rounds))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x0, x1 = self.o.low, self.o.high
        steps: list[int | None] = [None, *_steps(self._rounds)]
        step = Signal(range(len(steps) + 1), init=len(steps))
        injections = [k for k, rotation in enumerate(steps) if rotation is None]
        words = [self.key.low, self.key.high]
        words.append(words[0] ^ words[1] ^ Const(_PARITY, 32))
        add0 = Signal(32)
        add1 = Signal(32)
        carry = Signal(range(len(injections) + 1))
        rotated = Signal(32)
        inject = Signal()
        with m.Switch(step):
            for s, k in enumerate(injections):
                with m.Case(k):
                    m.d.comb += [
                        inject.eq(1),
                        add0.eq(words[s % 3]),
                        add1.eq(words[(s + 1) % 3]),
                        carry.eq(s),
                    ]
            for k, rotation in enumerate(steps):
                if rotation is not None:
                    with m.Case(k):
                        m.d.comb += rotated.eq(x1.rotate_left(rotation))
        total = Signal(32)
        m.d.comb += [
            self.busy.eq(step != len(steps)),
            total.eq(x0 + Mux(inject, add0, x1)),
        ]
        with m.If(self.start):
            m.d.sync += [x0.eq(self.i.low), x1.eq(self.i.high), step.eq(0)]
        with m.Elif(self.busy):
            m.d.sync += [
                step.eq(step + 1),
                x0.eq(total),
                x1.eq(Mux(inject, x1 + add1 + carry, rotated ^ total)),
            ]
        return m
