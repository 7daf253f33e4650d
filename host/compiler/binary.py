# SPDX-License-Identifier: Apache-2.0
"""Binary networks on sense amplifiers: what a layer asks of them, and their thresholds.

With inputs of one bit, weights of -1 and 1 in the encoding xnor and all inputs in one read, the
cells of a column that count are as many as ``sum x * w`` and a constant. A layer whose codes are 0
or 1 then is a comparison, and a sense amplifier makes it in place of an ADC and a requantizer.
"""

import numpy as np
from numpy.typing import NDArray

from ...arch.chip import Chip
from ...arch.errors import ConfigError
from ...behavioral.golden import requantize
from ..graph import Conv, Dense, MaxPool, Network
from .mapping import Block, LayerMap, Mapping
from .tensors import is_view

__all__ = ["array_thresholds", "check_binary"]


def check_binary(network: Network, mapping: Mapping) -> None:
    """Refuse a network that sense amplifiers cannot compute; nothing on other chips.

    Raises
    ------
    ConfigError
        With the layer, why, and the nearest chip that takes it.
    """
    chip = mapping.chip
    if not chip.sense_amplifier:
        return
    bits = {entry.tensor for entry in network.fed}
    for layer in network.layers:
        kept = is_view(layer) or isinstance(layer, MaxPool | Dense | Conv)
        if not kept or not bits.issuperset(layer.sources):
            raise ConfigError(
                f"Layer '{layer.name}' ({layer.kind}) works on codes of more than one bit, sense "
                f"amplifiers give one; {_way_out(chip)}"
            )
        if isinstance(layer, Dense | Conv):
            _check_layer(mapping.layer(layer.name), chip)
        bits.add(layer.output)


def _way_out(chip: Chip) -> str:
    bits = chip.with_(sense_amplifier=False, adc_clip=True).adc_bits_for(chip.most_rows)
    return f"leave sense_amplifier out of chip '{chip.name}' and set adc_bits = {bits}"


def _check_layer(mapped: LayerMap, chip: Chip) -> None:
    layer = mapped.layer
    if len(mapped.row_parts) > 1 or mapped.rows > chip.rows_per_read:
        most = min(chip.rows_per_read, chip.input_rows)
        raise ConfigError(
            f"Layer '{layer.name}' adds up {mapped.rows} inputs, a sense amplifier decides on one "
            f"read of at most {most}; take arrays with more rows (chip '{chip.name}', rows and "
            f"rows_per_read), or {_way_out(chip)}"
        )
    if isinstance(layer, Conv) and layer.pad_code > 1:
        raise ConfigError(
            f"Layer '{layer.name}' is padded with code {layer.pad_code}, a row is driven or not; "
            f"{_way_out(chip)}"
        )
    codes = _codes(layer)
    if codes.max() > 1:
        raise ConfigError(
            f"Layer '{layer.name}' has codes up to {codes.max()}, sense amplifiers give 0 or 1; "
            f"{_way_out(chip)}, or quantize its output to one bit"
        )
    if (np.diff(codes.astype(np.int64), axis=1) < 0).any():
        raise ConfigError(
            f"Layer '{layer.name}' has codes that fall as sums rise, a sense amplifier's rise; "
            f"change the signs of its weights, or {_way_out(chip)}"
        )


def _codes(layer: Dense | Conv) -> NDArray[np.uint8]:
    """Codes of every sum that there can be: uint8 [outputs, 2 * inputs + 1]."""
    sums = np.arange(-layer.inputs, layer.inputs + 1) + layer.bias.astype(np.int64)[:, None]
    codes = np.stack(
        [
            requantize(row, mantissa, shift, layer.zero_point, layer.clip_low, layer.clip_high)
            for row, mantissa, shift in zip(sums, layer.mantissa, layer.shift, strict=True)
        ]
    )
    return codes if layer.table is None else layer.table[codes]


def array_thresholds(mapped: LayerMap, block: Block, chip: Chip) -> NDArray[np.int32] | None:
    """Counts of cells from which on the columns of a block read 1: int32 [chip.cols].

    None on chips with ADCs. ``sum x * w`` is the count of a column, less a pair of rows for each
    input but those with a weight of 1 (``CellCode.sum_constant``).
    """
    if not chip.sense_amplifier:
        return None
    layer = mapped.layer
    codes = _codes(layer)
    # The first sum with code 1, or one more than there are.
    first = np.where(codes.any(axis=1), codes.argmax(axis=1), codes.shape[1]) - layer.inputs
    slots = mapped.slots_of(mapped.part_of(block))
    order = mapped.input_order[block.rows.start : block.rows.stop]
    ones = (mapped.weights(slots, order) > 0).sum(axis=1)
    thresholds = np.ones(chip.cols, np.int32)
    thresholds[: len(slots)] = np.where(slots < 0, 1, first[slots] + len(order) - ones)
    return thresholds
