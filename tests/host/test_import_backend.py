# SPDX-License-Identifier: Apache-2.0
"""ONNX's own node tests, those of quantized operators, through importer and golden level.

The node tests give scales and weights as inputs; here they become initializers. Which tests do not
apply is listed in ``backend/not_applicable.toml``.
"""

import fnmatch
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ohmtwin.arch.errors import InputError
from ohmtwin.behavioral.golden import output_codes, run_network
from ohmtwin.host.graph import Network, Quantization
from ohmtwin.host.importer.network import load_network

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
_QUANTIZED = frozenset(
    {"ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv",
     "QLinearMatMul", "QuantizeLinear"}
)  # fmt: skip
_CODES = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4,
                    TensorProto.INT2, TensorProto.UINT2})  # fmt: skip


def concerned() -> list[str]:
    """All node tests with a quantized operator or an input of at most 8 bits."""
    names = []
    for folder in sorted(DATA.iterdir()):
        model = onnx.load(folder / "model.onnx")
        kinds = {i.type.tensor_type.elem_type for i in model.graph.input}
        if kinds & _CODES or any(n.op_type in _QUANTIZED for n in model.graph.node):
            names.append(folder.name)
    return names


def patterns() -> dict[str, str]:
    """Pattern -> reason, for the tests that do not apply."""
    path = Path(__file__).parent / "backend" / "not_applicable.toml"
    reasons = tomllib.loads(path.read_text(encoding="utf-8"))["reason"]
    return {pattern: entry["text"] for entry in reasons for pattern in entry["tests"]}


CONCERNED = concerned()
EXCLUDED = {n for n in CONCERNED if any(fnmatch.fnmatchcase(n, p) for p in patterns())}
APPLY = [n for n in CONCERNED if n not in EXCLUDED]


def tensors(name: str, kind: str) -> list[NDArray[Any]]:
    """Inputs or outputs of a test's data set."""
    folder = DATA / name / "test_data_set_0"
    count = len(list(folder.glob(f"{kind}_*.pb")))
    result = []
    for index in range(count):
        proto = TensorProto()
        proto.ParseFromString((folder / f"{kind}_{index}.pb").read_bytes())
        result.append(numpy_helper.to_array(proto))
    return result


def with_constants(name: str, batch: bool) -> tuple[ModelProto, NDArray[Any], NDArray[Any]]:
    """The model with all inputs but the first as initializers, its input and expected output.

    ``batch`` puts an axis of one sample before the others.
    """
    model = onnx.load(DATA / name / "model.onnx")
    graph = model.graph
    first, *rest = tensors(name, "input")
    for info, value in zip(list(graph.input)[1:], rest, strict=True):
        kind = info.type.tensor_type.elem_type
        if kind in (TensorProto.INT4, TensorProto.UINT4):
            graph.initializer.append(
                helper.make_tensor(info.name, kind, value.shape, value.astype(np.int32).ravel())
            )
        else:
            graph.initializer.append(numpy_helper.from_array(value, info.name))
        graph.input.remove(info)
    (expected,) = tensors(name, "output")
    if batch:
        dims = graph.input[0].type.tensor_type.shape.dim
        sizes = [d.dim_value for d in dims]
        del dims[:]
        for size in (1, *sizes):
            dims.add().dim_value = size
        first, expected = first[None], expected[None]
    return model, first, expected


def imported(folder: Path, name: str, batch: bool) -> tuple[Network, NDArray[Any], NDArray[Any]]:
    """Network, samples and expected result of a test."""
    model, first, expected = with_constants(name, batch)
    path = folder / "model.onnx"
    onnx.save(model, path)
    return load_network(path), first, expected


def quantization(name: str) -> Quantization:
    """Scale and zero point of a test of QuantizeLinear or DequantizeLinear alone."""
    _, scale, zero = tensors(name, "input")
    signed = str(zero.dtype) in ("int8", "int4")
    return Quantization(float(scale.ravel()[0]), int(zero.ravel()[0]), signed)


def run(folder: Path, name: str) -> None:
    """Import, compute, compare."""
    if name.startswith("test_dequantizelinear"):
        quant, codes = quantization(name), tensors(name, "input")[0]
        wide = codes.astype(np.int8 if quant.signed else np.uint8)
        real = quant.dequantize(quant.from_onnx_codes(wide))
        np.testing.assert_array_equal(real, tensors(name, "output")[0])
        return
    if name == "test_quantizelinear":
        quant, x = quantization(name), tensors(name, "input")[0]
        codes = quant.to_onnx_codes(quant.quantize(x))
        np.testing.assert_array_equal(codes, tensors(name, "output")[0])
        return
    network, first, expected = imported(folder, name, first_axis_is_data(name))
    entry = network.inputs[0]
    golden = run_network(network, {entry.tensor: entry.quant.from_onnx_codes(first)})
    actual = output_codes(network, golden, network.outputs[0]).astype(np.uint8)
    codes = network.quant(network.outputs[0]).to_onnx_codes(actual)
    np.testing.assert_array_equal(codes.reshape(expected.shape), expected)


def first_axis_is_data(name: str) -> bool:
    """Tests of element-wise operators have no axis for samples."""
    return name.startswith("test_clip")


@pytest.mark.parametrize("name", APPLY)
def test_node(tmp_path: Path, name: str) -> None:
    run(tmp_path, name)


def test_there_are_tests_that_apply() -> None:
    assert {"test_qlinearconv", "test_qlinearmatmul_2D_uint8_float32", "test_maxpool_2d_uint8",
            "test_quantizelinear", "test_dequantizelinear_uint4"} <= set(APPLY)  # fmt: skip


@pytest.mark.parametrize("pattern", sorted(patterns()))
def test_lines_of_the_list_are_needed(pattern: str) -> None:
    assert fnmatch.filter(CONCERNED, pattern), "no test has this name"


@pytest.mark.parametrize("name", [n for n in sorted(EXCLUDED) if "qlinear" in n or "integer" in n])
def test_quantized_operators_in_the_list_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises((InputError, ValueError)):
        run(tmp_path, name)
