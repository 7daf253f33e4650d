# SPDX-License-Identifier: Apache-2.0
"""Small random networks and the small chip for the tests of targets."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.formats import RequantScale
from ohmtwin.host.graph import Dense, Network, NetworkInput, Quantization

__all__ = ["SMALL_CHIP", "random_codes", "random_network"]

SMALL_CHIP = Chip(
    name="small",
    cores=4,
    rows=16,
    cols=32,
    cell_bits=2,
    lanes=8,
    adc_bits=6,
    rows_per_read=8,
    program_words=128,
    data_words=64,
    param_words=64,
    fifo_words=32,
)
"""One structure for all of them, so that one Verilated model serves."""


def random_network(seed: int, sizes: tuple[int, ...], table_after: int | None = None) -> Network:
    """A chain of dense layers of the given sizes, codes spread over most of 0 to 255.

    Parameters
    ----------
    seed : int
    sizes : tuple of int
        Inputs, then outputs of each layer.
    table_after : int, optional
        The layer that ends in a random table.
    """
    random = np.random.default_rng(seed)
    unit = Quantization(1.0, 0, signed=False)
    layers = []
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        # A sum has a deviation of about 74 * 147 * sqrt(inputs).
        factors = random.uniform(0.3, 1.2, outputs) * 60 / (74 * 147 * inputs**0.5)
        scales = [RequantScale.from_float(float(np.float32(f))) for f in factors]
        table = number == table_after
        layers.append(
            Dense(
                name=f"fc{number}",
                input=f"t{number}",
                output=f"t{number + 1}",
                weights=random.integers(-127, 128, (outputs, inputs)).astype(np.int8),
                bias=random.integers(-20000, 20000, outputs).astype(np.int32),
                mantissa=np.array([s.mantissa for s in scales], dtype=np.uint32),
                shift=np.array([s.shift for s in scales], dtype=np.uint8),
                zero_point=int(random.integers(60, 200)),
                clip_low=int(random.integers(0, 30)),
                clip_high=255,
                out_quant=unit,
                table=random.permutation(256).astype(np.uint8) if table else None,
                pre_quant=unit if table else None,
            )
        )
    return Network(
        name=f"random{seed}",
        inputs=(NetworkInput("x", "t0", (sizes[0],), unit),),
        layers=tuple(layers),
        outputs=(f"t{len(sizes) - 1}",),
    )


def random_codes(seed: int, n: int, inputs: int) -> NDArray[np.uint8]:
    """Samples, some of them sparse: uint8 [n, inputs]."""
    random = np.random.default_rng(seed)
    codes = random.integers(0, 256, (n, inputs)).astype(np.uint8)
    codes[random.random((n, inputs)) < random.random((n, 1)) * 0.9] = 0
    return codes
