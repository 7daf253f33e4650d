# SPDX-License-Identifier: Apache-2.0
"""LSTM and GRU operators as plain operators: all steps in a row, or one step with its state.

The arithmetic in float is that of the operator. :func:`unroll` keeps the model's inputs and
outputs; every step uses the same constants. :func:`to_step` gives a model of a single step, whose
state goes in and comes out: what a chip runs that keeps the state between steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..arch.errors import ModelError
from .graph_edit import integers, prune, put, rename, shapes, with_initializers
from .importer.view import describe
from .recurrent_cells import Cell, Emitter, State, read_cells
from .recurrent_pieces import Pieces, rearranged

__all__ = ["RECURRENT", "Rewritten", "recurrent_nodes", "to_step", "unroll"]

RECURRENT = ("LSTM", "GRU")
"""Operators that are turned into plain ones."""

_ELEMENTWISE = (
    "Clip", "Dropout", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Relu",
    "Sigmoid", "Tanh",
)  # fmt: skip
_WITH_CONSTANT = ("Add", "Div", "MatMul", "Mul", "Sub")


@dataclass(frozen=True)
class Rewritten:
    """A model without recurrent operators.

    Parameters
    ----------
    model : ModelProto
    shared : tuple of tuple of str
        Tensors that are the same one at different steps: quantized alike, they let all steps share
        their weights and tables.
    state : mapping
        Of a step model: the output that feeds each input of the state at the next step. It is
        zero at the first.
    """

    model: ModelProto
    shared: tuple[tuple[str, ...], ...] = ()
    state: Mapping[str, str] = field(default_factory=dict)


def recurrent_nodes(model: ModelProto) -> list[NodeProto]:
    """All LSTM, GRU and RNN nodes."""
    return [n for n in model.graph.node if n.op_type in (*RECURRENT, "RNN") and not n.domain]


def unroll(model: ModelProto) -> Rewritten:
    """Write out all steps of every LSTM and GRU, in any direction.

    Raises
    ------
    ModelError
        If the number of steps is not fixed, or a node has something that cannot be turned.
    """
    return _Rewriter(model, single=False).run()


def to_step(model: ModelProto) -> Rewritten:
    """One step: the input loses its axis of steps, and states become inputs and outputs.

    The state of an only node is called ``h`` and ``c``, with the outputs ``h_out`` and ``c_out``;
    with several nodes, their names stand before.

    Raises
    ------
    ModelError
        If something in the model needs more than the current step: a reverse direction, a mean
        over steps, a step other than the last.
    """
    return _Rewriter(model, single=True).run()


class _Rewriter:
    """One pass over the nodes, in their order."""

    def __init__(self, model: ModelProto, single: bool) -> None:
        self._single = single
        self._model = with_initializers(model)
        graph = self._model.graph
        found = recurrent_nodes(self._model)
        if not found or any(n.op_type == "RNN" for n in found):
            what = "an RNN node" if found else "no LSTM or GRU node"
            raise ModelError(f"The model has {what}; only LSTM and GRU can be turned into steps")
        self._several = len(found) > 1
        self._arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self._producers = {t: n for n in graph.node for t in n.output if t}
        self._inputs = {i.name: i for i in graph.input if i.name not in self._arrays}
        names = {*self._arrays, *self._producers, *self._inputs, *(n.name for n in graph.node)}
        self._emit = Emitter(names)
        self._shapes = shapes(self._model)
        self._pieces: dict[str, Pieces] = {}
        self._whole: dict[str, str] = {}
        self._origins: dict[str, str] = {}
        self._cells: list[tuple[Cell, str]] = []
        self._state: dict[str, tuple[str, int]] = {}
        self._dropped: set[str] = set()

    def run(self) -> Rewritten:
        for node in recurrent_nodes(self._model):
            self._trace(node)
        for node in self._model.graph.node:
            if node.op_type in RECURRENT and not node.domain:
                self._expand(node)
            elif not any(name in self._pieces for name in node.input):
                self._emit.nodes.append(node)
            elif not self._by_pieces(node):
                self._copy(node)
        return self._finish()

    # Sequences that come in

    def _trace(self, node: NodeProto) -> None:
        """If the sequence of a node begins at an input of the model, cut that input into steps."""
        tensor, axes, moved = node.input[0], _axes(node), True
        while tensor in self._producers:
            maker = self._producers[tensor]
            if maker.op_type == "Transpose" and integers(maker, "perm") == [1, 0, 2]:
                axes = axes[1] + axes[0] + "f"
            elif maker.op_type in (*_ELEMENTWISE, *_WITH_CONSTANT):
                moved = False
            else:
                return
            data = [i for i in maker.input if i and i not in self._arrays]
            if len(data) != 1:
                return
            tensor = data[0]
        if tensor not in self._inputs:
            return
        if moved:
            self._origins[node.input[0]] = tensor
        if tensor in self._pieces:
            return
        if self._single:
            shape = self._shapes.get(tensor) or [0, 0, 0]
            self._pieces[tensor] = Pieces(((tensor,),), axes, shape[2])
        else:
            self._pieces[tensor] = self._cut(tensor, axes)

    def _cut(self, tensor: str, axes: str) -> Pieces:
        """Emit the steps of a tensor [t, n, f] or [n, t, f]."""
        shape, axis = self._shapes.get(tensor) or [], axes.index("t")
        if len(shape) != 3 or not shape[axis] or not shape[2]:
            raise ModelError(
                f"Tensor {tensor!r} must have a fixed number of steps and features to be unrolled, "
                f"not the shape {[d or '?' for d in shape]}; give it with --shape, or use --step"
            )
        names = [f"{tensor}_part{t}" for t in range(shape[axis])]
        parts = self._emit.split(tensor, names, 1, axis)
        form = self._emit.constant(f"{tensor}_step_shape", np.array([-1, shape[2]], np.int64))
        steps = [
            self._emit.node("Reshape", [part, form], f"{tensor}_{t}")
            for t, part in enumerate(parts)
        ]
        return Pieces(tuple((step,) for step in steps), axes, shape[2])

    # Recurrent nodes

    def _expand(self, node: NodeProto) -> None:
        cells, axes = read_cells(node, self._arrays), _axes(node)
        direction = next((a.s for a in node.attribute if a.name == "direction"), b"forward")
        if self._single and direction != b"forward":
            raise ModelError(
                f"The {describe(node)} runs in reverse, so it needs the whole sequence before its "
                "first step; use --unroll"
            )
        source = self._pieces.get(node.input[0])
        if source is None or source.axes != axes:
            if self._single:
                raise ModelError(
                    f"The {describe(node)} does not read an input of the model step by step, so "
                    "it has no step model; use --unroll"
                )
            source = self._cut(self._as_tensor(node.input[0]), axes)
        steps = [row[0] for row in source.parts]
        self._cells += [(cell, node.input[0]) for cell in cells]
        starts = self._starts(node, cells)
        runs = []
        for number, (cell, start) in enumerate(zip(cells, starts, strict=True)):
            backwards = direction == b"reverse" or number == 1
            runs.append(self._run(cell, steps, start, backwards))
        last = [run[0 if direction == b"reverse" or d else -1] for d, run in enumerate(runs)]
        if self._single and starts[0] is not None:
            for name, value in zip(starts[0], last[0], strict=True):
                if name:
                    self._state[name] = (value, cells[0].hidden)
        # Y is [t, d, n, f], and Y_h and Y_c are [d, n, f]; with layout 1 the samples come first.
        first = axes.startswith("t")
        everything = tuple(tuple(run[t][0] for run in runs) for t in range(len(steps)))
        made = [
            (everything, "tdnf" if first else "ntdf"),
            ((tuple(h for h, _ in last),), "dnf" if first else "ndf"),
            ((tuple(c for _, c in last),), "dnf" if first else "ndf"),
        ]
        for name, (parts, form) in zip(node.output, made, strict=False):
            if name:
                self._pieces[name] = Pieces(parts, form, cells[0].hidden)

    def _run(
        self, cell: Cell, steps: list[str], state: State | None, backwards: bool
    ) -> list[State]:
        """States after each step, in the order of the sequence."""
        order = list(range(len(steps)))
        found: dict[int, State] = {}
        for t in reversed(order) if backwards else order:
            state = cell.step(self._emit, steps[t], state, "" if self._single else f"_{t}")
            found[t] = state
        return [found[t] for t in order]

    def _starts(self, node: NodeProto, cells: list[Cell]) -> Sequence[State | None]:
        """States before the first step, for each direction; None for zero."""
        letters = "hc" if cells[0].is_lstm else "h"
        given = [node.input[i] if i < len(node.input) else "" for i in (5, 6)][: len(letters)]
        if self._single:
            return [self._state_inputs(node, cells[0], given)]
        zero = [self._is_zero(name) for name in given]
        if all(zero):
            return [None] * len(cells)
        if any(zero):
            raise ModelError(
                f"The {describe(node)} has only one of its two initial states; give both or neither"
            )
        made: list[list[str]] = []
        for name, letter in zip(given, letters, strict=True):
            names = [f"{cell.name}_{letter}_part" for cell in cells]
            parts = self._emit.split(self._as_tensor(name), names, 1, int(_axes(node) == "ntf"))
            form = self._emit.constant(f"{name}_row_shape", np.array([-1, cells[0].hidden]))
            made.append(
                [
                    self._emit.node("Reshape", [part, form], f"{cell.name}_{letter}_start")
                    for part, cell in zip(parts, cells, strict=True)
                ]
            )
        return [(h, made[1][d] if len(made) > 1 else "") for d, h in enumerate(made[0])]

    def _state_inputs(self, node: NodeProto, cell: Cell, given: list[str]) -> State:
        """Make the state an input of the step model."""
        made = []
        for name, letter in zip(given, "hc", strict=False):
            if name in self._inputs:
                self._dropped.add(name)
                self._emit.taken.discard(name)
            elif not self._is_zero(name):
                raise ModelError(
                    f"The {describe(node)} begins with a state that is not zero ({name!r}), which "
                    "a step model cannot have; use --unroll, or export it without"
                )
            made.append(self._emit.fresh(f"{cell.name}_{letter}" if self._several else letter))
        return made[0], made[1] if cell.is_lstm else ""

    def _is_zero(self, name: str) -> bool:
        """Whether a tensor is left out, or is known to be all zeros."""
        if not name:
            return True
        if name in self._arrays:
            return not self._arrays[name].any()
        maker = self._producers.get(name)
        if maker is None:
            return False
        if maker.op_type == "ConstantOfShape":
            values = [numpy_helper.to_array(a.t) for a in maker.attribute if a.name == "value"]
            return not any(value.any() for value in values)
        if maker.op_type in ("Expand", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"):
            return self._is_zero(maker.input[0])
        return False

    # Nodes that read pieces

    def _by_pieces(self, node: NodeProto) -> bool:
        """Apply a node to each piece, or to how pieces make up a tensor; False if it is neither."""
        if len([i for i in node.input if i in self._pieces]) != 1 or len(node.output) != 1:
            return False
        name = next(i for i in node.input if i in self._pieces)
        pieces = self._pieces[name]
        if pieces.only:
            return False
        if node.op_type in (*_ELEMENTWISE, *_WITH_CONSTANT):
            made = self._each(node, name, pieces)
        else:
            made = rearranged(node, name, pieces, self._arrays, self._single)
        if made is None:
            return False
        self._pieces[node.output[0]] = made
        return True

    def _each(self, node: NodeProto, name: str, pieces: Pieces) -> Pieces | None:
        """The same node on every matrix."""
        features = pieces.features
        others = [i for i in node.input if i and i != name]
        if any(i not in self._arrays for i in others):
            return None
        if node.op_type in _WITH_CONSTANT:
            constant = self._arrays[others[0]]
            if node.op_type == "MatMul":
                if constant.ndim != 2 or node.input[0] != name:
                    return None
                features = constant.shape[1]
            elif constant.ndim > 1:
                return None
        rows = []
        for t, row in enumerate(pieces.parts):
            made = []
            for d, part in enumerate(row):
                tag = "" if len(pieces.parts) == len(row) == 1 else f"_{t}" + "_r" * d
                copy = NodeProto()
                copy.CopyFrom(node)
                copy.name = copy.output[0] = self._emit.fresh(f"{node.output[0]}_step{tag}")
                copy.input[:] = [part if i == name else i for i in node.input]
                self._emit.nodes.append(copy)
                made.append(copy.output[0])
            rows.append(tuple(made))
        return replace(pieces, parts=tuple(rows), features=features)

    def _copy(self, node: NodeProto) -> None:
        """A node that reads whole tensors."""
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._as_tensor(i, node) if i in self._pieces else i for i in node.input]
        self._emit.nodes.append(copy)

    def _as_tensor(self, name: str, reader: NodeProto | None = None) -> str:
        """The name of the tensor itself, put together from its pieces if need be."""
        if name not in self._pieces:
            return name
        pieces = self._pieces[name]
        if pieces.only:
            return pieces.only
        if name in self._inputs and not self._single:
            return name
        if name in self._whole:
            return self._whole[name]
        if self._single and ("t" in pieces.axes or "1" in pieces.axes or reader is None):
            who = f"The {describe(reader)}" if reader else "An output"
            raise ModelError(
                f"{who} reads the whole sequence {name!r}, of which a step model has only the "
                "current step; use --unroll"
            )
        sizes = {"n": -1, "f": pieces.features}
        shape = np.array([sizes.get(a, 1) for a in pieces.axes], np.int64)
        form = self._emit.constant(f"{name}_piece_shape", shape)
        rows = []
        for row in pieces.parts:
            made = [self._emit.node("Reshape", [p, form], f"{p}_piece") for p in row]
            rows.append(self._join(made, pieces.axes, "d", name))
        self._whole[name] = self._join(rows, pieces.axes, "t", name)
        return self._whole[name]

    def _join(self, parts: list[str], axes: str, letter: str, name: str) -> str:
        if len(parts) == 1:
            return parts[0]
        return self._emit.node("Concat", parts, f"{name}_whole", axis=axes.index(letter))

    # The result

    def _finish(self) -> Rewritten:
        graph = self._model.graph
        final: dict[str, str] = {}
        outputs = []
        for output in graph.output:
            pieces = self._pieces.get(output.name)
            if pieces is None:
                outputs.append(output)
                continue
            if self._single and pieces.axes in ("dnf", "ndf"):
                continue  # a last state: it comes out under another name
            if self._single and len(pieces.axes.replace("t", "").replace("1", "")) == 2:
                tensor = pieces.parts[0][0]
                shape: list[Any] = ["n", pieces.features]
                output = helper.make_tensor_value_info(output.name, TensorProto.FLOAT, shape)
            else:
                tensor = self._as_tensor(output.name)
            self._name(tensor, output.name, final)
            outputs.append(output)
        state = {}
        for name, (tensor, hidden) in self._state.items():
            state[name] = self._emit.fresh(f"{name}_out")
            self._name(tensor, state[name], final)
            outputs.append(
                helper.make_tensor_value_info(state[name], TensorProto.FLOAT, ["n", hidden])
            )
        rename(self._emit.nodes, final)
        model = ModelProto()
        model.CopyFrom(self._model)
        del model.graph.value_info[:]
        put(model.graph.output, outputs)
        put(model.graph.node, self._emit.nodes)
        put(model.graph.input, self._new_inputs())
        model.graph.initializer.extend(self._emit.constants)
        prune(model)
        shared = self._shared(final, {n for node in model.graph.node for n in node.output})
        return Rewritten(model, shared, state)

    def _name(self, tensor: str, wanted: str, final: dict[str, str]) -> None:
        """Give a tensor the name of an output; a copy of it, if it has such a name already."""
        produced = {t for node in self._emit.nodes for t in node.output}
        if tensor in final or tensor not in produced or tensor in self._producers:
            label = self._emit.fresh(f"{wanted}_copy")
            source = final.get(tensor, tensor)
            self._emit.nodes.append(helper.make_node("Identity", [source], [wanted], name=label))
        else:
            final[tensor] = wanted

    def _new_inputs(self) -> list[onnx.ValueInfoProto]:
        found = []
        for name, value in self._inputs.items():
            if name in self._dropped:
                continue
            if self._single and name in self._pieces:
                shape: list[Any] = ["n", self._pieces[name].features or "features"]
                value = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            found.append(value)
        for name, (_, hidden) in self._state.items():
            found.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", hidden]))
        return found

    def _shared(self, final: dict[str, str], alive: set[str]) -> tuple[tuple[str, ...], ...]:
        groups = []
        for cell, source in self._cells:
            for role, names in cell.groups.items():
                group = [final.get(n, n) for n in names]
                group = [n for n in group if n in alive]
                if role == "xh" and not self._single and source in self._origins:
                    # So the first step, which has no state beside its input, is scaled alike.
                    group.append(self._origins[source])
                if len(group) > 1:
                    groups.append(tuple(group))
        return tuple(groups)


def _axes(node: NodeProto) -> str:
    """Axes of the sequence that a node reads; attribute layout."""
    layout = next((a.i for a in node.attribute if a.name == "layout"), 0)
    return "ntf" if layout else "tnf"
