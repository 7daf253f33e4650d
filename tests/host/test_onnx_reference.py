# SPDX-License-Identifier: Apache-2.0
"""The ONNX Runtime runner: fixed batches, new file versions, int8 tensors, missing package."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx_models import Builder, qdq_layer, qgemm_layer, random_bias, random_weights

from ohmtwin.arch.errors import InputError, ModelError
from ohmtwin.host.reference import OnnxReference


def save(path: Path, dtype: type = np.uint8, qdq: bool = True, batch: int | str = "n") -> Path:
    rng, b = np.random.default_rng(0), Builder()
    offset = 128 if dtype == np.int8 else 0
    xq = b.quant("x", 0.0237, 117 - offset, dtype)
    yq = b.quant("y", 0.1713, 90 - offset, dtype)
    w, c = random_weights(rng, 5, 12), random_bias(rng, 5)
    b.node("QuantizeLinear", ["x", *xq], "xc")
    if qdq:
        b.node("DequantizeLinear", ["xc", *xq], "xr")
        b.node("QuantizeLinear", [qdq_layer(b, "fc", "xr", w, 0.0137, c, 0.0237), *yq], "yc")
    else:
        qgemm_layer(b, "yc", "xc", xq, yq, w, 0.0137, c)
    b.node("DequantizeLinear", ["yc", *yq], "y")
    onnx.save(b.model("y", shape=(batch, 12)), path)
    return path


X = np.random.default_rng(1).uniform(-3, 3, (1000, 12)).astype(np.float32)


@pytest.fixture(autouse=True)
def _needs_onnx_runtime() -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("qdq", [True, False])
def test_output_and_codes_agree(tmp_path: Path, dtype: type, qdq: bool) -> None:
    result = OnnxReference(save(tmp_path / "m.onnx", dtype, qdq)).run(X)
    assert list(result.codes) == ["xc", "yc"]
    assert {a.dtype.type for a in result.codes.values()} == {dtype}
    zero = 90 - (128 if dtype == np.int8 else 0)
    real = (result.codes["yc"].astype(np.int32) - zero).astype(np.float32) * np.float32(0.1713)
    np.testing.assert_array_equal(result.output, real)
    assert len(np.unique(result.codes["yc"])) > 50


@pytest.mark.parametrize("batch", [1, 7])
def test_fixed_batches_are_filled_up(tmp_path: Path, batch: int) -> None:
    free = OnnxReference(save(tmp_path / "free.onnx")).run(X[:30])
    fixed = OnnxReference(save(tmp_path / "fixed.onnx", batch=batch)).run(X[:30])
    np.testing.assert_array_equal(free.output, fixed.output)
    np.testing.assert_array_equal(free.codes["yc"], fixed.codes["yc"])


def test_a_newer_file_version_is_lowered(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx")
    expected = OnnxReference(path).run(X[:5]).output
    model = onnx.load(path)
    model.ir_version = 14
    path.write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(OnnxReference(path).run(X[:5]).output, expected)


def test_wrong_samples(tmp_path: Path) -> None:
    reference = OnnxReference(save(tmp_path / "m.onnx"))
    with pytest.raises(ModelError, match=r"shape \['n', 12\], not \[3, 13\]"):
        reference.run(np.zeros((3, 13), np.float32))
    with pytest.raises(ModelError, match=r"not \[0, 12\]"):
        reference.run(np.zeros((0, 12), np.float32))


def test_a_model_that_onnx_runtime_refuses(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx")
    model = onnx.load(path)
    next(n for n in model.graph.node if n.op_type == "Gemm").op_type = "Gemmm"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"ONNX Runtime does not load .*Gemmm") as caught:
        OnnxReference(path)
    assert "\n" not in str(caught.value)


def test_the_package_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'ohmtwin\[reference\]'"):
        OnnxReference(path)
