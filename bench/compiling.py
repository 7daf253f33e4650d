# SPDX-License-Identifier: Apache-2.0
"""How long compiling takes, and a network of ten million weights.

Run as a module it compiles one model file and prints seconds and peak memory, so that both are
those of compiling alone.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..arch.errors import InputError, ToolError
from ..host.compiler.network import compile_network
from ..host.importer.network import load_network
from ..host.targets import connect
from .fabric import pictures
from .memory import peak_gib

__all__ = [
    "LENET",
    "TEN_MILLION",
    "compile_lenet",
    "compile_ten_million",
    "lenet_fast",
    "write_wide",
]

LENET = Path(__file__).parents[1] / "examples" / "models" / "lenet_qdq.onnx"

TEN_MILLION = (784, 2048, 2048, 2048, 1024, 10)
"""Widths of the layers of a network of 12 million weights."""


def _lenet() -> Path:
    if not LENET.is_file():
        raise InputError(f"This figure needs {LENET}; run it from a source checkout")
    return LENET


def compile_lenet(runs: int) -> float:
    """Seconds from the file to programs and cell levels, median.

    Raises
    ------
    InputError
        If the model is not there.
    """
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        compile_network(_lenet())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def write_wide(path: Path) -> int:
    """A model of dense layers of :data:`TEN_MILLION`; returns its weights."""
    random = np.random.default_rng(0)
    nodes, constants = [], []
    total = 0

    def constant(name: str, value: np.ndarray[Any, Any]) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    scale = constant("scale", np.array(0.05, np.float32))
    zero = constant("zero", np.array(100, np.uint8))
    nodes.append(helper.make_node("QuantizeLinear", ["x", scale, zero], ["t0"], name="quantize"))
    for number, (inputs, outputs) in enumerate(pairwise(TEN_MILLION)):
        total += inputs * outputs
        weights = random.integers(-127, 128, (outputs, inputs), np.int8)
        # Sums spread over most codes.
        weight_scale = np.array(0.7 / (73 * inputs**0.5), np.float32)
        nodes.append(
            helper.make_node(
                "QGemm",
                [
                    f"t{number}",
                    scale,
                    zero,
                    constant(f"w{number}", weights),
                    constant(f"ws{number}", weight_scale),
                    constant(f"wz{number}", np.array(0, np.int8)),
                    constant(f"b{number}", random.integers(-9999, 9999, outputs, np.int32)),
                    scale,
                    zero,
                ],
                [f"t{number + 1}"],
                name=f"fc{number}",
                domain="com.microsoft",
                transB=1,
            )
        )
    last = f"t{len(TEN_MILLION) - 1}"
    nodes.append(helper.make_node("DequantizeLinear", [last, scale, zero], ["y"], name="real"))
    graph = helper.make_graph(
        nodes,
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", TEN_MILLION[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return total


def compile_ten_million() -> dict[str, float]:
    """Compile in a process of its own.

    Returns
    -------
    dict
        ``seconds``, ``gib`` at the peak, ``weights``, ``arrays`` and ``tiles``.

    Raises
    ------
    ToolError
        If that process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.onnx"
        weights = write_wide(path)
        command = [sys.executable, "-m", __name__, str(path)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ToolError(f"Compiling {weights} weights failed: {ran.stderr.strip()[-400:]}")
    found: dict[str, float] = json.loads(ran.stdout)
    return {**found, "weights": weights}


def lenet_fast(count: int) -> float:
    """Seconds to compile LeNet and run images at the fast level, noise on.

    Raises
    ------
    InputError
        If the model or the images are not there.
    """
    images = pictures(count)
    begin = time.perf_counter()
    compiled = compile_network(_lenet(), device="rram", trace=False)
    with connect("fast", compiled) as target:
        target.run(compiled.network.inputs[0].quantize(images))
    return time.perf_counter() - begin


def _main(path: Path) -> None:
    begin = time.perf_counter()
    network = load_network(path)
    compiled = compile_network(network, chip="tile32", tiles=4096)
    seconds = time.perf_counter() - begin
    found = {
        "seconds": seconds,
        "gib": peak_gib(),
        "arrays": compiled.mapping.arrays,
        "tiles": len(compiled.parts),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
