# SPDX-License-Identifier: Apache-2.0
"""How well samples follow each other through the tiles of a mesh, from the counters of the RTL."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.formats import RequantScale
from ..host.compiler.network import CompiledNetwork, compile_network
from ..host.graph import Conv, Dense, MaxPool, Network, NetworkInput, Quantization, Reshape
from ..host.importer.network import load_network
from ..host.targets import connect
from .fabric import MODEL, pictures

__all__ = ["bottleneck_network", "duplication_gain", "throughput_ratio"]

_SEED = 5
_CHIP = Chip(name="one core", cores=1, mesh=(3, 1), data_words=1024, fifo_words=256)
"""An array a tile: a first layer, one behind it, and as much again as the first layer takes."""


class _Products(TypedDict):
    """What Conv and Dense have in common."""

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    mantissa: NDArray[np.uint32]
    shift: NDArray[np.uint8]
    zero_point: int
    clip_low: int
    clip_high: int
    out_quant: Quantization


def _pace(net: CompiledNetwork, codes: NDArray[np.uint8]) -> tuple[float, float]:
    """Cycles from sample to sample on the RTL, and those in which the slowest stage works.

    A stage that stands on n tiles takes an nth of what each of them takes.
    """
    with connect("verilator", net) as target:
        target.run(codes)
        counters = target.mesh_counters
    if counters is None or net.mesh is None:
        raise TypeError("A network for a mesh has its counters")
    return counters.cycles / len(codes), max(counters.busy) / len(codes)


def throughput_ratio(images: int) -> float:
    """The slowest stage's cycles an image over those from image to image, of the MNIST MLP on 2x2
    tiles of 8 cores; filling and draining count.

    Raises
    ------
    InputError
        If images or the model are not there.
    ToolError
        If the model cannot be built.
    """
    network = load_network(MODEL)
    net = compile_network(network, chip="tile8", mesh=(2, 2), device="rram", trace=False)
    cycles, slowest = _pace(net, network.quantize_input(pictures(images)))
    return slowest / cycles


def bottleneck_network() -> Network:
    """A convolution that takes nearly all the time, a pool and a dense layer: random weights."""
    random = np.random.default_rng(_SEED)
    quant = Quantization(1.0, 0, signed=False)

    def products(shape: tuple[int, ...]) -> _Products:
        factor = 60 / (74 * 147 * float(np.prod(shape[1:])) ** 0.5)
        scale = RequantScale.from_float(float(np.float32(factor)))
        return {
            "weights": random.integers(-128, 128, shape).astype(np.int8),
            "bias": random.integers(-20000, 20000, shape[0]).astype(np.int32),
            "mantissa": np.full(shape[0], scale.mantissa, np.uint32),
            "shift": np.full(shape[0], scale.shift, np.uint8),
            "zero_point": 128,
            "clip_low": 0,
            "clip_high": 255,
            "out_quant": quant,
        }

    layers = (
        Conv(name="conv", input="x_q", output="conv", **products((8, 8, 3, 3))),
        MaxPool(
            name="pool", input="conv", output="pool", kernel=(6, 6), strides=(6, 6), out_quant=quant
        ),
        Reshape(name="flat", input="pool", output="flat", to=(32,), out_quant=quant),
        Dense(name="fc", input="flat", output="fc", **products((10, 32))),
    )
    return Network(
        name="bottleneck",
        inputs=(NetworkInput("x", "x_q", (8, 14, 14), quant),),
        layers=layers,
        outputs=("fc",),
    )


def duplication_gain(samples: int) -> float:
    """Cycles from sample to sample of :func:`bottleneck_network` without copies, over those with
    its first layer on two tiles instead of one."""
    network = bottleneck_network()
    codes = np.random.default_rng(_SEED).integers(0, 256, (samples, *network.input_shape))
    paces = []
    for duplicate in (False, True):
        net = compile_network(network, chip=_CHIP, device="rram", trace=False, duplicate=duplicate)
        paces.append(_pace(net, codes.astype(np.uint8))[0])
    return paces[0] / paces[1]
