# SPDX-License-Identifier: Apache-2.0
"""AN and AB codes: words stored times A (and B), so that a sum of them that is no multiple of A has
an error, and its remainder tells which (Feinberg, Wang, Ipek, HPCA 2018; Brown 1960).

A code is valid for an error model if no two of its errors, and no error and none, leave the same
remainder: then every single error of the model is corrected. B takes no part in correcting: a sum
that is no multiple of B after the correction had another error than the table supposed.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

__all__ = [
    "AnCode",
    "Correction",
    "DoubleErrors",
    "ErrorModel",
    "collision",
    "double_errors",
    "largest_product",
    "nearest_a",
    "nearest_choice",
    "single_errors",
    "smallest_a",
    "smallest_detecting_a",
]


class ErrorModel(StrEnum):
    """Which errors a code is to correct, one a sum."""

    POWER_OF_TWO = "power_of_two"
    """One power of two, either way: ``+-2**i`` for every bit i of the word."""

    SLICE = "slice"
    """The code of one slice off by up to the cell's top level d, either way: ``+-1 .. +-d``, times
    the slice's weight."""


def single_errors(model: ErrorModel, word_bits: int, cell_bits: int = 1) -> tuple[int, ...]:
    """The errors of a model, smallest first, positive before negative.

    Parameters
    ----------
    model : ErrorModel
    word_bits : int
        Bits of a stored word.
    cell_bits : int
        Bits a cell holds; the power-of-two model does not ask.

    Raises
    ------
    ValueError
        If a word has no bits or is no whole number of cells.
    """
    if word_bits < 1 or cell_bits < 1 or word_bits % cell_bits:
        raise ValueError(
            f"A word must be a whole number of cells, not {word_bits} bits in cells of {cell_bits}"
        )
    if model is ErrorModel.POWER_OF_TWO:
        sizes = [1 << bit for bit in range(word_bits)]
    else:
        sizes = [
            off << place
            for place in range(0, word_bits, cell_bits)
            for off in range(1, 1 << cell_bits)
        ]
    return tuple(error for size in sizes for error in (size, -size))


def collision(a: int, errors: Iterable[int]) -> tuple[int, int] | None:
    """The first two of (no error, ``errors``) that leave the same remainder modulo ``a``."""
    seen = {0: 0}
    for error in errors:
        other = seen.setdefault(error % a, error)
        if other != error or error == 0:
            return other, error
    return None


def smallest_a(errors: Sequence[int]) -> int:
    """The smallest A that tells all of ``errors`` apart, and from none."""
    return next(a for a in itertools.count(len(errors) + 1) if collision(a, errors) is None)


def nearest_a(a: int, errors: Sequence[int], most: int) -> int | None:
    """The valid A up to ``most`` that is nearest to ``a``, the larger of two; None if there is
    none."""
    valid = [c for c in range(len(errors) + 1, most + 1) if collision(c, errors) is None]
    return min(valid, key=lambda c: (abs(c - a), -c), default=None)


def nearest_choice(a: int, model: ErrorModel, word_bits: int, cell_bits: int, most: int) -> str:
    """The valid A up to ``most`` that is nearest to ``a``, in words; where there is none, what else
    to do."""
    kind = f"'{model}' errors of {word_bits}-bit words in {cell_bits}-bit cells"
    better = nearest_a(a, single_errors(model, word_bits, cell_bits), most)
    if better is not None:
        return f"the nearest A that is valid for {kind} is {better}"
    none = f"no A up to {most}, the largest that fits, is valid for {kind}"
    other = nearest_a(a, single_errors(ErrorModel.POWER_OF_TWO, word_bits), most)
    if model is not ErrorModel.POWER_OF_TWO and other is not None:
        return f"{none}; '{ErrorModel.POWER_OF_TWO}' errors take {other}"
    return f"{none}; take weights of 8 bits and a smaller B, or no code"


@dataclass(frozen=True)
class DoubleErrors:
    """What a code makes of two errors at once: fractions of all ordered pairs of single errors.

    Parameters
    ----------
    harmless : float
        They cancel each other, or add up to a single error that is corrected.
    miscorrected : float
        The sum is taken for another single error.
    detected : float
    missed : float
        The sum is taken for right although it is wrong.
    """

    harmless: float
    miscorrected: float
    detected: float
    missed: float


def double_errors(code: "AnCode") -> DoubleErrors:
    """Count what becomes of each ordered pair of errors of the code's model, added up."""
    tally = dict.fromkeys(("harmless", "miscorrected", "detected", "missed"), 0)
    pairs = 0
    for first, second in itertools.product(code.errors, repeat=2):
        pairs += 1
        total = first + second
        found = code.error_of(total)
        if found is None:
            tally["detected"] += 1
        elif found == total:
            tally["harmless"] += 1
        else:
            tally["miscorrected" if found else "missed"] += 1
    return DoubleErrors(**{name: count / pairs for name, count in tally.items()})


def smallest_detecting_a(word_bits: int) -> int:
    """The smallest A that corrects every power-of-two error and detects every double one.

    A double error is two powers of two, of different bits of the word, either way; those that add
    up to a single error (8 - 4) are corrected as that one.
    """
    errors = single_errors(ErrorModel.POWER_OF_TWO, word_bits)
    sums = {x + y for x, y in itertools.combinations(errors, 2) if abs(x) != abs(y)}
    both = sums.difference(errors)
    for a in itertools.count(len(errors) + 1):
        if collision(a, errors) is None:
            single = {0, *(error % a for error in errors)}
            if all(total % a not in single for total in both):
                return a
    raise ValueError("There are endlessly many numbers")


def largest_product(word_bits: int, weight_bits: int) -> int:
    """The largest A * B with which every weight of ``weight_bits`` fits a word."""
    return ((1 << word_bits) - 1) // ((1 << weight_bits) - 1)


@dataclass(frozen=True)
class Correction:
    """An entry of the table: what to make of a sum with a certain remainder modulo A, up to half of
    A.

    With the sum ``(n * B + t) * A + r``, r indexing the table, and e the error that r stands for,
    ``(sum - e) / A = (n + step) * B + (t - digit)``: a whole number of B if t is ``digit``, and
    ``n + step`` is then the word's share. A sum ``(n * B + t) * A - r`` has the error -e:
    ``(sum + e) / A = (n - step) * B + (t + digit)``, so t is then ``-digit``.

    Parameters
    ----------
    detected : bool
        r stands for no error that the code corrects.
    digit : int
        From ``-((B - 1) // 2)`` to ``B // 2``.
    step : int
    """

    detected: bool
    digit: int = 0
    step: int = 0


@dataclass(frozen=True)
class AnCode:
    """A code and its error model.

    Parameters
    ----------
    a, b : int
        Factors of a stored word; b 1 for a plain AN code.
    model : ErrorModel
    word_bits : int
        Bits of a stored word.
    cell_bits : int
        Bits a cell holds.
    table : tuple of int, optional
        For each remainder modulo A the error that it stands for, 0 (but at 0) where there is none;
        that of A less a remainder is its negative. By default that of the model.

    Raises
    ------
    ValueError
        If A is not valid for the model, or the table does not fit it.
    """

    a: int
    b: int = 1
    model: ErrorModel = ErrorModel.SLICE
    word_bits: int = 16
    cell_bits: int = 2
    table: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.a < 2 or self.b < 1:
            raise ValueError(f"A must be at least 2 and B at least 1, not {self.a} and {self.b}")
        clash = collision(self.a, self.errors)
        if clash is not None:
            raise ValueError(self._clash(*clash))
        if self.table is not None:
            self._check_table(self.table)

    def _clash(self, first: int, second: int) -> str:
        what = "no error" if first == 0 else f"an error of {first:+d}"
        # Words are twice as long as the weights in them.
        most = largest_product(self.word_bits, self.word_bits // 2) // self.b
        return (
            f"A = {self.a} does not tell {what} from one of {second:+d}: both leave "
            f"{second % self.a} modulo {self.a}; "
            + nearest_choice(self.a, self.model, self.word_bits, self.cell_bits, most)
        )

    def _check_table(self, table: tuple[int, ...]) -> None:
        if len(table) != self.a:
            raise ValueError(
                f"The table of corrections has {len(table)} entries, A = {self.a} needs "
                f"{self.a}, one for each remainder"
            )
        for residue, error in enumerate(table):
            if error and error % self.a != residue:
                raise ValueError(
                    f"Entry {residue} of the table of corrections takes off {error}, which leaves "
                    f"{error % self.a} modulo {self.a}; it must leave {residue}, or be 0 for a "
                    "remainder that is only detected"
                )
            if abs(error) > max(self.errors):
                raise ValueError(
                    f"Entry {residue} of the table of corrections takes off {error}, more than "
                    f"{max(self.errors)}, the largest of the '{self.model}' errors"
                )
            other = table[-residue]
            if residue < self.a - residue and other != -error:
                raise ValueError(
                    f"Entry {residue} of the table of corrections takes off {error}, and entry "
                    f"{self.a - residue} {other}; they share a place, so they must be the same but "
                    "for the sign"
                )

    @cached_property
    def errors(self) -> tuple[int, ...]:
        """The single errors of the model."""
        return single_errors(self.model, self.word_bits, self.cell_bits)

    @property
    def product(self) -> int:
        """What words are stored times."""
        return self.a * self.b

    @cached_property
    def error_table(self) -> tuple[int, ...]:
        """For each remainder modulo A the error that it stands for; 0 where there is none."""
        if self.table is not None:
            return self.table
        errors = {error % self.a: error for error in self.errors}
        return tuple(errors.get(residue, 0) for residue in range(self.a))

    def error_of(self, total: int) -> int | None:
        """The error found in a sum that is off by ``total``; None if it is only detected."""
        residue = total % self.a
        error = self.error_table[residue]
        if (residue and not error) or (total - error) % self.product:
            return None
        return error

    @property
    def entries(self) -> int:
        """Entries of the table as the hardware holds it: a remainder and A less it share one."""
        return self.a // 2 + 1

    @cached_property
    def corrections(self) -> tuple[Correction, ...]:
        """The table as the hardware holds it: remainders up to half of A."""
        found = []
        for residue, error in enumerate(self.error_table[: self.entries]):
            if residue and not error:
                found.append(Correction(detected=True))
                continue
            quotient = (residue - error) // self.a  # exact
            # The digit of least size; of two the positive one.
            step = -(((self.b - 1) // 2 - quotient) // self.b)
            found.append(Correction(False, step * self.b - quotient, step))
        return tuple(found)

    @property
    def digit_bits(self) -> int:
        """Bits of :attr:`Correction.digit`, and one value more that none has."""
        return self.b.bit_length()

    @property
    def step_bits(self) -> int:
        """Bits of :attr:`Correction.step`, two's complement, enough for the model's errors."""
        return (max(self.errors) // self.product + 1).bit_length() + 1

    @property
    def entry_bits(self) -> int:
        """Bits of an entry of the table."""
        return self.digit_bits + self.step_bits

    @property
    def words(self) -> tuple[int, ...]:
        """The table as a WRITE_CORRECTIONS message carries it, one entry a word.

        The digit modulo B, or B where the remainder is only detected; above it ``step``.
        """
        mask = (1 << self.step_bits) - 1
        return tuple(
            (self.b if c.detected else c.digit % self.b) | (c.step & mask) << self.digit_bits
            for c in self.corrections
        )
