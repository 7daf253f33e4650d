# SPDX-License-Identifier: Apache-2.0
"""One tile of a compiled network as it runs: behavioral or Verilated.

A network that takes several tiles runs them one after another, the host carrying tensors from tile
to tile. Each tile's arrays have numbers of their own, which key their noise.
"""

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.errors import InputError
from ..behavioral.cengine import CCrossbar
from ..behavioral.image import ArrayImage
from ..behavioral.machine import Counters, Machine
from ..behavioral.machine_times import PassTimes
from .codes import Codes, flat_codes, values_of
from .compiler.network import CompiledNetwork
from .driver import TileDriver
from .simulation import Simulation, SimulationPort, load_library

__all__ = [
    "FastTile",
    "Tile",
    "VerilatedTile",
    "add_counters",
    "blank_array",
    "chip_arrays",
    "core_arrays",
    "input_words",
]


def input_words(compiled: CompiledNetwork, codes: Mapping[str, Codes]) -> NDArray[np.uint64]:
    """The input words of samples of one tile: uint64 [n, input_words].

    Raises
    ------
    InputError
        If the sequences are not as long as the program's.
    """
    network, program = compiled.network, compiled.program
    flat = flat_codes(network, codes)
    if flat.shape[1] != program.input.inputs:
        each = values_of(network)
        raise InputError(
            f"Network '{network.name}' was compiled for sequences of "
            f"{program.input.inputs // each} steps, not {flat.shape[1] // each}; compile it "
            f"with steps={flat.shape[1] // each}"
        )
    return program.pack_inputs(flat)


def add_counters(counters: Sequence[Counters]) -> Counters:
    """Counters of tiles that run one after another: cycles add up, cores stand in a row."""
    first, *others = counters
    if not others:
        return first
    return Counters(
        cycles=sum(c.cycles for c in counters),
        instructions=sum(c.instructions for c in counters),
        core_stalls=sum(c.core_stalls for c in counters),
        vector_stalls=sum(c.vector_stalls for c in counters),
        core_reads=tuple(n for c in counters for n in c.core_reads),
        core_beats=tuple(n for c in counters for n in c.core_beats),
        core_active=tuple(n for c in counters for n in c.core_active),
        core_adc_stalls=tuple(n for c in counters for n in c.core_adc_stalls),
        lanes=first.lanes,
        core_saturated=tuple(n for c in counters for n in c.core_saturated),
        core_corrected=tuple(n for c in counters for n in c.core_corrected),
        core_detected=tuple(n for c in counters for n in c.core_detected),
        core_miscorrected=tuple(n for c in counters for n in c.core_miscorrected),
        core_missed=tuple(n for c in counters for n in c.core_missed),
    )


class Tile(ABC):
    """A tile that runs its part of a network.

    Parameters
    ----------
    compiled : CompiledNetwork
        Of one tile.
    """

    def __init__(self, compiled: CompiledNetwork) -> None:
        self._compiled = compiled
        self.arrays: dict[int, CCrossbar] = {}
        """Those in use, by number, counted over all tiles (:meth:`.Chip.array_number`)."""

    @property
    def compiled(self) -> CompiledNetwork:
        """What it runs."""
        return self._compiled

    def run(
        self, codes: Mapping[str, Codes], progress: Callable[[int, int], None]
    ) -> dict[str, NDArray[Any]]:
        """Run samples; tensors by name."""
        words = self._run(input_words(self._compiled, codes), progress)
        return self._compiled.program.unpack_outputs(words)

    @property
    @abstractmethod
    def counters(self) -> Counters: ...

    @abstractmethod
    def close(self) -> None:
        """Free what the tile holds."""

    @abstractmethod
    def _run(
        self, words: NDArray[np.uint64], progress: Callable[[int, int], None]
    ) -> NDArray[np.uint64]: ...


class FastTile(Tile):
    """The program through behavioral arrays.

    Parameters
    ----------
    compiled : CompiledNetwork
    timed : bool
        Keep the times of samples for :meth:`take_times`.
    """

    def __init__(self, compiled: CompiledNetwork, *, timed: bool = False) -> None:
        super().__init__(compiled)
        self._times: list[PassTimes] | None = [] if timed else None
        program = compiled.program
        for own, image in zip(program.array_numbers, compiled.images, strict=True):
            number = compiled.array_base + own
            self.arrays[number] = CCrossbar(image, compiled.seed, number)
        self._machine = Machine(program, list(self.arrays.values()))

    @property
    def counters(self) -> Counters:
        return self._machine.counters

    def flip_data(self, word: int, bit: int) -> None:
        """See :meth:`.Machine.flip_data`."""
        self._machine.flip_data(word, bit)

    def run_words(self, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Run samples that stand in words: uint64 [n, input words] to [n, output words]."""
        return self._machine.run(words, self._times)

    def take_times(self) -> list[PassTimes]:
        """Times of the samples since the last call, in order."""
        taken: list[PassTimes] = []
        if self._times is not None:
            taken += self._times
            self._times.clear()
        return taken

    def close(self) -> None:
        del self._machine

    def _run(
        self, words: NDArray[np.uint64], progress: Callable[[int, int], None]
    ) -> NDArray[np.uint64]:
        found = self.run_words(words)
        progress(len(words), len(words))
        return found


class VerilatedTile(Tile):
    """The RTL, Verilated, from a model at ``library``.

    Raises
    ------
    ToolError
        If the model does not start, or is of another chip.
    """

    def __init__(self, compiled: CompiledNetwork, library: Path, patience: int) -> None:
        super().__init__(compiled)
        arrays = chip_arrays(compiled, library)
        base = compiled.array_base
        self.arrays |= {base + n: arrays[n] for n in compiled.program.array_numbers}
        self.simulation = Simulation(library, arrays)
        try:
            self._driver = TileDriver(SimulationPort(self.simulation, patience), compiled.program)
        except BaseException:
            self.simulation.close()
            raise

    @property
    def driver(self) -> TileDriver:
        """The other end of its word stream."""
        return self._driver

    @property
    def counters(self) -> Counters:
        return self._driver.counters()

    def close(self) -> None:
        self._driver.close()

    def _run(
        self, words: NDArray[np.uint64], progress: Callable[[int, int], None]
    ) -> NDArray[np.uint64]:
        return self._driver.run(words, progress)


def chip_arrays(compiled: CompiledNetwork, library: Path) -> list[CCrossbar]:
    """All arrays of the tile; blank ones for those that the network leaves free.

    They belong to the C of the model at ``library``.
    """
    return core_arrays(compiled, load_library(library))


def core_arrays(compiled: CompiledNetwork, lib: ctypes.CDLL) -> list[CCrossbar]:
    """The arrays of a tile by number, in a loaded library."""
    used = dict(zip(compiled.program.array_numbers, compiled.images, strict=True))
    return [
        CCrossbar(used[number], compiled.seed, compiled.array_base + number, lib)
        if number in used
        else blank_array(compiled.chip, lib)
        for number in range(compiled.chip.arrays)
    ]


def blank_array(chip: Chip, lib: ctypes.CDLL) -> CCrossbar:
    """An array of the chip's shape that holds nothing."""
    image = ArrayImage(
        g=np.zeros((chip.rows, chip.cols), np.int32),
        ref=np.zeros(chip.rows, np.int32),
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
        adc_step=chip.adc_step,
        adc_span=chip.read_slices,
    )
    return CCrossbar(image, 0, 0, lib)
