# SPDX-License-Identifier: Apache-2.0
"""Row scheduler: which rows a read drives."""

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
    plane : In(rows)
        Bits of the plane to begin next; of plane 0 between products.
    take : Out(1)
        It is not wanted any longer: ``plane`` is to be plane ``next`` from the next cycle on.
    next : Out(3)
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
                "rows": In(9),
                "zero_skip": In(1),
                "rows_per_read": In(9),
                "planes": In(4),
                "stop": In(1),
                "busy": Out(1),
                "plane": In(chip.rows),
                "take": Out(1),
                "next": Out(3),
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
        rows = self._chip.rows
        group = self._chip.planner_group
        bases = range(0, rows, group)
        spans = [slice(base, min(base + group, rows)) for base in bases]

        # All of these are written at the start of a product: they need no reset.
        in_use = Signal(rows, reset_less=True)  # rows of the product
        bits = Signal(rows, reset_less=True)  # the current plane
        left = Signal(rows, reset_less=True)  # candidates of the plane not yet taken
        taken = Signal(rows, reset_less=True)  # rows driven by the read in the making
        zero_skip = Signal(reset_less=True)
        per_read = Signal(9, reset_less=True)
        need = Signal(9, reset_less=True)  # candidates that the read in the making still lacks
        planes = Signal(4, reset_less=True)
        number = Signal(3, reset_less=True)  # the current plane
        held_over = Signal(reset_less=True)  # the read that is held is the last of its plane
        planned = Signal(plan_layout(self._chip), reset_less=True)
        upcoming = Signal(4)  # planes begun
        held = Signal()  # `taken` is complete and waits for the register

        m.d.comb += self.o.payload.eq(planned)

        # One step: the lowest group with candidates, and as many of them as the read lacks. What
        # only a step needs is computed in a step only; that is what makes a simulation fast.
        step = Signal()
        flags = Signal(len(spans))  # groups that hold candidates
        which = Signal(range(len(spans)))
        chosen = Signal(group)  # its candidates
        here = Signal(group)  # its bits of the plane
        none = Signal()  # no group has any
        more = Signal()  # another group has some too
        pick = Signal(group)
        count = Signal(range(group + 1))
        everything = Signal()
        rest = Signal(group)
        driven = Signal(group)
        complete = Signal()
        over = Signal()  # nothing is left in the plane after this step
        m.d.comb += step.eq(self.busy & ~held)
        with m.If(step):
            m.d.comb += [
                flags.eq(Cat(left[span].any() for span in spans)),
                none.eq(flags == 0),
                more.eq((flags & (flags - 1)) != 0),
            ]
            with m.Switch(flags):
                for k, span in enumerate(spans):
                    with m.Case("1".rjust(len(spans) - k, "-") + "0" * k):
                        m.d.comb += [which.eq(k), chosen.eq(left[span]), here.eq(bits[span])]
            _pick(m, chosen, need, pick=pick, count=count, everything=everything)
            m.d.comb += [
                rest.eq(chosen & ~pick),
                driven.eq(pick & here),
                over.eq(everything & ~more),
                complete.eq(~none & (~everything | (count == need) | ~more)),
            ]

        free = Signal()
        emit = Signal()
        end_plane = Signal()
        last_plane = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            emit.eq(free & (held | complete)),
            end_plane.eq(Mux(held, free & held_over, over & (free | none))),
            last_plane.eq(upcoming == planes),
            # Also at the end of the last plane: so that plane 0 shows again.
            self.take.eq((self.start & (self.planes != 0)) | end_plane),
            self.next.eq(Mux(self.start, 1, Mux(last_plane, 0, upcoming + 1))),
        ]

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(step):
            m.d.sync += [need.eq(need - count), held.eq(complete & ~free), held_over.eq(over)]
            with m.Switch(which):
                for k, span in enumerate(spans):
                    with m.Case(k):
                        # A read takes from a group but once: `taken` holds nothing of it yet.
                        m.d.sync += [left[span].eq(rest), taken[span].eq(driven)]
        with m.If(emit):
            m.d.sync += [
                planned.rows.eq(taken),
                planned.plane.eq(number),
                taken.eq(0),
                need.eq(per_read),
                held.eq(0),
                self.o.valid.eq(1),
            ]
            with m.If(step), m.Switch(which):
                for k, span in enumerate(spans):
                    with m.Case(k):
                        m.d.sync += planned.rows[span].eq(driven)
        with m.If(end_plane):
            with m.If(last_plane):
                m.d.sync += [self.busy.eq(0), upcoming.eq(0)]
            with m.Else():
                m.d.sync += [
                    upcoming.eq(upcoming + 1),
                    number.eq(upcoming),
                    bits.eq(self.plane),
                    left.eq(Mux(zero_skip, self.plane & in_use, in_use)),
                ]

        with m.If(self.start):
            used = Signal(rows)
            m.d.comb += used.eq(Cat(_below(self.rows, span.start, span.stop) for span in spans))
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
                in_use.eq(used),
                bits.eq(self.plane),
                left.eq(Mux(self.zero_skip, self.plane & used, used)),
                taken.eq(0),
            ]
        with m.If(self.stop):
            m.d.sync += [self.busy.eq(0), self.o.valid.eq(0), upcoming.eq(0), held.eq(0)]
        return m


def _below(limit: Any, start: int, stop: int) -> Any:
    """Bit r is ``start + r < limit``; start is a multiple of a power of two above stop - start."""
    width = stop - start
    partly = ((Const(1) << limit[: max(1, (width - 1).bit_length())]) - 1)[:width]
    return Mux(limit >= stop, (1 << width) - 1, Mux(limit <= start, 0, partly))[:width]


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
        first = Signal(_NIBBLE)
        rest = [Signal(_NIBBLE, name=f"without{k}") for k in range(1, 4)]
        for k, upto in enumerate(sums):
            before = sums[k - 1] if k else Const(0)
            with m.If(need < upto) if k == 0 else m.Elif(need < upto):
                m.d.comb += [cut.eq(nibbles[k]), want.eq(need - before)]
        for source, without in zip([cut, *rest], rest, strict=False):
            m.d.comb += without.eq(source & (source - 1))
        m.d.comb += first.eq(cut)
        with m.Switch(want):
            for k, without in enumerate([cut, *rest]):
                with m.Case(k):
                    m.d.comb += first.eq(cut & ~without)
        for k, upto in enumerate(sums):
            with m.If(need < upto) if k == 0 else m.Elif(need < upto):
                m.d.comb += pick.eq(Cat(chosen[: k * _NIBBLE], first))
