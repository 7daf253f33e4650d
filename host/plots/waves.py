# SPDX-License-Identifier: Apache-2.0
"""Analog waves: what the bitlines of some columns carry, in the time base of the RTL's own waves.

The traced Verilator model runs some samples. Its VCD is then copied, line by line, and at each
clock edge at which a macro accepts a read the same read is made once more by the behavioral
crossbar (:meth:`~.crossbar.Crossbar.analog`): the noise is a function of the read's number, so the
replay gives the very values from which the codes in the same file came.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import InputError
from ...arch.formats import FRACTION_BITS
from ..compiler.network import CompiledNetwork
from ..driver import TileDriver
from ..files import replacing
from ..simulation import Simulation, SimulationPort
from ..start import Start, core_crossbars, prepared
from ..toolchain import Progress
from ..verilator_build import build_model
from .vcd import Variable, change, read_header

__all__ = [
    "MAX_CYCLES",
    "MAX_FIRST",
    "MAX_SAMPLES",
    "MAX_SIGNALS",
    "TICKS",
    "Digital",
    "Probe",
    "Units",
    "Window",
    "Written",
    "check_choices",
    "check_request",
    "write_waves",
]

MAX_CYCLES = 20_000
"""Cycles of a window."""

MAX_FIRST = 10_000_000
"""Last cycle at which a window may start."""

MAX_SAMPLES = 1000
MAX_SIGNALS = 256
"""Analog signals of a file."""

TICKS = 10
"""Time units of the VCD a cycle; the clock rises in the first (``sim_harness.cpp``)."""

Units = Literal["levels", "amperes"]
Digital = Literal["all", "cores"]

_ONE = 1 << FRACTION_BITS
_PARTS = ("I", "n", "ref", "x")

# Addresses of the process that the model holds in 64-bit variables: no two runs have the same.
_POINTERS = frozenset({(("TOP", "ohmtwin_top"), "sim"), (("macro",), "macro")})


@dataclass(frozen=True)
class Probe:
    """What to show of one core.

    Parameters
    ----------
    core : int
    columns : tuple of int
        Bitlines: current I, noise n, reference and the value x that the ADC sees.
    cells : tuple of (row, column)
        Conductances.
    """

    core: int
    columns: tuple[int, ...] = (0,)
    cells: tuple[tuple[int, int], ...] = ()

    @property
    def signals(self) -> int:
        """Analog signals that it takes."""
        return len(_PARTS) * len(self.columns) + len(self.cells)


@dataclass(frozen=True)
class Window:
    """Cycles ``first`` to ``end - 1``; cycle 0 is that in which the loaded chip is given its first
    sample."""

    first: int = 0
    end: int = 400

    @property
    def cycles(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class Written:
    """What a wave file holds.

    ``first`` is the RTL's number of the first cycle in it, at VCD time ``first * ticks``;
    ``cycles`` are fewer than asked for if the run ended before; ``reads`` are those of each core
    that begin in the window.
    """

    first: int
    cycles: int
    reads: dict[int, int]
    ticks: int = TICKS


def check_choices(units: str, digital: str) -> tuple[Units, Digital]:
    """Refuse a choice that there is not.

    Raises
    ------
    InputError
    """
    for value, known in ((units, get_args(Units)), (digital, get_args(Digital))):
        if value not in known:
            raise InputError(f"There is no choice '{value}'; take {' or '.join(known)}")
    return cast(Units, units), cast(Digital, digital)


def check_request(
    compiled: CompiledNetwork, probes: Sequence[Probe], window: Window, samples: int
) -> None:
    """Refuse waves of what does not exist, or of too much.

    Raises
    ------
    InputError
    """
    chip = compiled.chip
    used = list(dict.fromkeys(spec.core for spec in compiled.program.arrays))
    if not probes:
        raise InputError("Waves need at least one core; name one that the network uses")
    for probe in probes:
        if probe.core not in used:
            raise InputError(
                f"Core {probe.core} holds no part of network '{compiled.network.name}'; it uses "
                f"cores {', '.join(map(str, used))}"
            )
        for column in probe.columns:
            _below("Column", column, chip.cols, chip)
        for row, column in probe.cells:
            _below("Cell row", row, chip.rows, chip)
            _below("Cell column", column, chip.cols, chip)
    _unique("core", [probe.core for probe in probes])
    for probe in probes:
        _unique("column", list(probe.columns))
        _unique("cell", list(probe.cells))
    signals = sum(probe.signals for probe in probes)
    if signals > MAX_SIGNALS:
        raise InputError(
            f"These waves would have {signals} analog signals, more than {MAX_SIGNALS}; choose "
            "fewer cores, columns or cells"
        )
    if not 0 <= window.first < window.end:
        raise InputError(
            f"The window of cycles {window.first}:{window.end} is empty or starts before cycle 0; "
            "give FIRST:END with 0 <= FIRST < END"
        )
    if window.cycles > MAX_CYCLES or window.first > MAX_FIRST:
        raise InputError(
            f"The window of cycles {window.first}:{window.end} is too large; it may have "
            f"{MAX_CYCLES} cycles and start up to cycle {MAX_FIRST}"
        )
    if not 1 <= samples <= MAX_SAMPLES:
        raise InputError(f"Waves are of 1 to {MAX_SAMPLES} samples, not {samples}")


def _below(what: str, value: int, limit: int, chip: Chip) -> None:
    if not 0 <= value < limit:
        raise InputError(
            f"{what} {value} does not exist: chip '{chip.name}' has 0 to {limit - 1} of them"
        )


def _unique(what: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"The {what} {value} is given twice; name it once")


class _WindowPort(SimulationPort):
    """Starts the waveform at one exact cycle of the run."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._start = -1
        self._cycles = 0
        self._path = Path()
        self._started: Callable[[], None] = _nothing

    def arm(self, path: Path, start: int, cycles: int, started: Callable[[], None]) -> None:
        """Trace ``cycles`` cycles from ``start`` on; call ``started`` after the first of them."""
        self._path, self._start, self._cycles, self._started = path, start, cycles, started

    def read(self, at_least: int) -> NDArray[np.uint64]:
        simulation = self._simulation
        if simulation.cycles <= self._start:
            # One cycle at a time, as the run would stop: the window changes no cycle count.
            while simulation.cycles < self._start and simulation.run(0, 0) < at_least:
                simulation.step(1)
            if simulation.cycles == self._start:
                # A trace holds one cycle more than it is asked for.
                simulation.trace(self._path, self._cycles - 1)
                simulation.step(1)
                self._started()
        return super().read(at_least)


def _nothing() -> None:
    """For a port that is not armed."""


def write_waves(
    compiled: CompiledNetwork,
    codes: NDArray[np.uint8],
    probes: Sequence[Probe],
    path: Path,
    *,
    window: Window | None = None,
    units: Units = "levels",
    digital: Digital = "all",
    progress: Progress | None = None,
    library: Path | None = None,
    start: Start | None = None,
) -> Written:
    """Run samples on the RTL and write one VCD with its signals and those of its arrays.

    Analog signals are real variables below the scope ``analog``: for column c ``col<c>_I``,
    ``col<c>_n``, ``col<c>_ref`` and ``col<c>_x`` (``x = I + n - ref`` is what the ADC rounds), for
    a cell ``cell_<r>_<c>_g``. They change at the clock edge at which the macro accepts a read and
    hold until the next; before the first read that begins in the window they are 0. Conductances
    are those that reads see, in siemens.

    Parameters
    ----------
    compiled : CompiledNetwork
    codes : uint8 [n, inputs]
        Samples, as of :meth:`~.targets.Target.run`.
    probes : sequence of Probe
    path : Path
        Replaced at once when all is done.
    window : Window, optional
        The first 400 cycles by default.
    units : "levels" or "amperes"
        Of the four signals of a column: level steps, or the current at the read voltage.
    digital : "all" or "cores"
        All named signals of the RTL, or those of the cores in ``probes`` alone.
    progress : callable, optional
        Told how the build of the model goes.
    library : Path, optional
        A traced model to use instead of the one of :func:`~.verilator_build.build_model`.
    start : Start, optional
        The arrays as they are before the first sample. All samples but the last are then run
        without waves: cycle 0 of the window is when the last one is given.

    Raises
    ------
    InputError
        If the request is out of bounds, the run ends before the window begins, or the file cannot
        be written.
    ToolError
        If the model cannot be built or fails.
    """
    window = window or Window()
    check_request(compiled, probes, window, len(codes))
    check_choices(units, digital)
    library = library or build_model(compiled.chip, progress=progress, trace=True)
    with replacing(path) as target, tempfile.TemporaryDirectory(dir=target.parent) as folder:
        raw = Path(folder) / "rtl.vcd"
        first, reads, cycles = _simulate(compiled, codes, window, library, raw, start)
        merge = _Merge(compiled, probes, reads, units, digital, start)
        with raw.open(encoding="ascii") as source, target.open("w", encoding="ascii") as sink:
            merge.run(source, sink)
    return Written(first, cycles, merge.reads)


def _simulate(
    compiled: CompiledNetwork,
    codes: NDArray[np.uint8],
    window: Window,
    library: Path,
    raw: Path,
    begin: Start | None,
) -> tuple[int, dict[int, int], int]:
    """First cycle of the window, reads of each array before the second traced cycle, cycles."""
    arrays = prepared(compiled, library, begin)
    with Simulation(library, arrays) as simulation:
        port = _WindowPort(simulation)
        driver = TileDriver(port, compiled.program)
        if begin is not None:
            driver.run(compiled.program.pack_inputs(codes[:-1]))
            codes = codes[-1:]
        driver.counters()  # waits until the program is loaded and asks for a sample
        origin = simulation.cycles
        reads: dict[int, int] = {}

        def started() -> None:
            reads.update((number, array.reads) for number, array in enumerate(arrays))

        start = origin + window.first
        port.arm(raw, start, window.cycles, started)
        driver.run(compiled.program.pack_inputs(codes))
        end = simulation.cycles
    if not reads:
        raise InputError(
            f"The run ended after {end - origin} cycles, before the window began at cycle "
            f"{window.first}; choose an earlier window or more samples"
        )
    return start, reads, min(end - start, window.cycles)


class _Core:
    """The signals of one core while the file is copied."""

    def __init__(
        self,
        compiled: CompiledNetwork,
        probe: Probe,
        reads: dict[int, int],
        units: Units,
        number: int,
        start: Start | None,
    ) -> None:
        self._crossbars = core_crossbars(compiled, probe.core, reads, start)
        self._columns = np.array(probe.columns, dtype=np.intp)
        step = compiled.device.step(compiled.chip.cell_bits)
        # A power of two in level units: no bit is lost, and codes follow from x exactly.
        self._scale = (step * compiled.device.read_voltage if units == "amperes" else 1.0) / _ONE
        self._rows = compiled.chip.rows
        self._width = self._rows * compiled.chip.input_code.digit_bits
        self.probe = probe
        self.names = [f"col{c}_{part}" for c in probe.columns for part in _PARTS]
        self.names += [f"cell_{r}_{c}_g" for r, c in probe.cells]
        self.codes = [f"analog{number + i}" for i in range(len(self.names))]
        self.ports = {"cmd_valid": "", "cmd_ready": "", "cmd_rows": ""}
        self.values: dict[str, str] = {}
        self.reads = 0
        self._shown = [0.0] * (len(_PARTS) * len(probe.columns))
        self._cells = {
            turn: [float(array.image.g[r, c]) * step / _ONE for r, c in probe.cells]
            for turn, array in self._crossbars.items()
        }
        self._seen = next(iter(self._cells.values()))

    def first(self) -> list[str]:
        """Values at the start of the file."""
        return [
            f"r{v!r} {code}\n"
            for v, code in zip([*self._shown, *self._seen], self.codes, strict=True)
        ]

    def edge(self) -> list[str]:
        """Changes at a rising edge, before which the ports had the values collected so far."""
        valid, ready, rows = (self.values.get(code) for code in self.ports.values())
        if valid != "1" or ready != "1" or rows is None:
            return []
        # A VCD leaves out leading zeros; bit 0 comes last, and above the rows the array.
        bits = rows.zfill(self._rows)
        turn = int("0" + bits[: -self._width], 2)
        mask = np.frombuffer(bits[: -self._rows - 1 : -1].encode(), np.uint8) == ord("1")
        count = int(self._columns.max(initial=0)) + 1
        crossbar = self._crossbars[turn]
        found = crossbar.analog(mask[None, :], count)
        crossbar.reads += 1
        self.reads += 1
        parts = (found.current, found.noise, found.reference, found.x)
        whole = np.stack([part[0, self._columns] for part in parts], axis=1).reshape(-1)
        values = [int(v) * self._scale for v in whole]
        before, now = [*self._shown, *self._seen], [*values, *self._cells[turn]]
        changed = [
            f"r{new!r} {code}\n"
            for new, old, code in zip(now, before, self.codes, strict=True)
            if new != old
        ]
        self._shown, self._seen = values, self._cells[turn]
        return changed


class _Merge:
    """Copies a VCD and puts analog signals in."""

    def __init__(
        self,
        compiled: CompiledNetwork,
        probes: Sequence[Probe],
        reads: dict[int, int],
        units: Units,
        digital: Digital,
        start: Start | None,
    ) -> None:
        self._compiled, self._units, self._digital = compiled, units, digital
        self._cores: list[_Core] = []
        number = 0
        for probe in probes:
            self._cores.append(_Core(compiled, probe, reads, units, number, start))
            number += probe.signals

    @property
    def reads(self) -> dict[int, int]:
        """Reads of each core so far."""
        return {core.probe.core: core.reads for core in self._cores}

    def run(self, source: TextIO, sink: TextIO) -> None:
        dropped = self._header(source, sink)
        watched = {code: core for core in self._cores for code in core.ports.values()}
        started = False
        for line in source:
            if line.startswith("#"):
                sink.write(line)
                # Ports still have the values from before this edge: those that decided.
                for core in self._cores:
                    if not started:
                        sink.writelines(core.first())
                    elif int(line[1:]) % TICKS == 0:
                        sink.writelines(core.edge())
                started = True
                continue
            found = change(line)
            if found is not None:
                code, value = found
                if code in watched:
                    watched[code].values[code] = value
                if code in dropped:
                    continue
            sink.write(line)

    def _header(self, source: TextIO, sink: TextIO) -> frozenset[str]:
        """Copy the header; returns codes of variables that are left out."""
        kept: set[str] = set()
        dropped: set[str] = set()
        by_scope: dict[tuple[str, ...], _Core] = {
            ("macro" + str(core.probe.core), "macro"): core for core in self._cores
        }
        for line, variable in read_header(source):
            if variable is not None:
                core = by_scope.get(variable.scope[-2:])
                if core is not None and variable.name in core.ports:
                    core.ports[variable.name] = variable.code
                if not self._shows(variable):
                    dropped.add(variable.code)
                    continue
                kept.add(variable.code)
            if line.lstrip().startswith("$enddefinitions"):
                sink.writelines(self._declarations())
            sink.write(line)
        return frozenset(dropped - kept)

    def _shows(self, variable: Variable) -> bool:
        # Nets without a name of their own; strict readers take no reference that begins so.
        if variable.name.startswith("$"):
            return False
        for scope, name in _POINTERS:
            if variable.name == name and variable.scope[-len(scope) :] == scope:
                return False
        if self._digital == "all" or len(variable.scope) < 4:
            return self._digital == "all" or variable.name in ("clk", "rst")
        chosen = {f"{kind}{core.probe.core}" for core in self._cores for kind in ("core", "macro")}
        return variable.scope[3] in chosen

    def _declarations(self) -> list[str]:
        compiled = self._compiled
        unit = "level steps" if self._units == "levels" else "amperes"
        lines = [
            f"$comment analog: network {compiled.network.name}, device {compiled.device.name}, "
            f"seed {compiled.seed}; I, n, ref, x in {unit}, x = I + n - ref; g in siemens; one "
            f"level step is {compiled.device.step(compiled.chip.cell_bits):.6g} S at "
            f"{compiled.device.read_voltage:g} V; a cycle is {TICKS} time units $end\n",
            "$scope module analog $end\n",
        ]
        for core in self._cores:
            lines.append(f"$scope module core{core.probe.core} $end\n")
            lines += [
                f"$var real 64 {code} {name} $end\n"
                for name, code in zip(core.names, core.codes, strict=True)
            ]
            lines.append("$upscope $end\n")
        return [*lines, "$upscope $end\n"]
