# SPDX-License-Identifier: Apache-2.0
"""One step of an LSTM or GRU operator as plain operators, after ONNX's definitions of the two.

What is emitted is made for crossbars: all gates that read the same vector are one Gemm, and no
operator appears but Concat, Pad, Gemm, Split, Sigmoid, Tanh, Relu, Mul and Add.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from ..arch.errors import ModelError
from .importer.view import describe

__all__ = ["Cell", "Emitter", "State", "read_cells"]

Reals = NDArray[np.float32]
State = tuple[str, str]
"""Tensors ``h`` and ``c`` [n, hidden]; a GRU has no ``c``, and leaves it empty."""

_FUNCTIONS = ("Sigmoid", "Tanh", "Relu")
"""Activations that need no parameters and that the chip has."""


@dataclass
class Emitter:
    """Nodes and constants under construction, in order, no name twice.

    Parameters
    ----------
    taken : set of str
        Names that are in use already.
    """

    taken: set[str]
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def fresh(self, name: str) -> str:
        """``name``, or ``name`` with a number behind it if it is in use; in use from now on."""
        candidate, number = name, 1
        while candidate in self.taken:
            number += 1
            candidate = f"{name}_{number}"
        self.taken.add(candidate)
        return candidate

    def constant(self, name: str, array: NDArray[np.generic]) -> str:
        """An initializer; gives its name."""
        name = self.fresh(name)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """A node with one output of the node's name; gives that."""
        name = self.fresh(name)
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def split(self, tensor: str, names: Sequence[str], size: int, axis: int) -> list[str]:
        """Cut into equal parts of ``size`` along ``axis``; gives their names."""
        if len(names) == 1:
            return [tensor]
        parts = [self.fresh(name) for name in names]
        sizes = self.constant(f"{tensor}_sizes", np.full(len(parts), size, np.int64))
        label = self.fresh(f"{tensor}_split")
        self.nodes.append(helper.make_node("Split", [tensor, sizes], parts, name=label, axis=axis))
        return parts


@dataclass
class Cell:
    """One direction of an LSTM or GRU.

    Parameters
    ----------
    name : str
        Prefix of all names.
    hidden, features : int
        Width of the state and of the input.
    functions : tuple of str
        Operators f, g (and h for an LSTM).
    weights : dict
        Gemm weights float32 [out, in] and biases [out] by name: ``gates`` reads input and state
        side by side. A GRU has ``candidate`` as well, which reads the input and the reset state;
        with ``linear_before_reset`` ``candidate`` reads the input and ``recall`` the state.
    groups : dict
        Of each tensor of the step, the names of all its instances so far.
    """

    name: str
    hidden: int
    features: int
    functions: tuple[str, ...]
    weights: dict[str, tuple[Reals, Reals]]
    groups: dict[str, list[str]] = field(default_factory=dict)
    _constants: dict[str, list[str]] = field(default_factory=dict)
    _emit: Emitter = field(default_factory=lambda: Emitter(set()))
    _tag: str = ""

    @property
    def is_lstm(self) -> bool:
        """Whether there is a cell state."""
        return len(self.functions) == 3

    def step(self, emit: Emitter, x: str, state: State | None, tag: str = "") -> State:
        """Emit one step.

        Parameters
        ----------
        emit : Emitter
        x : str
            Input of this step [n, features].
        state : State, optional
            State before it; None if it is zero.
        tag : str
            Behind every name.

        Returns
        -------
        State
            After it.
        """
        self._emit, self._tag = emit, tag
        return self._lstm(x, state) if self.is_lstm else self._gru(x, state)

    def _node(self, op: str, inputs: Sequence[str], role: str, **attributes: Any) -> str:
        made = self._emit.node(op, inputs, f"{self.name}_{role}{self._tag}", **attributes)
        self.groups.setdefault(role, []).append(made)
        return made

    def _gemm(self, x: str, role: str) -> str:
        """The constants are made at the first step, and shared by all."""
        if role not in self._constants:
            self._constants[role] = [
                self._emit.constant(f"{self.name}_{role}_{part}", array)
                for part, array in zip(("weight", "bias"), self.weights[role], strict=True)
            ]
        return self._node("Gemm", [x, *self._constants[role]], role, transB=1)

    def _beside(self, x: str, h: str | None, role: str) -> str:
        """``x`` and ``h`` side by side; zeros in place of a state that is zero."""
        if h is not None:
            return self._node("Concat", [x, h], role, axis=1)
        key = f"{role}_pads"
        if key not in self._constants:
            pads = np.array([0, 0, 0, self.hidden], np.int64)
            self._constants[key] = [self._emit.constant(f"{self.name}_{key}", pads)]
        return self._node("Pad", [x, *self._constants[key]], role)

    def _parts(self, total: str, roles: Sequence[str]) -> list[str]:
        names = [f"{self.name}_{role}{self._tag}" for role in roles]
        parts = self._emit.split(total, names, self.hidden, axis=1)
        for role, part in zip(roles, parts, strict=True):
            self.groups.setdefault(role, []).append(part)
        return parts

    def _lstm(self, x: str, state: State | None) -> State:
        f, g, shape = self.functions
        total = self._gemm(self._beside(x, state[0] if state else None, "xh"), "gates")
        sums = self._parts(total, ["i_sum", "o_sum", "f_sum", "g_sum"])
        i, o = (self._node(f, [part], role) for part, role in zip(sums, "io", strict=False))
        new = self._node("Mul", [i, self._node(g, [sums[3]], "g")], "new")
        c = new  # with nothing to keep, the forget gate of this step is not needed
        if state is not None:
            kept = self._node("Mul", [self._node(f, [sums[2]], "f"), state[1]], "kept")
            c = self._node("Add", [kept, new], "c")
        return self._node("Mul", [o, self._node(shape, [c], "c_shaped")], "h"), c

    def _gru(self, x: str, state: State | None) -> State:
        f, g = self.functions
        h = state[0] if state else None
        total = self._gemm(self._beside(x, h, "xh"), "gates")
        z_sum, r_sum, u_sum = self._parts(total, ["z_sum", "r_sum", "u_sum"])
        r, u = self._node(f, [r_sum], "r"), self._node(f, [u_sum], "u")
        if "recall" in self.weights:
            past = self._gemm(h, "recall") if h else self._bias("recall")
            past = self._node("Mul", [r, past], "reset")
            total = self._node("Add", [self._gemm(x, "candidate"), past], "candidate_sum")
        else:
            reset = self._node("Mul", [r, h], "reset") if h else None
            total = self._gemm(self._beside(x, reset, "xr"), "candidate")
        new = self._node("Mul", [u, self._node(g, [total], "n")], "new")
        if h is None:
            return new, ""
        kept = self._node("Mul", [self._node(f, [z_sum], "z"), h], "kept")
        return self._node("Add", [kept, new], "h"), ""

    def _bias(self, role: str) -> str:
        """The bias of a Gemm whose input is zero, as a row."""
        key = f"{role}_row"
        if key not in self._constants:
            row = self.weights[role][1][None]
            self._constants[key] = [self._emit.constant(f"{self.name}_{key}", row)]
        return self._constants[key][0]


def read_cells(node: NodeProto, arrays: dict[str, NDArray[Any]]) -> list[Cell]:
    """The cells of an LSTM or GRU node: one, or forward and reverse.

    Parameters
    ----------
    node : NodeProto
        ONNX, operator set 7 or later.
    arrays : dict
        The model's constants by name.

    Raises
    ------
    ModelError
        If the node has something that has no place in a step: clipping, peepholes, coupled gates,
        sequence lengths, other activations, weights that are no constants.
    """
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    lstm, where = node.op_type == "LSTM", describe(node)
    operands = [*node.input, *[""] * (8 - len(node.input))]
    if attributes.get("clip") or attributes.get("input_forget"):
        name = "clip" if attributes.get("clip") else "input_forget"
        raise ModelError(
            f"The {where} has the attribute {name!r}, which cannot be turned into plain operators; "
            "train and export the network without it"
        )
    for index, role in ((4, "sequence lengths"), (7, "peephole weights")):
        if operands[index]:
            raise ModelError(
                f"The {where} has {role} ({operands[index]!r}), which cannot be turned into plain "
                "operators; export the network without them"
            )
    directions = 2 if _text(attributes.get("direction", b"forward")) == "bidirectional" else 1
    count = 3 if lstm else 2
    given = [_text(v) for v in attributes.get("activations", [])]
    functions = given or ["Sigmoid", "Tanh", "Tanh"][:count] * directions
    allowed = _FUNCTIONS if lstm else ("Sigmoid",)
    for position, name in enumerate(functions):
        known = _FUNCTIONS if position % count else allowed
        if name not in known or len(functions) != count * directions:
            raise ModelError(
                f"The {where} has the activations {', '.join(functions)}; supported are "
                f"{count} a direction, the first {' or '.join(allowed)}, the others "
                f"{', '.join(_FUNCTIONS)}"
            )
    w, r, b = (_constant(arrays, operands[i], where, role) for i, role in _ROLES)
    if w is None or r is None or w.ndim != 3 or r.ndim != 3 or len(w) != directions:
        raise ModelError(f"The {where} has no weights of the right shape; export the model again")
    gates, hidden, features = (4 if lstm else 3), r.shape[2], w.shape[2]
    if w.shape[1] != gates * hidden or r.shape != (directions, gates * hidden, hidden):
        raise ModelError(
            f"The weights of the {where} have the shapes {list(w.shape)} and {list(r.shape)}, "
            f"which do not fit {gates} gates; export the model again"
        )
    if b is None:
        b = np.zeros((directions, 2 * gates * hidden), np.float32)
    if b.shape != (directions, 2 * gates * hidden):
        raise ModelError(
            f"The bias of the {where} has the shape {list(b.shape)}, not "
            f"{[directions, 2 * gates * hidden]}; export the model again"
        )
    linear = bool(attributes.get("linear_before_reset", 0))
    base = (node.name or node.op_type).strip("/").replace("/", "_").lower()
    cells = []
    for d in range(directions):
        make = _lstm_weights(w[d], r[d], b[d]) if lstm else _gru_weights(w[d], r[d], b[d], linear)
        name = base if directions == 1 else f"{base}_{('forward', 'reverse')[d]}"
        chosen = tuple(functions[d * count : (d + 1) * count])
        cells.append(Cell(name, hidden, features, chosen, make))
    return cells


_ROLES = ((1, "weights"), (2, "recurrent weights"), (3, "bias"))


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _constant(
    arrays: dict[str, NDArray[Any]], name: str, where: str, role: str
) -> NDArray[np.float32] | None:
    if not name:
        return None
    if name not in arrays:
        raise ModelError(
            f"The {role} ({name!r}) of the {where} are computed at run time; they must be "
            "initializers of the model, so export it with constant folding"
        )
    return arrays[name].astype(np.float32)


def _lstm_weights(w: Reals, r: Reals, b: Reals) -> dict[str, tuple[Reals, Reals]]:
    """Gates in ONNX's order: input, output, forget, cell."""
    half = len(b) // 2
    return {"gates": (np.concatenate([w, r], axis=1), b[:half] + b[half:])}


def _gru_weights(w: Reals, r: Reals, b: Reals, linear: bool) -> dict[str, tuple[Reals, Reals]]:
    """Gates in ONNX's order: update z, reset r, hidden; and 1 - z = sigmoid(-sum) as a gate.

    So the new state ``(1 - z) * n + z * h`` takes no subtraction, and both factors are rounded
    to 8 bits once.
    """
    hidden = r.shape[1]
    half = len(b) // 2
    wb, rb = b[:half], b[half:]
    z, reset, n = (slice(k * hidden, (k + 1) * hidden) for k in range(3))
    both, total = np.concatenate([w, r], axis=1), wb + rb
    found = {
        "gates": (
            np.concatenate([both[z], both[reset], -both[z]]),
            np.concatenate([total[z], total[reset], -total[z]]),
        )
    }
    if linear:
        return {**found, "candidate": (w[n], wb[n]), "recall": (r[n], rb[n])}
    return {**found, "candidate": (both[n], total[n])}
