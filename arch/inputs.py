# SPDX-License-Identifier: Apache-2.0
"""Input encodings: in which passes a core drives the rows of its array with 8-bit activations.

A product is a row of *passes*. In each of them a row is driven or not (or with one of several
voltages), and what its reads give counts with the weight of the pass. ``docs/encodings.md`` tells
what each encoding is good for and what it costs.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from .encodings import WeightEncoding
from .formats import ACTIVATION_BITS

__all__ = ["DIGIT_BITS", "MAX_PASSES", "InputCode", "InputEncoding", "lfsr_states"]

MAX_PASSES = (1 << ACTIVATION_BITS) - 1
"""Passes of the longest product: an activation of so many units, one at a time."""

DIGIT_BITS = 2
"""Bits of an activation that a multi-level driver puts on a row at once."""

_TOP = ACTIVATION_BITS - 1


class InputEncoding(StrEnum):
    """How activations are put on the rows."""

    UNSIGNED = "unsigned"
    """Bit planes of the code, the least significant first (ISAAC, section III)."""

    TWOS_COMPLEMENT = "twos_complement"
    """Bit planes of ``code - 128`` in two's complement: the top plane weighs -128."""

    SIGN_MAGNITUDE = "sign_magnitude"
    """Bit planes of the magnitude of ``code - ZERO``, each in two passes: rows above zero, then
    rows below it, which weigh the opposite."""

    DIGITS = "digits"
    """Digits of two bits, a voltage each, from multi-level drivers."""

    UNARY = "unary"
    """Pulse width: a row is driven in as many passes as its code says, from the first on."""

    STOCHASTIC = "stochastic"
    """A row is driven in the passes in which its code is not below a pseudo-random number."""


def lfsr_states(count: int) -> tuple[int, ...]:
    """The numbers of the stochastic encoding: states of an 8-bit shift register from 1 on.

    Feedback from bits 7, 5, 4 and 3, a primitive polynomial: the period is 255, in which every
    number but 0 comes up once (Golomb, Shift Register Sequences, 1967).
    """
    states, state = [], 1
    for _ in range(count):
        states.append(state)
        fed = (state >> 7 ^ state >> 5 ^ state >> 4 ^ state >> 3) & 1
        state = (state << 1 | fed) & ((1 << ACTIVATION_BITS) - 1)
    return tuple(states)


@dataclass(frozen=True)
class InputCode:
    """What follows from an encoding.

    Parameters
    ----------
    encoding : InputEncoding
    stream_length : int
        Passes of the stochastic encoding, 1 to 255.
    """

    encoding: InputEncoding = InputEncoding.UNSIGNED
    stream_length: int = MAX_PASSES

    def check_with(
        self, row_budgets: tuple[int, ...], program_verify: bool, weights: WeightEncoding
    ) -> None:
        """Refuse what does not go together with other options of a chip.

        Raises
        ------
        ValueError
            With what does not fit, and the way out.
        """
        encoding = self.encoding
        if encoding is not InputEncoding.STOCHASTIC and self.stream_length != MAX_PASSES:
            raise ValueError(
                f"stream_length is for input_encoding = 'stochastic', a product of the encoding "
                f"'{encoding}' takes {self.passes} passes; leave it out"
            )
        if row_budgets and self.plane(1) != 1:
            raise ValueError(
                f"row_budgets are for bit planes, the passes of input_encoding = '{encoding}' are "
                "others; leave them out, or take 'unsigned' or 'twos_complement'"
            )
        if weights is WeightEncoding.XNOR and encoding is not InputEncoding.UNSIGNED:
            raise ValueError(
                f"weight_encoding = 'xnor' drives a row for every bit of an input, which "
                f"input_encoding = '{encoding}' does not have; set input_encoding = 'unsigned', or "
                "weight_encoding = 'differential'"
            )
        if weights is WeightEncoding.FLIPPED and self.digit_bits > 1:
            raise ValueError(
                f"weight_encoding = 'flipped' counts the rows that a read drives, input_encoding "
                f"= '{encoding}' drives them with a voltage each; take another of the two"
            )
        if program_verify and self.digit_bits > 1:
            raise ValueError(
                f"program_verify reads cells with rows driven or not, input_encoding = "
                f"'{encoding}' drives them with a voltage each; leave out one of the two"
            )

    @cached_property
    def passes(self) -> int:
        """Passes of a product over all bits of its activations."""
        match self.encoding:
            case InputEncoding.SIGN_MAGNITUDE:
                return 2 * ACTIVATION_BITS
            case InputEncoding.DIGITS:
                return ACTIVATION_BITS // DIGIT_BITS
            case InputEncoding.UNARY:
                return MAX_PASSES
            case InputEncoding.STOCHASTIC:
                return self.stream_length
        return ACTIVATION_BITS

    @property
    def number_bits(self) -> int:
        """Bits of the number of a pass."""
        return max(1, (self.passes - 1).bit_length())

    @cached_property
    def weights(self) -> tuple[int, ...]:
        """What a read counts for, by pass: a power of two and a sign."""
        return tuple(
            -(1 << self.plane(k)) if self.negative(k) else 1 << self.plane(k)
            for k in range(self.passes)
        )

    def plane(self, number: int) -> int:
        """The bit of an activation that pass ``number`` weighs as much as."""
        match self.encoding:
            case InputEncoding.SIGN_MAGNITUDE:
                return number // 2
            case InputEncoding.DIGITS:
                return number * DIGIT_BITS
            case InputEncoding.UNARY | InputEncoding.STOCHASTIC:
                return 0
        return number

    def negative(self, number: int) -> bool:
        """Whether the reads of pass ``number`` are taken off."""
        if self.encoding is InputEncoding.SIGN_MAGNITUDE:
            return bool(number % 2)
        return self.encoding is InputEncoding.TWOS_COMPLEMENT and number == _TOP

    @property
    def signed(self) -> bool:
        """Whether any pass is taken off."""
        return any(weight < 0 for weight in self.weights)

    @property
    def has_zero(self) -> bool:
        """Whether LOAD takes register ZERO off activations."""
        return self.encoding is InputEncoding.SIGN_MAGNITUDE

    @cached_property
    def thresholds(self) -> tuple[int, ...]:
        """The code from which on a row is driven, by pass; empty where bits of it say so."""
        match self.encoding:
            case InputEncoding.UNARY:
                return tuple(range(1, MAX_PASSES + 1))
            case InputEncoding.STOCHASTIC:
                return lfsr_states(self.stream_length)
        return ()

    @property
    def digit_bits(self) -> int:
        """Bits that tell the voltage of a row: 1, driven or not, or 2."""
        return DIGIT_BITS if self.encoding is InputEncoding.DIGITS else 1

    @property
    def top_digit(self) -> int:
        """The highest voltage of a row, in read voltages."""
        return (1 << self.digit_bits) - 1

    @property
    def exact(self) -> bool:
        """Whether all passes of a code together weigh what it says."""
        return self.encoding is not InputEncoding.STOCHASTIC or self.passes == MAX_PASSES

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """What a code adds to the sum of activations, by code: itself, or the passes that it is
        driven in."""
        if self.encoding is InputEncoding.STOCHASTIC:
            return tuple(sum(x >= t for t in self.thresholds) for x in range(MAX_PASSES + 1))
        return tuple(range(MAX_PASSES + 1))

    def origin(self, zero: int) -> int:
        """The code whose value is 0: what all values together are lower by.

        Parameters
        ----------
        zero : int
            Register ZERO.
        """
        if self.encoding is InputEncoding.TWOS_COMPLEMENT:
            return 1 << _TOP
        return zero if self.has_zero else 0
