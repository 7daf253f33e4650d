# SPDX-License-Identifier: Apache-2.0
"""Damage model files and import them: ``python fuzz_import.py FIRST COUNT GIBIBYTES SECONDS``.

Runs as a process of its own, under a limit of memory and, for each file, of time. Prints as JSON
how many files were refused, how many were imported all the same, and the seconds of the slowest;
ends with an error for anything else.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import onnx
from onnx import ModelProto
from random_graphs import random_model
from test_import_lowbits import qonnx_model

from ohmtwin.arch.errors import InputError
from ohmtwin.host.importer.network import load_network

__all__ = ["mutants"]

_HUGE = (0, -1, 1, 2, 3, 1 << 15, 1 << 31, (1 << 62) + 3, -(1 << 62))


def _flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    damaged = bytearray(data)
    for position in rng.integers(0, len(data), int(rng.integers(1, 6))):
        damaged[position] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _cut_or_repeat(rng: np.random.Generator, data: bytes) -> bytes:
    a, b = sorted(int(v) for v in rng.integers(0, len(data), 2))
    return data[:a] + data[b:] if rng.random() < 0.5 else data[:b] + data[a:]


def _edit(rng: np.random.Generator, data: bytes) -> bytes:
    """Change the graph so that the file still parses."""
    model = ModelProto()
    model.ParseFromString(data)
    graph = model.graph
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(8))
        node = graph.node[int(rng.integers(len(graph.node)))]
        names = [t for n in graph.node for t in (*n.input, *n.output)]
        tensor = graph.initializer[int(rng.integers(len(graph.initializer)))]
        if kind == 0 and node.input:
            node.input[int(rng.integers(len(node.input)))] = str(rng.choice(names))
        elif kind == 1:
            known = [n.op_type for n in graph.node]
            node.op_type = str(rng.choice([*known, "Resize", "LSTM", "If"]))
        elif kind == 2 and node.attribute:
            attribute = node.attribute[int(rng.integers(len(node.attribute)))]
            values = [int(rng.choice(np.array(_HUGE, object))) for _ in range(int(rng.integers(5)))]
            if attribute.ints:
                del attribute.ints[:]
                attribute.ints.extend(values)
            else:
                attribute.i = values[0] if values else 7
        elif kind == 3 and tensor.dims:
            tensor.dims[int(rng.integers(len(tensor.dims)))] = abs(
                int(rng.choice(np.array(_HUGE, object)))
            )
        elif kind == 4:
            special = rng.choice([0.0, np.nan, np.inf, -1.0, 1e-45, 3e38], 1).astype(np.float32)
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.raw_data = np.resize(special, max(len(tensor.raw_data) // 4, 1)).tobytes()
        elif kind == 5 and node.input:
            node.input.pop(int(rng.integers(len(node.input))))
        elif kind == 6:
            dims = graph.input[0].type.tensor_type.shape.dim
            dims[int(rng.integers(len(dims)))].dim_value = abs(
                int(rng.choice(np.array(_HUGE, object)))
            )
        elif kind == 7:
            tensor.data_type = int(rng.integers(0, 24))
    return model.SerializeToString()


def mutants(first: int, count: int) -> Iterator[tuple[int, bytes]]:
    """Damaged files, each with the seed that makes it again."""
    for seed in range(first, first + count):
        rng = np.random.default_rng([seed, 22])
        few_bits = seed % 8 == 0
        model = qonnx_model() if few_bits else random_model(seed % 97).model
        data = model.SerializeToString()
        damage = (_flip_bits, _cut_or_repeat, _edit, _edit)[int(rng.integers(4))]
        yield seed, damage(rng, data)


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("an import hangs")


def main(first: int, count: int, gibibytes: float, seconds: int) -> None:
    """Import ``count`` damaged files."""
    warnings.simplefilter("error")
    limit = int(gibibytes * (1 << 30))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _too_slow)
    refused, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        for seed, data in mutants(first, count):
            path.write_bytes(data)
            start = time.perf_counter()
            signal.alarm(seconds)
            try:
                load_network(path)
            except InputError as error:
                refused += 1
                if "\n" in str(error):
                    raise RuntimeError(f"seed {seed}: more than one line: {error}") from error
            except BaseException:
                print(f"seed {seed}", file=sys.stderr)
                raise
            finally:
                signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - start)
    print(json.dumps({"refused": refused, "imported": count - refused, "slowest": slowest}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
