# SPDX-License-Identifier: Apache-2.0
"""Targets whose arrays are gates and block memory: a board on a serial line, a netlist.

Images are derived here, as everywhere, and loaded over the word stream. The host keeps a copy of
each array, with the number of its next read taken from the counters, so that time, trims and states
work as with arrays of its own.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..arch.errors import CapacityError
from ..arch.link import Feature
from ..behavioral.cengine import CCrossbar
from ..behavioral.machine import Counters
from ..fpga.crossbar.image import EmulatorConfig, check_arrays, image_words
from ..fpga.loading import emulator_config, image_messages
from .board_sim import build_board, simulated_board
from .codes import Codes
from .compiler.network import CompiledNetwork
from .driver import Port, TileDriver
from .link.answers import AnsweringPort
from .link.errors import ForeignDeviceError
from .link.port import SerialPort
from .link.resume import ResumeError, ResumingDriver
from .netlist_build import NETLIST_CONFIG, build_netlist
from .serial_address import SerialAddress
from .simulation import Simulation, SimulationPort
from .targets import Target
from .toolchain import Progress

__all__ = ["EmulatedTarget", "NetlistTarget", "SerialTarget", "SimulatedTarget"]

_COLUMNS = 8
"""Columns of an array that a simulated board sums at once, as the boards do."""


class EmulatedTarget(Target):
    """A chip with emulated arrays behind a port.

    Parameters
    ----------
    compiled : CompiledNetwork
    open_port : callable
        Opens a port to a chip that was reset, and tells the configuration of its emulators; None
        if it has none and asks the host for every read.
    resume : bool
        Whether a link that breaks is opened again and everything since the first run repeated;
        else its error is raised.

    Raises
    ------
    CapacityError
        If an image does not fit the emulators.
    ToolError
        If the chip cannot be reached, or is another one.
    """

    name = "emulated"

    def __init__(
        self,
        compiled: CompiledNetwork,
        open_port: Callable[[], tuple[Port, EmulatorConfig | None]],
        *,
        resume: bool = False,
    ) -> None:
        super().__init__(compiled)
        check_arrays(compiled.chip)
        if len(compiled.parts) > 1:
            raise CapacityError(
                f"Network '{compiled.network.name}' needs {len(compiled.parts)} tiles of chip "
                f"'{compiled.chip.name}', but a {self.name} target has one; take a chip with more "
                "or larger cores"
            )
        program = compiled.program
        self._open_port = open_port
        self._arrays = {
            spec.core: CCrossbar(image, compiled.seed, spec.core)
            for spec, image in zip(program.arrays, compiled.images, strict=True)
        }
        self._loaded = dict.fromkeys(self._arrays, 0)
        # Read number that an array was loaded with, less the reads counted until then.
        self._renewed = False
        self._port: Port | None = None
        self._config: EmulatorConfig | None = None
        self._driver = ResumingDriver(self._connect, resume=resume)

    def _connect(self) -> TileDriver:
        """A chip from its reset on: images first, then the program, which starts at once."""
        if self._renewed:
            raise ResumeError(
                "The arrays were loaded anew since the first run, so the runs cannot be repeated "
                "after an interruption; connect again"
            )
        self._port, self._config = self._open_port()
        if self._config is None:
            self._port = AnsweringPort(self._port, self._arrays)
        try:
            for core, array in self._arrays.items():
                array.reads = 0
                self._load(core, 0)
            return TileDriver(self._port, self._compiled.program)
        except BaseException:
            self._port.close()
            raise

    def _load(self, core: int, reads: int) -> None:
        if self._config is None:
            return
        array = self._arrays[core]
        words = image_words(
            array.image,
            self._compiled.chip,
            self._config,
            seed=array.seed,
            array=array.array,
            reads=reads,
        )
        if self._port is not None:
            self._port.write(image_messages(words, core))

    def refresh(self) -> None:
        """Derive the images of all arrays from the state and load them."""
        super().refresh()
        self._renewed = True
        counted = self._driver.counters().core_reads
        for core, array in self._arrays.items():
            self._loaded[core] = array.reads - counted[core]
            self._load(core, array.reads)

    def restore_state(self, path: str | Path) -> None:
        """See :meth:`.targets.Target.restore_state`."""
        super().restore_state(path)
        self.refresh()  # once more: the read numbers are those of the file now

    def _run(
        self, codes: dict[str, Codes], progress: Callable[[int, int], None]
    ) -> Mapping[str, NDArray[Any]]:
        words = self._driver.run(self._words(codes), progress)
        counted = self._driver.counters().core_reads
        for core, array in self._arrays.items():
            array.reads = self._loaded[core] + counted[core]
        return self._compiled.program.unpack_outputs(words)

    def _counters(self) -> Counters:
        return self._driver.counters()

    def _close(self) -> None:
        self._driver.close()

    def _crossbars(self) -> dict[int, CCrossbar]:
        return self._arrays


class NetlistTarget(EmulatedTarget):
    """The synthesized netlist of a fabric, simulated (:mod:`.netlist_build`).

    Parameters
    ----------
    compiled : CompiledNetwork
    progress : callable, optional
        Told how synthesis and build go, if they are to be done.
    config : EmulatorConfig
        Of the emulators.
    library : Path, optional
        A model to use instead of the one of :func:`~.netlist_build.build_netlist`.
    patience : int
        Cycles without a word in or out after which the tile is asked what it does.
    """

    name = "netlist"

    def __init__(
        self,
        compiled: CompiledNetwork,
        progress: Progress | None = None,
        *,
        config: EmulatorConfig = NETLIST_CONFIG,
        library: Path | None = None,
        patience: int = 2_000_000,
    ) -> None:
        path = library or build_netlist(compiled.chip, config, progress)

        def open_port() -> tuple[Port, EmulatorConfig]:
            return SimulationPort(Simulation(path), patience), config

        super().__init__(compiled, open_port)


class SerialTarget(EmulatedTarget):
    """A board on a serial port, its arrays emulated in the fabric, or answered from here.

    Parameters
    ----------
    compiled : CompiledNetwork
    address : SerialAddress
    resume : bool
        See :class:`EmulatedTarget`.

    Raises
    ------
    LinkError
        One of its subclasses says what is wrong with the port or the board.
    """

    name = "serial"

    def __init__(
        self, compiled: CompiledNetwork, address: SerialAddress, *, resume: bool = False
    ) -> None:
        chip_hash = compiled.chip.structure_hash

        def open_port() -> tuple[Port, EmulatorConfig | None]:
            port = SerialPort.open(address.device, address.baud, chip_hash=chip_hash)
            bits = port.ident.features
            if bits & Feature.ARRAY_ONLY or not bits & (
                Feature.EMULATED_CROSSBARS | Feature.HOST_CROSSBARS
            ):
                port.close()
                raise ForeignDeviceError(
                    "The board holds no tile, so it runs no networks; 'ohmtwin fpga read' reads "
                    "the array of a board that has one"
                )
            return port, None if bits & Feature.HOST_CROSSBARS else emulator_config(bits)

        super().__init__(compiled, open_port, resume=resume)


class SimulatedTarget(SerialTarget):
    """A simulated board on a pseudo-terminal of its own, switched off when this is closed.

    Parameters
    ----------
    compiled : CompiledNetwork
    progress : callable, optional
        Told how the build goes, if there is one to do.
    resume : bool
        See :class:`EmulatedTarget`.

    Raises
    ------
    ToolError
        If the model cannot be built, or the system has no pseudo-terminals.
    """

    def __init__(
        self,
        compiled: CompiledNetwork,
        progress: Progress | None = None,
        *,
        resume: bool = False,
    ) -> None:
        config = EmulatorConfig(columns=math.gcd(_COLUMNS, compiled.chip.cols))
        with ExitStack() as made:
            library = build_board(compiled.chip, config, progress)
            address = made.enter_context(simulated_board(library))
            super().__init__(compiled, address, resume=resume)
            self._board = made.pop_all()

    def _close(self) -> None:
        try:
            super()._close()
        finally:
            self._board.close()
