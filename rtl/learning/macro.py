# SPDX-License-Identifier: Apache-2.0
"""The macro of arrays that learn: reads both ways, and pulses where driven rows and columns meet.

All arrays of a core are behind one macro, and each of its words says which of them is meant. The
lines of a read are driven one by one into an input register, which the read empties; a read then
gives codes in beats. A write sets the columns of a beat, and with ``fire`` the cells where a chosen
row meets a column that is driven get their pulses.
"""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...arch.learning import LearnChip

__all__ = [
    "ARRAY_BITS",
    "BEAT_BITS",
    "CODE_BITS",
    "INPUT_BITS",
    "LINE_BITS",
    "PULSE_BITS",
    "SHIFT_BITS",
    "LearnMacro",
    "LearnMacroSignature",
    "beats_for",
    "check_learn_chip",
    "learn_command_layout",
    "learn_drive_layout",
    "learn_write_layout",
]

ARRAY_BITS = 6
BEAT_BITS = 11
CODE_BITS = 16
INPUT_BITS = 8
LINE_BITS = 10
PULSE_BITS = 6
SHIFT_BITS = 6


def check_learn_chip(chip: object) -> LearnChip:
    """The argument, if it is a chip that learns and can be built.

    Raises
    ------
    TypeError
        If it is anything else.
    ValueError
        If it has converters that no line would ever use.
    """
    if not isinstance(chip, LearnChip):
        raise TypeError(f"Chip must be a LearnChip, not {chip!r}")
    most = chip.cols if chip.transposed_lanes else max(chip.rows, chip.cols)
    if chip.lanes > most:
        raise ValueError(
            f"A core of {chip.rows} rows and {chip.cols} columns can use {most} lanes, not"
            f" {chip.lanes}"
        )
    if chip.transposed_lanes > chip.rows:
        raise ValueError(
            f"A core of {chip.rows} rows can use as many transposed lanes, not"
            f" {chip.transposed_lanes}"
        )
    return chip


def beats_for(lines: int, lanes: int) -> int:
    """Beats that hold the codes of some lines."""
    return -(-lines // lanes)


def learn_drive_layout() -> data.StructLayout:
    """A line and what it is driven with in the next read, signed."""
    return data.StructLayout({"line": LINE_BITS, "value": INPUT_BITS})


def learn_command_layout() -> data.StructLayout:
    """A read: inputs at the rows, or at the columns if ``transposed``; a code is worth
    ``2**shift``, and the first ``beats * lanes`` lines of the other side are converted, by the
    lanes of that direction."""
    return data.StructLayout(
        {"array": ARRAY_BITS, "transposed": 1, "shift": SHIFT_BITS, "beats": BEAT_BITS}
    )


def learn_write_layout(chip: LearnChip) -> data.StructLayout:
    """A write: sets the columns of a beat of ``lanes``, up or down or neither. With ``fire`` every
    cell where a row of ``rows`` meets a driven column gets ``pulses`` pulses, and all columns are
    let go; with ``relax`` time passes for the array instead."""
    return data.StructLayout(
        {
            "array": ARRAY_BITS,
            "rows": chip.rows,
            "beat": BEAT_BITS,
            "up": chip.lanes,
            "down": chip.lanes,
            "pulses": PULSE_BITS,
            "fire": 1,
            "relax": 1,
        }
    )


class LearnMacroSignature(wiring.Signature):
    """The ports of a macro of arrays that learn.

    Parameters
    ----------
    chip : LearnChip

    Members
    -------
    drive : In(stream of :func:`learn_drive_layout`)
        Lines of the next read; those that are not driven have 0.
    cmd : In(stream of :func:`learn_command_layout`)
        Reads, in order; taken when nothing is converted and no write is offered or unanswered.
    codes : Out(stream of lanes * 16)
        Beats of codes, the first line's lowest, signed; as many lanes as either direction has.
    write : In(stream of :func:`learn_write_layout`)
    response : Out(stream of 1)
        To every write with ``fire`` or ``relax``: 1 if it was refused.

    Raises
    ------
    TypeError, ValueError
        As :func:`check_learn_chip`.
    """

    def __init__(self, chip: LearnChip) -> None:
        check_learn_chip(chip)
        lanes = max(chip.lanes, chip.backward_lanes)
        super().__init__(
            {
                "drive": In(stream.Signature(learn_drive_layout())),
                "cmd": In(stream.Signature(learn_command_layout())),
                "codes": Out(stream.Signature(lanes * CODE_BITS)),
                "write": In(stream.Signature(learn_write_layout(chip))),
                "response": Out(stream.Signature(1)),
            }
        )


class LearnMacro(wiring.Component):
    """The Verilog module ``crossbar_macro_learn``; ``rtl/sv`` holds a model of it in C behind DPI.

    Parameters
    ----------
    chip : LearnChip

    Members
    -------
    See :class:`LearnMacroSignature`.

    Raises
    ------
    TypeError, ValueError
        As :func:`check_learn_chip`.
    """

    def __init__(self, *, chip: LearnChip) -> None:
        self._chip = check_learn_chip(chip)
        super().__init__(LearnMacroSignature(chip))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        chip = self._chip
        ports = {}
        for name in ("drive", "cmd", "write"):
            port = getattr(self, name)
            ports[f"i_{name}_valid"] = port.valid
            ports[f"o_{name}_ready"] = port.ready
            for field, _ in port.payload.shape():
                ports[f"i_{name}_{field}"] = port.payload[field]
        m.submodules.macro = Instance(
            "crossbar_macro_learn",
            p_ARRAYS=chip.arrays,
            p_ROWS=chip.rows,
            p_COLS=chip.cols,
            p_LANES=chip.lanes,
            p_TRANSPOSED_LANES=chip.backward_lanes,
            p_ADC_BITS=chip.adc_bits,
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            **ports,
            o_code_valid=self.codes.valid,
            i_code_ready=self.codes.ready,
            o_code_data=self.codes.payload,
            o_response_valid=self.response.valid,
            i_response_ready=self.response.ready,
            o_response_refused=self.response.payload,
        )
        return m
