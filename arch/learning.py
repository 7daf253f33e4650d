# SPDX-License-Identifier: Apache-2.0
"""A core that learns: its sizes, its program, and the words that load and run it.

A word of the link is 64 bits. A message is a header and its payload::

    header     [7:0] kind   [31:8] count   [63:32] address
    settings   [15:0] kx   [31:16] kd   [36:32] sx   [41:37] sd   [49:42] slots   [51:50] mode
               [52] manage   [60:53] period

PROGRAM, MEMORY, TABLES, SETTINGS, LFSR and REGISTERS write ``count`` words from ``address`` on (an
instruction is two words); RUN runs the program for ``count`` samples, whose words follow as IN
takes them, and ends with a word :func:`done_word`; DUMP_MEMORY, DUMP_LFSR and DUMP_REGISTERS give
``count`` words from ``address`` on, 32 bits in each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from .errors import ConfigError
from .learning_isa import ADDRESS_BITS, TABLE_ENTRIES, TABLES, Flag, LearnInstruction, LearnOp

__all__ = [
    "DONE_TAG",
    "FAULT_TAG",
    "MAX_INSTRUCTIONS",
    "MAX_SETTINGS",
    "MAX_TRIES",
    "OVERLAP_SLOTS",
    "STOCHASTIC_SLOTS",
    "LearnChip",
    "LearnKind",
    "LearnProgram",
    "TrainMode",
    "UpdateSettings",
    "done_word",
    "fault_word",
    "header_word",
]

MAX_INSTRUCTIONS = 256
MAX_SETTINGS = 8
MAX_TRIES = 31
"""Of a READ with BOUND, beyond the first."""
STOCHASTIC_SLOTS = 31
OVERLAP_SLOTS = 255


class LearnKind(IntEnum):
    """Kind of a message."""

    PROGRAM = 1
    MEMORY = 2
    TABLES = 3
    SETTINGS = 4
    LFSR = 5
    REGISTERS = 6
    RUN = 7
    DUMP_MEMORY = 8
    DUMP_LFSR = 9
    DUMP_REGISTERS = 10


def header_word(kind: LearnKind, count: int, address: int = 0) -> int:
    """The first word of a message."""
    return int(kind) | count << 8 | address << 32


DONE_TAG = 0xD0E0
FAULT_TAG = 0xFA17
"""Bits 63 to 48 of the word that ends a run."""


def done_word(samples: int) -> int:
    """What ends the answer to RUN."""
    return DONE_TAG << 48 | samples


def fault_word(instruction: int, left: int) -> int:
    """What ends it where a register makes an instruction leave the memory or the arrays: its
    number, and the samples that are left, the one it belongs to among them."""
    return FAULT_TAG << 48 | instruction << 32 | left


class TrainMode(IntEnum):
    """How pulse trains are made."""

    SEPARATE = 0
    """Stochastic, a generator for every line."""
    SHARED = 1
    """Stochastic, a generator for all rows and one for all columns."""
    OVERLAP = 2
    """Deterministic: rows are driven for a share of all slots, columns for a share of each of many
    short periods (Crafton et al. 2021, Fig. 17)."""


@dataclass(frozen=True)
class UpdateSettings:
    """How two vectors become pulse trains.

    Parameters
    ----------
    kx, kd : int
        A row's probability is ``|x| * kx >> sx``, rounded, in 1/65536; a column's likewise.
    sx, sd : int
        0 to 31.
    slots : int
        1 to 31; up to 255 of OVERLAP.
    mode : TrainMode
    manage : bool
        Half of the exponent of an update goes to the rows, the other half to the columns.
    period : int
        Slots of a column's period, of OVERLAP; 0: as short as they can be, at every value.

    Raises
    ------
    ConfigError
        If one is out of range.
    """

    kx: int
    kd: int
    sx: int = 0
    sd: int = 0
    slots: int = 1
    mode: TrainMode = TrainMode.SEPARATE
    manage: bool = False
    period: int = 0

    def __post_init__(self) -> None:
        most = OVERLAP_SLOTS if self.mode == TrainMode.OVERLAP else STOCHASTIC_SLOTS
        ends = {"kx": (0, 65535), "kd": (0, 65535), "sx": (0, 31), "sd": (0, 31)}
        ends |= {"slots": (1, most), "period": (0, 255)}
        for name, (low, high) in ends.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"The {name} of an update must be {low} to {high}, not {value}")

    def encode(self) -> int:
        """Its word."""
        word = self.kx | self.kd << 16 | self.sx << 32 | self.sd << 37 | self.slots << 42
        return word | int(self.mode) << 50 | int(self.manage) << 52 | self.period << 53


@dataclass(frozen=True)
class LearnChip:
    """The sizes of a core that learns.

    Parameters
    ----------
    rows, cols : int
        Of every array: 1 to 1024 and 1 to 512.
    arrays : int
        1 to 64.
    adc_bits : int
        2 to 16, of signed codes.
    lanes : int
        Converters of forward reads; a beat has as many codes.
    transposed_lanes : int
        Converters of transposed reads; 0: those of forward reads.
    memory : int
        Words of the vector memory.

    Raises
    ------
    ConfigError
        If one is out of range.
    """

    rows: int
    cols: int
    arrays: int
    adc_bits: int = 9
    lanes: int = 8
    transposed_lanes: int = 0
    memory: int = 4096

    def __post_init__(self) -> None:
        ends = {
            "rows": (1, 1024),
            "cols": (1, 512),
            "arrays": (1, 64),
            "adc_bits": (2, 16),
            "lanes": (1, 64),
            "transposed_lanes": (0, 64),
            "memory": (16, 1 << ADDRESS_BITS),
        }
        for name, (low, high) in ends.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(
                    f"The {name} of a core that learns must be {low} to {high}, not {value}"
                )

    @property
    def lines(self) -> int:
        """Rows and columns: each has a generator of pulse trains, rows first."""
        return self.rows + self.cols

    @property
    def backward_lanes(self) -> int:
        """Converters of transposed reads."""
        return self.transposed_lanes or self.lanes


@dataclass(frozen=True)
class LearnProgram:
    """What the core does for every sample, and what it starts from.

    Parameters
    ----------
    instructions : sequence of LearnInstruction
        The last one END.
    settings : sequence of UpdateSettings
        At most 8.
    tables : sequence of sequences of int
        At most 8, of 256 entries of int16: entry ``v + 128`` for a value v.
    memory : sequence of pairs
        Address, and the words that stand there at first.
    registers : mapping of int
        Registers that are not 0 at first.

    Raises
    ------
    ConfigError
        If there is too much of something, or IN or OUT stand where their number is not fixed.
    """

    instructions: Sequence[LearnInstruction]
    settings: Sequence[UpdateSettings] = ()
    tables: Sequence[Sequence[int]] = ()
    memory: Sequence[tuple[int, Sequence[int]]] = ()
    registers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        code = self.instructions
        if not code or len(code) > MAX_INSTRUCTIONS:
            raise ConfigError(
                f"A learning program has 1 to {MAX_INSTRUCTIONS} instructions, not {len(code)}"
            )
        if code[-1].op != LearnOp.END or any(i.op == LearnOp.END for i in code[:-1]):
            raise ConfigError("A learning program has one END, its last instruction")
        for what, got, most in (
            ("settings", self.settings, MAX_SETTINGS),
            ("tables", self.tables, TABLES),
        ):
            if len(got) > most:
                raise ConfigError(f"A learning program has {most} {what} at most, not {len(got)}")
        for table in self.tables:
            if len(table) != TABLE_ENTRIES or min(table) < -32768 or max(table) > 32767:
                raise ConfigError(f"A table has {TABLE_ENTRIES} entries of 16 bits")
        self._check_jumps()

    def _check_jumps(self) -> None:
        end = len(self.instructions) - 1
        for at, i in enumerate(self.instructions):
            if i.op not in (LearnOp.LOOP, LearnOp.EVERY):
                continue
            body = range(at + 1, at + 1 + i.k)
            if i.k < 0 or body.stop > end:
                raise ConfigError(f"Instruction {at} ({i.op.name}) reaches past the program's END")
            if i.n < 1:
                raise ConfigError(f"Instruction {at} ({i.op.name}) needs a number of 1 or more")
            for inner in body:
                j = self.instructions[inner]
                if j.op == LearnOp.LOOP and i.op == LearnOp.LOOP:
                    raise ConfigError(f"Instruction {inner}: loops cannot be nested")
                if j.op in (LearnOp.LOOP, LearnOp.EVERY) and inner + j.k >= body.stop:
                    raise ConfigError(f"Instruction {inner} reaches past what is skipped around it")
                if j.op in (LearnOp.IN, LearnOp.OUT) and i.op == LearnOp.EVERY:
                    raise ConfigError(
                        f"Instruction {inner}: {j.op.name} cannot stand where it may be skipped"
                    )

    def _times(self) -> Iterator[tuple[LearnInstruction, int]]:
        """Each instruction and how often it runs, where nothing is skipped."""
        left, times = 0, 1
        for i in self.instructions:
            yield i, times if left else 1
            left = max(0, left - 1)
            if i.op == LearnOp.LOOP:
                left, times = i.k, i.n

    @property
    def inputs(self) -> int:
        """Words that a sample takes."""
        return sum(i.n * times for i, times in self._times() if i.op == LearnOp.IN)

    @property
    def outputs(self) -> int:
        """Words that a sample gives."""
        return sum(i.n * times for i, times in self._times() if i.op == LearnOp.OUT)

    def check(self, chip: LearnChip) -> None:
        """Refuse what a chip cannot run. What registers add to an address is checked at work.

        Raises
        ------
        ConfigError
        """
        for at, i in enumerate(self.instructions):
            where = f"Instruction {at} ({i})"
            for address, size in _touched(i):
                if size and address + size > chip.memory:
                    raise ConfigError(
                        f"{where} reaches word {address + size - 1} of a memory of {chip.memory}"
                    )
            for name in _counts(i):
                if not getattr(i, name):
                    raise ConfigError(f"{where} needs a number '{name}' of 1 or more")
            if i.op == LearnOp.READ and i.flags & Flag.BOUND and not 0 <= i.k <= MAX_TRIES:
                raise ConfigError(f"{where} can try {MAX_TRIES} times more at most")
            if i.op in _ARRAYS and i.array >= chip.arrays:
                raise ConfigError(f"{where}: there are {chip.arrays} arrays")
            for what, used, there in _lines(i, chip):
                if not 1 <= used <= there:
                    raise ConfigError(f"{where} uses {used} of an array's {there} {what}")
            if i.op == LearnOp.UPDATE and not 0 <= i.m < len(self.settings):
                raise ConfigError(f"{where}: there are {len(self.settings)} settings")
            if i.op == LearnOp.TABLE and not 0 <= i.m < len(self.tables):
                raise ConfigError(f"{where}: there are {len(self.tables)} tables")
        for address, words in self.memory:
            if address < 0 or address + len(words) > chip.memory:
                raise ConfigError(f"Words from {address} on do not fit a memory of {chip.memory}")

    def load_words(self) -> list[int]:
        """The messages that load program, settings, tables, registers and memory."""
        code = [word for i in self.instructions for word in i.encode()]
        words = [header_word(LearnKind.PROGRAM, len(code)), *code]
        if self.settings:
            words.append(header_word(LearnKind.SETTINGS, len(self.settings)))
            words += [s.encode() for s in self.settings]
        for number, table in enumerate(self.tables):
            words.append(header_word(LearnKind.TABLES, len(table), number * TABLE_ENTRIES))
            words += [int(v) & 0xFFFF for v in table]
        for register, value in self.registers.items():
            words += [header_word(LearnKind.REGISTERS, 1, register), value & 0xFFFFFFFF]
        for address, part in self.memory:
            words.append(header_word(LearnKind.MEMORY, len(part), address))
            words += [int(v) & 0xFFFFFFFF for v in part]
        return words


_ARRAYS = (LearnOp.READ, LearnOp.UPDATE, LearnOp.WRITE, LearnOp.APPLY, LearnOp.RELAX)


def _counts(i: LearnInstruction) -> tuple[str, ...]:
    """Fields of an instruction that count something and cannot be 0."""
    if i.op in (LearnOp.END, LearnOp.LOADR, LearnOp.RELAX):
        return ()
    return ("n", *{LearnOp.FEED: "b", LearnOp.DENSE: "k", LearnOp.OUTER: "k"}.get(i.op, ""))


def _touched(i: LearnInstruction) -> list[tuple[int, int]]:
    """Address and size of what an instruction reads and writes, as far as it is fixed."""
    n, k, op = i.n, i.k & 0xFFFF, LearnOp
    ends = {
        op.IN: [(i.dst, n)],
        op.OUT: [(i.a, n)],
        op.VEC: [(i.dst, n), (i.a, n), (i.b, n)],
        op.TABLE: [(i.dst, n), (i.a, n)],
        op.REDUCE: [(i.a, n)],
        op.NORM: [(i.dst, n), (i.a, n)],
        op.DIV: [(i.dst, n), (i.a, n)],
        op.HOT: [(i.dst, n)],
        op.READ: [(i.dst, i.b), (i.a, n)],
        op.UPDATE: [(i.a, n), (i.b, k)],
        op.WRITE: [(i.a, n)],
        op.FEED: [(i.dst, n), (i.a, i.b)],
        op.DENSE: [(i.dst, n if i.flags & Flag.TRANSPOSED else k), (i.b, n * k)],
        op.OUTER: [(i.a, n), (i.b, k), (i.dst, n * k)],
        op.APPLY: [(i.a, n * k)],
        op.LOADR: [(i.a, 1)],
        op.PICK: [(i.dst, n), (i.a, n)],
    }
    return ends.get(i.op, [])


def _lines(i: LearnInstruction, chip: LearnChip) -> list[tuple[str, int, int]]:
    """Lines of an array that an instruction uses, and how many there are."""
    rows, cols = ("rows", chip.rows), ("columns", chip.cols)
    if i.op == LearnOp.READ:
        sides = (cols, rows) if i.flags & Flag.TRANSPOSED else (rows, cols)
        return [_named(sides[0], i.n), _named(sides[1], i.b)]
    if i.op in (LearnOp.UPDATE, LearnOp.APPLY):
        return [_named(rows, i.n), _named(cols, i.k & 0xFFFF)]
    if i.op == LearnOp.WRITE:
        return [_named(cols, i.n)]
    return []


def _named(side: tuple[str, int], used: int) -> tuple[str, int, int]:
    return side[0], used, side[1]
