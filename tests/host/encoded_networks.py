# SPDX-License-Identifier: Apache-2.0
"""A chip of every weight encoding, and small networks whose weights it holds."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
from graph_cases import Maker, random_inputs

from ohmtwin.arch.chip import Chip
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.graph import Conv, Dense, Network
from ohmtwin.host.targets import connect

__all__ = ["ENCODED", "assert_clocked", "encoded_network"]

_SMALL = Chip(
    name="encoded",
    cores=5,
    rows=32,
    cols=64,
    cell_bits=2,
    lanes=8,
    adc_bits=6,
    rows_per_read=16,
    program_words=512,
    data_words=128,
    param_words=256,
    tables=2,
    fifo_words=64,
)

ENCODED = MappingProxyType(
    {
        "differential": _SMALL.with_(weight_encoding="differential"),
        # All rows in one read: a column flips as a whole.
        "flipped": _SMALL.with_(weight_encoding="flipped", rows_per_read=32, cores=3),
        "flipped, baseline": _SMALL.with_(
            weight_encoding="flipped", rows_per_read=32, row_schedule="baseline", lanes=2, cores=3
        ),
        "xnor": _SMALL.with_(
            weight_encoding="xnor",
            cell_bits=1,
            adc_bits=4,
            rows_per_read=8,
            row_schedule="baseline",
            lanes=16,
        ),
        "binary": _SMALL.with_(
            weight_encoding="xnor",
            weight_bits=1,
            cell_bits=1,
            adc_bits=5,
            row_schedule="baseline",
            cores=4,
        ),
        "ternary": _SMALL.with_(
            weight_encoding="ternary", weight_bits=2, cell_bits=1, adc_bits=5, cores=3
        ),
        "4 bits": _SMALL.with_(weight_bits=4, cell_bits=4, adc_bits=8, cores=3),
        "differential, 4 bits": _SMALL.with_(
            weight_encoding="differential", weight_bits=4, lanes=4, cores=3
        ),
        "xnor, 4 bits": _SMALL.with_(
            weight_encoding="xnor",
            weight_bits=4,
            cell_bits=1,
            adc_bits=5,
            row_schedule="baseline",
            cores=4,
        ),
    }
)
"""By name; small, and of few columns an output, so that layers are cut."""


def encoded_network(chip: Chip, seed: int = 1) -> Network:
    """A convolution and two dense layers, with weights over all of the chip's range."""
    m = Maker(seed)
    a = m.conv(m.input(2, 5, 5), (3, 2, 3, 3), pads=(1, 1, 0, 0), strides=(2, 2))
    b = m.dense(m.reshape(a, 12), 12, 11)
    m.dense(b, 11, 5, table=True)
    random = np.random.default_rng(seed)
    low, high = chip.cell_code.weight_range
    if chip.weight_encoding == "differential":
        low, high = max(low, -128), min(high, 127)
    for at, layer in enumerate(m.layers):
        if not isinstance(layer, Dense | Conv):
            continue
        weights = random.integers(low, high + 1, layer.weights.shape)
        # Extremes, so that they are held too.
        weights.flat[:2] = low, high
        if chip.weight_bits == 1:
            weights = np.where(weights < 0, -1, 1)
        wider = np.float32(0.5 ** (np.log2(max(-low, high)) // 1 - 7))
        m.layers[at] = replace(
            layer,
            weights=weights.astype(np.int8),
            bias=(layer.bias / wider).astype(np.int32),
            shift=(layer.shift - int(np.log2(wider))).astype(np.uint8),
        )
    return m.network(m.layers[-1].output)


def assert_clocked(chip: Chip, seed: int = 1) -> None:
    """Every tensor and every counter of a noisy run, fast and on the Verilated tile."""
    network = encoded_network(chip, seed)
    one = compile_network(network, chip=chip, device="rram", seed=3)
    codes = random_inputs(network, 3)
    with connect("fast", one) as fast, connect("verilator", one) as clocked:
        wanted, found = fast.run(codes), clocked.run(codes)
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert fast.counters == clocked.counters
