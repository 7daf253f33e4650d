# SPDX-License-Identifier: Apache-2.0
"""Drives a tile over its word stream (``arch/messages.py``), whatever carries the words.

Nothing here waits for ever or fills in zeros: each way in which a link or a tile can fail ends in
one of the errors below, with what the tile itself says of its state.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.errors import InputError, ToolError
from ..arch.messages import MAX_LENGTH, Header, Kind
from ..arch.registers import (
    CORE_BASE,
    CORE_STRIDE,
    EVENT_BASE,
    EVENT_STRIDE,
    ID_MAGIC,
    ID_VERSION,
    Control,
    CoreCounter,
    Status,
    TileRegister,
)
from ..behavioral.machine import Counters
from ..behavioral.program import TileProgram

__all__ = [
    "Guard",
    "LinkError",
    "Port",
    "ProtocolError",
    "SilentLinkError",
    "TileDriver",
    "TileFaultError",
    "TileState",
    "TileTimeoutError",
    "WrongChipError",
    "check_chip",
    "read_counters",
]

T = TypeVar("T")

_WAIT_POLLS = 1000
"""Register reads until the tile must have come to its SYNC."""

_HANG_POLLS = 50
"""Long enough for whatever a compiler makes."""


class LinkError(ToolError):
    """The tile, or the link to it, failed. The link is of no use afterwards."""


class SilentLinkError(LinkError):
    """The other side does not answer a register read."""


class ProtocolError(LinkError):
    """The other side sent words that are no message."""


class WrongChipError(LinkError, InputError):
    """The other side is no tile, of another version, or of another configuration."""


class TileFaultError(LinkError):
    """The tile came upon an instruction that does not exist, or upon a wrong message."""


class TileTimeoutError(LinkError):
    """The tile makes no progress."""


class Port(ABC):
    """Carries 64-bit words both ways, in order and whole."""

    @abstractmethod
    def write(self, words: NDArray[np.uint64]) -> None:
        """Send words (uint64 [n]). Goes on receiving meanwhile, so that it never waits for ever."""

    @abstractmethod
    def read(self, at_least: int) -> NDArray[np.uint64]:
        """Take all words that have come, once there are ``at_least``.

        Fewer come back if the port's patience ends first: nothing has moved for that long. They
        are not lost: the next call goes on behind them.
        """

    @abstractmethod
    def close(self) -> None:
        """End the connection; closing twice is harmless."""


@dataclass(frozen=True)
class TileState:
    """What a tile says of itself.

    Parameters
    ----------
    status : int
        Bits of :class:`~ohmtwin.arch.registers.Status`.
    pc : int
        Address of the current instruction.
    instructions : int
        Instructions completed.
    """

    status: int
    pc: int
    instructions: int

    def has(self, bit: Status) -> bool:
        """Whether a bit of STATUS is set."""
        return bool(self.status & bit)


ReadRegisters = Callable[[int, int], list[int]]
"""Reads so many registers from an address on."""


class Guard:
    """Runs actions on a link; after a failure the state of the link is unknown, so nothing runs.

    Parameters
    ----------
    what : str
        What fails, as a sentence begins.

    Raises
    ------
    LinkError
        If an action before this one failed.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._broken: str | None = None

    def __call__(self, action: Callable[[], T]) -> T:
        if self._broken is not None:
            raise LinkError(f"{self._what} failed before: {self._broken}")
        # Also an interrupt from the keyboard leaves words under way.
        self._broken = "a call was interrupted"
        try:
            result = action()
        except ToolError as error:
            self._broken = str(error)
            raise
        self._broken = None
        return result


def check_chip(chip: Chip, read: ReadRegisters, name: str) -> None:
    """Refuse a tile that is not of the chip that a program was compiled for.

    Parameters
    ----------
    chip : Chip
    read : callable
        Reads the tile's registers.
    name : str
        The tile's, as a sentence begins.

    Raises
    ------
    WrongChipError
        Says what it is instead.
    """
    ident, found = read(TileRegister.ID, 2)
    if ident >> 32 != ID_MAGIC:
        raise WrongChipError(f"{name} is no ohmtwin tile: its ID register holds {ident:#018x}")
    if ident & 0xFFFF != ID_VERSION:
        raise WrongChipError(
            f"{name} has version {ident & 0xFFFF} of the register map, this host speaks "
            f"version {ID_VERSION}; rebuild the chip"
        )
    if found != chip.structure_hash:
        raise WrongChipError(
            f"{name} was built for another configuration than chip '{chip.name}' "
            f"(hash {found:016x}, not {chip.structure_hash:016x}); compile for that chip, or "
            "rebuild it"
        )


def read_counters(chip: Chip, read: ReadRegisters) -> Counters:
    """The performance counters of a tile of ``chip`` that waits for its next sample."""
    first = TileRegister.CYCLES
    tile = read(first, TileRegister.VECTOR_STALLS - first + 1)
    cores = read(CORE_BASE, CORE_STRIDE * chip.cores)
    return Counters(
        cycles=tile[0],
        instructions=tile[TileRegister.INSTRUCTIONS - first],
        core_stalls=tile[TileRegister.CORE_STALLS - first],
        vector_stalls=tile[TileRegister.VECTOR_STALLS - first],
        core_reads=tuple(cores[CoreCounter.READS :: CORE_STRIDE]),
        core_beats=tuple(cores[CoreCounter.BEATS :: CORE_STRIDE]),
        core_active=tuple(cores[CoreCounter.ACTIVE :: CORE_STRIDE]),
        core_adc_stalls=tuple(cores[CoreCounter.ADC_STALLS :: CORE_STRIDE]),
        lanes=chip.lanes,
        **_read_events(chip, read),
    )


def _read_events(chip: Chip, read: ReadRegisters) -> dict[str, tuple[int, ...]]:
    if not chip.events:
        return {}
    found = read(EVENT_BASE, EVENT_STRIDE * chip.cores)
    return {
        f"core_{event.name.lower()}": tuple(found[event::EVENT_STRIDE]) for event in chip.events
    }


class TileDriver:
    """Runs one program on one tile.

    Connects, checks that the tile is the chip the program was compiled for, loads the program and
    starts it; the program then waits at its first SYNC.

    Parameters
    ----------
    port : Port
        Used by this driver alone.
    program : TileProgram
    hang_polls : int
        Patiences of the port for which the tile may execute instructions without sending a word.

    Raises
    ------
    LinkError
        One of its subclasses says what is wrong.
    InputError
        If the program sends nothing, so that nobody could tell when a sample is done.
    """

    def __init__(self, port: Port, program: TileProgram, *, hang_polls: int = _HANG_POLLS) -> None:
        if program.output_words == 0:
            raise InputError("The program returns no tensor; compile it with at least one output")
        self._port = port
        self._program = program
        self._hang_polls = hang_polls
        self._kind = Kind.OUTPUT
        self._left = 0  # payload words of the current message still to come
        self._outputs: list[NDArray[np.uint64]] = []
        self._received = 0
        self._replies: list[int] = []
        self._guarded = Guard("The link")
        self._guarded(self._start)

    def _start(self) -> None:
        program = self._program
        check_chip(program.chip, self.read_registers, "The other side")
        self._control(Control.STOP)
        self._write(Kind.WRITE_PROGRAM, program.encoded)
        self._write(Kind.WRITE_PARAMS, program.params)
        self._write(Kind.WRITE_TABLE, program.table_words)
        self._write(Kind.WRITE_CORRECTIONS, program.corrections)
        self._write(Kind.WRITE_DATA, program.data)
        if program.flag_words.size:
            self._write(Kind.WRITE_FLAGS, program.flag_words)
        self._control(Control.CLEAR)
        self._control(Control.RUN)

    # Samples.

    def run(
        self, inputs: NDArray[np.uint64], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.uint64]:
        """Run samples in order.

        As many samples are under way as the input FIFO holds: the tile never waits for the host
        between two samples, and a register read never queues up behind words that the tile does
        not take (only a sample longer than the FIFO could be in its way).

        Parameters
        ----------
        inputs : uint64 [n, input_words]
        progress : callable, optional
            Told samples done and samples in all.

        Returns
        -------
        uint64 [n, output_words]

        Raises
        ------
        InputError
            If the words have another type or shape.
        LinkError
            One of its subclasses says what is wrong.
        """
        program = self._program
        if inputs.dtype != np.uint64 or inputs.ndim != 2 or inputs.shape[1] != program.input_words:
            raise InputError(
                f"Input words must be uint64 [n, {program.input_words}], "
                f"not {inputs.dtype} {list(inputs.shape)}"
            )
        return self._guarded(lambda: self._run(inputs, progress))

    def _run(
        self, inputs: NDArray[np.uint64], progress: Callable[[int, int], None] | None
    ) -> NDArray[np.uint64]:
        n, words = len(inputs), self._program.output_words
        window = max(1, self._program.chip.fifo_words // self._program.input_words)
        self._check_received(0)  # words that came after the run before
        sent = done = 0
        while done < n:
            until = min(n, done + window)
            if until > sent:
                self._write(Kind.INPUT, inputs[sent:until].reshape(-1))
                sent = until
            self._await_outputs((done + 1) * words)
            done = min(self._received // words, n)
            if progress is not None:
                progress(done, n)
        self._check_received(n)
        result = np.concatenate([np.empty(0, np.uint64), *self._outputs])
        self._outputs, self._received = [], 0
        return result.reshape(n, words)

    def _check_received(self, samples: int) -> None:
        """Refuse words that no sample accounts for: all results after them would be shifted."""
        words = self._program.output_words
        if self._received > samples * words:
            raise ProtocolError(
                f"The tile sent {self._received} words for {samples} samples of {words} words "
                "each; the program and its outputs do not fit each other"
            )

    def _await_outputs(self, count: int) -> None:
        """Receive until ``count`` output words are here."""
        last: TileState | None = None
        for _ in range(self._hang_polls):
            while self._received < count:
                if not self._pump(count - self._received):
                    break
            if self._received >= count:
                return
            state = self.state()
            if self._received >= count:
                # The answer to the register read came behind the words.
                return
            self._check_state(state, count)
            if last is not None and last.instructions == state.instructions:
                raise TileTimeoutError(
                    f"The tile makes no progress at {self._where(state.pc)}, "
                    f"{count - self._received} output words are missing"
                )
            last = state
        raise TileTimeoutError(
            f"The tile runs but sends nothing, now at {self._where(state.pc)}; "
            f"{count - self._received} output words are missing"
        )

    def _check_state(self, state: TileState, count: int) -> None:
        """Raise if a tile in this state will never send what is missing."""
        missing = f"{count - self._received} output words are missing"
        if state.has(Status.FAULT):
            raise TileFaultError(
                f"The tile stopped at {self._where(state.pc)}, which it does not know; {missing}"
            )
        if not state.has(Status.RUNNING):
            raise TileFaultError(f"The program ended at {self._where(state.pc)}; {missing}")
        if state.has(Status.WAITING):
            raise TileTimeoutError(
                f"The tile waits for more input at {self._where(state.pc)} although every sample "
                f"was sent; {missing}"
            )

    def _where(self, pc: int) -> str:
        instructions = self._program.instructions
        if pc < len(instructions):
            return f"instruction {pc} ({instructions[pc]})"
        return f"instruction {pc}, past the end of the program of {len(instructions)}"

    # Registers.

    def state(self) -> TileState:
        """What the tile says of itself now."""
        status, pc = self.read_registers(TileRegister.STATUS, 2)
        (instructions,) = self.read_registers(TileRegister.INSTRUCTIONS, 1)
        return TileState(status, pc, instructions)

    def counters(self) -> Counters:
        """Read the performance counters, once the tile waits for its next sample.

        Raises
        ------
        LinkError
            One of its subclasses says what is wrong.
        """
        return self._guarded(self._counters)

    def _counters(self) -> Counters:
        self._await_rest()
        return read_counters(self._program.chip, self.read_registers)

    def _await_rest(self) -> None:
        """Until the program waits for its next sample, or has ended."""
        for _ in range(_WAIT_POLLS):
            state = self.state()
            if state.has(Status.FAULT):
                raise TileFaultError(
                    f"The tile stopped at {self._where(state.pc)}, which it does not know"
                )
            if state.has(Status.WAITING) or not state.has(Status.RUNNING):
                break
        else:
            raise TileTimeoutError(
                f"The tile does not come to wait for its next sample; it is at "
                f"{self._where(state.pc)}"
            )

    def exchange(self, words: Sequence[int]) -> list[int]:
        """Send a message between two samples; the payload of the one that answers it.

        Raises
        ------
        LinkError
            One of its subclasses says what is wrong.
        """
        return self._guarded(lambda: self._exchange(words))

    def _exchange(self, words: Sequence[int]) -> list[int]:
        self._await_rest()
        self._replies.clear()
        self._port.write(np.array(words, np.uint64))
        while not self._replies or self._left:
            if not self._pump(1):
                kind = Header.decode(words[0]).kind.name
                raise TileTimeoutError(f"The tile does not answer a message {kind}")
        return list(self._replies)

    def read_registers(self, address: int, count: int) -> list[int]:
        """Read ``count`` registers from ``address`` on.

        Raises
        ------
        SilentLinkError
            If the answer does not come.
        """
        self._replies.clear()
        self._port.write(np.array([Header(Kind.READ_REG, count, address).encode()], np.uint64))
        while len(self._replies) < count:
            if not self._pump(count + 1):
                raise SilentLinkError(
                    f"The chip did not answer the read of {count} registers from {address} on"
                )
        return list(self._replies)

    def _control(self, bit: Control) -> None:
        self._write(Kind.WRITE_REG, np.array([int(bit)], np.uint64), TileRegister.CONTROL)

    # Messages.

    def _write(self, kind: Kind, payload: NDArray[np.uint64], address: int = 0) -> None:
        for start in range(0, len(payload), MAX_LENGTH):
            part = payload[start : start + MAX_LENGTH]
            at = address if kind is Kind.INPUT else address + start
            header = Header(kind, len(part), at).encode()
            self._port.write(np.concatenate([np.array([header], np.uint64), part]))

    def _pump(self, at_least: int) -> bool:
        """Receive and sort words; whether any came."""
        words = self._port.read(at_least)
        position = 0
        while position < len(words):
            if self._left == 0:
                header = self._decode(int(words[position]))
                self._kind, self._left = header.kind, header.length
                position += 1
            part = words[position : position + self._left]
            if self._kind is Kind.OUTPUT:
                self._outputs.append(part)
                self._received += len(part)
            else:
                self._replies += part.tolist()
            self._left -= len(part)
            position += len(part)
        return len(words) > 0

    def _decode(self, word: int) -> Header:
        try:
            header = Header.decode(word)
        except ValueError:
            header = None
        if header is None or header.kind not in (Kind.OUTPUT, Kind.REPLY, Kind.ROW_REPORT):
            raise ProtocolError(f"The chip sent {word:#018x} where a message should begin")
        return header

    def close(self) -> None:
        """Stop using the tile and close the port; closing twice is harmless."""
        self._port.close()
