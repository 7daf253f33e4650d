# SPDX-License-Identifier: Apache-2.0
"""Weight encodings: how the cells of a few neighbouring columns hold a signed weight.

``docs/encodings.md`` tells what each is good for, and what the sums of a product then mean.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CellCode", "WeightEncoding"]


class WeightEncoding(StrEnum):
    """How a weight is stored."""

    OFFSET = "offset"
    """``w + 2**(bits - 1)``, never negative (ISAAC, section V)."""

    DIFFERENTIAL = "differential"
    """The magnitude in one group of columns if the weight is positive, in another if it is
    negative; the sums of the second are taken off those of the first."""

    FLIPPED = "flipped"
    """As offset, but a column whose cells add up to much is stored as its complement, and put right
    behind the ADC (ISAAC, section V): the largest sum of a column is halved."""

    XNOR = "xnor"
    """A bit in one row and its complement in another, of which the input bit drives one: a column
    counts where input and weight agree (Rastegari et al., XNOR-Net, 2016)."""

    TERNARY = "ternary"
    """Weights -1, 0 and 1: differential with a single cell each."""


@dataclass(frozen=True)
class CellCode:
    """What follows from an encoding, the bits of a weight and the bits of a cell.

    Parameters
    ----------
    encoding : WeightEncoding
    weight_bits : int
        1, 2, 4 or 8. Of a differential pair, the bits of a magnitude.
    cell_bits : int
        1, 2 or 4.
    factor : int
        What stored numbers are multiplied with: A * B of an AN code (``docs/ecc.md``).

    Raises
    ------
    ValueError
        If the cells cannot hold such weights, with the nearest choice that they can.
    """

    encoding: WeightEncoding
    weight_bits: int
    cell_bits: int
    factor: int = 1

    def __post_init__(self) -> None:
        encoding, weight, cell = self.encoding, self.weight_bits, self.cell_bits
        if weight not in (1, 2, 4, 8):
            raise ValueError(f"weight_bits must be 1, 2, 4 or 8, not {weight}")
        if weight == 1 and encoding is not WeightEncoding.XNOR:
            raise ValueError(
                f"weights of 1 bit are -1 and 1, which the encoding {encoding} cannot hold; set "
                "weight_encoding = 'xnor' for binary weights, or 'ternary' and weight_bits = 2"
            )
        if encoding is WeightEncoding.TERNARY and weight != 2:
            raise ValueError(f"ternary weights have 2 bits, not {weight}; set weight_bits = 2")
        single = encoding in (WeightEncoding.XNOR, WeightEncoding.TERNARY)
        if single and cell != 1:
            raise ValueError(
                f"the encoding {encoding} stores single bits, in cells of 1 bit, not {cell}; set "
                "cell_bits = 1, or weight_encoding = 'differential'"
            )
        if self.factor > 1 and encoding is not WeightEncoding.OFFSET:
            raise ValueError(
                f"an AN code is for the encoding offset, not {encoding}; leave out code_a or set "
                "weight_encoding = 'offset'"
            )
        if cell > weight:
            raise ValueError(
                f"a cell of {cell} bits is wider than a weight of {weight}; set cell_bits = "
                f"{weight} or weight_bits = {cell}"
            )

    @property
    def paired(self) -> bool:
        """Whether positive and negative weights have columns of their own."""
        return self.encoding in (WeightEncoding.DIFFERENTIAL, WeightEncoding.TERNARY)

    @property
    def complement_rows(self) -> bool:
        """Whether an input drives one of two rows."""
        return self.encoding is WeightEncoding.XNOR

    @property
    def top(self) -> int:
        """Highest level of a cell."""
        return (1 << self.cell_bits) - 1

    @property
    def slices(self) -> int:
        """Cells that the bits of a stored number are cut into, least significant first."""
        if self.encoding is WeightEncoding.TERNARY:
            return 1
        return self.word_bits // self.cell_bits

    @property
    def word_bits(self) -> int:
        """Bits of a stored number; of a magnitude in a differential pair."""
        return self.weight_bits * (2 if self.factor > 1 else 1)

    @property
    def column_weights(self) -> tuple[int, ...]:
        """What a code counts for, for each of the neighbouring columns that hold one output."""
        places = tuple(1 << (s * self.cell_bits) for s in range(self.slices))
        return (*places, *(-place for place in places)) if self.paired else places

    @property
    def weight_range(self) -> tuple[int, int]:
        """The least and the greatest weight that cells can hold."""
        if self.encoding is WeightEncoding.XNOR and self.weight_bits == 1:
            return -1, 1
        if self.paired:
            most = (1 << self.slices * self.cell_bits) - 1
            return -most, most
        return -(1 << (self.weight_bits - 1)), (1 << (self.weight_bits - 1)) - 1

    @property
    def holds_zero(self) -> bool:
        """Whether there is a weight of 0."""
        return self.weight_bits > 1

    @property
    def offset(self) -> int:
        """What is added to a weight before it is stored."""
        return 0 if self.paired else 1 << (self.weight_bits - 1)

    @property
    def sum_unit(self) -> int:
        """How many units of a core's sum make one of ``sum x * w``."""
        # A pair of rows counts agreements, of which one more is a difference of two.
        return 2 if self.complement_rows and self.weight_bits > 1 else 1

    @property
    def sum_weight(self) -> int:
        """What is to be taken off a sum for each unit of the sum of activations."""
        if self.complement_rows:
            return self.sum_unit - 1
        return self.offset

    def sum_constant(self, rows: int, weights: int, planes: int) -> int:
        """What is to be added to a sum besides.

        With planes p of the activations and bits s of ``v = w + 2**(bits - 1)``, the count of a
        pair of rows is ``2 * x_p * v_s - x_p - v_s + 1``, summed over the rows in use.

        Parameters
        ----------
        rows : int
            Inputs of the product, all arrays together.
        weights : int
            The sum of their weights.
        planes : int
            What all planes together weigh: 255 for eight.
        """
        if not self.complement_rows:
            return 0
        if self.weight_bits == 1:
            return planes * ((weights + rows) // 2 - rows)
        return planes * (weights - (self.offset - 1) * rows)

    def highest_code(self, rows: int) -> int:
        """The largest sum of a column in a read of so many rows."""
        most = rows * self.top
        return most // 2 if self.encoding is WeightEncoding.FLIPPED else most
