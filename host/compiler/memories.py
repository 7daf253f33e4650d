# SPDX-License-Identifier: Apache-2.0
"""What the parameter memory and the tables of a tile hold."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import CapacityError
from ...arch.formats import MAX_SHIFT, RequantScale
from ..graph import Conv, Dense

__all__ = ["Memories", "next_power"]


def next_power(value: int) -> int:
    """The smallest power of two that is not below a value: sizes of memories are powers of two."""
    return 1 << max(0, value - 1).bit_length()


@dataclass
class Memories:
    """Parameters and tables, each kept once."""

    chip: Chip
    params: list[int] = field(default_factory=list)
    tables: list[NDArray[np.uint8]] = field(default_factory=list)
    _known: dict[tuple[int, ...], int] = field(default_factory=dict)

    def layer_params(
        self, layer: Dense | Conv, outputs: NDArray[np.int64], constants: NDArray[np.int64]
    ) -> int:
        """Bias and scale of some outputs; returns their address in groups of W words.

        Zeros for -1: the code of such a slot is the zero point, and nobody reads it.

        Parameters
        ----------
        layer : Dense or Conv
        outputs : int64 [n]
        constants : int64 [n]
            Added to the bias, in units of a core's sums.
        """
        if self.chip.sense_amplifier:
            one = RequantScale.from_float(1.0)
            words = [one.mantissa << 32 | one.shift << 56 if j >= 0 else 0 for j in outputs]
            return self._add(words, layer.name)
        unit = self.chip.cell_code.sum_unit
        # Sums in halves: a factor half as large, which a shift by one more is.
        halved = unit.bit_length() - 1
        if halved and int(layer.shift.max()) + halved > MAX_SHIFT:
            raise CapacityError(
                f"Layer '{layer.name}' has a scale of less than 2**{1 - MAX_SHIFT + 24} a unit, "
                f"which the encoding {self.chip.weight_encoding} cannot halve; use another "
                "weight_encoding"
            )
        words = [
            0
            if j < 0
            else int(layer.bias[j]) * unit + constant & 0xFFFFFFFF
            | int(layer.mantissa[j]) << 32
            | int(layer.shift[j]) + halved << 56
            for j, constant in zip(outputs.tolist(), constants.tolist(), strict=True)
        ]
        return self._add(words, layer.name)

    def same_param(self, mantissa: int, shift: int, bias: int, name: str) -> int:
        """One group that holds the same bias and scale for every lane."""
        word = bias & 0xFFFFFFFF | mantissa << 32 | shift << 56
        return self._add([word] * self.chip.outputs_per_beat, name)

    def _add(self, words: list[int], name: str) -> int:
        width = self.chip.outputs_per_beat
        words = words + [0] * (-len(words) % width)
        key = tuple(words)
        if key in self._known:
            return self._known[key]
        address = len(self.params) // width
        self.params += words
        if len(self.params) > self.chip.param_words:
            raise CapacityError(
                f"The outputs up to layer '{name}' need {len(self.params)} parameter words, chip "
                f"'{self.chip.name}' has {self.chip.param_words}; raise param_words"
            )
        self._known[key] = address
        return address

    def table(self, table: NDArray[np.uint8] | None, name: str) -> int | None:
        """The number of a table; None for none."""
        if table is None:
            return None
        for number, known in enumerate(self.tables):
            if np.array_equal(table, known):
                return number
        if len(self.tables) == self.chip.tables:
            raise CapacityError(
                f"Layer '{name}' would need table {len(self.tables) + 1}, a tile of chip "
                f"'{self.chip.name}' holds {self.chip.tables}; raise tables, give layers the same "
                f"activation and scales, or use ReLU, which needs no table"
            )
        self.tables.append(table)
        return len(self.tables) - 1

    @property
    def param_words(self) -> NDArray[np.uint64]:
        """Parameter memory."""
        return np.array(self.params, dtype=np.uint64)

    @property
    def table_codes(self) -> NDArray[np.uint8]:
        """All tables of the tile, unused ones 0: uint8 [tables, 256]."""
        codes = np.zeros((self.chip.tables, 256), dtype=np.uint8)
        for number, table in enumerate(self.tables):
            codes[number] = table
        return codes

    def beats(self, outputs: int) -> int:
        """Accumulator words, and groups of parameters, of so many outputs."""
        return math.ceil(outputs / self.chip.outputs_per_beat)
