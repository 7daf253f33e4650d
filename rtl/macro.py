# SPDX-License-Identifier: Apache-2.0
"""The crossbar macro: the latency-insensitive seam between the digital and the analog world.

A command stream in (rows to drive, beats to convert, and of several arrays which one), a stream of
ADC codes out. A macro takes a
command when it converts nothing, or in the cycle in which the last beat of the read before is
transferred, and offers the first beat not before the next cycle; beats may come as late as they
like. The macros here offer beat k of a read accepted in cycle ``a`` in ``a + 1 + k``, as long as
no beat has to wait.
"""

from collections.abc import Sequence
from operator import index
from typing import Any

from amaranth.hdl import Array, Cat, ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arch.chip import Chip
from ..arch.writing import FINE_BITS, PULSE_BITS
from .checks import check_chip

__all__ = [
    "BEAT_BITS",
    "CrossbarMacro",
    "IdealMacro",
    "MacroSignature",
    "command_layout",
    "write_layout",
]

BEAT_BITS = 10
"""Width of a count of beats."""


def command_layout(chip: Chip) -> data.StructLayout:
    """A read: bit r of ``rows`` drives row r, the first ``beats * lanes`` columns are converted.

    Where several arrays share the converters, ``array`` says which of them is read. With a write
    port, ``fine`` makes the ADCs take ``2**fine`` codes to a level step. With multi-level drivers a
    row has two bits, its voltage: those of row r from bit 2r up. Where slices are read by
    themselves, ``slice`` is which: lane l of beat k then converts column
    ``(k * lanes + l) * columns_per_output + slice``.
    """
    fields = {"rows": chip.rows * chip.input_code.digit_bits, "beats": BEAT_BITS}
    if chip.array_bits:
        fields["array"] = chip.array_bits
    if chip.slice_bits:
        fields["slice"] = chip.slice_bits
    return data.StructLayout(fields | ({"fine": FINE_BITS} if chip.program_verify else {}))


def write_layout(chip: Chip) -> data.StructLayout:
    """A write: sets the drive of a beat's columns, up or down or neither; with ``fire`` every cell
    where a row of ``rows`` meets a column that is driven gets ``pulses`` pulses, and all columns
    are let go. So one row of one beat is a write, and an update of all cells is one a beat. Where
    several arrays share the converters, ``array`` says which of them is written."""
    return data.StructLayout(
        {
            "rows": chip.rows,
            **({"array": chip.array_bits} if chip.array_bits else {}),
            "beat": BEAT_BITS,
            "up": chip.lanes,
            "down": chip.lanes,
            "pulses": PULSE_BITS,
            "fire": 1,
        }
    )


class MacroSignature(wiring.Signature):
    """The ports of a macro.

    Parameters
    ----------
    chip : Chip
        ``rows``, ``lanes``, ``adc_bits`` and ``arrays_per_core`` are used.

    Members
    -------
    cmd : In(stream of {rows, beats[, array]})
        Reads, in order.
    codes : Out(stream of lanes * adc_bits)
        Beats: the codes of ``lanes`` neighbouring columns, the first lowest.
    write, response : In(stream of a :func:`write_layout`), Out(stream of 1)
        With ``program_verify``: writes, and for each one an answer, 1 if the array takes no
        pulses. A write is taken when nothing is converted, and no read between it and its answer.
    """

    def __init__(self, chip: Chip) -> None:
        check_chip(chip)
        members = {
            "cmd": In(stream.Signature(command_layout(chip))),
            "codes": Out(stream.Signature(chip.lanes * chip.adc_bits)),
        }
        if chip.program_verify:
            members["write"] = In(stream.Signature(write_layout(chip)))
            members["response"] = Out(stream.Signature(1))
        super().__init__(members)


class CrossbarMacro(wiring.Component):
    """The Verilog module ``crossbar_macro``, whichever implementation is built in.

    ``rtl/sv`` holds a model in C behind DPI, one that a cocotb test drives, and a stub. Amaranth's
    own simulator runs none of them: it leaves outputs of an instance at zero without a word.

    Parameters
    ----------
    chip : Chip
        Becomes the parameters ROWS, COLS, LANES, ADC_BITS, and DIGIT_BITS and ARRAYS where they are
        not 1.
    id : int
        Becomes the parameter ID: which macro of the tile this is. Its arrays are number
        ``ID * ARRAYS`` and up.

    Members
    -------
    See :class:`MacroSignature`.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip or ``id`` no integer.
    ValueError
        If ``id`` is negative.
    """

    def __init__(self, *, chip: Chip, id: int) -> None:
        self._chip = check_chip(chip)
        if not isinstance(id, int):
            raise TypeError(f"Macro id must be an integer, not {id!r}")
        if id < 0:
            raise ValueError(f"Macro id must not be negative, not {id}")
        self._id = id
        super().__init__(MacroSignature(chip))

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def id(self) -> int:
        return self._id

    def elaborate(self, platform: object) -> Module:
        m = Module()
        digit_bits = self._chip.input_code.digit_bits
        command = self.cmd.payload
        rows, more = command.rows, {}
        if self._chip.array_bits:
            # Above the rows: a port of no width, where there is one array, cannot be.
            rows = Cat(command.rows, command.array)
            more = {"p_ARRAYS": self._chip.arrays_per_core}
        if self._chip.slice_bits:
            rows = Cat(rows, command.slice)
            more["p_SPAN"] = self._chip.read_slices
        name, write_port = "crossbar_macro", {}
        if self._chip.program_verify:
            payload = self.write.payload
            name = "crossbar_macro_write"
            write_port = {
                "i_cmd_fine": self.cmd.payload.fine,
                "i_write_valid": self.write.valid,
                "o_write_ready": self.write.ready,
                "i_write_rows": (
                    Cat(payload.rows, payload.array) if self._chip.array_bits else payload.rows
                ),
                "i_write_beat": payload.beat,
                "i_write_up": payload.up,
                "i_write_down": payload.down,
                "i_write_pulses": payload.pulses,
                "i_write_fire": payload.fire,
                "o_response_valid": self.response.valid,
                "i_response_ready": self.response.ready,
                "o_response_refused": self.response.payload,
            }
        m.submodules.macro = Instance(
            name,
            **({"p_DIGIT_BITS": digit_bits} if digit_bits > 1 else {}),
            p_ID=self._id,
            p_ROWS=self._chip.rows,
            p_COLS=self._chip.cols,
            p_LANES=self._chip.lanes,
            p_ADC_BITS=self._chip.adc_bits,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_cmd_valid=self.cmd.valid,
            o_cmd_ready=self.cmd.ready,
            i_cmd_rows=rows,
            i_cmd_beats=command.beats,
            o_code_valid=self.codes.valid,
            i_code_ready=self.codes.ready,
            o_code_data=self.codes.payload,
            **write_port,
            **more,
        )
        return m


class IdealMacro(wiring.Component):
    """An array without any analog limit but the range of its ADC, as gates.

    For unit simulations and proofs of small configurations: all columns are summed at once. A
    read's beats appear from the cycle after its acceptance on, one a cycle.

    Parameters
    ----------
    chip : Chip
        ``rows``, ``cols``, ``lanes``, ``adc_bits`` and ``cell_bits`` are used.
    levels : sequence of rows of int
        Level of each cell, [rows][cols], 0 to ``2**cell_bits - 1``; where cores have several
        arrays, the rows of all of them, one array after another.

    Members
    -------
    See :class:`MacroSignature`.

    Raises
    ------
    TypeError
        If ``chip`` is no Chip or a level no integer.
    ValueError
        If the levels have another shape or range.
    """

    def __init__(self, *, chip: Chip, levels: Sequence[Sequence[int]]) -> None:
        self._chip = check_chip(chip)
        table = [[index(level) for level in row] for row in levels]
        count = chip.rows * chip.arrays_per_core
        if len(table) != count or any(len(row) != chip.cols for row in table):
            raise ValueError(
                f"Levels must be {count} rows of {chip.cols}, not {len(table)} of "
                f"{sorted({len(row) for row in table})}"
            )
        highest = (1 << chip.cell_bits) - 1
        for r, row in enumerate(table):
            for c, level in enumerate(row):
                if not 0 <= level <= highest:
                    raise ValueError(
                        f"Level of row {r}, column {c} must be 0 to {highest}, not {level}"
                    )
        self._levels = table
        super().__init__(MacroSignature(chip))

    @property
    def chip(self) -> Chip:
        return self._chip

    @property
    def latency(self) -> int:
        """Cycles from a command to its first beat."""
        return 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        highest = (1 << chip.adc_bits) - 1
        digit_bits = chip.input_code.digit_bits

        def carried(row: int, level: int) -> Any:
            """What a cell adds to the sum of its column."""
            if digit_bits == 1:
                return Mux(self.cmd.payload.rows[row], level, 0)
            return self.cmd.payload.rows.word_select(row, digit_bits) * level

        def converted(levels: Sequence[Sequence[int]], column: int) -> Any:
            total = sum(
                (carried(r, row[column]) for r, row in enumerate(levels) if row[column]), Const(0)
            )
            if chip.adc_step > 1:
                total = (total + chip.adc_step // 2) >> (chip.adc_step.bit_length() - 1)
            return Mux(total > highest, highest, total)[: chip.adc_bits]

        codes = Signal(chip.cols * chip.adc_bits)
        arrays = [
            self._levels[chip.rows * turn : chip.rows * (turn + 1)]
            for turn in range(chip.arrays_per_core)
        ]
        with m.Switch(self.cmd.payload.array if chip.array_bits else Const(0)):
            for turn, levels in enumerate(arrays):
                with m.Case(turn):
                    m.d.comb += codes.eq(Cat(converted(levels, c) for c in range(chip.cols)))
        sampled: Any = codes
        if chip.slice_bits:
            columns = [codes.word_select(c, chip.adc_bits) for c in range(chip.cols)]
            span = chip.read_slices
            slices = Array(Cat(columns[part::span]) for part in range(span))
            sampled = slices[self.cmd.payload.slice]
        left = Signal(BEAT_BITS)  # beats not yet transferred
        held = Signal(chip.cols * chip.adc_bits)  # their codes, the next lowest

        m.d.comb += [
            self.cmd.ready.eq((left == 0) | ((left == 1) & self.codes.ready)),
            self.codes.valid.eq(left != 0),
            self.codes.payload.eq(held),
        ]
        with m.If(self.codes.valid & self.codes.ready):
            m.d.sync += [left.eq(left - 1), held.eq(held >> len(self.codes.payload))]
        with m.If(self.cmd.valid & self.cmd.ready):
            m.d.sync += [left.eq(self.cmd.payload.beats), held.eq(sampled)]
        return m
