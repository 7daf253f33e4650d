# SPDX-License-Identifier: Apache-2.0
"""Instructions of the core that learns: what runs once for every sample.

An instruction has two words of 64 bits, the fields of which :data:`FIELDS` places. Elements are
int32; ``clip(v, bits)`` saturates to int32 where bits is 0, else to ``+-(2**(bits - 1) - 1)``, and
``rs(v, s)`` is a right shift that rounds halves up. ``docs/learning.md`` tells what each one does;
``behavioral/learning/processor.py`` is the definition.
"""

from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag

from .errors import ConfigError

__all__ = [
    "ADDRESS_BITS",
    "FIELDS",
    "NO_FLAGS",
    "REGISTERS",
    "TABLES",
    "TABLE_ENTRIES",
    "Flag",
    "LearnInstruction",
    "LearnOp",
    "ReduceFunction",
    "VectorFunction",
]

REGISTERS = 16
"""Registers of 32 bits; register 0 stays 0."""

TABLES = 8
TABLE_ENTRIES = 256
ADDRESS_BITS = 20


class LearnOp(IntEnum):
    """What an instruction does."""

    END = 0
    IN = 1
    OUT = 2
    VEC = 3
    TABLE = 4
    REDUCE = 5
    NORM = 6
    DIV = 7
    HOT = 8
    READ = 9
    UPDATE = 10
    WRITE = 11
    FEED = 12
    DENSE = 13
    OUTER = 14
    APPLY = 15
    LOOP = 16
    EVERY = 17
    STEP = 18
    LOADR = 19
    RELAX = 20
    PICK = 21


class VectorFunction(IntEnum):
    """Field ``m`` of VEC; A and B are elements, K is ``k`` as a signed number, R a register."""

    ADD = 0
    SUB = 1
    MUL = 2
    MAX = 3
    MIN = 4
    GT = 5
    MULK = 6
    ADDK = 7
    GTK = 8
    SET = 9
    ABS = 10
    SUBR = 11
    ADDR = 12
    MAXK = 13
    MINK = 14


class ReduceFunction(IntEnum):
    """Field ``m`` of REDUCE."""

    MAX_ABS = 0
    MAX = 1
    SUM = 2


class Flag(IntFlag):
    """Field ``flags``."""

    TRANSPOSED = 1
    """READ, DENSE: inputs at the columns."""
    STORE = 1
    """PICK: the other way."""
    ACCUMULATE = 2
    """READ: add to what stands there."""
    BOUND = 4
    """READ: try again with half the inputs where a code saturates, up to ``k`` times."""
    INVERT = 8
    """UPDATE, WRITE, APPLY, OUTER: the other direction."""


NO_FLAGS = Flag(0)

FIELDS: dict[str, tuple[int, int, int]] = {
    "dst": (0, 0, 20),
    "a": (0, 20, 20),
    "b": (0, 40, 20),
    "reg": (0, 60, 4),
    "op": (1, 0, 6),
    "flags": (1, 6, 4),
    "array": (1, 10, 6),
    "shift": (1, 16, 6),
    "bits": (1, 22, 6),
    "n": (1, 28, 12),
    "k": (1, 40, 16),
    "m": (1, 56, 8),
}
"""Word, lowest bit and width of every field."""


@dataclass(frozen=True)
class LearnInstruction:
    """One instruction.

    Parameters
    ----------
    op : LearnOp
    dst, a, b : int
        Addresses, or counts; 20 bits.
    reg : int
        A register.
    flags : Flag
    array : int
        Of READ, UPDATE, WRITE, APPLY and RELAX, to which register ``bits`` is added.
    shift, bits, n, k, m : int
        6, 6, 12, 16 and 8 bits; ``k`` and ``m`` also take the negative numbers that these hold.

    Raises
    ------
    ConfigError
        If a value does not fit its field.
    """

    op: LearnOp
    dst: int = 0
    a: int = 0
    b: int = 0
    reg: int = 0
    flags: Flag = NO_FLAGS
    array: int = 0
    shift: int = 0
    bits: int = 0
    n: int = 0
    k: int = 0
    m: int = 0

    def __post_init__(self) -> None:
        for name, (_, _, width) in FIELDS.items():
            value = int(getattr(self, name))
            low = -(1 << (width - 1)) if name in ("k", "m") else 0
            if not low <= value < 1 << width:
                raise ConfigError(
                    f"Field '{name}' of {LearnOp(self.op).name} has {width} bits, {value} does not"
                    " fit"
                )

    def encode(self) -> tuple[int, int]:
        """Its two words."""
        words = [0, 0]
        for name, (word, low, width) in FIELDS.items():
            words[word] |= (int(getattr(self, name)) & ((1 << width) - 1)) << low
        return words[0], words[1]

    @classmethod
    def decode(cls, first: int, second: int) -> "LearnInstruction":
        """From its two words; ``k`` and ``m`` come back without sign."""
        words = (first, second)
        values = {n: words[w] >> low & ((1 << width) - 1) for n, (w, low, width) in FIELDS.items()}
        op, flags = LearnOp(values.pop("op")), Flag(values.pop("flags"))
        return cls(op, flags=flags, **values)

    def __str__(self) -> str:
        parts = [
            f"{f.name}={int(getattr(self, f.name))}"
            for f in fields(self)
            if f.name != "op" and int(getattr(self, f.name))
        ]
        return " ".join([self.op.name, *parts])
