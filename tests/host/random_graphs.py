# SPDX-License-Identifier: Apache-2.0
"""Random small quantized models: shapes, strides, pads, groups, zero points, scales, branches.

``random_model(seed)`` is the same for the same seed, QDQ or QOperator, uint8 or int8, per tensor or
per channel. Every tensor's scale is chosen so that its codes spread over much of 0 to 255.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["RandomModel", "random_inputs", "random_model"]

_MICROSOFT = frozenset(
    {"QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearConcat", "QLinearGlobalAveragePool",
     "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid"}
)  # fmt: skip


@dataclass(frozen=True)
class _Tensor:
    """Codes in the model: name, shape of a sample, scale, zero point, spread of the codes."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero: int
    deviation: float


@dataclass
class RandomModel:
    """A model and how it was made.

    Parameters
    ----------
    seed : int
    model : onnx.ModelProto
    operators : list of str
        In the order they were added.
    """

    seed: int
    model: onnx.ModelProto
    operators: list[str]


@dataclass
class _Maker:
    """Adds operators to a growing graph."""

    rng: np.random.Generator
    qdq: bool
    signed: bool
    per_channel: bool
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    tensors: list[_Tensor] = field(default_factory=list)
    operators: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def dtype(self) -> type[np.int8] | type[np.uint8]:
        return np.int8 if self.signed else np.uint8

    def fresh(self, base: str) -> str:
        self.count += 1
        return f"{base}{self.count}"

    def constant(self, base: str, value: Any, dtype: Any) -> str:
        name = self.fresh(base)
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def quant(self, scale: float, zero: int) -> list[str]:
        offset = 128 if self.signed else 0
        return [
            self.constant("s", scale, np.float32),
            self.constant("z", zero - offset, self.dtype),
        ]

    def node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        domain = "com.microsoft" if kind in _MICROSOFT else ""
        name = self.fresh(kind.lower())
        self.nodes.append(
            helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes)
        )

    def result(self, shape: tuple[int, ...], deviation: float, zero: int | None = None) -> _Tensor:
        """A tensor whose reals have the deviation given."""
        spread = float(self.rng.uniform(25, 90))
        scale = float(np.float32(deviation / spread))
        if zero is None:
            zero = int(self.rng.choice([0, 255, 128, int(self.rng.integers(30, 226))],
                                       p=[0.2, 0.05, 0.15, 0.6]))  # fmt: skip
        return _Tensor(self.fresh("t"), shape, scale, zero, min(spread, 74.0))

    def real(self, t: _Tensor) -> str:
        name = self.fresh("r")
        self.node("DequantizeLinear", [t.name, *self.quant(t.scale, t.zero)], [name])
        return name

    def quantize(self, real: str, t: _Tensor) -> None:
        self.node("QuantizeLinear", [real, *self.quant(t.scale, t.zero)], [t.name])

    def both(self, t: _Tensor) -> list[str]:
        """A tensor with its scale and zero point, as QOperator nodes take it."""
        return [t.name, *self.quant(t.scale, t.zero)]

    def add(self, kind: str, t: _Tensor) -> None:
        self.operators.append(kind)
        self.tensors.append(t)

    # Operators. Each takes a tensor that fits it.

    def product(self, x: _Tensor, kind: str) -> None:
        rng = self.rng
        attributes: dict[str, Any] = {}
        if kind == "Conv":
            axes = len(x.shape) - 1
            groups = int(rng.choice([g for g in range(1, x.shape[0] + 1) if x.shape[0] % g == 0]))
            outputs = groups * int(rng.integers(1, 4))
            dilations = [int(d) for d in rng.choice([1, 2], axes, p=[0.8, 0.2])]
            kernel = [
                int(rng.integers(1, min(4, (n - 1) // d + 1) + 1))
                for n, d in zip(x.shape[1:], dilations, strict=True)
            ]
            strides = [int(s) for s in rng.integers(1, 3, axes)]
            attributes = {"kernel_shape": kernel, "strides": strides, "dilations": dilations,
                          "group": groups}  # fmt: skip
            mode = rng.choice(["pads", "SAME_UPPER", "SAME_LOWER", "VALID"], p=[0.7, 0.1, 0.1, 0.1])
            pads = [0] * (2 * axes)
            if mode == "pads":
                pads = [int(rng.integers(0, (k - 1) * d + 1))
                        for k, d in zip(kernel * 2, dilations * 2, strict=True)]  # fmt: skip
                attributes["pads"] = pads
            elif max(dilations) > 1 and mode != "VALID":
                attributes["dilations"] = dilations = [1] * axes
                attributes["auto_pad"] = mode
            else:
                attributes["auto_pad"] = mode
            size = []
            for k, n in enumerate(x.shape[1:]):
                reach = (kernel[k] - 1) * dilations[k] + 1
                if attributes.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER"):
                    size.append(-(-n // strides[k]))
                else:
                    size.append((n + pads[k] + pads[k + axes] - reach) // strides[k] + 1)
            shape = (outputs, *size)
            weights = rng.integers(-127, 128, (outputs, x.shape[0] // groups, *kernel))
            inputs = int(np.prod(weights.shape[1:]))
            axis = 0
        else:
            outputs, inputs = int(rng.integers(1, 12)), x.shape[-1]
            shape = (*x.shape[:-1], outputs)
            weights = rng.integers(-127, 128, (outputs, inputs))
            axis = 0
            if kind == "Gemm":
                attributes = {"transB": 1}
            else:
                weights, axis = weights.T, 1
        w_scale = rng.uniform(0.002, 0.02, outputs if self.per_channel else ())
        unit = np.float32(x.scale) * np.asarray(w_scale, np.float32)
        deviation = float(x.scale * np.mean(w_scale) * 74 * x.deviation * inputs**0.5)
        y = self.result(shape, max(deviation, 1e-6))
        bias = rng.integers(-1, 2, outputs) * rng.integers(0, int(2000 * inputs**0.5), outputs)
        has_bias = kind != "MatMul" and rng.random() < 0.8
        w = self.constant("w", weights, np.int8)
        w_quant = [self.constant("ws", w_scale, np.float32),
                   self.constant("wz", np.zeros(np.shape(w_scale)), np.int8)]  # fmt: skip
        if self.qdq:
            source, w_real = self.real(x), self.fresh("wr")
            self.node("DequantizeLinear", [w, *w_quant], [w_real], axis=axis)
            operands = [source, w_real]
            if has_bias:
                b_real = self.fresh("br")
                b = self.constant("b", bias, np.int32)
                scale = self.constant("bs", unit, np.float32)
                self.node("DequantizeLinear", [b, scale], [b_real], axis=0)
                operands.append(b_real)
            real = self.fresh("y")
            self.node(kind, operands, [real], **attributes)
            self.quantize(real, y)
        else:
            b = self.constant("b", bias, np.int32) if has_bias else ""
            y_quant = self.quant(y.scale, y.zero)
            if kind == "Gemm":
                operands = [*self.both(x), w, *w_quant, b, *y_quant]
                self.node("QGemm", operands, [y.name], **attributes)
            else:
                operands = [*self.both(x), w, *w_quant, *y_quant] + ([b] if b else [])
                self.node(f"QLinear{kind}", operands, [y.name], **attributes)
        self.add(kind, y)

    def binary(self, a: _Tensor, b: _Tensor, kind: str) -> None:
        shape = tuple(np.broadcast_shapes(a.shape, b.shape))
        if kind == "Mul":
            deviation = a.scale * a.deviation * b.scale * b.deviation * 1.5
        else:
            deviation = float(np.hypot(a.scale * a.deviation, b.scale * b.deviation))
        y = self.result(shape, deviation)
        if self.qdq:
            real = self.fresh("y")
            self.node(kind, [self.real(a), self.real(b)], [real])
            self.quantize(real, y)
        else:
            operands = [*self.both(a), *self.both(b), *self.quant(y.scale, y.zero)]
            self.node(f"QLinear{kind}", operands, [y.name])
        self.add(kind, y)

    def constant_tensor(self, like: _Tensor) -> _Tensor:
        """Codes that never change: a scalar, one a channel, or a whole sample."""
        shapes: list[tuple[int, ...]] = [(1,) * len(like.shape), (1, *like.shape)]
        if len(like.shape) > 1:
            shapes.append((like.shape[0], *[1] * (len(like.shape) - 1)))
        shape = shapes[int(self.rng.integers(len(shapes)))]
        low = -128 if self.signed else 0
        name = self.constant("c", self.rng.integers(low, low + 256, shape), self.dtype)
        sample = shape[1:] if len(shape) > len(like.shape) else shape
        return _Tensor(name, sample, float(np.float32(self.rng.uniform(0.5, 2) * like.scale)),
                       int(self.rng.integers(256)), 74.0)  # fmt: skip

    def table(self, x: _Tensor, kind: str) -> None:
        attributes = {"alpha": 0.125} if kind == "LeakyRelu" else {}
        deviation = x.scale * x.deviation if kind in ("LeakyRelu", "HardSwish", "Relu") else 0.4
        zero = 0 if kind == "Relu" else None
        y = self.result(x.shape, deviation, zero)
        if self.qdq or kind not in ("Sigmoid", "LeakyRelu"):
            real = self.fresh("y")
            self.node(kind, [self.real(x)], [real], **attributes)
            self.quantize(real, y)
        else:
            operands = [*self.both(x), *self.quant(y.scale, y.zero)]
            self.node(f"QLinear{kind}", operands, [y.name], **attributes)
        self.add(kind, y)

    def pool(self, x: _Tensor, kind: str) -> None:
        rng, axes = self.rng, len(x.shape) - 1
        kernel = [int(rng.integers(1, min(3, n) + 1)) for n in x.shape[1:]]
        strides = [int(s) for s in rng.integers(1, 3, axes)]
        pads = [int(rng.integers(0, k)) for k in kernel * 2]
        shape = (
            x.shape[0],
            *(
                (n + pads[k] + pads[k + axes] - kernel[k]) // strides[k] + 1
                for k, n in enumerate(x.shape[1:])
            ),
        )
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads}
        if kind == "MaxPool":
            y = _Tensor(self.fresh("t"), shape, x.scale, x.zero, x.deviation)
            if self.qdq:
                real = self.fresh("y")
                self.node(kind, [self.real(x)], [real], **attributes)
                self.quantize(real, y)
            else:
                self.node(kind, [x.name], [y.name], **attributes)
            self.add(kind, y)
            return
        attributes["count_include_pad"] = int(rng.integers(2))
        y = self.result(shape, x.scale * x.deviation / 2)
        if self.qdq:
            real = self.fresh("y")
            self.node(kind, [self.real(x)], [real], **attributes)
            self.quantize(real, y)
        else:
            operands = [*self.both(x), *self.quant(y.scale, y.zero)]
            self.node("QLinearAveragePool", operands, [y.name], **attributes)
        self.add(kind, y)

    def global_pool(self, x: _Tensor) -> None:
        shape = (x.shape[0], *[1] * (len(x.shape) - 1))
        size = float(np.prod(x.shape[1:]))
        y = self.result(shape, x.scale * x.deviation / size**0.5)
        if self.qdq:
            real = self.fresh("y")
            self.node("GlobalAveragePool", [self.real(x)], [real])
            self.quantize(real, y)
        else:
            operands = [*self.both(x), *self.quant(y.scale, y.zero)]
            self.node("QLinearGlobalAveragePool", operands, [y.name])
        self.add("GlobalAveragePool", y)

    def concat(self, parts: list[_Tensor]) -> None:
        shape = (sum(p.shape[0] for p in parts), *parts[0].shape[1:])
        y = self.result(shape, max(p.scale * p.deviation for p in parts))
        if self.qdq:
            real = self.fresh("y")
            self.node("Concat", [self.real(p) for p in parts], [real], axis=1)
            self.quantize(real, y)
        else:
            operands = [*self.quant(y.scale, y.zero)]
            for part in parts:
                operands += self.both(part)
            self.node("QLinearConcat", operands, [y.name], axis=1)
        self.add("Concat", y)

    def view(self, x: _Tensor, kind: str) -> None:
        """Flatten, Transpose, Slice, Split, Pad: codes keep their meaning."""
        rng, rank = self.rng, len(x.shape)
        more: list[str] = []
        attributes: dict[str, Any] = {}
        shapes = [x.shape]
        if kind == "Flatten":
            shapes = [(int(np.prod(x.shape)),)]
        elif kind == "Transpose":
            order = [int(k) for k in rng.permutation(rank)]
            attributes = {"perm": [0, *(k + 1 for k in order)]}
            shapes = [tuple(x.shape[k] for k in order)]
        elif kind == "Slice":
            axis = int(rng.integers(rank))
            start = int(rng.integers(x.shape[axis]))
            step = int(rng.choice([1, 2]))
            more = [self.constant("i", [v], np.int64) for v in (start, 1 << 40, axis + 1, step)]
            count = len(range(start, x.shape[axis], step))
            shapes = [(*x.shape[:axis], count, *x.shape[axis + 1 :])]
        elif kind == "Split":
            axis = int(np.argmax(x.shape))
            first = int(rng.integers(1, x.shape[axis]))
            sizes = [first, x.shape[axis] - first]
            more = [self.constant("i", sizes, np.int64)]
            attributes = {"axis": axis + 1}
            shapes = [(*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in sizes]
        elif kind == "Pad":
            pads = [0, *(int(v) for v in rng.integers(0, 2, rank))]
            pads += [0, *(int(v) for v in rng.integers(0, 3, rank))]
            more = [self.constant("i", pads, np.int64)]
            shapes = [tuple(n + pads[k + 1] + pads[k + 2 + rank] for k, n in enumerate(x.shape))]
        made = [_Tensor(self.fresh("t"), s, x.scale, x.zero, x.deviation) for s in shapes]
        if self.qdq or kind == "Pad":
            reals = [self.fresh("y") for _ in made]
            self.node(kind, [self.real(x), *more], reals, **attributes)
            for real, y in zip(reals, made, strict=True):
                self.quantize(real, y)
        else:
            self.node(kind, [x.name, *more], [y.name for y in made], **attributes)
        for y in made:
            self.add(kind, y)

    def step(self) -> None:
        """One more operator, on one of the last tensors."""
        rng = self.rng
        x = self.tensors[-1 - int(rng.integers(min(2, len(self.tensors))))]
        size = int(np.prod(x.shape))
        choices = ["Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Relu", "Add", "Mul", "Constant"]
        if len(x.shape) > 1:
            choices += ["Conv"] * 6 + ["MaxPool", "AveragePool", "GlobalAveragePool"] * 2
            choices += ["Flatten", "Transpose", "Pad", "MatMul", "Concat"]
        else:
            choices += ["Gemm"] * 4 + ["MatMul"] * 2 + ["Concat"]
        choices += ["Slice", "Split"] if max(x.shape) > 2 else []
        if size > 600:
            choices = ["GlobalAveragePool", "MaxPool"] if len(x.shape) > 1 else ["Gemm"]
        kind = str(rng.choice(choices))
        if kind in ("Conv", "Gemm", "MatMul"):
            self.product(x, kind)
        elif kind in ("Add", "Mul"):
            same = [t for t in self.tensors if _fits(t.shape, x.shape)]
            other = same[int(rng.integers(len(same)))]
            pair = (x, other) if rng.random() < 0.5 else (other, x)
            self.binary(*pair, kind)
        elif kind == "Constant":
            self.binary(x, self._dequantized_constant(x), str(rng.choice(["Add", "Mul"])))
        elif kind in ("MaxPool", "AveragePool"):
            self.pool(x, kind)
        elif kind == "GlobalAveragePool":
            self.global_pool(x)
        elif kind == "Concat":
            same = [t for t in self.tensors if t.shape[1:] == x.shape[1:]]
            picked = [same[int(k)] for k in rng.integers(len(same), size=int(rng.integers(1, 3)))]
            self.concat([x, *picked])
        elif kind in ("Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Relu"):
            self.table(x, kind)
        else:
            self.view(x, kind)

    def _dequantized_constant(self, x: _Tensor) -> _Tensor:
        return self.constant_tensor(x)


def _fits(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(shape) == len(other) and all(
        a == b or 1 in (a, b) for a, b in zip(shape, other, strict=True)
    )


def random_model(seed: int, steps: int | None = None) -> RandomModel:
    """A model of 2 to 7 operators (or ``steps``), all its leaves outputs."""
    rng = np.random.default_rng([seed, 20])
    maker = _Maker(rng, bool(rng.integers(2)), bool(rng.integers(2)), bool(rng.integers(2)))
    kind = int(rng.integers(4))
    if kind == 0:
        shape: tuple[int, ...] = (int(rng.integers(2, 24)),)
    elif kind == 1:
        shape = (int(rng.integers(1, 5)), int(rng.integers(3, 12)))
    else:
        shape = tuple(int(v) for v in (*rng.integers(1, 5, 1), *rng.integers(3, 9, 2)))
    x = maker.result(shape, 1.0)
    maker.quantize("x", x)
    maker.tensors.append(x)
    for _ in range(int(rng.integers(2, 8)) if steps is None else steps):
        maker.step()
    read = {name for node in maker.nodes for name in node.input}
    leaves = [t for t in maker.tensors if t.name not in read]
    # The last one is the result that is classified.
    outputs = [maker.real(t) for t in reversed(leaves)]
    graph = helper.make_graph(
        maker.nodes,
        f"random{seed}",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        maker.constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return RandomModel(seed, model, maker.operators)


def random_inputs(seed: int, shape: tuple[int, ...], count: int) -> NDArray[np.float32]:
    """Samples float32 [count, \\*shape], some values out of the range that is quantized."""
    rng = np.random.default_rng([seed, 21])
    return rng.normal(0, 1.3, (count, *shape)).astype(np.float32)
