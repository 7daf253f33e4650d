# SPDX-License-Identifier: Apache-2.0
"""Programming of arrays by the chip itself: pulses and verifying reads, row by row.

The controller in the RTL and its specification (``behavioral/writing.py``) do the same to the same
cells, so that targets are equal afterwards, as they were before.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.errors import ConfigError, InputError
from ..arch.registers import TileRegister
from ..arch.writing import RowReport, WriteSettings, program_row
from ..behavioral.cpulsed import CPulsed
from ..behavioral.devices import Device
from ..behavioral.effects.faults import STUCK_OFF, STUCK_ON
from ..behavioral.pulsed import PulseModel
from ..behavioral.pulsing import pulse_response, pulsed_cells, take_cells
from ..behavioral.state import ArrayState
from ..behavioral.writing import derive_settings, write_row
from .targets import FastTarget, Target, VerilatorTarget
from .tiles import FastTile, Tile, VerilatedTile

__all__ = [
    "ArrayReport",
    "ProgramOptions",
    "ProgramReport",
    "find_faults",
    "program_arrays",
    "settings_of",
]

Progress = Callable[[int, int], None]

_TOLERANCE, _GAIN, _LIMIT = 0.03, 0.5, 100
_TEST_TOLERANCE = 0.25
"""Of the test for stuck cells, in level steps: a cell that comes so near its target moves."""


@dataclass(frozen=True)
class ProgramOptions:
    """How arrays are programmed; what is None comes from the device's ``[verify]``, or is 3 % of
    the conductance, half of the error an iteration, and 100 iterations."""

    tolerance: float | None = None
    gain: float | None = None
    limit: int | None = None
    fine: int | None = None
    average: int = 0
    recheck: bool = False
    erase: bool = True


@dataclass(frozen=True, eq=False)
class ArrayReport:
    """What programming has made of an array.

    Parameters
    ----------
    pulses : int64 [rows, cols]
        That each cell got.
    iterations : int64 [rows]
        Of each row.
    failed : int8 [rows, cols]
        Cells given up: 1 if they conduct too much, -1 if too little, 0 where all is well.
    error : float64 [rows, cols]
        Conductance reached, less the one wanted, in level steps.
    """

    pulses: NDArray[np.int64]
    iterations: NDArray[np.int64]
    failed: NDArray[np.int8]
    error: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ProgramReport:
    """What programming has made of the arrays of a target, by their numbers.

    Parameters
    ----------
    arrays : mapping of int to ArrayReport
    settings : WriteSettings
    pulses, verifies, failures, cycles : int
        As the controllers counted them.
    """

    arrays: Mapping[int, ArrayReport]
    settings: WriteSettings
    pulses: int
    verifies: int
    failures: int
    cycles: int

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """All four."""
        return self.pulses, self.verifies, self.failures, self.cycles

    @property
    def spread(self) -> float:
        """Standard deviation of the error of all cells above the lowest level that were not given
        up, in level steps; 0 without any."""
        errors = [a.error[(a.failed == 0) & (a.pulses > 0)] for a in self.arrays.values()]
        return float(np.concatenate([*errors, np.zeros(1)]).std())

    def fault_maps(self) -> dict[int, NDArray[np.int8]]:
        """Cells that were given up, by array."""
        return {number: array.failed for number, array in self.arrays.items()}


def settings_of(
    chip: Chip, device: Device, options: ProgramOptions, absolute: float = 0.0
) -> WriteSettings:
    """Settings of the controller.

    Raises
    ------
    ConfigError
        If an option is out of range, or the chip has no controller.
    """
    if not chip.program_verify:
        raise ConfigError(
            f"Chip '{chip.name}' cannot program its arrays: it has no write port; set "
            f"program_verify = true in its file"
        )
    loop = device.verify
    known = (_TOLERANCE, _GAIN, _LIMIT)
    if loop is not None:
        known = (loop.tolerance, loop.gain, loop.max_iterations)
    return derive_settings(
        device,
        chip,
        PulseModel.derive(device, chip.cell_bits, pulse_response(device)),
        tolerance=known[0] if options.tolerance is None else options.tolerance,
        absolute=absolute,
        gain=known[1] if options.gain is None else options.gain,
        limit=known[2] if options.limit is None else options.limit,
        fine=options.fine,
        average=options.average,
        recheck=options.recheck,
    )


def program_arrays(
    target: Target, options: ProgramOptions | None = None, progress: Progress | None = None
) -> ProgramReport:
    """Program all arrays of a target with the levels that its network has given them.

    Afterwards the target's state holds what pulses have made of the cells, and runs go on with it.
    Without ``erase`` cells start from where they are: a refresh.

    Parameters
    ----------
    target : Target
        A fast or a Verilated one.
    options : ProgramOptions, optional
    progress : callable, optional
        Told rows done and rows in all.

    Raises
    ------
    InputError
        If the target has no arrays that take pulses.
    ConfigError
        If an option cannot be.
    ToolError
        If the chip fails.
    """
    given = options or ProgramOptions()
    settings = settings_of(target.compiled.chip, target.compiled.device, given)
    levels = {number: state.levels for number, state in _states(target).items()}
    return _write(target, settings, levels, given.erase, progress or _silent)


def find_faults(
    target: Target, options: ProgramOptions | None = None, progress: Progress | None = None
) -> dict[int, NDArray[np.int8]]:
    """Test all cells of a target's arrays: write them to the top, then to the bottom.

    Arrays are erased afterwards; program them before the next run.

    Returns
    -------
    dict
        Of each array int8 [rows, cols]: 1 stuck on, -1 stuck off, 0 good, as
        :func:`~.compiler.network.compile_network` takes it.

    Raises
    ------
    InputError, ConfigError, ToolError
        As :func:`program_arrays`.
    """
    given = options or ProgramOptions()
    chip = target.compiled.chip
    settings = settings_of(chip, target.compiled.device, given, _TEST_TOLERANCE)
    states = _states(target)
    found = {n: np.zeros((chip.rows, chip.cols), np.int8) for n in states}
    tell = progress or _silent
    for step, level in enumerate(((1 << chip.cell_bits) - 1, 0)):
        levels = {n: np.full_like(found[n], level, np.uint8) for n in states}
        rows = len(states) * chip.rows
        report = _write(
            target,
            settings,
            levels,
            given.erase and level > 0,
            _after(tell, step * rows, 2 * rows),
        )
        for number, array in report.arrays.items():
            found[number] += array.failed
    return found


def _states(target: Target) -> Mapping[int, ArrayState]:
    if not isinstance(target, FastTarget | VerilatorTarget) or target.state is None:
        raise InputError(
            f"Level {target.name} has no arrays that take pulses; use fast or verilator"
        )
    return target.state.arrays


def _write(
    target: Target,
    settings: WriteSettings,
    levels: Mapping[int, NDArray[np.uint8]],
    erase: bool,
    progress: Progress,
) -> ProgramReport:
    """Program all arrays with levels."""
    if not isinstance(target, FastTarget | VerilatorTarget) or target.state is None:
        raise InputError(f"Level {target.name} has no arrays that take pulses")
    chip, states = target.compiled.chip, target.state.arrays
    arrays: dict[int, ArrayReport] = {}
    totals = np.zeros(4, np.int64)
    done = 0
    for tile in target.tiles:
        before = _counts(tile)
        for number, crossbar in tile.arrays.items():
            state, wanted = states[number], levels[number]
            image, cells = pulsed_cells(state, wanted, erase=erase)
            pulsed = CPulsed(crossbar, image, cells)
            reports = []
            for report in _rows(tile, pulsed, settings, number % chip.arrays, wanted, totals):
                reports.append(report)
                done += 1
                progress(done, len(states) * chip.rows)
            pulses = take_cells(state, cells, pulsed.cells, wanted)
            g = state.aged()[:, :-1] - state.device.conductances(chip.cell_bits)[wanted]
            arrays[number] = ArrayReport(
                pulses=pulses,
                iterations=np.array([report.iterations for report in reports]),
                failed=np.array([_failed(report, chip) for report in reports], np.int8),
                error=g / state.device.step(chip.cell_bits),
            )
        totals += _counts(tile) - before
    target.refresh()
    return ProgramReport(arrays, settings, *map(int, totals))


def _counts(tile: Tile) -> NDArray[np.int64]:
    """What the controller of a clocked tile has counted; zeros of another."""
    if isinstance(tile, VerilatedTile):
        return np.array(tile.driver.read_registers(TileRegister.WRITE_PULSES, 4), np.int64)
    return np.zeros(4, np.int64)


def _rows(
    tile: Tile,
    pulsed: CPulsed,
    settings: WriteSettings,
    number: int,
    levels: NDArray[np.uint8],
    totals: NDArray[np.int64],
) -> Iterator[RowReport]:
    """Program the rows of an array, by the controller or by its specification."""
    chip = tile.compiled.chip
    core, array = divmod(number, chip.arrays_per_core)
    for row, cells in enumerate(levels):
        if isinstance(tile, VerilatedTile):
            words = program_row(chip, settings, core, row, cells.tolist(), array)
            yield RowReport.decode(words[0] >> 32, tile.driver.exchange(words))
        elif isinstance(tile, FastTile):
            found = write_row(pulsed, chip, settings, core, row, cells, array)
            report = found.report
            totals += (report.pulses, found.reads, report.failures, found.cycles)
            yield report


def _failed(report: RowReport, chip: Chip) -> list[int]:
    """The cells of a row that were given up, as a row of a fault map."""
    return [
        (STUCK_OFF if low >> lane & 1 else STUCK_ON) if failed >> lane & 1 else 0
        for failed, low in zip(report.failed, report.low, strict=True)
        for lane in range(chip.lanes)
    ]


def _after(tell: Progress, begun: int, total: int) -> Progress:
    """Progress of a part of the work, as that of all of it."""
    return lambda done, _: tell(begun + done, total)


def _silent(done: int, total: int) -> None:
    """A progress callback that says nothing."""
