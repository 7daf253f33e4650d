# SPDX-License-Identifier: Apache-2.0
"""A network small enough for every simulator, compiled for a chip of three cores."""

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.devices import ideal, rram
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.graph import Dense, Network, NetworkInput, Quantization

__all__ = ["TILE_CHIP", "samples", "small_network"]

TILE_CHIP = Chip(
    cores=3,
    rows=16,
    cols=32,
    cell_bits=2,
    lanes=8,
    adc_bits=5,
    rows_per_read=6,
    program_words=128,
    data_words=64,
    param_words=64,
    fifo_words=16,
)

_QUANT = Quantization(1.0, 0, False)


def _layer(name: str, source: str, target: str, outputs: int, inputs: int) -> Dense:
    rng = np.random.default_rng([7, outputs, inputs])
    weights = rng.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    bias = rng.integers(-2000, 2000, outputs).astype(np.int32)
    mantissa = rng.integers(1 << 23, 1 << 24, outputs).astype(np.uint32)
    # Every other output is a sum of multiples of 64 by 2**-9: one of eight is a tie.
    weights[::2] &= -64
    bias[::2] &= -64
    mantissa[::2] = 1 << 23
    return Dense(
        name=name,
        input=source,
        output=target,
        weights=weights,
        bias=bias,
        mantissa=mantissa,
        shift=np.full(outputs, 32, np.uint8),
        zero_point=100,
        clip_low=20,
        clip_high=250,
        out_quant=_QUANT,
    )


def small_network(*, noisy: bool, zero_skip: bool = True, seed: int = 3) -> CompiledNetwork:
    """24 inputs, 8 codes over two cores, 4 outputs on the third."""
    network = Network(
        name="small",
        inputs=(NetworkInput("x", "x", (24,), _QUANT),),
        layers=(_layer("first", "x", "h", 8, 24), _layer("second", "h", "y", 4, 8)),
        outputs=("y",),
    )
    schedule = "zero_skip" if zero_skip else "baseline"
    return compile_network(
        network,
        chip=TILE_CHIP.with_(row_schedule=schedule),
        device=rram() if noisy else ideal(),
        seed=seed,
    )


def samples(count: int, seed: int = 1) -> NDArray[np.uint8]:
    """Codes of the input, a third of them zero: uint8 [count, 24]."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, 24)) * (rng.random((count, 24)) > 0.33)
    return x.astype(np.uint8)
