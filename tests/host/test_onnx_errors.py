# SPDX-License-Identifier: Apache-2.0
"""Files that cannot be imported: one clear sentence each, never a traceback of a library."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_models import Builder, qdq_layer, qgemm_layer, random_bias, random_weights

from ohmtwin.arch.errors import CapacityError, ModelError
from ohmtwin.host.importer.network import load_network

X, Y = np.float32(0.0237), np.float32(0.1713)


def qoperator() -> ModelProto:
    """x -> QuantizeLinear -> QGemm 'yc' -> DequantizeLinear -> y."""
    rng, b = np.random.default_rng(0), Builder()
    xq, yq = b.quant("x", X, 117, np.uint8), b.quant("y", Y, 90, np.uint8)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    qgemm_layer(b, "yc", "xc", xq, yq, random_weights(rng, 5, 12), 0.0137, random_bias(rng, 5))
    b.node("DequantizeLinear", ["yc", *yq], "y")
    return b.model("y")


def qdq() -> ModelProto:
    """x -> QuantizeLinear -> DequantizeLinear -> Gemm 'fc_sum' -> QuantizeLinear -> y."""
    rng, b = np.random.default_rng(0), Builder()
    xq, yq = b.quant("x", X, 117, np.uint8), b.quant("y", Y, 90, np.uint8)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    b.node("DequantizeLinear", ["xc", *xq], "xr")
    w, c = random_weights(rng, 5, 12), random_bias(rng, 5)
    b.node("QuantizeLinear", [qdq_layer(b, "fc", "xr", w, 0.0137, c, float(X)), *yq], "yc")
    b.node("DequantizeLinear", ["yc", *yq], "y")
    return b.model("y")


def node(model: ModelProto, name: str) -> Any:
    return next(n for n in model.graph.node if n.name == name)


def replace_constant(model: ModelProto, name: str, value: Any, dtype: Any) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))


def drop_constant(model: ModelProto, name: str) -> None:
    model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == name))


def set_attribute(model: ModelProto, name: str, attribute: str, value: Any) -> None:
    node(model, name).attribute.append(helper.make_attribute(attribute, value))


def insert_after(model: ModelProto, name: str, operator: str, **attributes: Any) -> None:
    """Put a node between the node ``name`` and its readers."""
    made = node(model, name)
    old = made.output[0]
    made.output[0] = "inserted_input"
    model.graph.node.append(
        helper.make_node(operator, ["inserted_input"], [old], name="inserted", **attributes)
    )


def rename_operator(model: ModelProto, name: str, operator: str) -> None:
    node(model, name).op_type = operator


def resize_input(model: ModelProto, *dims: int | str) -> None:
    kind = model.graph.input[0].type.tensor_type
    kind.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, list(dims)).tensor_type)


def out_of_range(model: ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "x_zero")
    tensor.ClearField("raw_data")
    tensor.int32_data.append(300)


def short_data(model: ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "yc_w")
    tensor.raw_data = tensor.raw_data[:-1]


def loop(model: ModelProto) -> None:
    node(model, "yc").input[0] = "again"
    model.graph.node.append(helper.make_node("Identity", ["yc"], ["again"], name="again"))


Edit = Callable[[ModelProto], None]

QOPERATOR: dict[str, tuple[Edit, str]] = {
    "unsupported operator": (
        lambda m: insert_after(m, "yc", "Resize"),
        r"The Resize node 'inserted' is not supported; use a Conv with strides, or resize on the",
    ),
    "foreign domain": (
        lambda m: insert_after(m, "yc", "Magic", domain="acme"),
        "Magic node 'inserted' of domain 'acme' is not supported",
    ),
    "dynamic features": (
        lambda m: resize_input(m, "n", "width"),
        r"Dimension 1 of input 'x' is dynamic \('width'\); only the batch dimension may be",
    ),
    "no batch": (lambda m: resize_input(m, 12), r"must have a batch dimension .* not 1 dimensions"),
    "integer input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.UINT8),
        "QuantizeLinear node 'xc' quantizes a constant or a tensor that is quantized already",
    ),
    "double input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.DOUBLE),
        "Input 'x' must be float32, uint8 or int8, not double",
    ),
    "wrong features": (
        lambda m: resize_input(m, "n", 13),
        r"QGemm node 'yc' takes 12 values a sample, but tensor 'xc' has the shape \[13\]",
    ),
    "unflattened": (
        lambda m: resize_input(m, "n", 3, 4),
        r"takes 12 values a sample, but tensor 'xc' has the shape \[3, 4\]; flatten it first",
    ),
    "zero scale": (
        lambda m: replace_constant(m, "y_scale", 0.0, np.float32),
        "Scale 'y_scale' of the QGemm node 'yc' must be finite and positive, not 0.0",
    ),
    "negative scale": (
        lambda m: replace_constant(m, "x_scale", -0.5, np.float32),
        r"Scale 'x_scale' of the QuantizeLinear node 'xc' must be finite and positive, not -0\.5",
    ),
    "NaN scale": (
        lambda m: replace_constant(m, "yc_w_scale", np.nan, np.float32),
        "Scale 'yc_w_scale' .* not nan",
    ),
    "scale type": (
        lambda m: replace_constant(m, "x_scale", 0.5, np.float64),
        "Scale 'x_scale' of the QuantizeLinear node 'xc' must be float32, not float64",
    ),
    "zero point range": (out_of_range, "'x_zero' must hold values 0 to 255, but has 300 to 300"),
    "16-bit activations": (
        lambda m: replace_constant(m, "x_zero", 0, np.uint16),
        "QuantizeLinear node 'xc' uses uint16 activations, .* quantize them to uint8 or int8",
    ),
    "per-channel activations": (
        lambda m: replace_constant(m, "x_scale", np.full(12, 0.5), np.float32),
        "has 12 scales and 1 zero points for an activation; quantize activations per tensor",
    ),
    "scales disagree": (
        lambda m: node(m, "y").input.__setitem__(1, "x_scale"),
        "DequantizeLinear node 'y' reads tensor 'yc' with scale .* other than the ones",
    ),
    "missing weights": (
        lambda m: drop_constant(m, "yc_w"),
        "The QGemm node 'yc' reads tensor 'yc_w', which is missing: no node, input or initializer",
    ),
    "missing scale": (
        lambda m: drop_constant(m, "x_scale"),
        "reads tensor 'x_scale', which is missing: no node, input or initializer has that name",
    ),
    "damaged weights": (short_data, r"Initializer 'yc_w' is damaged: .* shape \[5, 12\]"),
    "weight zero type": (
        lambda m: replace_constant(m, "yc_w_zero", 128, np.uint8),
        "are int8, but their zero point is uint8; both must have the same type",
    ),
    "16-bit weights": (
        lambda m: replace_constant(m, "yc_w", np.ones((5, 12)), np.int16),
        "The weights of the QGemm node 'yc' are int16, but their zero point is int8",
    ),
    "weight rank": (
        lambda m: replace_constant(m, "yc_w", np.ones((5, 12, 1)), np.int8),
        r"must be a matrix, not of shape \[5, 12, 1\]",
    ),
    "number of scales": (
        lambda m: replace_constant(m, "yc_w_scale", np.ones(4), np.float32),
        "have 4 scales for 5 outputs; quantize them per tensor or per output channel",
    ),
    "bias type": (
        lambda m: replace_constant(m, "yc_b", np.ones(5), np.float32),
        "The bias of the QGemm node 'yc' must be int32, not float32",
    ),
    "bias shape": (
        lambda m: replace_constant(m, "yc_b", np.ones(4), np.int32),
        r"The bias of the QGemm node 'yc' must have 5 values, not the shape \[4\]",
    ),
    "float result": (
        lambda m: node(m, "yc").input.__delitem__(slice(7, 9)),
        "QGemm node 'yc' gives a float result; quantize the outputs of all layers",
    ),
    "alpha": (
        lambda m: set_attribute(m, "yc", "alpha", 0.5),
        "QGemm node 'yc' has alpha=0.5, but only 1 is supported",
    ),
    "transposed input": (
        lambda m: set_attribute(m, "yc", "transA", 1),
        "QGemm node 'yc' has transA=1, but only 0 is supported",
    ),
    "factor too small": (
        lambda m: replace_constant(m, "yc_w_scale", 1e-20, np.float32),
        r"scales of the QGemm node 'yc' give no usable factor: .* between 2\*\*-40 and 2\*\*23",
    ),
    "loop": (
        loop,
        "Tensor 'yc', which the Identity node 'again' reads, depends on itself: .* is cyclic",
    ),
    "too few operands": (
        lambda m: (
            rename_operator(m, "yc", "QLinearMul"),
            node(m, "yc").input.__delitem__(slice(5, 9)),
        )[0],
        "The QLinearMul node 'yc' has 5 operands, but needs 7; the file is damaged",
    ),
    "two makers": (
        lambda m: node(m, "y").output.__setitem__(0, "yc"),
        "Tensor 'yc' is produced twice; the file is damaged",
    ),
    "reshape over samples": (
        lambda m: insert_after(m, "xc", "Flatten", axis=0),
        "Flatten node 'inserted' is not supported with axis 0, as it mixes samples",
    ),
    "squeeze without axes": (
        lambda m: insert_after(m, "xc", "Squeeze"),
        "Squeeze node 'inserted' is not supported unless its axes are given",
    ),
    "dynamic quantization": (
        lambda m: rename_operator(m, "xc", "DynamicQuantizeLinear"),
        r"quantized dynamically \(DynamicQuantizeLinear\), .*ohmtwin quantize model.onnx --data",
    ),
}


QDQ: dict[str, tuple[Edit, str]] = {
    "float weights": (
        lambda m: node(m, "fc_sum").input.__setitem__(1, "fc_w"),
        r"weights of the Gemm node 'fc_sum' are not quantized \(no DequantizeLinear before them\)",
    ),
    "beta": (
        lambda m: set_attribute(m, "fc_sum", "beta", 2.0),
        "Gemm node 'fc_sum' has beta=2, but only 1 is supported",
    ),
    "bias scale": (
        lambda m: replace_constant(m, "fc_b_scale", 0.5, np.float32),
        "The bias of the Gemm node 'fc_sum' has the scale 0.5, which is not the input's times the",
    ),
    "NaN bias": (
        lambda m: (
            replace_constant(m, "fc_b", [np.nan] * 5, np.float32),
            node(m, "fc_sum").input.__setitem__(2, "fc_b"),
        )[1],
        "The bias of the Gemm node 'fc_sum' must hold finite float32 values",
    ),
    "activation directly behind the product": (
        lambda m: insert_after(m, "fc_sum", "Sigmoid"),
        "Sigmoid node 'inserted' follows the Gemm node 'fc_sum' directly; quantize the tensor",
    ),
    "unsupported behind the product": (
        lambda m: insert_after(m, "fc_sum", "Erf"),
        "Erf node 'inserted' follows the Gemm node 'fc_sum' directly; quantize the tensor between",
    ),
    "output not quantized": (
        lambda m: m.graph.output[0].__setattr__("name", "fc_sum"),
        "Gemm node 'fc_sum' gives a float result, .*; the output of the last layer must",
    ),
    "axis along the inputs": (
        lambda m: (
            replace_constant(m, "fc_w_scale", np.ones(12), np.float32),
            node(m, "fc_wr").attribute[0].__setattr__("i", 1),
        )[1],
        "weights of the Gemm node 'fc_sum' are quantized along their inputs",
    ),
    "blocks": (
        lambda m: set_attribute(m, "fc_wr", "block_size", 4),
        "weights of the Gemm node 'fc_sum' are quantized in blocks",
    ),
}


@pytest.mark.parametrize("case", sorted(QOPERATOR))
def test_damaged_qoperator(tmp_path: Path, case: str) -> None:
    edit, message = QOPERATOR[case]
    model = qoperator()
    edit(model)
    refuse(tmp_path, model, message)


@pytest.mark.parametrize("case", sorted(QDQ))
def test_damaged_qdq(tmp_path: Path, case: str) -> None:
    edit, message = QDQ[case]
    model = qdq()
    edit(model)
    refuse(tmp_path, model, message)


def refuse(folder: Path, model: ModelProto, message: str) -> None:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=message) as caught:
        load_network(path)
    assert "\n" not in str(caught.value)


def test_the_models_are_fine_unless_damaged(tmp_path: Path) -> None:
    for model in (qoperator(), qdq()):
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        assert load_network(path).layers[0].weights.shape == (5, 12)


def test_float_model(tmp_path: Path) -> None:
    b = Builder()
    b.node("Gemm", ["x", b.constant("w", np.ones((12, 3)), np.float32)], "y")
    refuse(
        tmp_path,
        b.model("y"),
        r"is a float model; quantize it first with ohmtwin quantize model.onnx --data calib.npz",
    )


def test_accumulator_that_does_not_fit(tmp_path: Path) -> None:
    model = qoperator()
    replace_constant(model, "yc_b", [0, 0, (1 << 31) - 1, 0, 0], np.int32)
    replace_constant(model, "yc_w", np.full((5, 12), 100), np.int8)
    replace_constant(model, "x_zero", 0, np.uint8)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(CapacityError, match=r"Output 2 of layer 'yc' can sum to 0 \.\. 2147789647"):
        load_network(path)
    replace_constant(model, "yc_w", np.full((5, 12), -100), np.int8)
    replace_constant(model, "x_zero", 255, np.uint8)
    onnx.save(model, path)
    with pytest.raises(CapacityError, match="QGemm node 'yc' leaves 32 bits once its input's zero"):
        load_network(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match=r"There is no file .*model\.onnx; check the path"):
        load_network(path)
    with pytest.raises(ModelError, match="is a directory, not an ONNX file"):
        load_network(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ModelError, match="is empty; export or copy the model again"):
        load_network(path)
    path.write_bytes(b"PK\x03\x04 this is no model" * 30)
    with pytest.raises(ModelError, match="is not an ONNX file, or it is truncated"):
        load_network(path)
    path.write_bytes(b"\x08\x08")
    with pytest.raises(ModelError, match="holds no ONNX graph"):
        load_network(path)
    with path.open("wb") as file:  # sparse: it takes no room
        file.truncate(1 << 31)
    with pytest.raises(ModelError, match="has 2147483648 bytes, more than the 2147483647"):
        load_network(path)
    with pytest.raises(ModelError, match="cannot be read: "):
        load_network("nul\0character")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = qdq().SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError):
            load_network(path)


def external(folder: Path, location: str, data: bytes | None) -> Path:
    """A model whose weights are said to lie at ``location``."""
    model = qoperator()
    tensor = next(t for t in model.graph.initializer if t.name == "yc_w")
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    if data is not None:
        (folder / location).write_bytes(data)
    return path


def test_external_data(tmp_path: Path) -> None:
    weights = random_weights(np.random.default_rng(0), 5, 12)
    path = external(tmp_path, "weights.bin", weights.tobytes())
    np.testing.assert_array_equal(load_network(path).layers[0].weights, weights)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("gone.bin", "external data 'gone.bin' of tensor 'yc_w' .* are missing; copy them beside"),
        ("../secret.bin", "'../secret.bin' .* lie outside the model's folder, and are not read"),
        ("/etc/hostname", "'/etc/hostname' .* lie outside the model's folder"),
        ("", "lie outside the model's folder"),
    ],
)
def test_external_data_that_are_refused(tmp_path: Path, location: str, message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(60))
    with pytest.raises(ModelError, match=message):
        load_network(external(folder, location, None))


def test_external_data_behind_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(60))
    os.symlink(tmp_path / "secret.bin", folder / "link.bin")
    with pytest.raises(ModelError, match="lie outside the model's folder"):
        load_network(external(folder, "link.bin", None))


def test_short_external_data(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"damaged|cannot be read"):
        load_network(external(tmp_path, "weights.bin", bytes(7)))
