# SPDX-License-Identifier: Apache-2.0
"""The crossbar macro with a write port as a cocotb model: for anyone's program-and-verify RTL.

The design instantiates ``crossbar_macro_write`` (``rtl/sv/crossbar_macro_cocotb.v`` with
OHMTWIN_WRITE_PORT defined). Beside the ports of ``crossbar_macro`` (:mod:`.crossbar`) it has:

    ================  ===  =============  =======================================================
    port              dir  bits           meaning
    ================  ===  =============  =======================================================
    cmd_fine          in   4              the ADCs take 2**fine codes to a level step
    write_valid       in   1              a write is asked for
    write_ready       out  1              and is taken in this cycle
    write_rows        in   ROWS           rows that pulses go to; the number of the array above
    write_beat        in   10             whose columns up and down are for
    write_up, _down   in   LANES          columns of the beat to drive; both is an error
    write_pulses      in   6              pulses of each cell
    write_fire        in   1              give them, to all columns set so far; then let those go
    response_valid    out  1              the answer to a write
    response_ready    in   1              is taken in this cycle
    response_refused  out  1              the array took no pulses
    ================  ===  =============  =======================================================

A write is taken when nothing is converted and no answer waits; no read is taken between a write and
its answer. If a read and a write are asked for at once, the write goes first.
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
from .crossbar import CrossbarModel, row_mask
from .stalls import Pattern, never
from .streams import Beat, StreamError, StreamPort, known

__all__ = ["WritableCrossbarModel", "WriteEngine"]

_FIELDS = ("rows", "beat", "up", "down", "pulses", "fire")


class WriteEngine(Protocol):
    """An array that pulses move: ``behavioral.pulsed.PulsedCrossbar`` or ``cpulsed.CPulsed``."""

    @property
    def image(self) -> ArrayImage: ...

    def read_fine(
        self, row_mask: NDArray[np.bool_], fine: int, columns: int | None = None
    ) -> NDArray[np.uint16]: ...

    def pulse(self, row_mask: NDArray[np.bool_], signs: NDArray[np.int8], pulses: int) -> None: ...


class WritableCrossbarModel(CrossbarModel):
    """Serves a macro with a write port from cells that pulses move.

    Parameters
    ----------
    macro : handle
        The instance of ``crossbar_macro_write``, or anything with its ports.
    engine : WriteEngine or sequence of WriteEngine
        Read and pulsed in the order of the commands.
    clock : handle
        The clock at the top of the design.
    write_stall, response_stall : iterator of bool, optional
        Cycles in which the macro takes no write, and in which it holds back an answer.
    refuses : callable, optional
        Called with the number of each write that fires, from 0; true if its pulses are refused.
    on_write : callable, optional
        Called with rows, signs int8 [cols] and pulses of each write that fires; ``engine`` then is
        the array.
    write, response : StreamPort, optional
        Where the streams are, if the ports have other names.
    **reads
        What :class:`CrossbarModel` takes.

    Raises
    ------
    ValueError
        As :class:`CrossbarModel`, and if the ports of writes do not have the widths of the array.
    """

    def __init__(
        self,
        macro: Any,
        engine: WriteEngine | Sequence[WriteEngine],
        clock: LogicObject,
        *,
        write_stall: Pattern | None = None,
        response_stall: Pattern | None = None,
        refuses: Callable[[int], bool] | None = None,
        on_write: Callable[[int, NDArray[np.int8], int], None] | None = None,
        write: StreamPort | None = None,
        response: StreamPort | None = None,
        **reads: Any,
    ) -> None:
        if reads.get("cmd") is None:
            fields = ("rows", "beats", "fine")
            reads["cmd"] = StreamPort.of(macro, "cmd", clock, fields=fields, separator="_")
        served: Any = engine
        super().__init__(macro, served, clock, **reads)
        self._write = write or StreamPort.of(macro, "write", clock, fields=_FIELDS, separator="_")
        self._response = response or StreamPort.of(
            macro, "response", clock, fields=("refused",), separator="_"
        )
        self._write_stall = never() if write_stall is None else write_stall
        self._response_stall = never() if response_stall is None else response_stall
        self._refuses = refuses
        self._on_write = on_write
        image = self.engine.image
        bits = (len(self.engines) - 1).bit_length()
        above = 0 if "array" in self._write.payload else bits
        widths = {"rows": image.rows + above, "up": image.lanes, "down": image.lanes}
        for what, width in widths.items():
            wire = self._write.payload[what]
            if len(wire) != width:
                raise ValueError(
                    f"A write's {what} have {len(wire)} bits, the array needs {width}: "
                    f"{image.rows} rows, {image.lanes} lanes"
                )
        self._signs = np.zeros(image.cols, np.int8)
        self.writes = 0
        """Writes served so far."""
        self.fired = 0
        """Those of them that gave pulses, or would have."""

    def start(self) -> Task[None]:
        """Begin to serve."""
        for port, name in ((self._codes, "data"), (self._response, "refused")):
            port.valid.value = 0
            port.payload[name].value = 0
        self._cmd.ready.value = 0
        self._write.ready.value = 0
        return cocotb.start_soon(self._run())

    def _convert(self, command: Beat, rows: int, columns: int) -> NDArray[np.uint16]:
        engine: Any = self.engine
        codes: NDArray[np.uint16] = engine.read_fine(
            row_mask(rows, engine.image.rows), command["fine"], columns
        )
        return codes

    def _take_write(self) -> int:
        """Make the write on the port; whether its pulses are refused."""
        write = self._write.read()
        name, rows = self._write.name, self.engine.image.rows
        self._choose(name, "write", write.get("array", write["rows"] >> rows))
        lanes, beat = self.engine.image.lanes, write["beat"]
        if beat >= self._most:
            raise StreamError(f"{name}: a write is for beat 0 to {self._most - 1}, not {beat}")
        if write["up"] & write["down"]:
            raise StreamError(f"{name}: columns of beat {beat} are driven up and down at once")
        for lane in range(lanes):
            up, down = (write[way] >> lane & 1 for way in ("up", "down"))
            self._signs[beat * lanes + lane] = up - down
        self.writes += 1
        if not write["fire"]:
            return 0
        signs, self._signs = self._signs, np.zeros_like(self._signs)
        number, self.fired = self.fired, self.fired + 1
        if self._refuses is not None and self._refuses(number):
            return 1
        driven = write["rows"] & ((1 << rows) - 1)
        engine: Any = self.engine
        engine.pulse(row_mask(driven, rows), signs, write["pulses"])
        if self._on_write is not None:
            self._on_write(driven, signs, write["pulses"])
        return 0

    async def _run(self) -> None:
        beats: list[int] = []  # not yet taken; the first one is on offer or comes next
        answer: int | None = None  # to the last write
        offered = answers = cmd_ready = write_ready = False
        while True:
            await RisingEdge(self._clock)
            if self._reset is not None and known("reset", self._reset):
                beats, answer, offered, answers = [], None, False, False
                cmd_ready = write_ready = False
                for wire in (self._cmd.ready, self._write.ready):
                    wire.value = 0
                for wire in (self._codes.valid, self._response.valid):
                    wire.value = 0
                continue
            if offered and known(f"{self._codes.name}.ready", self._codes.ready):
                beats.pop(0)
                offered = False
            if answers and known(f"{self._response.name}.ready", self._response.ready):
                answer, answers = None, False
            # Only one of the two was ready where both were asked for.
            if cmd_ready and known(f"{self._cmd.name}.valid", self._cmd.valid):
                beats = self._read()
            if write_ready and known(f"{self._write.name}.valid", self._write.valid):
                answer = self._take_write()
            hold = next(self._code_stall)
            if beats and not offered and not hold:
                offered = True
                self._codes.payload["data"].value = beats[0]
            hold = next(self._response_stall)
            if answer is not None and not answers and not hold:
                answers = True
                self._response.payload["refused"].value = answer
            self._codes.valid.value = int(offered)
            self._response.valid.value = int(answers)
            reads, writes = not next(self._cmd_stall), not next(self._write_stall)
            free = answer is None and not beats
            last = answer is None and offered and len(beats) == 1
            write_ready = free and writes
            self._write.ready.value = int(write_ready)
            cmd_ready = False
            self._cmd.ready.value = 0
            if reads and (free or last):
                # In the middle of the cycle what is asked for, and whether the last beat is taken,
                # has settled.
                await FallingEdge(self._clock)
                asked = bool(known(f"{self._write.name}.valid", self._write.valid))
                taken = free or bool(known(f"{self._codes.name}.ready", self._codes.ready))
                cmd_ready = taken and not asked
                self._cmd.ready.value = int(cmd_ready)
