# SPDX-License-Identifier: Apache-2.0
"""The levels of the twin behind one interface (DESIGN section 1).

A target runs a compiled network. All targets of one :class:`~.compiler.CompiledNetwork` start from
the same programmed arrays, yet each has arrays of its own: reads in one never show in another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError, ToolError
from ..behavioral import golden
from ..behavioral.cengine import CCrossbar
from ..behavioral.image import ArrayImage
from ..behavioral.machine import Counters, Machine
from .compiler import CompiledNetwork
from .driver import TileDriver
from .simulation import Simulation, SimulationPort, load_library
from .toolchain import Progress
from .verilator_build import build_model

__all__ = [
    "TARGETS",
    "ClosedTargetError",
    "FastTarget",
    "GoldenTarget",
    "Target",
    "VerilatorTarget",
    "connect",
]


class ClosedTargetError(ToolError):
    """A target was used after it was closed."""


class Target(ABC):
    """Something that runs a compiled network.

    State lives on from run to run: two runs of n samples are one run of 2 n, noise included.
    A target is a context manager that closes itself.
    """

    name: str
    """The level, as on the command line."""

    def __init__(self, compiled: CompiledNetwork) -> None:
        self._compiled = compiled
        self._closed = False

    @property
    def compiled(self) -> CompiledNetwork:
        """What it runs."""
        return self._compiled

    def run(
        self, codes: NDArray[np.uint8], progress: Callable[[int, int], None] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Run samples in order.

        Parameters
        ----------
        codes : uint8 [n, inputs]
            Internal codes of the network's input; n may be 0.
        progress : callable, optional
            Told samples done and samples in all.

        Returns
        -------
        dict
            Of each name in ``compiled.tensors``, in that order: int32 [n, outputs] sums
            (``"<layer>.acc"``) or uint8 [n, outputs] codes (``"<layer>"``).

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
        inputs = self._compiled.program.input.inputs
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != inputs:
            raise InputError(
                f"Input codes must be uint8 [n, {inputs}] for network "
                f"'{self._compiled.network.name}', not {codes.dtype} {list(codes.shape)}"
            )
        tensors = self._run(codes, progress or _silent)
        return {name: tensors[name] for name in self._compiled.tensors}

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
        self, codes: NDArray[np.uint8], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]: ...

    @abstractmethod
    def _counters(self) -> Counters | None: ...

    @abstractmethod
    def _close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class GoldenTarget(Target):
    """Exact integers, no analog limit at all; no cycles either."""

    name = "golden"

    def _run(
        self, codes: NDArray[np.uint8], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]:
        tensors = golden.run_network(self._compiled.network, codes)
        progress(len(codes), len(codes))
        return tensors

    def _counters(self) -> None:
        return None

    def _close(self) -> None:
        pass


class FastTarget(Target):
    """The compiled program through behavioral arrays, its counters predicted without a clock."""

    name = "fast"

    def __init__(self, compiled: CompiledNetwork) -> None:
        super().__init__(compiled)
        program = compiled.program
        arrays = [
            CCrossbar(image, compiled.seed, spec.core)
            for spec, image in zip(program.arrays, compiled.images, strict=True)
        ]
        self._machine = Machine(program, arrays)

    def _run(
        self, codes: NDArray[np.uint8], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]:
        program = self._compiled.program
        words = self._machine.run(program.pack_inputs(codes))
        progress(len(codes), len(codes))
        return program.unpack_outputs(words)

    def _counters(self) -> Counters:
        return self._machine.counters

    def _close(self) -> None:
        del self._machine


class VerilatorTarget(Target):
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
        super().__init__(compiled)
        path = library or build_model(compiled.chip, "dpi", progress)
        self._simulation = Simulation(path, _arrays(compiled, path))
        try:
            self._driver = TileDriver(SimulationPort(self._simulation, patience), compiled.program)
        except BaseException:
            self._simulation.close()
            raise

    @property
    def simulation(self) -> Simulation:
        """The running model."""
        return self._simulation

    def _run(
        self, codes: NDArray[np.uint8], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]:
        program = self._compiled.program
        words = self._driver.run(program.pack_inputs(codes), progress)
        return program.unpack_outputs(words)

    def _counters(self) -> Counters:
        return self._driver.counters()

    def _close(self) -> None:
        self._driver.close()


def _arrays(compiled: CompiledNetwork, library: Path) -> list[CCrossbar]:
    """An array for each core of the chip; blank ones for cores that the network leaves free."""
    chip = compiled.chip
    lib = load_library(library)
    specs = zip(compiled.program.arrays, compiled.images, strict=True)
    used = {spec.core: image for spec, image in specs}
    blank = ArrayImage(
        g=np.zeros((chip.rows, chip.cols), np.int32),
        ref=np.zeros(chip.rows, np.int32),
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
    )
    return [
        CCrossbar(used.get(core, blank), compiled.seed, core, lib) for core in range(chip.cores)
    ]


TARGETS: Mapping[str, Callable[[CompiledNetwork], Target]] = MappingProxyType(
    {"golden": GoldenTarget, "fast": FastTarget, "verilator": VerilatorTarget}
)
"""Levels that can be connected to."""


def connect(level: str, compiled: CompiledNetwork, progress: Progress | None = None) -> Target:
    """Connect to a level.

    Parameters
    ----------
    level : str
        ``"golden"``, ``"fast"`` or ``"verilator"``.
    compiled : CompiledNetwork
    progress : callable, optional
        Told how a build goes, if the level needs one.

    Raises
    ------
    InputError
        If there is no such level.
    ToolError
        If the level cannot be reached.
    """
    if level not in TARGETS:
        raise InputError(f"There is no target '{level}'; choose one of {', '.join(TARGETS)}")
    if level == VerilatorTarget.name:
        return VerilatorTarget(compiled, progress)
    return TARGETS[level](compiled)


def _silent(done: int, total: int) -> None:
    """A progress callback that says nothing."""
