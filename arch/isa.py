# SPDX-License-Identifier: Apache-2.0
"""The tile's instruction set: one table from which encoder, decoder, RTL and manual are made.

In the spirit of PUMA (Ankit et al. 2019, as told by Jain et al. 2019): matrix, vector, data
movement and loops with address strides. An instruction is one 64-bit word. ``docs/tile.md`` tells
what each does and how long it takes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from .errors import InputError

__all__ = [
    "ADDRESS_REGISTERS",
    "FORMATS",
    "LOOP_DEPTH",
    "MAX_TABLES",
    "VECTOR_ELEMENTS",
    "Field",
    "Format",
    "Instruction",
    "Opcode",
    "Reg",
    "Source",
    "VecOp",
    "assemble",
    "disassemble",
]

LOOP_DEPTH = 4
"""Loops that may be nested."""

ADDRESS_REGISTERS = 8

VECTOR_ELEMENTS = 256
"""Accumulators of the vector unit."""

MAX_TABLES = 16
"""Tables that a tile can be built with."""


class Opcode(IntEnum):
    NOP = 0
    HALT = 1
    SYNC = 2
    SET = 3
    ADD = 4
    LOOP = 5
    LOAD = 6
    RECV = 7
    SEND = 8
    MVM = 9
    REQ = 10
    VEC = 11


class Reg(IntEnum):
    """Registers that SET and ADD change."""

    A0 = 0
    A1 = 1
    A2 = 2
    A3 = 3
    A4 = 4
    A5 = 5
    A6 = 6
    A7 = 7
    SCHEDULE = 8
    """0: baseline, 1: zero-skip."""
    ROWS_PER_READ = 9
    """Rows that a read may drive, bits 8:0; ``arch/budgets.py`` has the bits that name a plane."""
    PLANES = 10
    """Passes of a product that MVM streams, from the first on: bit planes of the activations, the
    least significant first, but for other input encodings."""
    QUANT = 11
    """Zero point (bits 7:0), lowest (15:8) and highest (23:16) code of REQ."""
    PITCH = 12
    """Bytes from one run of LOAD or VEC to the next, 24 bits, two's complement."""
    SCALE = 13
    """k of VEC, 24 bits, two's complement."""
    OFFSET = 14
    """f of VEC, 32 bits, two's complement."""
    ZERO = 15
    """What LOAD takes off activations, 8 bits; only on chips with the sign-magnitude encoding."""
    KEEP = 16
    """1: a product adds to the accumulators of its core, and a LOAD to the sum of activations, as
    they are. Only where a core has several arrays."""


class Source(IntEnum):
    """Where LOAD takes its bytes from."""

    DATA = 0
    HOST = 1


class VecOp(IntEnum):
    """What VEC does to a vector accumulator, with ``v = k * byte + f``.

    The last two take words of 32 bits, little-endian, in place of bytes: ``v = word + f``.
    """

    PUT = 0
    """acc = v"""
    ADD = 1
    """acc = acc + v"""
    MUL = 2
    """acc = acc * v, of the low 16 bits of both, taken as signed"""
    MAX = 3
    """acc = max(acc, v)"""
    MIN = 4
    """acc = min(acc, v)"""
    PUT32 = 5
    """acc = v"""
    ADD32 = 6
    """acc = acc + v"""

    @property
    def width(self) -> int:
        """Bytes of an operand."""
        return 4 if self in (VecOp.PUT32, VecOp.ADD32) else 1


@dataclass(frozen=True)
class Field:
    """A bit field of an instruction: ``width`` bits from bit ``lsb`` up."""

    name: str
    lsb: int
    width: int
    doc: str
    signed: bool = False
    values: type[IntEnum] | None = None

    @property
    def low(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        return (1 << (self.width - self.signed)) - 1


OPCODE = Field("opcode", 0, 5, "what to do")


@dataclass(frozen=True)
class Format:
    """The fields of one opcode, and a line on what it does."""

    doc: str
    fields: tuple[Field, ...] = ()

    def __getitem__(self, name: str) -> Field:
        return next(f for f in self.fields if f.name == name)


_CORES = Field("cores", 32, 32, "one bit a core")
_VALUE = Field("value", 32, 32, "immediate", signed=True)
_REG = Field("reg", 5, 5, "register", values=Reg)
_WORDS = Field("words", 12, 16, "64-bit words")


def _address(name: str, lsb: int) -> tuple[Field, Field]:
    """An address register and whether it steps past what was touched."""
    return (
        Field(name, lsb, 3, "address register A0 to A7"),
        Field(f"{name}_step", lsb + 3, 1, "add the length to the address register"),
    )


FORMATS: Mapping[Opcode, Format] = MappingProxyType(
    {
        Opcode.NOP: Format("Nothing."),
        Opcode.HALT: Format("Wait until cores and vector unit are idle, then stop."),
        Opcode.SYNC: Format(
            "Wait until cores and vector unit are idle, the host has sent in_words and there is "
            "room for out_words.",
            (
                Field("in_words", 16, 16, "words that must stand in the input FIFO"),
                Field("out_words", 32, 16, "words that must be free in the output FIFO"),
            ),
        ),
        Opcode.SET: Format("reg = value", (_REG, _VALUE)),
        Opcode.ADD: Format("reg = reg + value", (_REG, _VALUE)),
        Opcode.LOOP: Format(
            "Run the next body instructions count times; 0 means for ever.",
            (
                Field("body", 16, 12, "instructions in the body"),
                Field("count", 32, 32, "how often"),
            ),
        ),
        Opcode.LOAD: Format(
            "Copy runs of bytes, packed densely, into the row registers of cores from row on.",
            (
                *_address("addr", 5),
                Field("source", 9, 1, "data memory or host FIFO", values=Source),
                Field("row", 10, 8, "first row; 0 also clears the sum of activations"),
                Field("bytes", 18, 9, "bytes of a run, 1 to 256"),
                Field("repeats", 27, 5, "further runs, PITCH bytes apart; 0 from the host"),
                _CORES,
            ),
        ),
        Opcode.RECV: Format(
            "Copy words from the host FIFO to data memory.", (*_address("addr", 5), _WORDS)
        ),
        Opcode.SEND: Format(
            "Copy words from data memory to the host FIFO.", (*_address("addr", 5), _WORDS)
        ),
        Opcode.MVM: Format(
            "Start the matrix-vector product of cores; they run on while the program goes on.",
            (
                Field("rows", 5, 9, "rows in use, 1 to 256"),
                Field("beats", 16, 10, "beats of a read: columns in use / lanes"),
                Field("array", 26, 6, "which array of each core"),
                _CORES,
            ),
        ),
        Opcode.REQ: Format(
            "Add up the accumulators of cores and of the vector unit; add bias, requantize, "
            "store codes.",
            (
                *_address("dest", 5),
                *_address("param", 9),
                Field("tap", 13, 1, "also send the 32-bit sums to the host FIFO"),
                Field("table_on", 14, 1, "pass the codes through a table"),
                Field("table", 15, 4, "which table"),
                Field("outputs", 19, 10, "accumulators to drain, hence codes to store"),
                Field("vector", 29, 1, "drain the vector accumulators, in place of core 0"),
                Field("same_param", 30, 1, "one group of parameters serves all words"),
                _CORES,
            ),
        ),
        Opcode.VEC: Format(
            "Combine runs of bytes of data memory, packed densely, with vector accumulators.",
            (
                *_address("addr", 5),
                Field("op", 9, 3, "what to do", values=VecOp),
                Field("element", 12, 8, "first vector accumulator"),
                Field("bytes", 20, 9, "bytes of a run, 1 to 256"),
                Field("repeats", 32, 8, "further runs, PITCH bytes apart"),
            ),
        ),
    }
)


@dataclass(frozen=True)
class Instruction:
    """One instruction. Fields that are not given are 0.

    Raises
    ------
    ValueError
        If a field is unknown to the opcode or out of its range.
    """

    op: Opcode
    fields: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {f.name: f for f in FORMATS[self.op].fields}
        for name, value in self.fields.items():
            if name not in known:
                raise ValueError(f"{self.op.name} has no field '{name}'; it has {list(known)}")
            if not known[name].low <= value <= known[name].high:
                raise ValueError(
                    f"Field {name} of {self.op.name} must be {known[name].low} to "
                    f"{known[name].high}, not {value}"
                )
            values = known[name].values
            if values is not None and value not in values.__members__.values():
                raise ValueError(
                    f"Field {name} of {self.op.name} must be one of "
                    f"{', '.join(values.__members__)}, not {value}"
                )
        full = {name: int(self.fields.get(name, 0)) for name in known}
        object.__setattr__(self, "fields", MappingProxyType(full))

    @classmethod
    def make(cls, op: Opcode, /, **fields: int) -> "Instruction":
        return cls(op, fields)

    def __getitem__(self, name: str) -> int:
        return self.fields[name]

    def encode(self) -> int:
        """The 64-bit word."""
        word = int(self.op) << OPCODE.lsb
        for f in FORMATS[self.op].fields:
            word |= (self.fields[f.name] & ((1 << f.width) - 1)) << f.lsb
        return word

    @classmethod
    def decode(cls, word: int) -> "Instruction":
        """The inverse of :meth:`encode`; bits outside the fields must be 0.

        Raises
        ------
        ValueError
            If the opcode is unknown or a bit outside the fields is set.
        """
        code = word & ((1 << OPCODE.width) - 1)
        try:
            op = Opcode(code)
        except ValueError:
            raise ValueError(f"There is no opcode {code}") from None
        values = {}
        for f in FORMATS[op].fields:
            value = word >> f.lsb & ((1 << f.width) - 1)
            values[f.name] = value - (1 << f.width) if f.signed and value > f.high else value
        made = cls(op, values)
        if made.encode() != word:
            raise ValueError(f"Word {word:#018x} has bits set that {op.name} does not use")
        return made

    def __str__(self) -> str:
        parts = [self.op.name]
        for f in FORMATS[self.op].fields:
            value = self.fields[f.name]
            if f.values is not None:
                parts.append(f"{f.name}={f.values(value).name}")
            elif f.name == "cores":
                parts.append(f"{f.name}={value:#x}")
            else:
                parts.append(f"{f.name}={value}")
        return " ".join(parts)


def _parse(line: str) -> Instruction:
    name, *pairs = line.split()
    if name not in Opcode.__members__:
        raise ValueError(f"there is no instruction '{name}'")
    op = Opcode[name]
    enums = {f.name: f.values for f in FORMATS[op].fields}
    fields: dict[str, int] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator:
            raise ValueError(f"'{pair}' is not of the form field=value")
        values = enums.get(key)
        if values is not None and text in values.__members__:
            fields[key] = values[text]
        else:
            try:
                fields[key] = int(text, 0)
            except ValueError:
                raise ValueError(f"'{text}' is no value for {key}") from None
    return Instruction(op, fields)


def assemble(text: str) -> list[Instruction]:
    """Read a listing: an instruction a line, ``#`` begins a comment.

    Raises
    ------
    InputError
        Names the line and what is wrong with it.
    """
    program = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.partition("#")[0].strip()
        if code:
            try:
                program.append(_parse(code))
            except ValueError as error:
                raise InputError(f"Line {number} of the listing: {error}") from None
    return program


def disassemble(words: Iterable[int]) -> Iterator[str]:
    """A line for each encoded instruction; :func:`assemble` takes them back."""
    return (str(Instruction.decode(word)) for word in words)
