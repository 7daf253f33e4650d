# SPDX-License-Identifier: Apache-2.0
"""Column sums of an array's cells over the rows driven, from block memory."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.chip import Chip
from ...rtl.checks import check_chip
from .image import EmulatorConfig, Region
from .ports import load_signature, sums_layout

__all__ = ["ColumnSums"]

_BYTE = 8


class ColumnSums(wiring.Component):
    """Sum up the columns of a read, ``config.columns`` at a time, and hand them out in order.

    Column c lies in bank ``c % columns``, so that a row of a whole group is read in one cycle. The
    first pass looks for the rows driven in the mask, a byte at a time, and writes them down; later
    passes go by that list. While one group is summed, that before it is handed out.

    Latency: 6 cycles more than the first pass, which takes a cycle for each row driven and for
    each byte of the mask without any. Throughput: a group in ``rows driven + 1`` cycles, or in
    ``columns`` if these are more, as long as nothing waits.

    Parameters
    ----------
    chip : Chip
        ``rows`` and ``cols`` are used.
    config : EmulatorConfig
    arrays : int
        Whose cells there is memory for.

    Members
    -------
    start : In(1)
        Begin a read; only when all columns of the last were taken.
    array : In(range(arrays))
        Whose columns; stands still from ``start`` until the last is taken.
    rows : In(rows)
        Rows to drive, taken with ``start``.
    groups : In(range(groups + 1))
        Groups of columns to sum, at least one; stands still from the cycle after ``start`` until
        the last column is taken.
    o : Out(stream of {current, cells})
        Columns in order.
    reference : Out(signed)
        Sum of the reference column; valid with ``o`` until the next start.
    load, load_array : In({en, addr, word}), In(range(arrays))
        Writes cells, variances and references of an array.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip.
    ValueError
        If ``config`` does not fit it.
    """

    def __init__(self, *, chip: Chip, config: EmulatorConfig, arrays: int = 1) -> None:
        self._chip = check_chip(chip)
        config.check(chip)
        self._config = config
        self._arrays = arrays
        self._groups = chip.cols // config.columns
        self._sums = sums_layout(chip, config)
        super().__init__(
            {
                "start": In(1),
                "array": In(range(arrays)),
                "rows": In(chip.rows),
                "groups": In(range(self._groups + 1)),
                "o": Out(stream.Signature(self._sums)),
                "reference": Out(self._sums["current"].shape),
                "load": In(load_signature),
                "load_array": In(range(arrays)),
            }
        )
        # Made here for the proofs, which look into them.
        self.idle = Signal()  # no group is begun any more
        self.group = Signal(range(self._groups + 1))  # groups begun
        self.captures = [Signal(name=f"capture{k}") for k in range(3)]  # sums about to be complete
        self.left = Signal(range(config.columns + 1))  # columns on offer

    @property
    def all_groups(self) -> int:
        """Groups that make all columns."""
        return self._groups

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = self._config.columns
        row_bits = (self._chip.rows - 1).bit_length()

        # The first stage decides what to do: clear the sums, add a row, or nothing.
        advance = Signal()
        clear = Signal()
        add = Signal()
        found = Signal(row_bits)  # the row, in the first pass
        first = Signal()
        group = self.group
        self._sequence(m, advance, clear, add, found, first, group)

        # The second has the row, the third its cells, the fourth has them in registers: a block
        # memory and an addition are too much for one cycle.
        list_read = self._list(m, advance, add, found, first)
        row = Signal(row_bits)
        row_found = Signal(row_bits, reset_less=True)
        stage = {
            name: [Signal(name=f"{name}{k}") for k in range(3)]
            for name in ("clear", "add", "first")
        }
        stage["capture"] = self.captures
        address_group = Signal(range(self._groups), reset_less=True)
        m.d.comb += row.eq(Mux(stage["first"][0], row_found, list_read))
        with m.If(advance):
            m.d.sync += [
                stage["clear"][0].eq(clear),
                stage["add"][0].eq(add),
                stage["first"][0].eq(first),
                stage["capture"][0].eq(clear & (group != 0)),
                row_found.eq(found),
                # A clear already counts the group on; the rows of that group come after it.
                address_group.eq(group - 1),
            ]
            for line in stage.values():
                m.d.sync += [later.eq(sooner) for sooner, later in pairwise(line)]

        current, cells = self._accumulate(
            m, advance, stage["clear"][2], stage["add"][2], Cat(row, address_group, self.array)
        )
        self._sum_reference(
            m, advance, stage["clear"][2] & ~stage["capture"][2], stage["first"][2], row,
            stage["add"][2],
        )  # fmt: skip

        # Sums leave through a shift register, so that the next group can be summed meanwhile.
        left = self.left
        held = [Signal(self._sums, name=f"held{k}", reset_less=True) for k in range(banks)]
        taken = Signal()
        free = Signal()
        capture = Signal()
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.payload.eq(held[0]),
            taken.eq(self.o.valid & self.o.ready),
            free.eq((left == 0) | ((left == 1) & self.o.ready)),
            advance.eq(~stage["capture"][2] | free),
            capture.eq(stage["capture"][2] & free),
        ]
        with m.If(capture):
            m.d.sync += left.eq(banks)
            for k in range(banks):
                m.d.sync += [held[k].current.eq(current[k]), held[k].cells.eq(cells[k])]
        with m.Elif(taken):
            m.d.sync += left.eq(left - 1)
            m.d.sync += [here.eq(then) for here, then in pairwise(held)]
        return m

    def _sequence(
        self,
        m: Module,
        advance: Signal,
        clear: Signal,
        add: Signal,
        found: Signal,
        first: Signal,
        group: Signal,
    ) -> None:
        """Clear, then the rows of a pass, for every group, and a clear at the end."""
        rows = self._chip.rows
        mask = Signal(rows, reset_less=True)
        byte = Signal(range(rows // _BYTE), reset_less=True)
        self._count = count = Signal(range(rows + 1), reset_less=True)  # rows driven
        self._index = index = Signal(range(rows), reset_less=True)  # place in their list
        low = mask[:_BYTE]
        rest = Signal(_BYTE)
        bit = Signal(3)
        last = Signal()
        m.d.comb += [rest.eq(low & (low - 1)), last.eq(index + 1 == count)]
        for k in reversed(range(_BYTE)):
            with m.If(low[k]):
                m.d.comb += bit.eq(k)
        m.d.comb += found.eq(Cat(bit, byte))

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.idle.eq(1)
                with m.If(self.start):
                    # Nothing is under way here, so no need to wait for `advance`.
                    m.d.sync += [mask.eq(self.rows), byte.eq(0), count.eq(0), group.eq(0)]
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += clear.eq(1)
                with m.If(advance):
                    m.d.sync += [index.eq(0), group.eq(group + 1)]
                    with m.If(group == self.groups):
                        m.d.sync += group.eq(0)
                        m.next = "IDLE"
                    with m.Elif(group == 0):
                        m.next = "SCAN"
                    with m.Elif(count != 0):
                        m.next = "REPLAY"
            with m.State("SCAN"):
                m.d.comb += [first.eq(1), add.eq(low != 0)]
                with m.If(advance):
                    m.d.sync += count.eq(count + add)
                    with m.If(rest == 0):
                        m.d.sync += [mask.eq(mask >> _BYTE), byte.eq(byte + 1)]
                        with m.If(byte == rows // _BYTE - 1):
                            m.next = "CLEAR"
                    with m.Else():
                        m.d.sync += low.eq(rest)
            with m.State("REPLAY"):
                m.d.comb += add.eq(1)
                with m.If(advance):
                    m.d.sync += index.eq(index + 1)
                    with m.If(last):
                        m.next = "CLEAR"

    def _list(self, m: Module, advance: Signal, add: Signal, found: Signal, first: Signal) -> Any:
        """Write down the rows of the first pass; the row at ``index``, a cycle later."""
        m.submodules.driven = driven = memory.Memory(
            shape=len(found), depth=self._chip.rows, init=[]
        )
        write, read = driven.write_port(), driven.read_port()
        m.d.comb += [
            write.addr.eq(self._count),
            write.data.eq(found),
            write.en.eq(advance & first & add),
            read.addr.eq(self._index),
            read.en.eq(advance),
        ]
        return read.data

    def _accumulate(
        self, m: Module, advance: Signal, clear: Signal, add: Signal, address: Any
    ) -> tuple[list[Signal], list[Signal]]:
        """The sums of a group: in each bank, current and variance."""
        banks = self._config.columns
        width = self._config.widths.cell
        bank_bits = (banks - 1).bit_length()
        current: list[Signal] = []
        cells: list[Signal] = []
        addr = self.load.addr
        region = addr[17:20]
        column, row = addr[:9], addr[9:17]
        row_bits = (self._chip.rows - 1).bit_length()
        load_group = Signal(range(self._groups))
        load_bank = Signal(range(banks))
        m.d.comb += [load_group.eq(column >> bank_bits), load_bank.eq(column[:bank_bits])]
        # Each array begins at a power of two.
        depth = (self._arrays - 1 << row_bits + len(load_group)) + (self._groups << row_bits)
        parts = [(Region.CELLS, current, "current")]
        if self._config.has_variance:
            parts.append((Region.VARIANCE, cells, "cells"))
        for bank in range(banks):
            store = memory.Memory(shape=width * len(parts), depth=depth, init=[])
            m.submodules[f"bank{bank}"] = store
            write = store.write_port(granularity=width)
            read = store.read_port()
            m.d.comb += [
                write.addr.eq(Cat(row[:row_bits], load_group, self.load_array)),
                read.addr.eq(address),
                read.en.eq(advance),
            ]
            for k, (which, sums, name) in enumerate(parts):
                value = Signal(signed(width), name=f"{name}_cell{bank}", reset_less=True)
                total = Signal(self._sums["current"].shape, name=f"{name}{bank}", reset_less=True)
                m.d.comb += [
                    write.data[k * width : (k + 1) * width].eq(self.load.word),
                    write.en[k].eq(self.load.en & (region == which) & (load_bank == bank)),
                ]
                with m.If(advance):
                    m.d.sync += value.eq(read.data[k * width : (k + 1) * width])
                    with m.If(clear):
                        m.d.sync += total.eq(0)
                    with m.Elif(add):
                        m.d.sync += total.eq(total + value)
                sums.append(total)
        return current, cells or [Signal(0, name=f"none{bank}") for bank in range(banks)]

    def _sum_reference(
        self, m: Module, advance: Signal, clear: Signal, first: Signal, row: Any, add: Signal
    ) -> None:
        """The reference column is summed in the first pass."""
        width = self._config.widths.cell
        row_bits = (self._chip.rows - 1).bit_length()
        m.submodules.references = store = memory.Memory(
            shape=signed(width), depth=(self._arrays - 1 << row_bits) + self._chip.rows, init=[]
        )
        write, read = store.write_port(), store.read_port()
        addr = self.load.addr
        m.d.comb += [
            write.addr.eq(Cat(addr[9 : 9 + row_bits], self.load_array)),
            write.data.eq(self.load.word),
            write.en.eq(self.load.en & (addr[17:20] == Region.REFERENCE)),
            read.addr.eq(Cat(row, self.array)),
            read.en.eq(advance),
        ]
        value = Signal(signed(width), name="reference_cell", reset_less=True)
        with m.If(advance):
            m.d.sync += value.eq(read.data)
            with m.If(clear):
                m.d.sync += self.reference.eq(0)
            with m.Elif(add & first):
                m.d.sync += self.reference.eq(self.reference + value)
