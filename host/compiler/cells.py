# SPDX-License-Identifier: Apache-2.0
"""What cells and converters can hold of a network: checks that need its weights."""

import numpy as np

from ...arch.chip import Chip
from ...arch.encodings import CellCode, WeightEncoding
from ...arch.errors import ConfigError
from ..graph import Conv, Dense

__all__ = ["check_weights"]


def check_weights(layer: Dense | Conv, chip: Chip) -> None:
    """Refuse a layer with weights that the cells of a chip cannot hold.

    Raises
    ------
    ConfigError
        With the nearest chip that holds them.
    """
    code = chip.cell_code
    low, high = int(layer.weights.min()), int(layer.weights.max())
    least, most = code.weight_range
    has = f"Layer '{layer.name}' has weights from {low} to {high}"
    # Sense amplifiers decide on binary weights alone.
    without = "leave sense_amplifier out and " if chip.sense_amplifier else ""
    if low < least or high > most:
        raise ConfigError(
            f"{has}, the cells of chip '{chip.name}' hold {least} to {most} (encoding "
            f"{chip.weight_encoding}, weight_bits = {chip.weight_bits}); "
            f"{without}{_wider(code, low, high)}, or quantize the model to fewer bits"
        )
    if not code.holds_zero and not np.all(layer.weights):
        raise ConfigError(
            f"Layer '{layer.name}' has weights of 0, binary weights are -1 and 1 (chip "
            f"'{chip.name}', weight_bits = 1); {without}set weight_bits = 2, for example with "
            "weight_encoding = 'ternary'"
        )


def _wider(code: CellCode, low: int, high: int) -> str:
    """The nearest setting that holds weights from ``low`` to ``high``."""
    ternary = code.encoding is WeightEncoding.TERNARY
    encoding = WeightEncoding.DIFFERENTIAL if ternary else code.encoding
    for bits in (2, 4, 8):
        if bits < max(code.weight_bits, code.cell_bits):
            continue
        least, most = CellCode(encoding, bits, code.cell_bits).weight_range
        if least <= low and high <= most:
            change = f"weight_encoding = '{encoding}' and " if ternary else ""
            return f"set {change}weight_bits = {bits}"
    raise ValueError("Weights of 8 bits fit every encoding")
