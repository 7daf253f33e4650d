# SPDX-License-Identifier: Apache-2.0
"""The crossbar macro as a cocotb model, for anyone's RTL. Runs inside the simulator.

The design instantiates ``crossbar_macro`` (``rtl/sv/crossbar_macro_cocotb.v``), whose outputs
nothing drives in Verilog; :class:`CrossbarModel` drives them from a behavioral array. Ports:

    ==========  ===  ====================  =====================================================
    port        dir  bits                  meaning
    ==========  ===  ====================  =====================================================
    clk, rst    in   1                     one clock; active-high synchronous reset
    cmd_valid   in   1                     a read is asked for
    cmd_ready   out  1                     and is accepted in this cycle
    cmd_rows    in   ROWS                  rows to drive, row 0 in bit 0; with DIGIT_BITS = 2
                                           twice as many bits, a digit a row; above them, with
                                           ARRAYS above 1, the number of the array that is read
    cmd_beats   in   10                    beats to convert: columns in use / LANES, at least 1
    code_valid  out  1                     a beat of codes is offered
    code_ready  in   1                     and is taken in this cycle
    code_data   out  LANES * ADC_BITS      codes of LANES neighbouring columns, the first lowest
    ==========  ===  ====================  =====================================================

A command accepted in cycle a gives its beats in a+1 .. a+beats if code_ready stays 1; the next
command is accepted in the cycle in which the last beat is taken at the earliest, so cmd_ready
depends on code_ready in the same cycle, and code_ready must not depend on cmd_ready. Results
depend on the order of the reads alone, never on when they happen.

With ARRAYS above 1 so many arrays take turns behind the same converters, each with cells, noise
and read numbers of its own. Where a read converts one slice of each output (SPAN, the ``adc_span``
of the images), the number of the slice stands above that.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import cocotb
import numpy as np
from cocotb.handle import LogicObject
from cocotb.task import Task
from cocotb.triggers import FallingEdge, RisingEdge
from numpy.typing import NDArray

from ..behavioral.image import ArrayImage
from .stalls import Pattern, never
from .streams import Beat, StreamError, StreamPort, known

__all__ = ["CrossbarModel", "ReadEngine", "pack_beats", "row_mask"]


class ReadEngine(Protocol):
    """What answers reads: ``behavioral.crossbar.Crossbar`` or ``behavioral.cengine.CCrossbar``."""

    @property
    def image(self) -> ArrayImage: ...

    def read(
        self, row_mask: NDArray[np.bool_], columns: int | None = None
    ) -> NDArray[np.uint16]: ...

    def read_digits(
        self, digits: NDArray[np.uint8], columns: int | None = None
    ) -> NDArray[np.uint16]: ...


def row_digits(rows: int, width: int) -> NDArray[np.uint8]:
    """The digits of a command, uint8 [width], two bits each; ``width`` in whole bytes."""
    bits = row_mask(rows, 2 * width).reshape(-1, 2)
    digits: NDArray[np.uint8] = (bits[:, 0] + 2 * bits[:, 1]).astype(np.uint8)
    return digits


def row_mask(rows: int, width: int) -> NDArray[np.bool_]:
    """The rows of a command, bool [width], from the bits of an int; ``width`` in whole bytes."""
    packed = np.frombuffer(rows.to_bytes(width // 8, "little"), dtype=np.uint8)
    return np.unpackbits(packed, bitorder="little").astype(np.bool_)


def pack_beats(codes: NDArray[np.uint16], lanes: int, adc_bits: int) -> list[int]:
    """The words of code_data for the codes uint16 [beats * lanes] of a read."""
    return [
        sum(int(code) << (adc_bits * lane) for lane, code in enumerate(codes[i : i + lanes]))
        for i in range(0, len(codes), lanes)
    ]


def _first(engines: Sequence[ReadEngine]) -> ReadEngine:
    """The first of some arrays that can stand behind the same converters.

    Raises
    ------
    ValueError
        If there is none, or they are not of one shape.
    """
    if not engines:
        raise ValueError("A macro needs an array")
    shapes = [
        (i.rows, i.cols, i.lanes, i.adc_bits, i.adc_span, i.drive is None)
        for i in (engine.image for engine in engines)
    ]
    if len(set(shapes)) > 1:
        raise ValueError(
            "Arrays that take turns must have the same rows, columns, lanes, bits of the ADCs and "
            f"drivers; these have {sorted(set(shapes))}"
        )
    return engines[0]


class CrossbarModel:
    """Serves the ports of a crossbar macro from a behavioral array, or from several that take
    turns.

    Parameters
    ----------
    macro : handle
        The instance of ``crossbar_macro``, or anything with its ports.
    engine : ReadEngine or sequence of ReadEngine
        Read in the order of the commands; its read number advances. Several are arrays that take
        turns, in the order of their numbers.
    clock : handle
        The clock at the top of the design (see :class:`~.streams.StreamPort`).
    cmd_stall, code_stall : iterator of bool, optional
        Cycles in which the macro takes no command, and in which it holds back its next beat.
    reset : handle, optional
        Active high; drops what is under way. The read number goes on.
    cmd, codes : StreamPort, optional
        Where the streams are, if the ports of ``macro`` have other names. ``cmd`` has the payload
        fields rows and beats, and of several arrays either the number above the rows or a field
        array; ``codes`` has the field data.
    on_read : callable, optional
        Called with the row mask (int) and the beats of each accepted command; ``engine`` then is
        the array that is read.

    Raises
    ------
    ValueError
        If the ports do not have the widths of the engine's array, if there is no engine, or if
        several are not of one shape.
    """

    def __init__(
        self,
        macro: Any,
        engine: ReadEngine | Sequence[ReadEngine],
        clock: LogicObject,
        *,
        cmd_stall: Pattern | None = None,
        code_stall: Pattern | None = None,
        reset: LogicObject | None = None,
        cmd: StreamPort | None = None,
        codes: StreamPort | None = None,
        on_read: Callable[[int, int], None] | None = None,
    ) -> None:
        self.engines = tuple(engine) if isinstance(engine, Sequence) else (engine,)
        """By number."""
        self.engine = _first(self.engines)
        """The array that was read last; at first number 0."""
        self.array = 0
        """Its number."""
        fields = ("rows", "beats")
        self._cmd = cmd or StreamPort.of(macro, "cmd", clock, fields=fields, separator="_")
        self._codes = codes or StreamPort.of(macro, "code", clock, fields=("data",), separator="_")
        self._clock = clock
        self._reset = reset
        self._cmd_stall = never() if cmd_stall is None else cmd_stall
        self._code_stall = never() if code_stall is None else code_stall
        self._on_read = on_read
        image = self.engine.image
        rows = self._cmd.payload["rows"]
        # What tells arrays apart, above the rows unless it has a field of its own.
        self._number = self._cmd.payload.get("array")
        bits = (len(self.engines) - 1).bit_length()
        self._array_bits = 0 if self._number is not None else bits
        above = self._array_bits + (image.adc_span - 1).bit_length()
        # Two bits a row tell the voltages of multi-level drivers.
        self._digits = len(rows) - above == 2 * image.rows and image.drive is not None
        self._row_bits = image.rows * (1 + self._digits)
        for what, wire, width in (
            ("rows", rows, self._row_bits + above),
            ("codes", self._codes.payload["data"], image.lanes * image.adc_bits),
            *((("array", self._number, bits),) if self._number is not None else ()),
        ):
            if len(wire) != width:
                several = f"{len(self.engines)} arrays of " if bits else ""
                raise ValueError(
                    f"The macro's {what} have {len(wire)} bits, the array needs {width}: {several}"
                    f"{image.rows} rows, {image.lanes} lanes of {image.adc_bits} bits"
                )
        self._most = image.cols // (image.lanes * image.adc_span)
        self.reads = 0
        """Commands served so far."""

    def start(self) -> Task[None]:
        """Begin to serve."""
        self._cmd.ready.value = 0
        self._codes.valid.value = 0
        self._codes.payload["data"].value = 0
        return cocotb.start_soon(self._run())

    def _read(self) -> list[int]:
        """Make the read on the command port; its beats."""
        command = self._cmd.read()
        beats = command["beats"]
        rows = command["rows"] & ((1 << self._row_bits) - 1)
        above = command["rows"] >> self._row_bits
        self._choose(
            self._cmd.name, "read", command.get("array", above & ((1 << self._array_bits) - 1))
        )
        image = self.engine.image
        if not 1 <= beats <= self._most:
            raise StreamError(f"{self._cmd.name}: a read has 1 to {self._most} beats, not {beats}")
        codes = self._convert(command, rows, beats * image.lanes * image.adc_span)
        self.reads += 1
        if self._on_read is not None:
            self._on_read(rows, beats)
        part = codes[above >> self._array_bits :: image.adc_span]
        return pack_beats(part, image.lanes, image.adc_bits)

    def _choose(self, name: str, what: str, array: int) -> None:
        """The array that a command is for."""
        if array >= len(self.engines):
            raise StreamError(
                f"{name}: a {what} of array {array}, but there are {len(self.engines)}"
            )
        self.array, self.engine = array, self.engines[array]

    def _convert(self, command: Beat, rows: int, columns: int) -> NDArray[np.uint16]:
        """The codes of a read of the chosen array."""
        image = self.engine.image
        if self._digits:
            digits = row_digits(rows, image.rows)[None]
            codes: NDArray[np.uint16] = self.engine.read_digits(digits, columns)[0]
            return codes
        return self.engine.read(row_mask(rows, image.rows), columns)

    async def _run(self) -> None:
        beats: list[int] = []  # not yet taken; the first one is on offer or comes next
        offered = ready = False
        while True:
            await RisingEdge(self._clock)
            if self._reset is not None and known("reset", self._reset):
                beats, offered, ready = [], False, False
                self._cmd.ready.value = 0
                self._codes.valid.value = 0
                continue
            if offered and known(f"{self._codes.name}.ready", self._codes.ready):
                beats.pop(0)
                offered = False
            if ready and known(f"{self._cmd.name}.valid", self._cmd.valid):
                beats = self._read()
            hold = next(self._code_stall)
            if beats and not offered and not hold:
                offered = True
                self._codes.payload["data"].value = beats[0]
            self._codes.valid.value = int(offered)
            stall = next(self._cmd_stall)
            ready = not beats and not stall
            self._cmd.ready.value = int(ready)
            if offered and len(beats) == 1 and not stall:
                # A command may come in the cycle of the last beat, but only if that is taken: a
                # matter of this cycle's code_ready, which has settled by the middle of it.
                await FallingEdge(self._clock)
                ready = bool(known(f"{self._codes.name}.ready", self._codes.ready))
                self._cmd.ready.value = int(ready)
