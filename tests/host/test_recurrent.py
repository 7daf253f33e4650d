# SPDX-License-Identifier: Apache-2.0
"""LSTM and GRU as plain operators: the outputs of ONNX Runtime's own operators, in float."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ohmtwin.arch.errors import ModelError
from ohmtwin.host.recurrent import Rewritten, to_step, unroll

runtime: Any = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

N, STEPS, FEATURES, HIDDEN, CLASSES = 3, 6, 5, 4, 7
ALLOWED = {"Add", "Concat", "Gemm", "Mul", "Pad", "Relu", "Reshape", "Sigmoid", "Split", "Tanh"}

Arrays = Mapping[str, NDArray[Any]]


def run(model: ModelProto, feeds: Arrays) -> dict[str, NDArray[Any]]:
    """All outputs by name, in ONNX Runtime without its optimizer."""
    onnx.checker.check_model(model, full_check=True)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(model.SerializeToString(), options)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def model(
    nodes: list[onnx.NodeProto],
    constants: Arrays,
    inputs: Mapping[str, list[Any]],
    outputs: Mapping[str, list[Any]],
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in inputs.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weights(op: str, directions: int = 1, features: int = FEATURES, seed: int = 0) -> Arrays:
    """W, R and B of a node, large enough that all gates work."""
    generator, gates = np.random.default_rng(seed), 4 if op == "LSTM" else 3
    shapes = {"W": (gates * HIDDEN, features), "R": (gates * HIDDEN, HIDDEN), "B": (8 * HIDDEN,)}
    shapes["B"] = (2 * gates * HIDDEN,)
    return {
        k: generator.normal(0, 0.7, (directions, *s)).astype(np.float32) for k, s in shapes.items()
    }


def samples(seed: int = 1, shape: tuple[int, ...] = (N, STEPS, FEATURES)) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def classifier(op: str, **attributes: Any) -> ModelProto:
    """Batch-first input, last state, dense layer: as PyTorch exports it."""
    head = samples(2, (CLASSES, HIDDEN))
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node(
            op, ["xt", "W", "R", "B"], ["", "last"], name="cell", hidden_size=HIDDEN, **attributes
        ),
        helper.make_node("Squeeze", ["last", "axis"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "head"], ["logits"], transB=1),
    ]
    constants = {**weights(op), "head": head, "axis": np.array([0])}
    outputs = {"logits": ["n", CLASSES]}
    return model(nodes, constants, {"x": ["n", STEPS, FEATURES]}, outputs)


def assert_close(actual: Arrays, expected: Arrays) -> None:
    assert actual.keys() == expected.keys()
    for name in expected:
        assert np.abs(expected[name]).max() > 0.05, "a test of zeros tests nothing"
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=1e-5)


def run_steps(made: Rewritten, x: NDArray[np.float32], width: int = HIDDEN) -> Arrays:
    """The outputs of the last step, states fed back."""
    state = {name: np.zeros((len(x), width), np.float32) for name in made.state}
    found: dict[str, NDArray[Any]] = {}
    for step in range(x.shape[1]):
        found = run(made.model, {"x": x[:, step], **state})
        state = {name: found[output] for name, output in made.state.items()}
    return {k: v for k, v in found.items() if k not in made.state.values()}


CASES = [("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1})]


@pytest.mark.parametrize(("op", "attributes"), CASES)
def test_unrolled_equals_the_operator(op: str, attributes: dict[str, Any]) -> None:
    source = classifier(op, **attributes)
    made = unroll(source)
    assert {n.op_type for n in made.model.graph.node} <= ALLOWED
    assert made.state == {}
    x = samples()
    assert_close(run(made.model, {"x": x}), run(source, {"x": x}))


@pytest.mark.parametrize(("op", "attributes"), CASES)
def test_steps_equal_the_operator(op: str, attributes: dict[str, Any]) -> None:
    source = classifier(op, **attributes)
    made = to_step(source)
    assert {n.op_type for n in made.model.graph.node} <= ALLOWED
    expected = {"h": "h_out", "c": "c_out"} if op == "LSTM" else {"h": "h_out"}
    assert made.state == expected
    assert [i.name for i in made.model.graph.input] == ["x", *expected]
    assert [o.name for o in made.model.graph.output] == ["logits", *expected.values()]
    x = samples()
    assert_close(run_steps(made, x), run(source, {"x": x}))


def test_unrolled_steps_share_their_weights() -> None:
    graph = unroll(classifier("LSTM")).model.graph
    gates = [n for n in graph.node if n.op_type == "Gemm" and n.name.startswith("cell_gates")]
    assert len(gates) == STEPS
    assert len({tuple(n.input[1:]) for n in gates}) == 1
    matrices = [list(t.dims) for t in graph.initializer if len(t.dims) == 2]
    assert sorted(matrices) == [[CLASSES, HIDDEN], [4 * HIDDEN, FEATURES + HIDDEN]]


def test_unrolled_steps_are_named_as_shared() -> None:
    made = unroll(classifier("LSTM"))
    tensors = {t for n in made.model.graph.node for t in n.output} | {"x"}
    flat = [name for group in made.shared for name in group]
    assert len(set(flat)) == len(flat)
    assert set(flat) <= tensors
    group = next(g for g in made.shared if "cell_xh_1" in g)
    assert set(group) == {"x", *(f"cell_xh_{t}" for t in range(STEPS))}


def bare(op: str, direction: str, start: bool, layout: int) -> ModelProto:
    """A node alone, with all its outputs."""
    directions = 2 if direction == "bidirectional" else 1
    letters = "hc" if op == "LSTM" else "h"
    states = [f"{k}0" for k in letters] if start else []
    outputs = ["y", *(f"y_{k}" for k in letters)]
    operands = ["x", "W", "R", "B", *([""] if states else []), *states]
    node = helper.make_node(
        op, operands, outputs, name="cell", hidden_size=HIDDEN, direction=direction, layout=layout
    )
    wide: list[Any] = [directions, "n", HIDDEN]
    inputs: dict[str, list[Any]] = {"x": [STEPS, "n", FEATURES]} | dict.fromkeys(states, wide)
    shapes: dict[str, list[Any]] = {"y": [STEPS, *wide]} | dict.fromkeys(outputs[1:], wide)
    if layout:
        inputs = {k: [v[1], v[0], *v[2:]] for k, v in inputs.items()}
        shapes = {k: [v[1], v[0], *v[2:]] for k, v in shapes.items()}
        shapes["y"] = ["n", STEPS, directions, HIDDEN]
    return model([node], weights(op, directions), inputs, shapes)


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("start", [False, True])
def test_unrolled_directions_and_initial_states(op: str, direction: str, start: bool) -> None:
    source = bare(op, direction, start, 0)
    shapes = {i.name: i.type.tensor_type.shape.dim[0].dim_value for i in source.graph.input}
    feeds = {
        name: samples(ord(name[0]), (size, N, FEATURES if name == "x" else HIDDEN))
        for name, size in shapes.items()
    }
    made = unroll(source)
    assert not {n.op_type for n in made.model.graph.node} & {"LSTM", "GRU"}
    expected = run(source, feeds)
    assert_close(run(made.model, feeds), expected)
    # ONNX Runtime has no kernel for layout 1, so what it gives for layout 0 is transposed.
    swapped = {name: v.swapaxes(0, 1).copy() for name, v in feeds.items()}
    transposed = {name: v.swapaxes(0, 1) for name, v in expected.items()}
    transposed["y"] = expected["y"].transpose(2, 0, 1, 3)
    assert_close(run(unroll(bare(op, direction, start, 1)).model, swapped), transposed)


def stack(middle: list[onnx.NodeProto], read: str, constants: Arrays) -> ModelProto:
    """Two layers, with nodes between them and a dense layer at every step."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["xt", "W", "R", "B"], ["y1"], name="one", hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["y1", "axis"], ["s1"]),
        *middle,
        helper.make_node("GRU", [read, "W2", "R2", "B2"], ["y2"], name="two", hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["y2", "axis"], ["s2"]),
        helper.make_node("Transpose", ["s2"], ["batch"], perm=[1, 0, 2]),
    ]
    second = {f"{k}2": v for k, v in weights("GRU", features=HIDDEN, seed=5).items()}
    known = {**weights("LSTM"), **second, "axis": np.array([1]), **constants}
    return model(nodes, known, {"x": ["n", STEPS, FEATURES]}, {"batch": ["n", STEPS, HIDDEN]})


def with_head(source: ModelProto, nodes: list[onnx.NodeProto], shape: list[Any]) -> ModelProto:
    source.graph.node.extend(nodes)
    head, index = samples(2, (HIDDEN, CLASSES)), np.array(-1)
    for name, array in {"head": head, "shift": samples(3, (CLASSES,)), "end": index}.items():
        source.graph.initializer.append(numpy_helper.from_array(array, name))
    del source.graph.output[:]
    source.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape))
    return source


EVERY_STEP = [
    helper.make_node("MatMul", ["batch", "head"], ["product"]),
    helper.make_node("Add", ["product", "shift"], ["sums"]),
    helper.make_node("Relu", ["sums"], ["logits"]),
]
LAST_STEP = [
    helper.make_node("Gather", ["batch", "end"], ["last"], axis=1),
    helper.make_node("MatMul", ["last", "head"], ["logits"]),
]


@pytest.mark.parametrize(
    ("head", "shape"),
    [(EVERY_STEP, ["n", STEPS, CLASSES]), (LAST_STEP, ["n", CLASSES])],
    ids=["every step", "last step"],
)
def test_stacks_with_heads(head: list[onnx.NodeProto], shape: list[Any]) -> None:
    middle = [helper.make_node("Tanh", ["s1"], ["shaped"])]
    source = with_head(stack(middle, "shaped", {}), head, shape)
    x = samples()
    expected = run(source, {"x": x})["logits"]
    np.testing.assert_allclose(run(unroll(source).model, {"x": x})["logits"], expected, atol=1e-5)
    made = to_step(source)
    assert made.state == {
        "one_h": "one_h_out", "one_c": "one_c_out", "two_h": "two_h_out"
    }  # fmt: skip
    last = expected[:, -1] if expected.ndim == 3 else expected
    np.testing.assert_allclose(run_steps(made, x)["logits"], last, atol=1e-5)


def test_zero_states_that_are_computed_count_as_none() -> None:
    source = classifier("LSTM")
    zeros = helper.make_node("ConstantOfShape", ["zero_shape"], ["zero"])
    source.graph.initializer.append(numpy_helper.from_array(np.array([1, N, HIDDEN]), "zero_shape"))
    source.graph.node.insert(0, zeros)
    lstm = next(n for n in source.graph.node if n.op_type == "LSTM")
    lstm.input.extend(["", "zero", "zero"])
    x = samples()
    expected = run(source, {"x": x})
    assert_close(run(unroll(source).model, {"x": x}), expected)
    assert_close(run_steps(to_step(source), x), expected)


def test_a_mean_over_steps_has_no_step_model() -> None:
    nodes = [helper.make_node("ReduceMean", ["batch"], ["logits"], axes=[1], keepdims=0)]
    source = with_head(stack([], "s1", {}), nodes, ["n", HIDDEN])
    x = samples()
    made = run(unroll(source).model, {"x": x})
    np.testing.assert_allclose(made["logits"], run(source, {"x": x})["logits"], atol=1e-5)
    with pytest.raises(ModelError, match=r"ReduceMean .* reads the whole sequence .* use --unroll"):
        to_step(source)


def test_the_first_step_has_no_step_model() -> None:
    source = with_head(stack([], "s1", {}), LAST_STEP, ["n", CLASSES])
    end = next(t for t in source.graph.initializer if t.name == "end")
    end.CopyFrom(numpy_helper.from_array(np.array(0), "end"))
    x = samples()
    made = run(unroll(source).model, {"x": x})
    np.testing.assert_allclose(made["logits"], run(source, {"x": x})["logits"], atol=1e-5)
    with pytest.raises(ModelError, match="other steps of a sequence than the last"):
        to_step(source)


def test_other_transpositions_read_the_whole_sequence() -> None:
    nodes = [helper.make_node("Transpose", ["batch"], ["logits"], perm=[0, 2, 1])]
    source = with_head(stack([], "s1", {}), nodes, ["n", HIDDEN, STEPS])
    x = samples()
    made = run(unroll(source).model, {"x": x})
    np.testing.assert_allclose(made["logits"], run(source, {"x": x})["logits"], atol=1e-5)
    with pytest.raises(ModelError, match=r"Transpose .* reads the whole sequence"):
        to_step(source)


def test_reverse_has_no_step_model() -> None:
    with pytest.raises(ModelError, match="runs in reverse, so it needs the whole sequence"):
        to_step(classifier("LSTM", direction="reverse"))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"clip": 3.0}, "has the attribute 'clip'"),
        ({"input_forget": 1}, "has the attribute 'input_forget'"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "has the activations HardSigmoid"),
        ({"activations": ["Sigmoid", "Tanh"]}, "supported are 3 a direction"),
    ],
)
def test_what_has_no_plain_operators(attributes: dict[str, Any], message: str) -> None:
    for turn in (unroll, to_step):
        with pytest.raises(ModelError, match=message):
            turn(classifier("LSTM", **attributes))


def test_other_activations() -> None:
    source = classifier("LSTM", activations=["Sigmoid", "Relu", "Tanh"])
    x = samples()
    assert_close(run(unroll(source).model, {"x": x}), run(source, {"x": x}))


def test_peepholes_are_refused() -> None:
    source = classifier("LSTM")
    lstm = next(n for n in source.graph.node if n.op_type == "LSTM")
    lstm.input.extend(["", "", "", "P"])
    with pytest.raises(ModelError, match="has peephole weights"):
        unroll(source)


def test_weights_that_are_computed_are_refused() -> None:
    source = classifier("LSTM")
    source.graph.node.insert(0, helper.make_node("Relu", ["W"], ["W_used"]))
    lstm = next(n for n in source.graph.node if n.op_type == "LSTM")
    lstm.input[1] = "W_used"
    with pytest.raises(ModelError, match=r"weights \('W_used'\) .* computed at run time"):
        unroll(source)


def test_unrolling_needs_a_fixed_number_of_steps() -> None:
    source = classifier("LSTM")
    source.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "steps"
    with pytest.raises(ModelError, match="'x' must have a fixed number of steps"):
        unroll(source)
    x = samples()
    assert_close(run_steps(to_step(source), x), run(source, {"x": x}))


def test_a_model_without_recurrence_is_refused() -> None:
    source = classifier("LSTM")
    kept = [n for n in source.graph.node if n.op_type == "Transpose"]
    del source.graph.node[:]
    source.graph.node.extend(kept)
    with pytest.raises(ModelError, match="has no LSTM or GRU node"):
        unroll(source)
