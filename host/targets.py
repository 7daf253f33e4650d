# SPDX-License-Identifier: Apache-2.0
"""The levels of the twin behind one interface (DESIGN section 1).

A target runs a compiled network. All targets of one :class:`~.compiler.CompiledNetwork` start from
the same programmed arrays, yet each has arrays of its own: reads in one never show in another.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError, InputError, ToolError
from ..behavioral import golden
from ..behavioral.cengine import CCrossbar
from ..behavioral.machine import Counters
from .calibrate import Compensation, LaneReport, measure_gains, measure_lanes, residual
from .closing import Closing
from .codes import Codes, input_codes
from .compiler.network import CompiledNetwork
from .graph import Softmax, lower_softmax
from .mesh_timing import MeshCounters, MeshTiming
from .serial_address import SIMULATED, parse_target
from .simulation import Simulation
from .state import ChipState
from .tiles import FastTile, Tile, VerilatedTile, add_counters, chip_arrays, input_words
from .toolchain import Progress
from .verilator_build import build_model

__all__ = [
    "TARGETS",
    "ClosedTargetError",
    "FastTarget",
    "GoldenTarget",
    "Target",
    "VerilatorTarget",
    "chip_arrays",
    "connect",
]


class ClosedTargetError(ToolError):
    """A target was used after it was closed."""


class Target(Closing):
    """Something that runs a compiled network.

    State lives on from run to run: two runs of n samples are one run of 2 n, noise included.
    A target is a context manager that closes itself.
    """

    name: str
    """The level, as on the command line."""

    def __init__(self, compiled: CompiledNetwork) -> None:
        self._compiled = compiled
        self._closed = False
        self._state: ChipState | None = None

    @property
    def compiled(self) -> CompiledNetwork:
        """What it runs."""
        return self._compiled

    def run(
        self,
        codes: Mapping[str, Codes] | Codes,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Run samples in order.

        Parameters
        ----------
        codes : uint8 [n, \\*shape] or mapping of str to such
            Internal codes of the network's input, or of each by its quantized tensor; n may be 0,
            samples may be flat. With states uint8 [n, steps, \\*shape]: each sample is a sequence.
        progress : callable, optional
            Told samples done and samples in all.

        Returns
        -------
        dict
            Of each name in ``compiled.tensors``, in that order: int32 sums (``"<layer>.acc"``) or
            uint8 codes (``"<layer>"``), [n, \\*shape] or [n, steps, \\*shape].

        Raises
        ------
        InputError
            If the codes have another type or shape.
        ClosedTargetError
            If the target is closed.
        ToolError
            If the chip or the link to it fails.
        """
        self._check_open()
        given = input_codes(self._compiled.network, codes)
        tensors = self._run(given, progress or _silent)
        return {name: tensors[name] for name in self._compiled.tensors if name in tensors}

    @property
    def counters(self) -> Counters | None:
        """Counters of all runs so far; None at a level that has no cycles.

        Raises
        ------
        ClosedTargetError
            If the target is closed.
        ToolError
            If the chip or the link to it fails.
        """
        self._check_open()
        return self._counters()

    @property
    def mesh_counters(self) -> MeshCounters | None:
        """Counts of the mesh over all runs so far; None without a mesh, or without cycles."""
        return None

    @property
    def state(self) -> ChipState | None:
        """The arrays over time, with their trims; None at a level that has no arrays."""
        if self._state is None and self._crossbars():
            self._state = ChipState(self._compiled)
        return self._state

    def crossbars(self) -> Mapping[int, CCrossbar]:
        """The array of each core in use, as it is read; none at a level that has no arrays.

        Raises
        ------
        ClosedTargetError
            If the target is closed.
        """
        self._check_open()
        return MappingProxyType(self._crossbars())

    def advance(self, *, seconds: float = 0.0, temperature: float | None = None) -> None:
        """Let time pass between two runs: drift, retention, traps, and the reads made so far.

        The images of all arrays are derived anew; read numbers go on. Levels without arrays
        (golden) know no time: nothing happens there, though wrong values are refused as well.

        Parameters
        ----------
        seconds : float
            0 or more.
        temperature : float, optional
            Kelvin from now on; as it was if absent.

        Raises
        ------
        ConfigError
            If time is negative or the temperature below 0 K.
        ClosedTargetError
            If the target is closed.
        """
        self._check_open()
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ConfigError(f"The seconds to advance must be 0 or more, not {seconds}")
        if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
            raise ConfigError(f"The temperature must be 0 kelvin or more, not {temperature}")
        state = self.state
        if state is not None:
            state.advance(seconds, temperature, self._read_numbers())
            self.refresh()

    def refresh(self) -> None:
        """Derive the images of all arrays from the state and load them."""
        state = self.state
        if state is not None:
            for core, crossbar in self._crossbars().items():
                crossbar.program(state.image(core))

    def compensate(self, mode: Compensation = "global", *, reads: int = 64) -> Mapping[int, float]:
        """Trim the gain of the arrays against drift; see :func:`.calibrate.measure_gains`.

        Returns
        -------
        mapping
            Gain of each core from now on; empty at a level that has no arrays.

        Raises
        ------
        InputError
            If there is no such mode, or the reads are below 1 or see no current.
        ClosedTargetError
            If the target is closed.
        """
        self._check_open()
        state = self.state
        if state is None:
            return {}
        state.gains = measure_gains(state, self._crossbars(), mode, reads)
        self.refresh()
        return MappingProxyType(state.gains)

    def calibrate_lanes(self, *, reads: int = 256) -> LaneReport:
        """Install the inverse of each ADC's gain and offset as integer code tables.

        See :func:`.calibrate.measure_lanes`. Arrays whose ADCs are ideal are left as they are.

        Raises
        ------
        InputError
            If the reads are below 1.
        ClosedTargetError
            If the target is closed.
        """
        self._check_open()
        state = self.state
        if state is None:
            return LaneReport({}, 0.0, 0.0)
        crossbars = self._crossbars()
        lanes, before = measure_lanes(state, crossbars, reads)
        for core, found in lanes.items():
            state.arrays[core].adc_table = found.table
        self.refresh()
        return LaneReport(lanes, before, residual(state, crossbars, reads) if lanes else before)

    def save_state(self, path: str | Path) -> None:
        """Write the arrays, their trims and read numbers to a file; counters are not in it.

        Raises
        ------
        InputError
            If the level has no arrays, or the file cannot be written.
        ClosedTargetError
            If the target is closed.
        """
        self._check_open()
        self._arrays_state().save(Path(path), self._read_numbers())

    def restore_state(self, path: str | Path) -> None:
        """Continue from a saved state of the same network, chip, device and seed, bit for bit.

        Raises
        ------
        ConfigError
            If the file cannot be read, is damaged, or of another chip; nothing has changed then.
        InputError
            If the level has no arrays.
        ClosedTargetError
            If the target is closed.
        """
        self._check_open()
        numbers = self._arrays_state().restore(Path(path))
        self.refresh()
        for core, crossbar in self._crossbars().items():
            crossbar.reads = numbers[core]

    def _arrays_state(self) -> ChipState:
        state = self.state
        if state is None:
            raise InputError(f"Level {self.name} has no arrays, so no state; use another level")
        return state

    def _read_numbers(self) -> dict[int, int]:
        return {core: crossbar.reads for core, crossbar in self._crossbars().items()}

    def close(self) -> None:
        """Free what the target holds; closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedTargetError(f"The {self.name} target is closed; connect to a new one")

    @abstractmethod
    def _run(
        self, codes: dict[str, Codes], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]: ...

    def _words(self, codes: dict[str, Codes]) -> NDArray[np.uint64]:
        """The input words of samples of a network on one tile: uint64 [n, input_words]."""
        return input_words(self._compiled, codes)

    @abstractmethod
    def _counters(self) -> Counters | None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _crossbars(self) -> dict[int, CCrossbar]:
        """The arrays in use, by core."""


class GoldenTarget(Target):
    """Exact integers, no analog limit at all; no cycles either."""

    name = "golden"

    def _run(
        self, codes: dict[str, Codes], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]:
        network = self._compiled.network
        # A tile computes Softmax in steps, whose tensors it returns as well.
        tensors = golden.run_network(lower_softmax(network), codes)
        lead = 2 if network.states else 1
        for layer in network.layers:
            if isinstance(layer, Softmax):
                codes_out = tensors[layer.name]
                shape = (*codes_out.shape[:lead], *network.shape(layer.output))
                tensors[layer.name] = codes_out.reshape(shape)
        _done(codes, progress)
        return tensors

    def _counters(self) -> None:
        return None

    def _close(self) -> None:
        pass

    def _crossbars(self) -> dict[int, CCrossbar]:
        return {}


class _TiledTarget(Target):
    """A level that runs the tiles of a network, in order."""

    def __init__(self, compiled: CompiledNetwork, tile: Callable[[CompiledNetwork], Tile]) -> None:
        super().__init__(compiled)
        self._tiles: dict[CompiledNetwork, Tile] = {}
        self._samples = 0
        """Samples that have run: copies of a tile take turns."""
        try:
            for part in compiled.parts:
                self._tiles[part] = tile(part)
        except BaseException:
            self._close()
            raise

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles that run, in order."""
        return tuple(self._tiles.values())

    def _run(
        self, codes: dict[str, Codes], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]:
        first = self._samples
        self._samples += len(next(iter(codes.values())))
        return self._compiled.run_parts(
            codes, lambda part, given: self._tiles[part].run(given, progress), first
        )

    def _counters(self) -> Counters:
        return add_counters([tile.counters for tile in self._tiles.values()])

    def _close(self) -> None:
        for tile in self._tiles.values():
            tile.close()
        self._tiles.clear()

    def _crossbars(self) -> dict[int, CCrossbar]:
        return {
            number: array for tile in self._tiles.values() for number, array in tile.arrays.items()
        }


class FastTarget(_TiledTarget):
    """The compiled program through behavioral arrays, its counters predicted without a clock."""

    name = "fast"

    def __init__(self, compiled: CompiledNetwork) -> None:
        self._timing = MeshTiming(compiled) if compiled.mesh is not None else None
        timed = self._timing is not None
        super().__init__(compiled, lambda part: FastTile(part, timed=timed))

    @property
    def timing(self) -> MeshTiming | None:
        """Predicts the runs of a mesh; None without one."""
        return self._timing

    @property
    def mesh_counters(self) -> MeshCounters | None:
        return None if self._timing is None else self._timing.counters

    def _run(
        self, codes: dict[str, Codes], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]:
        found = super()._run(codes, progress)
        if self._timing is not None:
            tiles = [tile for tile in self._tiles.values() if isinstance(tile, FastTile)]
            samples = len(next(iter(codes.values())))
            self._timing.run(samples, [tile.take_times() for tile in tiles])
        return found


class VerilatorTarget(_TiledTarget):
    """The RTL, Verilated, its crossbar macros answered by the same C through DPI.

    Parameters
    ----------
    compiled : CompiledNetwork
    progress : callable, optional
        Told how the build of the model goes, if there is one to do.
    library : Path, optional
        A model to use instead of the one of :func:`~.verilator_build.build_model`.
    patience : int
        Cycles without a word in or out after which the tile is asked what it does.

    Raises
    ------
    ToolError
        If the model cannot be built, does not start, or is of another chip.
    """

    name = "verilator"

    def __init__(
        self,
        compiled: CompiledNetwork,
        progress: Progress | None = None,
        *,
        library: Path | None = None,
        patience: int = 2_000_000,
    ) -> None:
        path = library or build_model(compiled.chip, "dpi", progress)
        super().__init__(compiled, lambda part: VerilatedTile(part, path, patience))

    @property
    def simulation(self) -> Simulation:
        """The running model, of the first tile if there are several."""
        tile = next(iter(self._tiles.values()))
        if not isinstance(tile, VerilatedTile):
            raise TypeError(f"A {self.name} target holds Verilated tiles")
        return tile.simulation


TARGETS: Mapping[str, Callable[[CompiledNetwork], Target]] = MappingProxyType(
    {"golden": GoldenTarget, "fast": FastTarget, "verilator": VerilatorTarget}
)
"""Levels that can be connected to."""


def connect(
    level: str, compiled: CompiledNetwork, progress: Progress | None = None, *, resume: bool = False
) -> Target:
    """Connect to a level.

    Parameters
    ----------
    level : str
        ``"golden"``, ``"fast"``, ``"verilator"``, ``"netlist"``, or a board on a serial port as
        ``"serial:/dev/ttyUSB0"``, with its rate behind an @ if need be; ``"serial:simulated"``
        is a board that is simulated as long as it is connected.
    compiled : CompiledNetwork
    progress : callable, optional
        Told how a build goes, if the level needs one.
    resume : bool
        Whether a board on a serial port that is reset or unplugged is waited for, connected again
        and given all runs anew (:mod:`.link.resume`), in the place of an error.

    Raises
    ------
    InputError
        If there is no such level, or it is none that is resumed.
    ToolError
        If the level cannot be reached.
    """
    if resume and not level.startswith("serial:"):
        raise InputError(f"Only a board on a serial port resumes; leave resume out for {level}")
    if level == VerilatorTarget.name:
        if compiled.mesh is not None:
            from .mesh_target import MeshTarget

            return MeshTarget(compiled, progress)
        return VerilatorTarget(compiled, progress)
    if level in TARGETS:
        return TARGETS[level](compiled)
    from .emulated import NetlistTarget, SerialTarget, SimulatedTarget

    if level == NetlistTarget.name:
        return NetlistTarget(compiled, progress)
    address = parse_target(level)
    if address.device == SIMULATED:
        return SimulatedTarget(compiled, progress, resume=resume)
    return SerialTarget(compiled, address, resume=resume)


def _silent(done: int, total: int) -> None:
    """A progress callback that says nothing."""


def _done(codes: Mapping[str, Codes], progress: Callable[[int, int], None]) -> None:
    """Tell that all samples have run."""
    count = len(next(iter(codes.values())))
    progress(count, count)
