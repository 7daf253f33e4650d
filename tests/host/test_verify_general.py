# SPDX-License-Identifier: Apache-2.0
"""Comparisons of networks with several inputs or states, and the tensors they leave in files."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import random_codes, random_network
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import ohmtwin as ot
from ohmtwin.arch.chip import load_chip
from ohmtwin.arch.errors import InputError
from ohmtwin.behavioral.golden import output_codes, run_network, tensor_codes
from ohmtwin.host.cli import app
from ohmtwin.host.codes import check_data, flat_codes, input_codes
from ohmtwin.host.compare import correct
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.graph import (
    Combine,
    Concat,
    Dense,
    Network,
    NetworkInput,
    Quantization,
    Reshape,
    Softmax,
    State,
)
from ohmtwin.host.reference import OnnxReference
from ohmtwin.host.targets import connect

UNIT = Quantization(1.0, 0, signed=False)


def network(*, states: bool) -> Network:
    """y = table[W [x, h] + b] halved with h; with states, h is y of the step before."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-60, 60, (6, 10)).astype(np.int8)
    dense = Dense(
        name="mix", input="xh", output="m", weights=weights,
        bias=rng.integers(-2000, 2000, 6).astype(np.int32),
        mantissa=np.full(6, 3 << 22, np.uint32), shift=np.full(6, 31, np.uint8), zero_point=120,
        clip_low=0, clip_high=255, out_quant=UNIT,
        table=rng.permutation(256).astype(np.uint8), pre_quant=UNIT, pre_output="m_before",
    )  # fmt: skip
    half = Combine(
        name="half", sources=("m", "h"), output="y", factors=(1, 1), offset=0,
        mantissa=1 << 23, shift=24, zero_point=0, clip_low=0, clip_high=255, out_quant=UNIT,
    )  # fmt: skip
    join = Concat(
        name="join", sources=("x", "h"), output="xh", axis=0, tables=(None, None), out_quant=UNIT
    )
    inputs = (NetworkInput("image", "x", (4,), UNIT), NetworkInput("past", "h", (6,), UNIT))
    kept = (State("h", "y", None, 7),) if states else ()
    layers = (join, dense, half)
    return Network(name="two", inputs=inputs, layers=layers, outputs=("y",), states=kept)


def compiled(*, states: bool, device: str = "ideal", steps: int | None = None) -> CompiledNetwork:
    return compile_network(
        network(states=states), chip=load_chip("tile4"), device=device, steps=steps, seed=2
    )


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return rng.integers(0, 256, shape).astype(np.float32)


def test_two_inputs_at_golden_and_fast() -> None:
    rng = np.random.default_rng(1)
    x = {"image": whole(rng, 70, 4), "past": whole(rng, 70, 2, 3)}
    report = ot.verify(compiled(states=False), x, levels=("golden", "fast"))
    assert report.agree
    assert report.levels["fast"].values >= 70 * (6 + 6 + 6)
    with pytest.raises(InputError, match=r"inputs image, past; there are none for 'past'"):
        ot.verify(compiled(states=False), {"image": x["image"]}, levels=("golden",))
    with pytest.raises(InputError, match=r"samples of 'past' of shape \['n', 6\], not \[70, 5\]"):
        ot.verify(compiled(states=False), {**x, "past": whole(rng, 70, 5)}, levels=("golden",))
    with pytest.raises(InputError, match="as many samples of each input"):
        ot.verify(compiled(states=False), {**x, "past": whole(rng, 3, 6)}, levels=("golden",))


def test_sequences_at_golden_and_fast_and_their_accuracy() -> None:
    rng = np.random.default_rng(2)
    x = whole(rng, 55, 9, 4)
    net = compiled(states=True, steps=9)
    codes = run_network(net.network, x.astype(np.uint8))["half"]
    best = codes.argmax(axis=2)
    y = best[:, -1].copy()
    y[:11] = (y[:11] + 1) % 6
    report = ot.verify(net, x, y, levels=("golden", "fast"))
    assert report.agree
    assert report.levels["golden"].accuracy == report.levels["fast"].accuracy == 44 / 55
    each = best.copy()
    each[:, 0] = (each[:, 0] + 1) % 6
    by_step = ot.verify(net, x, each, levels=("golden",))
    assert by_step.levels["golden"].accuracy == 8 / 9
    with pytest.raises(
        InputError, match=r"one a sample are needed: \[55\] or one a step \[55, 9\]"
    ):
        ot.verify(net, x, each[:, :4], levels=("golden",))
    with pytest.raises(InputError, match=r"shape \['n', 'steps', 4\], not \[55, 36\]"):
        ot.verify(net, x.reshape(55, 36), levels=("golden",))
    with pytest.raises(InputError, match=r"for sequences of 9 steps, not 8; .* steps=8"):
        ot.verify(net, x[:, :8], levels=("fast",))


def test_the_first_difference_of_a_sequence_names_its_step() -> None:
    rng = np.random.default_rng(3)
    net = compiled(states=True, device="rram", steps=5)
    x = whole(rng, 20, 5, 4)
    report = ot.verify(net, x, levels=("golden", "fast"))
    first = report.levels["fast"].first_divergence
    assert first is not None
    codes = x.astype(np.uint8)
    golden = run_network(net.network, codes)
    with connect("fast", net) as target:
        fast = target.run(codes)
    where = {
        name: tuple(np.argwhere((golden[name] != fast[name]).any(axis=2))[0])
        for name in net.tensors
        if name in golden and (golden[name] != fast[name]).any()
    }
    sample, step = min(where.values())
    assert (first.sample, first.step) == (sample, step)
    assert where[first.tensor] == (sample, step)
    assert golden[first.tensor][sample, step].ravel()[first.index] == first.expected
    assert f"sample {sample}, step {step}, layer" in str(first)
    assert first.cores == ((0,) if first.layer == "mix" else ())


def test_labels_stand_for_the_last_step_or_for_each() -> None:
    scores = np.zeros((2, 3, 4))
    scores[0, 2, 1] = scores[1, 2, 3] = scores[1, 0, 2] = 1
    assert correct(scores, np.array([1, 3]), steps=True) == 2
    assert correct(scores, np.array([[0, 0, 1], [2, 0, 0]]), steps=True) == 5
    # Without steps all axes but the first are scores.
    assert correct(scores, np.array([9, 2]), steps=False) == 2


def test_codes_are_laid_out_one_input_after_another() -> None:
    rng = np.random.default_rng(4)
    net = network(states=False)
    codes = {"x": random_codes(1, 3, 4), "h": random_codes(2, 3, 6)}
    flat = flat_codes(net, input_codes(net, codes))
    np.testing.assert_array_equal(flat, np.concatenate([codes["x"], codes["h"]], axis=1))
    x = rng.integers(0, 256, (3, 5, 4)).astype(np.uint8)
    kept = network(states=True)
    assert flat_codes(kept, input_codes(kept, x)).tolist() == x.reshape(3, 20).tolist()
    for bad, message in (
        ({"x": codes["x"]}, "there are none of 'h'"),
        ({"x": codes["x"], "h": codes["h"].astype(np.int16)}, r"of 'h' must be uint8 \[n, 6\]"),
        ({"x": codes["x"], "h": codes["h"][:2]}, "as many samples"),
    ):
        with pytest.raises(InputError, match=message):
            input_codes(net, bad)
    with pytest.raises(InputError, match=r"uint8 \[n, steps, 4\] .* not uint8 \[3, 4\]"):
        input_codes(kept, x[:, 0])
    assert check_data(kept, x, None)[0]["image"].shape == (3, 5, 4)


def test_sequences_of_several_inputs() -> None:
    """One input after another, each with all steps: as the program's layout counts elements."""
    add = Combine(
        name="add", sources=("a", "b", "h"), output="y", factors=(1, 1, 1), offset=0,
        mantissa=1 << 23, shift=25, zero_point=0, clip_low=0, clip_high=255, out_quant=UNIT,
    )  # fmt: skip
    inputs = tuple(NetworkInput(n, n, (2,), UNIT) for n in ("a", "b", "h"))
    net = Network(
        name="n", inputs=inputs, layers=(add,), outputs=("y",), states=(State("h", "y", None, 0),)
    )
    codes = {
        "a": random_codes(1, 6, 2).reshape(2, 3, 2),
        "b": random_codes(2, 6, 2).reshape(2, 3, 2),
    }
    flat = flat_codes(net, input_codes(net, codes))
    want = np.concatenate([codes[name].reshape(2, 6) for name in ("a", "b")], axis=1)
    np.testing.assert_array_equal(flat, want)
    x = {name: array.astype(np.float32) for name, array in codes.items()}
    done = compile_network(net, device="ideal", steps=3)
    assert ot.verify(done, x, levels=("golden", "fast")).agree


def test_tensors_that_a_level_leaves_out_are_made_from_others() -> None:
    net = network(states=True)
    x = np.random.default_rng(5).integers(0, 256, (4, 3, 4)).astype(np.uint8)
    full = run_network(net, x)
    few = {"mix": full["mix"], "half": full["half"]}
    made = tensor_codes(net, few, ["xh", "h", "y"], {"x": x})
    np.testing.assert_array_equal(made["xh"], full["join"])
    assert (made["h"][:, 0] == 7).all()
    np.testing.assert_array_equal(made["h"][:, 1:], full["half"][:, :-1])
    np.testing.assert_array_equal(output_codes(net, {"half": full["half"]}, "y"), full["half"])
    with pytest.raises(ValueError, match="nothing that tensor 'm' can be made of"):
        tensor_codes(net, {"join": full["join"]}, ["m"])
    with pytest.raises(ValueError, match="nothing that tensor"):
        tensor_codes(net, {"mix": full["mix"]}, ["y"])  # h would need y of the step before


def test_softmax_is_compared_step_by_step() -> None:
    base = random_network(3, (12, 5))
    soft = Softmax(name="soft", input="t1", output="p", scale=0.05, out_quant=Quantization(
        1 / 256, 0, signed=False,
    ))  # fmt: skip
    tail = Reshape(name="tail", input="p", output="q", to=(5, 1), out_quant=soft.out_quant)
    net = Network(
        name="soft", inputs=base.inputs, layers=(*base.layers, soft, tail), outputs=("q",)
    )
    done = compile_network(net, device="ideal")
    x = random_codes(1, 60, 12).astype(np.float32)
    report = ot.verify(done, x, np.zeros(60, int), levels=("golden", "fast"))
    assert report.agree
    with connect("golden", done) as golden, connect("fast", done) as fast:
        a, b = (target.run(x.astype(np.uint8)) for target in (golden, fast))
    assert {"soft", "soft.max"} <= a.keys() & b.keys()
    assert a["soft"].shape == b["soft"].shape == (60, 5)


def test_every_tensor_of_every_level_is_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    x = {"image": whole(rng, 120, 4), "past": whole(rng, 120, 6)}  # three batches
    net = compiled(states=False, device="rram")
    folder = tmp_path / "trace"
    ot.verify(net, x, levels=("golden", "fast"), trace=folder)
    assert sorted(p.name for p in folder.iterdir()) == ["fast.npz", "golden.npz", "input.npz"]
    codes = {"x": x["image"].astype(np.uint8), "h": x["past"].astype(np.uint8)}
    for level in ("golden", "fast"):
        with connect(level, net) as target:
            want = target.run(codes)
        with np.load(folder / f"{level}.npz", allow_pickle=False) as saved:
            assert set(saved.files) == set(want)
            for name in saved.files:
                np.testing.assert_array_equal(saved[name], want[name], err_msg=name)
                assert saved[name].dtype == want[name].dtype
    with np.load(folder / "input.npz") as saved:
        np.testing.assert_array_equal(saved["h"], codes["h"])


def test_a_run_that_fails_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError("stop")

    monkeypatch.setattr("ohmtwin.host.compare.LevelRun.score", fail)
    rng = np.random.default_rng(7)
    x = {"image": whole(rng, 3, 4), "past": whole(rng, 3, 6)}
    with pytest.raises(InputError, match="stop"):
        ot.verify(compiled(states=False), x, levels=("golden",), trace=tmp_path / "t")
    assert list((tmp_path / "t").iterdir()) == []


def test_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    x = {"image": whole(rng, 3, 4), "past": whole(rng, 3, 6)}
    (tmp_path / "file").touch()
    for folder, message in (
        (tmp_path / "file", "is a file; name a folder"),
        (tmp_path / "none" / "t", "there is no folder"),
    ):
        with pytest.raises(InputError, match=message):
            ot.verify(compiled(states=False), x, levels=("golden",), trace=folder)
    small = type("Usage", (), {"free": 100})
    monkeypatch.setattr("ohmtwin.host.tensorfiles.shutil.disk_usage", lambda _: small)
    with pytest.raises(InputError, match="0 MiB free; trace fewer samples"):
        ot.verify(compiled(states=False), x, levels=("golden",), trace=tmp_path / "t")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--state", "h"], "--state must be INPUT=OUTPUT, as in h=h_out, not 'h'"),
        (["--state", "h=a", "--state", "h=b"], "names the input 'h' twice"),
        (["--trace", "{file}"], "is a file; name a folder"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    model = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"
    data = tmp_path / "x.npz"
    np.savez(data, x=np.zeros((2, 64)))
    filled = [option.format(file=data) for option in options]
    done = CliRunner().invoke(app, ["verify", str(model), "--data", str(data), *filled])
    assert done.exit_code == 2
    assert message in done.stderr


def step_model(path: Path, dtype: type) -> Path:
    """y = x + h in codes of step 1; QDQ throughout."""
    zero = -100 if dtype is np.int8 else 28
    constants = [
        numpy_helper.from_array(np.array(1.0, np.float32), "one"),
        numpy_helper.from_array(np.array(zero, dtype), "zero"),
    ]
    nodes = []
    for name in ("x", "h"):
        nodes.append(helper.make_node("QuantizeLinear", [name, "one", "zero"], [f"{name}_q"]))
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}_q", "one", "zero"], [f"{name}_r"])
        )
    nodes.append(helper.make_node("Add", ["x_r", "h_r"], ["sum"]))
    nodes.append(helper.make_node("QuantizeLinear", ["sum", "one", "zero"], ["y_q"]))
    nodes.append(helper.make_node("DequantizeLinear", ["y_q", "one", "zero"], ["y"]))
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3]) for n in ("x", "h", "y")]
    graph = helper.make_graph(nodes, "step", infos[:2], infos[2:], constants)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_the_reference_feeds_states_back(tmp_path: Path, dtype: type) -> None:
    path = step_model(tmp_path / "step.onnx", dtype)
    reference = OnnxReference(path, {"h": "y"})
    assert reference.inputs == ("x",)
    x = np.random.default_rng(9).integers(-10, 11, (300, 6, 3)).astype(np.float32)
    result = reference.run(x)
    want = np.zeros_like(x)
    for step in range(6):
        before = want[:, step - 1] if step else 0.0
        want[:, step] = np.clip(before + x[:, step], -28, 227)  # a code below 0 stays 0
    np.testing.assert_array_equal(result.output, want)
    zero = -100 if dtype is np.int8 else 28
    assert list(result.codes) == ["x_q", "h_q", "y_q"]
    np.testing.assert_array_equal(result.codes["y_q"], (want + zero).astype(dtype))
    np.testing.assert_array_equal(result.codes["h_q"][:, 1:], result.codes["y_q"][:, :-1])
    assert (result.codes["h_q"][:, 0] == zero).all(), "zero at the start of each sequence"
    # Without states it is a model of two inputs.
    plain = OnnxReference(path).run({"x": x[:, 0], "h": x[:, 1]})
    np.testing.assert_array_equal(plain.output, x[:, 0] + x[:, 1])
    with pytest.raises(InputError, match="no samples for input 'h'"):
        OnnxReference(path).run(x[:, 0])
    with pytest.raises(InputError, match=r"The state 'h=z' names 'z'"):
        OnnxReference(path, {"h": "z"})


def test_a_step_model_agrees_with_the_reference(tmp_path: Path) -> None:
    from ohmtwin.host.importer.network import load_network

    path = step_model(tmp_path / "step.onnx", np.uint8)
    net = load_network(path, states={"h": "y"})
    done = compile_network(net, device="ideal", steps=6)
    x = np.random.default_rng(10).integers(-10, 11, (60, 6, 3)).astype(np.float32)
    report = ot.verify(done, x, levels=("golden", "fast"), model=path, states={"h": "y"})
    assert report.agree
    assert report.reference is not None
    assert (report.reference.tensors, report.reference.unmatched) == (3, ())
    assert report.reference.codes == 60 * 6 * 3 * 3
    assert report.reference.differing == 0


def test_a_tensor_that_changes_the_outputs_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if reading h_q stopped ONNX Runtime from fusing."""
    original = OnnxReference._run_session

    def disturbed(self: OnnxReference, session: Any, samples: Any) -> Any:
        found = original(self, session, samples)
        if "h_q" in found:
            found["y"] = found["y"] + 1
        return found

    monkeypatch.setattr(OnnxReference, "_run_session", disturbed)
    reference = OnnxReference(step_model(tmp_path / "step.onnx", np.uint8))
    x = np.random.default_rng(11).integers(-10, 11, (9, 3)).astype(np.float32)
    result = reference.run({"x": x, "h": x})
    assert list(result.codes) == list(reference.tensors) == ["x_q", "y_q"]
    np.testing.assert_array_equal(result.codes["y_q"], (2 * x + 28).astype(np.uint8))
    assert list(reference.run({"x": x, "h": x}).codes) == ["x_q", "y_q"]


def test_samples_that_are_large_are_compared_a_few_at_a_time() -> None:
    batch = importlib.import_module("ohmtwin.host.verify")._batch
    net = network(states=True)  # 10 + 6 + 6 values a step
    assert batch(net, 1) == 50
    assert batch(net, (1 << 24) // (22 * 3)) == 3
    assert batch(net, 1 << 30) == 1
