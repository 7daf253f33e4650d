# SPDX-License-Identifier: Apache-2.0
"""Row scheduler: which rows a read drives."""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.budgets import ROWS_BITS
from ..arch.chip import Chip
from .budgets import rows_members
from .checks import check_chip
from .idle import idle_skips

__all__ = ["RowScheduler", "plan_layout"]

_NIBBLE = 4


def plan_layout(chip: Chip) -> data.StructLayout:
    """A planned read: ``rows`` to drive, and the pass (as a rule, bit ``plane``) that they carry;
    where inputs have two rows, also those whose other row is to be driven (``others``)."""
    others = {"others": chip.input_rows} if chip.cell_code.complement_rows else {}
    bits = chip.input_code.number_bits + chip.slice_bits
    return data.StructLayout({"rows": chip.input_rows, "plane": bits, **others})


class RowScheduler(wiring.Component):
    """Split the passes of a product into reads, ahead of the macro.

    ``docs/tile.md``, section "A core", is the specification, to the cycle. One group of
    ``chip.planner_group`` rows is looked at in a cycle, the lowest that still holds candidates;
    one planned read waits in a register while the planner works on the next. In baseline all rows
    in use are candidates, in zero-skip those whose bit is set (Crafton et al. 2021, Fig. 11); both
    share the selection, which is the only popcount there is, over one group.

    Latency: the first step is made in the cycle after ``start``, the read is offered in the cycle
    after the step that completes it. Throughput: a step a cycle, until a completed read finds the
    register full.

    Parameters
    ----------
    chip : Chip
        ``input_rows`` and ``planner_group`` are used.

    Members
    -------
    start : In(1)
        Begin a product; only while ``busy`` is 0 and ``o`` is not valid. The four inputs below
        are taken in this cycle.
    used : In(rows)
        Rows in use.
    zero_skip : In(1)
        Candidates are the set bits, not all rows in use.
    rows_per_read : In(9)
        Candidates that a read takes at most; 0 acts as 1. On a chip with row budgets ``budgets``
        in its place: 9 bits for each plane, the first lowest. They must stand for the whole
        product.
    planes : In(range(passes + 1))
        Passes to stream (bit planes, least significant first, but for other input encodings); more
        than ``chip.passes`` acts as that. Where slices are read by themselves, each slice of a
        plane is a pass: of plane p, slice s it is pass ``p * slices + s``.
    stop : In(1)
        Forget everything, a read on offer too: the one case in which ``o`` is withdrawn.
    busy : Out(1)
        From the cycle after ``start`` to that of the last step.
    plane : In(rows)
        Bits of the plane to begin next; of plane 0 between products.
    take : Out(1)
        It is not wanted any longer: ``plane`` is to be plane ``next`` from the next cycle on.
    next : Out(number_bits)
        The plane to follow; 0 at the end of a product.
    o : Out(stream of {rows, plane})
        Reads in order.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    """

    def __init__(self, *, chip: Chip) -> None:
        self._chip = check_chip(chip)
        super().__init__(
            {
                "start": In(1),
                "used": In(chip.input_rows),
                "zero_skip": In(1),
                **rows_members(chip, In),
                "planes": In(chip.passes.bit_length() + chip.slice_bits),
                "stop": In(1),
                "busy": Out(1),
                "plane": In(chip.input_rows),
                "take": Out(1),
                # A register: eight planes to choose from hang on it. Between products it is 1.
                "next": Out(chip.input_code.number_bits + chip.slice_bits, init=1),
                "o": Out(stream.Signature(plan_layout(chip))),
            }
        )

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def latency(self) -> int:
        """Cycles from ``start`` to the first read on offer, if one group holds all its rows."""
        return 2

    @staticmethod
    def _at_least_one(rows: Any) -> Any:
        return Mux(rows == 0, 1, rows)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = self._chip.input_rows
        passes = self._chip.passes << self._chip.slice_bits
        group = self._chip.planner_group
        bases = range(0, rows, group)
        spans = [slice(base, min(base + group, rows)) for base in bases]

        # All of these are written at the start of a product: they need no reset.
        in_use = Signal(rows, reset_less=True)  # rows of the product
        bits = Signal(rows, reset_less=True)  # the current plane
        left = Signal(rows, reset_less=True)  # its candidates
        # The lowest group that holds candidates, and what of them is not yet taken: a register, so
        # that a step need not begin by looking for it.
        which = Signal(range(len(spans)), reset_less=True)
        chosen = Signal(group, reset_less=True)
        here = Signal(group, reset_less=True)  # its bits of the plane
        counts = _Counts(group)
        some = Signal(reset_less=True)  # it holds any: there is one
        flags = Signal(len(spans), reset_less=True)  # groups above it that do
        taken = Signal(rows, reset_less=True)  # rows driven by the read in the making
        zero_skip = Signal(reset_less=True)
        per_read = Signal(9, reset_less=True)
        need = Signal(9, reset_less=True)  # candidates that the read in the making still lacks
        planes = Signal(len(self.planes), reset_less=True)
        number = Signal(len(self.next), reset_less=True)  # the current plane
        held_over = Signal(reset_less=True)  # the read that is held is the last of its plane
        planned = Signal(plan_layout(self._chip), reset_less=True)
        upcoming = Signal(len(self.planes))  # planes begun
        held = Signal()  # `taken` is complete and waits for the register

        # Rows of a read of the first plane, and of the plane that comes next.
        if self._chip.row_budgets:
            at_first = self.budgets[:ROWS_BITS]
            number_bits = len(self.next)
            coming = self._at_least_one(self.budgets.word_select(upcoming[:number_bits], ROWS_BITS))
        else:
            at_first = self.rows_per_read

        m.d.comb += self.o.payload.eq(planned)

        # One step: the lowest group with candidates, and as many of them as the read lacks. What
        # only a step needs is computed in a step only; that is what makes a simulation fast.
        step = Signal()
        following = Signal.like(which)  # the next group
        lacks = [Signal(signed(10), name=f"lacks{i}") for i in counts.ends]
        beyond = [Signal(signed(10), name=f"beyond{i}") for i in counts.ends]
        everything = Signal()  # all that the group holds is taken
        pick = Signal(group)
        rest = Signal(group)
        driven = Signal(group)
        # What a step adds to the rows of the read in the making, and what it is added to.
        driving = [(taken, driven, planned.rows)]
        if self._chip.cell_code.complement_rows:
            others = Signal(rows, reset_less=True)  # rows taken whose bit is not set
            unset = Signal(group)
            driving.append((others, unset, planned.others))
        complete = Signal()
        over = Signal()  # nothing is left in the plane after this step
        m.d.comb += step.eq(self.busy & ~held)
        with idle_skips(m, step, platform):
            # Candidates from the lowest up to the end of each nibble, and how many more of them the
            # read lacks.
            m.d.comb += [lack.eq(counts.taken_from(need, k)) for k, lack in enumerate(lacks)]
            m.d.comb += everything.eq(~lacks[-1][-1])
            wanted: Any = need
            for i, lack in zip(range(0, group, _NIBBLE), lacks, strict=True):
                nibble = chosen[i : i + _NIBBLE]
                with m.If(~lack[-1]):
                    m.d.comb += pick[i : i + _NIBBLE].eq(nibble)
                with m.Elif(~wanted[-1] if i else 1), m.Switch(wanted[:2]):
                    for few in range(1, _NIBBLE):
                        with m.Case(few):
                            first = _look_up(nibble, partial(_first, number=few))
                            m.d.comb += pick[i : i + _NIBBLE].eq(first)
                wanted = lack
            # The same difference the other way round: two carry chains side by side.
            m.d.comb += [b.eq(counts.without(need, k)) for k, b in enumerate(beyond)]
            m.d.comb += [
                rest.eq(chosen & ~pick),
                driven.eq(pick & here),
                following.eq(_lowest(flags)),
            ]
            for _, part, _ in driving[1:]:
                m.d.comb += part.eq(pick & ~here)
        m.d.comb += [
            over.eq(step & everything & (flags == 0)),
            complete.eq(step & some & (~beyond[-1][-1] | (flags == 0))),
        ]

        def choose(candidates: Any, plane: Any) -> None:
            """The candidates of a group, and its bits."""
            m.d.sync += [chosen.eq(candidates), here.eq(plane), *counts.of(candidates)]

        free = Signal()
        emit = Signal()
        end_plane = Signal()
        last_plane = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            emit.eq(free & (held | complete)),
            end_plane.eq(Mux(held, free & held_over, over & (free | ~some))),
            last_plane.eq(upcoming == planes),
            # Also at the end of the last plane: so that plane 0 shows again.
            self.take.eq((self.start & (self.planes != 0)) | end_plane),
        ]

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [
                # What a complete read lacks means nothing.
                need.eq(lacks[-1]),
                held.eq(complete & ~free),
                held_over.eq(over),
            ]
            with m.Switch(which):
                for k, span in enumerate(spans):
                    with m.Case(k):
                        # A read takes from a group but once: `taken` holds nothing of it yet.
                        m.d.sync += [whole[span].eq(part) for whole, part, _ in driving]
            with m.If(~everything):
                m.d.sync += [chosen.eq(rest), *counts.of_rest(beyond)]
            with m.Else():
                m.d.sync += which.eq(following)
                m.d.sync += flags.eq(_above_lowest(flags))
                with m.Switch(following):
                    for k, span in enumerate(spans):
                        with m.Case(k):
                            choose(left[span], bits[span])
        with m.If(emit):
            m.d.sync += [
                *(plan.eq(whole) for whole, _, plan in driving),
                planned.plane.eq(number),
                *(whole.eq(0) for whole, _, _ in driving),
                need.eq(per_read),
                held.eq(0),
                self.o.valid.eq(1),
            ]
            with m.If(step), m.Switch(which):
                for k, span in enumerate(spans):
                    with m.Case(k):
                        m.d.sync += [plan[span].eq(part) for _, part, plan in driving]
        if self._chip.row_budgets:
            # Planes without candidates pass in a cycle: what the next one may take is at hand.
            with m.If(end_plane):
                m.d.sync += [per_read.eq(coming), need.eq(coming)]
        with m.If(end_plane):
            with m.If(last_plane):
                m.d.sync += [self.busy.eq(0), upcoming.eq(0), self.next.eq(1)]
            with m.Else():
                m.d.sync += [
                    upcoming.eq(upcoming + 1),
                    number.eq(upcoming),
                    self.next.eq(Mux(upcoming + 1 == planes, 0, upcoming + 2)),
                ]

        # Another plane, of a product under way or of one that begins.
        candidates = Signal(rows)
        filled = Signal(len(spans))
        lowest = Signal.like(which)
        soon = Signal()
        m.d.comb += soon.eq(Mux(self.busy, Mux(held, held_over & free, flags == 0), self.start))
        with idle_skips(m, soon, platform):
            skip = Mux(self.busy, zero_skip, self.zero_skip)
            m.d.comb += [
                candidates.eq(
                    Mux(self.busy, in_use, self.used) & (self.plane | ~skip.replicate(rows))
                ),
                filled.eq(Cat(candidates[span].any() for span in spans)),
                lowest.eq(_lowest(filled)),
            ]
        # These two are of no more use in the last group, so they need not wait for its end.
        with m.If(soon):
            m.d.sync += [bits.eq(self.plane), left.eq(candidates)]
        with m.If(self.start | end_plane):
            m.d.sync += [
                which.eq(lowest),
                some.eq(filled.any()),
                flags.eq(_above_lowest(filled)),
            ]
            with m.Switch(lowest):
                for k, span in enumerate(spans):
                    with m.Case(k):
                        choose(candidates[span], self.plane[span])

        with m.If(self.start):
            per_read_in = self._at_least_one(at_first)
            only = (self.planes == 1) | (passes == 1)
            m.d.sync += [
                self.busy.eq(self.planes != 0),
                zero_skip.eq(self.zero_skip),
                per_read.eq(per_read_in),
                need.eq(per_read_in),
                planes.eq(Mux(self.planes > passes, passes, self.planes)),
                upcoming.eq(self.planes != 0),
                self.next.eq(Mux(self.planes == 0, 1, Mux(only, 0, 2))),
                number.eq(0),
                held.eq(0),
                in_use.eq(self.used),
                *(whole.eq(0) for whole, _, _ in driving),
            ]
        with m.If(self.stop):
            m.d.sync += [self.busy.eq(0), self.o.valid.eq(0), upcoming.eq(0), held.eq(0)]
            m.d.sync += self.next.eq(1)
        return m


class _Counts:
    """How many candidates a group has up to the end of each of its nibbles.

    As two numbers each, whose sum it is: neither the candidates of another group nor what a step
    leaves of this one need a long carry, which is where a step begins and ends.
    """

    def __init__(self, group: int) -> None:
        self.ends = range(_NIBBLE, group + 1, _NIBBLE)
        self._blocks = range(2 * _NIBBLE, group, 2 * _NIBBLE)
        below, upto = (
            {i: Signal(range(i + 1), name=f"{name}{i}", reset_less=True) for i in ends}
            for name, ends in (("below", self._blocks), ("upto", self.ends))
        )
        self._below = below
        self._upto = list(upto.values())

    # Not by way of the sum, for which both would wait.

    def taken_from(self, number: Any, k: int) -> Any:
        """``number`` less those up to the end of nibble k."""
        block = self._block(k)
        rest = number - self._upto[k]
        return rest - self._below[block] if block else rest

    def without(self, number: Any, k: int) -> Any:
        """Those up to the end of nibble k, less ``number``."""
        block = self._block(k)
        return self._upto[k] - number + self._below[block] if block else self._upto[k] - number

    def of(self, candidates: Any) -> list[Any]:
        """All of a group."""
        nibbles = [_look_up(candidates[i - _NIBBLE : i], int.bit_count) for i in self.ends]
        pairs = [
            nibbles[k] if k % 2 == 0 else nibbles[k - 1] + nibbles[k] for k in range(len(nibbles))
        ]
        blocks = accumulate(pairs[1::2])
        return [
            *(upto.eq(pair) for upto, pair in zip(self._upto, pairs, strict=True)),
            *(below.eq(total) for below, total in zip(self._below.values(), blocks, strict=False)),
        ]

    def of_rest(self, beyond: list[Signal]) -> list[Any]:
        """What is left of them, if those ``beyond`` the need of a read are left."""
        return [
            *(upto.eq(Mux(b[-1], 0, b)) for upto, b in zip(self._upto, beyond, strict=True)),
            *(below.eq(0) for below in self._below.values()),
        ]

    def _block(self, k: int) -> int:
        """Where the pair of nibbles begins that nibble k is in."""
        return k // 2 * 2 * _NIBBLE


def _lowest(flags: Any) -> Any:
    """Number of the lowest bit that is set, or of the last one."""
    number: Any = Const(len(flags) - 1)
    for k in reversed(range(len(flags) - 1)):
        number = Mux(flags[k], k, number)
    return number


def _above_lowest(flags: Any) -> Any:
    """All that are set but the lowest."""
    return Cat(flag & flags[:k].any() for k, flag in enumerate(flags))


def _first(nibble: int, number: int) -> int:
    """The lowest set bits of a nibble, so many."""
    rest = nibble
    for _ in range(number):
        rest &= rest - 1
    return nibble ^ rest


def _look_up(nibble: Any, of: Callable[[int], int]) -> Any:
    """A function of four bits as a table: a LUT a bit of the result, and one shift to simulate."""
    table = sum(of(n) << 4 * n for n in range(16))
    return (Const(table, 64) >> Cat(Const(0, 2), nibble))[:4]
