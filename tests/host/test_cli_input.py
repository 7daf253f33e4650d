# SPDX-License-Identifier: Apache-2.0
"""Bad input to `ohmtwin verify`: exit code 2, one clear sentence, no traceback, nothing written."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import Builder, qgemm_layer, random_bias, random_weights
from typer.testing import CliRunner

from ohmtwin.host.cli import app

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"
INPUTS = 64

CHIP = """\
name = "mine"
cores = 4
rows_per_read = 16
adc_bits = 6
"""


def write_data(path: Path, x: object = None, **more: object) -> Path:
    samples = np.zeros((3, INPUTS), np.float32) if x is None else x
    np.savez(path, x=samples, **more)
    return path


def float_model(path: Path) -> Path:
    weights = numpy_helper.from_array(np.ones((4, INPUTS), np.float32), "w")
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="product", transB=1)
    graph = helper.make_graph(
        [node],
        "float",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", INPUTS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def unsupported_model(path: Path) -> Path:
    """The shipped model with its first product made an operator that nobody has."""
    model = onnx.load(MODEL)
    node = next(n for n in model.graph.node if n.op_type == "Gemm")
    node.op_type = "Einsum"
    del node.attribute[:]
    onnx.save(model, path)
    return path


def wide_model(path: Path) -> Path:
    """One layer of 64 by 1100: 35 arrays, more than the largest chip has."""
    rng = np.random.default_rng(0)
    build = Builder()
    scale, zero = build.quant("x", 1.0, 0, np.uint8)
    codes = build.node("QuantizeLinear", ["x", scale, zero], "x_codes")
    weights, bias = random_weights(rng, 1100, INPUTS), random_bias(rng, 1100)
    y_quant = build.quant("y", 900.0, 128, np.uint8)
    codes = qgemm_layer(build, "wide", codes, [scale, zero], y_quant, weights, 0.01, bias)
    out = build.node("DequantizeLinear", [codes, "y_scale", "y_zero"], "y_real")
    onnx.save(build.model(out, ("n", INPUTS)), path)
    return path


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pickled(path: Path) -> Path:
    np.savez(path, x=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return path


Arguments = Callable[[Path], list[str]]

# What is given beside a good model and good data, and what the sentence must say.
CASES: dict[str, tuple[Arguments, str]] = {
    "unsupported operator": (
        lambda d: [str(unsupported_model(d / "m.onnx")), "--data", str(write_data(d / "d.npz"))],
        r"Einsum",
    ),
    "float-only model": (
        lambda d: [str(float_model(d / "m.onnx")), "--data", str(write_data(d / "d.npz"))],
        r"quantize it first with ohmtwin quantize",
    ),
    "shape": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz", np.zeros((3, 63))))],
        r"\[63\].*\[64\]",
    ),
    "NaN": (
        lambda d: [
            str(MODEL),
            "--data",
            str(write_data(d / "d.npz", np.array([[0.0] * 64, [np.nan] * 64]))),
        ],
        r"Sample 1 .*NaN",
    ),
    "too large for one tile": (
        lambda d: [
            *(str(wide_model(d / "m.onnx")), "--chip", "tile32"),
            *("--data", str(write_data(d / "d.npz"))),
        ],
        r"needs \d+ arrays.*has 32",
    ),
    "too large for the chip given": (
        lambda d: [
            *(str(MODEL.with_name("mnist_qdq.onnx")), "--chip", "tile8"),
            *("--data", str(write_data(d / "d.npz", np.zeros((3, 784))))),
        ],
        r"needs 29 arrays.*chip 'tile8' has 8; use",
    ),
    "wrong chip key": (
        lambda d: [
            *(str(MODEL), "--data", str(write_data(d / "d.npz"))),
            *("--chip", str(text(d / "c.toml", CHIP + "row_per_read = 8\n"))),
        ],
        r"line 5.*row_per_read.*rows_per_read",
    ),
    "ADC too narrow": (
        lambda d: [
            *(str(MODEL), "--data", str(write_data(d / "d.npz"))),
            *("--chip", str(text(d / "c.toml", CHIP.replace("adc_bits = 6", "adc_bits = 5")))),
        ],
        r"need an ADC of 6 bits, 5 were given; raise adc_bits to 6, lower rows_per_read to 10",
    ),
    "truncated model": (
        lambda d: [
            *(str(text(d / "m.onnx", MODEL.read_bytes()[:2000])), "--data"),
            str(write_data(d / "d.npz")),
        ],
        r"m\.onnx.*(truncated|damaged|not an ONNX)",
    ),
    "pickled data": (
        lambda d: [str(MODEL), "--data", str(pickled(d / "d.npz"))],
        r"pickled",
    ),
    "missing model": (
        lambda d: [str(d / "no.onnx"), "--data", str(write_data(d / "d.npz"))],
        r"no\.onnx",
    ),
    "missing data": (lambda d: [str(MODEL), "--data", str(d / "no.npz")], r"no\.npz"),
    "data is no npz": (
        lambda d: [str(MODEL), "--data", str(text(d / "d.npz", "x,y\n1,2\n"))],
        r"not an \.npz file",
    ),
    "labels out of range": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz", y=np.array([0, 9, 10])))],
        r"classes 0 to 10.*0 to 9",
    ),
    "unknown chip": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--chip", "tile5"],
        r"no standard chip 'tile5'.*tile4, tile8",
    ),
    "unknown device": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--device", "flux"],
        r"'?flux'?.*rram",
    ),
    "unknown level": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--levels", "golden,rtl"],
        r"no level 'rtl'; choose from golden, fast, verilator",
    ),
    "no level": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--levels", " , "],
        r"No level was given",
    ),
    "unknown schedule": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--schedule", "fast"],
        r"no row schedule 'fast'; choose baseline or zero_skip",
    ),
    "seed": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--seed", "4294967296"],
        r"seed must be 0 to 4294967295, not 4294967296",
    ),
    "negative seed": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--seed=-1"],
        r"seed must be 0 to 4294967295, not -1",
    ),
    "no samples": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--samples", "0"],
        r"samples must be 1 to 3, .*not 0",
    ),
    "too many samples": (
        lambda d: [str(MODEL), "--data", str(write_data(d / "d.npz")), "--samples", "4"],
        r"samples must be 1 to 3, .*not 4",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_ends_in_one_sentence(case: str, tmp_path: Path) -> None:
    arguments, message = CASES[case]
    report = tmp_path / "report.json"
    command = ["verify", *arguments(tmp_path), "--json", str(report)]
    if "--levels" not in command:
        command += ["--levels", "golden,fast"]
    before = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert re.search(message, errors[0]), errors[0]
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert sorted(tmp_path.iterdir()) == before, "something was written"


@pytest.mark.parametrize(
    ("path", "message"),
    [("no/folder/report.json", "there is no folder"), (".", "is a folder; name a file in it")],
)
def test_report_that_cannot_be_written_is_refused_before_any_work(
    path: str, message: str, tmp_path: Path
) -> None:
    # The model does not exist either: the report is looked at first.
    command = ["verify", str(tmp_path / "no.onnx"), "--data", "no.npz"]
    result = CliRunner().invoke(app, [*command, "--json", str(tmp_path / path)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_usage_errors_exit_with_2() -> None:
    for command in (["verify"], ["verify", "m.onnx"], ["nothing"], ["verify", "--samples", "x"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2, command
        assert "Traceback" not in result.output


def test_the_installed_command_prints_no_traceback(tmp_path: Path) -> None:
    code = "import sys; from ohmtwin.host.cli import main; sys.argv[0] = 'ohmtwin'; main()"
    command = [sys.executable, "-c", code, "verify", str(tmp_path / "no.onnx"), "--data", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_good_run_writes_the_report(tmp_path: Path) -> None:
    data = write_data(tmp_path / "d.npz", y=np.array([0, 1, 2]))
    report = tmp_path / "report.json"
    command = ["verify", str(MODEL), "--data", str(data), "--json", str(report)]
    result = CliRunner().invoke(app, [*command, "--levels", "golden,fast", "--device", "ideal"])
    assert result.exit_code == 0, result.output
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["samples"] == 3
    assert found["fast"]["mismatches"] == 0
    assert {p.name for p in tmp_path.iterdir()} == {"d.npz", "report.json"}
