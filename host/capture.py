# SPDX-License-Identifier: Apache-2.0
"""Every read that the arrays make for one sample, at the fast level and in the RTL.

Noise is a function of the number of a read, so a sample can be run again at any time: with the read
numbers set to what they were, the same reads give the same codes.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..behavioral.cengine import CCrossbar
from ..behavioral.crossbar import Crossbar
from ..behavioral.image import ArrayImage
from ..behavioral.machine import Machine
from .compiler.network import CompiledNetwork
from .driver import TileDriver
from .plots.vcd import change, read_header
from .plots.waves import TICKS
from .simulation import Simulation, SimulationPort
from .start import Start, prepared

__all__ = ["Read", "Reads", "capture_rtl", "record_fast"]

_CHUNK = 4000
"""Cycles of a waveform file that are read at a time: some 20 MB of disk."""


@dataclass(eq=False)
class Read:
    """One read: its number, driven rows bool [rows], codes uint16 [columns that were converted].

    ``cycle`` is that at whose rising edge the macro took it, from when the sample was given;
    ``order`` counts the reads of all arrays, where there is no clock. ``part`` says which columns
    ``codes`` are of: the first, and how many from one to the next.
    """

    number: int
    rows: NDArray[np.bool_]
    codes: NDArray[np.uint16]
    order: int = 0
    cycle: int | None = None
    part: tuple[int, int] = (0, 1)


Reads = dict[int, list[Read]]
"""By number of the array in its tile, in order."""


class _Recorder(Crossbar):
    """A crossbar that keeps what it is asked and answers."""

    def __init__(
        self, image: ArrayImage, seed: int, core: int, log: list[tuple[int, Read]]
    ) -> None:
        super().__init__(image, seed, core)
        self._core = core
        self._log = log

    def read(self, rows: NDArray[np.bool_], columns: int | None = None) -> NDArray[np.uint16]:
        number = self.reads
        codes = super().read(rows, columns)
        self._log.append((self._core, Read(number, rows.copy(), codes.copy(), len(self._log))))
        return codes


def record_fast(
    compiled: CompiledNetwork, start: Start, words: NDArray[np.uint64]
) -> tuple[Reads, NDArray[np.uint64]]:
    """Run samples at the fast level and record the reads of the last one.

    Parameters
    ----------
    compiled : CompiledNetwork
    start : Start
    words : uint64 [n, input_words]
        At least one sample.

    Returns
    -------
    reads : dict
    output : uint64 [output_words]
        Of the last sample.
    """
    program = compiled.program
    arrays = {core: CCrossbar(image, compiled.seed, core) for core, image in start.images.items()}
    for core, array in arrays.items():
        array.reads = start.reads[core]
    numbers = program.array_numbers
    if len(words) > 1:
        Machine(program, [arrays[number] for number in numbers]).run(words[:-1])
    log: list[tuple[int, Read]] = []
    recorders = {
        core: _Recorder(image, compiled.seed, core, log) for core, image in start.images.items()
    }
    for core, recorder in recorders.items():
        recorder.reads = arrays[core].reads
    output = Machine(program, [recorders[number] for number in numbers]).run(words[-1:])
    reads: Reads = {number: [] for number in numbers}
    for core, read in log:
        reads[core].append(read)
    return reads, output[0]


@dataclass
class _Macro:
    """The ports of one macro while a waveform goes by."""

    codes: dict[str, str] = field(default_factory=dict)
    """VCD code by port."""
    values: dict[str, int] = field(default_factory=dict)
    """By port, before the edge."""
    open: Read | None = None
    beats: list[int] = field(default_factory=list)


_PORTS = ("cmd_valid", "cmd_ready", "cmd_rows", "code_valid", "code_ready", "code_data")


class _Capture:
    """Makes reads of the ports of macros, chunk after chunk."""

    def __init__(self, compiled: CompiledNetwork, reads: Mapping[int, int], origin: int) -> None:
        self._chip = compiled.chip
        self._origin = origin
        self._macros = {n // compiled.chip.arrays_per_core: _Macro() for n in reads}
        self._numbers = dict(reads)
        """Of each array, that of its next read."""
        self.reads: Reads = {number: [] for number in reads}

    def take(self, path: Path) -> None:
        """All edges of a waveform that goes on where the one before it ended."""
        with path.open(encoding="ascii") as lines:
            self._header(lines)
            watched: dict[str, list[tuple[_Macro, str]]] = {}  # ports of one net share a code
            for macro in self._macros.values():
                for port, code in macro.codes.items():
                    watched.setdefault(code, []).append((macro, port))
            for line in lines:
                if line.startswith("#"):
                    time = int(line[1:])
                    if time % TICKS == 0:
                        for core, macro in self._macros.items():
                            self._edge(core, macro, time // TICKS - self._origin)
                    continue
                found = change(line)
                if found is not None and found[0] in watched:
                    value = int(found[1], 2) if found[1].strip("01") == "" else 0
                    for macro, port in watched[found[0]]:
                        macro.values[port] = value

    def _header(self, lines: Iterator[str]) -> None:
        scopes: dict[tuple[str, ...], _Macro] = {
            (f"macro{core}", "macro"): macro for core, macro in self._macros.items()
        }
        for _, variable in read_header(lines):
            if variable is not None and variable.name in _PORTS:
                macro = scopes.get(tuple(variable.scope[-2:]))
                if macro is not None:
                    macro.codes[variable.name] = variable.code

    def _edge(self, core: int, macro: _Macro, cycle: int) -> None:
        """A rising edge, before which the ports had the values seen so far."""
        now = macro.values
        if now.get("code_valid") and now.get("code_ready") and macro.open is not None:
            macro.beats.append(now.get("code_data", 0))
            self._convert(macro)
        if now.get("cmd_valid") and now.get("cmd_ready"):
            rows = now.get("cmd_rows", 0)
            mask = np.array([rows >> r & 1 for r in range(self._chip.rows)], dtype=np.bool_)
            width = self._chip.rows * self._chip.input_code.digit_bits
            above = rows >> width
            part = above >> self._chip.array_bits
            array = self._chip.array_number(core, above & ((1 << self._chip.array_bits) - 1))
            number = self._numbers.get(array, 0)
            self._numbers[array] = number + 1
            macro.open = Read(
                number,
                mask,
                np.zeros(0, np.uint16),
                cycle=cycle,
                part=(part, self._chip.read_slices),
            )
            macro.beats = []
            self.reads.setdefault(array, []).append(macro.open)

    def _convert(self, macro: _Macro) -> None:
        """The codes of all beats so far."""
        bits = self._chip.adc_bits
        codes = [
            beat >> (lane * bits) & ((1 << bits) - 1)
            for beat in macro.beats
            for lane in range(self._chip.lanes)
        ]
        if macro.open is not None:
            macro.open.codes = np.array(codes, dtype=np.uint16)


class _CapturePort(SimulationPort):
    """Traces everything from when it is armed on, in chunks that are read and deleted."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._capture: _Capture | None = None
        self._path = Path()

    def arm(self, capture: _Capture, path: Path) -> None:
        """Feed ``capture`` from now on, by way of a file at ``path``."""
        self._capture, self._path = capture, path

    def read(self, at_least: int) -> NDArray[np.uint64]:
        simulation = self._simulation
        if self._capture is not None:
            idle = 0
            while simulation.run(0, 0) < at_least and idle < _IDLE_CHUNKS:
                before = simulation.run(0, 0)
                # A trace holds one cycle more than it is asked for.
                simulation.trace(self._path, _CHUNK - 1)
                simulation.step(_CHUNK)
                self._capture.take(self._path)
                self._path.unlink()
                idle = 0 if simulation.run(0, 0) > before else idle + 1
        return super().read(at_least)


_IDLE_CHUNKS = 500
"""Chunks without a word after which the port goes on without waves."""


def capture_rtl(
    compiled: CompiledNetwork, start: Start, words: NDArray[np.uint64], library: Path
) -> tuple[Reads, NDArray[np.uint64], dict[int, int]]:
    """Run samples on a traced model of the RTL and capture the reads of the last one.

    Parameters
    ----------
    compiled : CompiledNetwork
    start : Start
    words : uint64 [n, input_words]
        At least one sample.
    library : Path
        From :func:`~.verilator_build.build_model` with ``trace``.

    Returns
    -------
    reads : dict
    output : uint64 [output_words]
        Of the last sample.
    begun : dict
        Read number of each array before that sample.

    Raises
    ------
    ToolError
        If the model does not start, or fails.
    """
    arrays = prepared(compiled, library, start)
    with Simulation(library, arrays) as simulation, tempfile.TemporaryDirectory() as folder:
        port = _CapturePort(simulation)
        driver = TileDriver(port, compiled.program)
        if len(words) > 1:
            driver.run(words[:-1])
        driver.counters()  # waits until the tile asks for a sample
        begun = {core: arrays[core].reads for core in start.images}
        capture = _Capture(compiled, begun, simulation.cycles)
        port.arm(capture, Path(folder) / "chunk.vcd")
        output = driver.run(words[-1:])
    return capture.reads, output[0], begun
