# SPDX-License-Identifier: Apache-2.0
"""Row scheduler: which rows a read drives."""

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.formats import ACTIVATION_BITS
from .checks import check_chip

__all__ = ["RowScheduler", "plan_layout"]

_NIBBLE = 4


def plan_layout(chip: Chip) -> data.StructLayout:
    """A planned read: ``rows`` to drive, and the bit ``plane`` they carry."""
    return data.StructLayout({"rows": chip.rows, "plane": 3})


class RowScheduler(wiring.Component):
    """Split the bit planes of a product into reads, ahead of the macro.

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
        ``rows`` and ``planner_group`` are used.

    Members
    -------
    start : In(1)
        Begin a product; only while ``busy`` is 0 and ``o`` is not valid. The four inputs below
        are taken in this cycle.
    rows : In(9)
        Rows in use, from row 0 up. More than the array has means all.
    zero_skip : In(1)
        Candidates are the set bits, not all rows in use.
    rows_per_read : In(9)
        Candidates that a read takes at most; 0 acts as 1.
    planes : In(4)
        Bit planes to stream, least significant first; more than 8 acts as 8.
    stop : In(1)
        Forget everything, a read on offer too: the one case in which ``o`` is withdrawn.
    busy : Out(1)
        From the cycle after ``start`` to that of the last step.
    index : Out(3)
        The plane wanted next.
    plane : In(rows)
        Its bits, combinational.
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
                "rows": In(9),
                "zero_skip": In(1),
                "rows_per_read": In(9),
                "planes": In(4),
                "stop": In(1),
                "busy": Out(1),
                "index": Out(3),
                "plane": In(chip.rows),
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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        group = self._chip.planner_group
        bases = range(0, self._chip.rows, group)
        widths = [min(group, self._chip.rows - base) for base in bases]

        def registers(name: str) -> list[Signal]:
            return [Signal(width, name=f"{name}{k}") for k, width in enumerate(widths)]

        in_use = registers("in_use")  # rows of the product
        bits = registers("bits")  # those whose bit is set in the current plane
        left = registers("left")  # candidates of the current plane not yet taken
        taken = registers("taken")  # candidates of the read in the making
        planned = registers("planned")  # rows of the read on offer

        zero_skip = Signal()
        per_read = Signal(9)
        need = Signal(9)  # candidates that the read in the making still lacks
        planes = Signal(4)
        upcoming = Signal(4)  # planes begun
        number = Signal(3)  # the current plane
        held = Signal()  # `taken` is complete and waits for the register
        held_over = Signal()  # and is the last read of its plane

        m.d.comb += [
            self.o.payload.rows.eq(Cat(planned)),
            self.index.eq(upcoming),
        ]

        # One step: the lowest group with candidates, and as many of them as the read lacks.
        step = Signal()
        chosen = Signal(group)
        more = Signal()  # another group holds candidates too
        none = Signal()
        pick = Signal(group)
        count = Signal(range(group + 1))
        everything = Signal()
        complete = Signal()
        over = Signal()  # nothing is left in the plane after this step
        m.d.comb += step.eq(self.busy & ~held)
        with m.If(step):
            for k, (is_lowest, rest) in enumerate(_lowest(left)):
                with m.If(is_lowest) if k == 0 else m.Elif(is_lowest):
                    m.d.comb += [chosen.eq(left[k]), more.eq(rest)]
            with m.Else():
                m.d.comb += none.eq(1)
            _pick(m, chosen, need, pick=pick, count=count, everything=everything)
            m.d.comb += [
                over.eq(everything & ~more),
                complete.eq(~none & (~everything | (count == need) | ~more)),
            ]

        free = Signal()
        emit = Signal()
        end_plane = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            emit.eq(free & (held | complete)),
            end_plane.eq(Mux(held, free & held_over, over & (free | none))),
        ]

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            for k, (is_lowest, _) in enumerate(_lowest(left)):
                with m.If(is_lowest) if k == 0 else m.Elif(is_lowest):
                    m.d.sync += [
                        left[k].eq(left[k] & ~pick),
                        taken[k].eq(taken[k] | pick),
                    ]
            m.d.sync += [
                need.eq(need - count),
                held.eq(complete & ~free),
                held_over.eq(over),
            ]
        with m.If(emit):
            for k in range(len(bases)):
                m.d.sync += [planned[k].eq(taken[k] & bits[k]), taken[k].eq(0)]
            with m.If(step):
                for k, (is_lowest, _) in enumerate(_lowest(left)):
                    with m.If(is_lowest) if k == 0 else m.Elif(is_lowest):
                        m.d.sync += planned[k].eq((taken[k] | pick) & bits[k])
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.plane.eq(number),
                need.eq(per_read),
                held.eq(0),
            ]

        with m.If(end_plane):
            with m.If(upcoming == planes):
                m.d.sync += [self.busy.eq(0), upcoming.eq(0)]
            with m.Else():
                m.d.sync += [upcoming.eq(upcoming + 1), number.eq(upcoming)]
                for k, (base, width) in enumerate(zip(bases, widths, strict=True)):
                    here = self.plane[base : base + width] & in_use[k]
                    m.d.sync += [
                        bits[k].eq(here),
                        left[k].eq(Mux(zero_skip, here, in_use[k])),
                    ]

        with m.If(self.start):
            per_read_in = Mux(self.rows_per_read == 0, 1, self.rows_per_read)
            m.d.sync += [
                self.busy.eq(self.planes != 0),
                zero_skip.eq(self.zero_skip),
                per_read.eq(per_read_in),
                need.eq(per_read_in),
                planes.eq(Mux(self.planes > ACTIVATION_BITS, ACTIVATION_BITS, self.planes)),
                upcoming.eq(self.planes != 0),
                number.eq(0),
                held.eq(0),
            ]
            for k, (base, width) in enumerate(zip(bases, widths, strict=True)):
                used = _below(self.rows, base, width)
                here = self.plane[base : base + width] & used
                m.d.sync += [
                    in_use[k].eq(used),
                    bits[k].eq(here),
                    left[k].eq(Mux(self.zero_skip, here, used)),
                    taken[k].eq(0),
                ]
        with m.If(self.stop):
            m.d.sync += [self.busy.eq(0), self.o.valid.eq(0), upcoming.eq(0), held.eq(0)]
        return m


def _lowest(left: list[Signal]) -> list[tuple[Any, Any]]:
    """For each group: whether it is not empty, and whether one above it is not."""
    flags = [group.any() for group in left]
    return [(flag, reduce(or_, flags[k + 1 :], Const(0))) for k, flag in enumerate(flags)]


def _below(limit: Any, base: int, width: int) -> Any:
    """Bit r is ``base + r < limit``; ``base`` is a multiple of the next power of two of width."""
    offset = limit[: max(1, (width - 1).bit_length())]
    ones = (1 << width) - 1
    partly = ((Const(1) << offset) - 1)[:width]
    return Mux(limit >= base + width, ones, Mux(limit <= base, 0, partly))


def _pick(
    m: Module, chosen: Signal, need: Signal, *, pick: Signal, count: Signal, everything: Signal
) -> None:
    """The lowest ``need`` set bits of ``chosen``, how many they are, and if that is all of them.

    Prefix sums run over nibbles; only the nibble in which the need is met is resolved to bits.
    """
    nibbles = [chosen[i : i + _NIBBLE] for i in range(0, len(chosen), _NIBBLE)]
    sums = []
    total: Any = Const(0)
    for k, nibble in enumerate(nibbles):
        total = total + sum(nibble, Const(0))
        upto = Signal(range((k + 1) * _NIBBLE + 1), name=f"upto{k}")
        m.d.comb += upto.eq(total)
        sums.append(upto)
        total = upto
    m.d.comb += everything.eq(sums[-1] <= need)
    with m.If(everything):
        m.d.comb += [pick.eq(chosen), count.eq(sums[-1])]
    with m.Else():
        m.d.comb += count.eq(need)
        cut = Signal(_NIBBLE)
        want = Signal(2)  # a nibble that is cut has more bits than are wanted, so at most 3
        for k, upto in enumerate(sums):
            before = sums[k - 1] if k else Const(0)
            with m.If(need < upto) if k == 0 else m.Elif(need < upto):
                m.d.comb += [
                    cut.eq(nibbles[k]),
                    want.eq(need - before),
                    pick.eq(Cat(chosen[: k * _NIBBLE], _first(cut, want))),
                ]


def _first(nibble: Signal, want: Signal) -> Any:
    """The lowest ``want`` (0 to 3) set bits of a nibble that has more."""
    without_one = nibble & (nibble - 1)
    without_two = without_one & (without_one - 1)
    without_three = without_two & (without_two - 1)
    rest = Mux(want[1], Mux(want[0], without_three, without_two), Mux(want[0], without_one, nibble))
    return (nibble & ~rest)[:_NIBBLE]
