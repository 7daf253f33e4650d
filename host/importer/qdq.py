# SPDX-License-Identifier: Apache-2.0
"""From float expressions between quantizers to integer layers (QDQ, QONNX, Brevitas)."""

from dataclasses import replace

import numpy as np
from onnx import NodeProto, TensorProto

from ...arch.errors import ModelError
from ..graph import NetworkInput, Quantization
from .affine import BIPOLAR, affine_chain, build_affine
from .build import Build, unsupported
from .elementwise import Fixed, build_multiply, build_sum, fixed_operand
from .expression import clip_bounds, evaluate, leaves
from .lowbits import bipolar_scale, quant_grid
from .pools import (
    build_average_pool,
    build_concat,
    build_global_average_pool,
    build_max_pool,
    build_pad,
    build_softmax,
)
from .qoperator import QOPERATORS, check_quant
from .refuse import refuse_operator
from .values import Codes, Floating, FloatInput, Grid, Real, Value
from .view import GraphInput, describe
from .views import VIEWS, apply_view

__all__ = ["Quantizer"]


class Quantizer:
    """Matches what stands before a quantizer.

    Parameters
    ----------
    build : Build
    """

    def __init__(self, build: Build) -> None:
        self._build = build
        self._graph = build.graph
        self._inputs: dict[tuple[str, Quantization], Codes] = {}

    # Inputs of the model.

    def integer_input(self, given: GraphInput) -> Codes:
        """An input that holds codes; their meaning is what its first reader says."""
        signed = given.kind == TensorProto.INT8
        quant = self._meaning(given.name, signed) or Quantization(1.0, 0, signed)
        if quant.signed != signed:
            raise ModelError(
                f"Input {given.name!r} is {'int8' if signed else 'uint8'}, but the zero point of "
                "its reader is of the other type; quantize the model again"
            )
        tensor = self._build.claim(given.name)
        self._build.inputs.append(NetworkInput(given.name, tensor, given.shape, quant))
        return Codes(tensor, given.shape, Grid(quant))

    def _meaning(self, tensor: str, signed: bool) -> Quantization | None:
        pending, seen = [tensor], {tensor}
        while pending:
            current = pending.pop(0)
            for node in self._graph.consumers(current):
                if node.op_type in QOPERATORS or node.op_type == "DequantizeLinear":
                    index = list(node.input).index(current)
                    return self._graph.activation(node, index + 1, index + 2, signed)
                if node.op_type in VIEWS or node.op_type in ("MaxPool", "Pad", "Concat"):
                    fresh = [o for o in node.output if o and o not in seen]
                    seen.update(fresh)
                    pending.extend(fresh)
        return None

    def _input(self, given: FloatInput, quant: Quantization, tensor: str) -> Codes:
        """A float input in one quantization, made once."""
        key = (given.name, quant)
        if key not in self._inputs:
            name = self._build.claim(tensor)
            self._build.inputs.append(NetworkInput(given.name, name, given.shape, quant))
            self._inputs[key] = Codes(name, given.shape, Grid(quant))
        return self._inputs[key]

    # Quantizers.

    def grid(self, node: NodeProto) -> Grid:
        """The codes that a QuantizeLinear gives."""
        graph = self._graph
        kind = graph.integer(node, "output_dtype", 0)
        signed = kind in (TensorProto.INT8, TensorProto.INT4)
        if kind not in (0, *_KINDS):
            raise unsupported(
                node, f"has output_dtype {kind}", "supported are uint8, int8, uint4 and int4"
            )
        quant = graph.activation(node, 1, 2, signed)
        if kind in _KINDS[2:] or graph.four_bits(node, 2):
            return Grid(quant, 120, 135) if quant.signed else Grid(quant, 0, 15)
        return Grid(quant)

    def quantize_linear(self, node: NodeProto, value: Value | None) -> Codes:
        """What a QuantizeLinear makes."""
        return self.quantize(node, value, self.grid(node), node.output[0])

    def quant(self, node: NodeProto, value: Value | None) -> Codes:
        """What a Quant or BipolarQuant of QONNX makes."""
        output = node.output[0]
        if node.op_type == "BipolarQuant":
            return self._bipolar(node, value, bipolar_scale(self._graph, node), output)
        return self.quantize(node, value, quant_grid(self._graph, node), output)

    def dequantize(self, node: NodeProto, value: Value | None) -> Real:
        """DequantizeLinear: the same codes as reals."""
        if not isinstance(value, Codes):
            raise ModelError(
                f"The {describe(node)} reads {self._graph.operand(node, 0)!r}, which is not "
                "quantized; it must come from QuantizeLinear or another quantized node"
            )
        check_quant(node, value, self._graph.activation(node, 1, 2, value.quant.signed))
        return Real(value)

    def on_codes(self, node: NodeProto, operands: tuple[Value | None, ...]) -> Codes:
        """Nodes of ONNX that also take codes."""
        kind, output = node.op_type, node.output[0]
        first = operands[0]
        if kind == "MaxPool" and isinstance(first, Codes):
            return build_max_pool(self._build, node, first, output)
        if kind == "Pad" and isinstance(first, Codes):
            code = 0
            if self._graph.operand(node, 2):
                value = self._graph.constant(node, 2, "value")
                code = int(value.ravel()[0]) if value.size == 1 else 0
            internal = code + (128 if first.quant.signed else 0)
            if not 0 <= internal <= 255:
                raise ModelError(f"The value {code} of the {describe(node)} does not fit 8 bits")
            return build_pad(self._build, node, first, None, internal, output)
        if kind == "Clip" and isinstance(first, Codes):
            return self._clip_codes(node, first)
        if kind == "Concat":
            sources = [o for o in operands if isinstance(o, Codes)]
            if len(sources) != len(operands) or len({s.quant for s in sources}) != 1:
                raise unsupported(
                    node, "joins codes that do not mean the same", "use QLinearConcat"
                )
            grid = Grid(
                sources[0].quant, min(s.grid.low for s in sources),
                max(s.grid.high for s in sources),
            )  # fmt: skip
            return build_concat(self._build, node, sources, grid, output)
        refuse_operator(node)
        raise unsupported(node, "reads codes, which it cannot", "put a DequantizeLinear before it")

    def _clip_codes(self, node: NodeProto, source: Codes) -> Codes:
        """Clip of codes (Brevitas): fewer bits than the type has."""
        low, high = source.grid.low, source.grid.high
        offset = 128 if source.quant.signed else 0
        for index in (1, 2):
            if self._graph.operand(node, index):
                bound = self._graph.constant(node, index, "bound")
                if bound.size != 1 or bound.dtype.kind not in "iu":
                    raise ModelError(f"The bounds of the {describe(node)} must be single codes")
                code = int(bound.ravel()[0]) + offset
                low, high = (max(low, code), high) if index == 1 else (low, min(high, code))
        if low > high:
            raise ModelError(f"The bounds of the {describe(node)} leave no code")
        grid = Grid(source.quant, low, high)
        if grid == source.grid:
            return source
        table = np.clip(np.arange(256), low, high).astype(np.uint8)
        return self._build.table(node, source, table, grid, node.output[0])

    # Matching.

    def quantize(self, node: NodeProto, value: Value | None, grid: Grid, output: str) -> Codes:
        """Codes of a value: peel off shapes and bounds, then build what is left."""
        if value is None or isinstance(value, Codes):
            raise unsupported(
                node,
                "quantizes a constant or a tensor that is quantized already",
                "put a DequantizeLinear before it, or fold constants",
            )
        views: list[Floating] = []
        bounds: list[Floating] = []
        inner: Value = value
        while isinstance(inner, Floating):
            if self._pair(inner) is not None:
                break
            found = leaves(self._build, inner)
            if found is not None and len(found) == 1:
                break
            following = inner.operands[0]
            if inner.node.op_type in ("Relu", "Clip") and following is not None:
                bounds.append(inner)
            elif inner.node.op_type in VIEWS and following is not None:
                if inner.node.op_type == "Split":
                    raise self._between(inner.node, inner.node)
                views.append(inner)
            else:
                break
            inner = following
        narrow = grid
        for bound in bounds:
            low, high = (int(c) for c in grid.quantize(clip_bounds(self._build, bound.node)))
            narrow = Grid(grid.quant, max(narrow.low, low), min(narrow.high, high))
            if narrow.low > narrow.high:
                narrow = Grid(grid.quant, narrow.high, narrow.high)
        name = output if not views else f"{output}_inner"
        # ONNX Runtime fuses an operator that alone stands between the quantizers.
        sole = inner is value and isinstance(inner, Floating) and self._sole(inner.node)
        result = self._core(node, inner, narrow, name, sole)
        if bounds and narrow != grid and isinstance(inner, Floating):
            for bound in bounds:
                self._build.note(
                    f"ONNX Runtime computes the {describe(bound.node)} behind layer "
                    f"{self._build.layers[-1].name!r} in float"
                )
        for k, view in enumerate(reversed(views)):
            last = k == len(views) - 1
            (result,) = apply_view(
                self._build, view.node, result, [output if last else f"{output}_view{k}"]
            )
        return result

    def _sole(self, node: NodeProto) -> bool:
        """Whether a node's float result is only quantized, and nothing else."""
        tensor = node.output[0]
        return len(self._graph.consumers(tensor)) == 1 and tensor not in self._graph.outputs

    def _core(self, node: NodeProto, value: Value, grid: Grid, output: str, sole: bool) -> Codes:
        build = self._build
        if isinstance(value, Codes):
            raise ModelError(f"The {describe(node)} quantizes codes; the file is damaged")
        if isinstance(value, FloatInput):
            full = Grid(grid.quant)
            if grid == full:
                return self._input(value, grid.quant, output)
            codes = self._input(value, grid.quant, f"{output}_8bit")
            return build.table(node, codes, grid.requantize(codes.grid), grid, output)
        if isinstance(value, Real):
            return self._requantize(node, value.codes, grid, output)
        pair = self._pair(value)
        if pair is not None:
            sign = -1 if value.node.op_type == "Sub" else 1
            if value.node.op_type == "Mul":
                return build_multiply(build, value.node, pair, grid, output, fused=sole)
            fused = sole and sign > 0
            return build_sum(build, value.node, pair, grid, output, fused=fused, sign=sign)
        found = leaves(build, value)
        if found is not None and len(found) == 1:
            (codes,) = found
            table = grid.quantize(evaluate(build, value, np.arange(256)))
            return build.table(value.node, codes, table, grid, output)
        chain = affine_chain(build, value)
        if chain is not None:
            return build_affine(build, chain, grid, output, sole=sole)
        return self._other(value, grid, output, sole)

    def _other(self, value: Floating, grid: Grid, output: str, sole: bool) -> Codes:
        """Pools, joins and borders."""
        build, node, kind = self._build, value.node, value.node.op_type
        if kind == "Concat":
            sources = [self._real(node, o) for o in value.operands]
            return build_concat(build, node, sources, grid, output)
        if kind not in ("MaxPool", "AveragePool", "GlobalAveragePool", "Pad", "ReduceMean",
                        "Softmax"):  # fmt: skip
            raise self._between(node, self._unquantized(value))
        source = self._real(node, value.operands[0])
        if kind == "AveragePool":
            return build_average_pool(build, node, source, grid, output)
        if kind == "GlobalAveragePool":
            return build_global_average_pool(build, node, source, grid, output, fused=sole)
        if kind == "ReduceMean":
            return self._mean(node, source, grid, output)
        if kind == "Softmax":
            return build_softmax(
                build, node, source, grid, output, self._graph.integer(node, "axis", -1)
            )
        same = _covers(grid, source.grid)
        name = output if same else f"{output}_before"
        if kind == "MaxPool":
            result = build_max_pool(build, node, source, name)
        else:
            real = None
            if self._graph.operand(node, 2):
                constant = self._graph.constant(node, 2, "value")
                if constant.size != 1 or not np.isfinite(constant.astype(np.float64)).all():
                    raise ModelError(f"The value of the {describe(node)} must be a finite number")
                real = float(constant.ravel()[0])
            elif "value" in self._graph.attributes(node):
                real = self._graph.real(node, "value", 0.0)
            result = build_pad(build, node, source, real, None, name)
        return result if same else self._requantize(node, result, grid, output)

    def _mean(self, node: NodeProto, source: Codes, grid: Grid, output: str) -> Codes:
        """ReduceMean over all axes behind the channels."""
        axes = self._graph.integers(node, "axes")
        if axes is None and self._graph.operand(node, 1):
            axes = tuple(int(a) for a in self._graph.constant(node, 1, "axes").ravel()[:64])
        rank = len(source.shape) + 1
        wanted = set(range(2, rank))
        if not axes or {a % rank for a in axes} != wanted or not wanted:
            raise unsupported(
                node,
                f"has axes {None if axes is None else list(axes)}",
                "only the mean over all axes behind the channels is supported",
            )
        keep = self._graph.integer(node, "keepdims", 1)
        name = output if keep else f"{output}_kept"
        result = build_global_average_pool(self._build, node, source, grid, name, fused=False)
        return result if keep else self._build.reshape(node, result, source.shape[:1], output)

    def _requantize(self, node: NodeProto, codes: Codes, grid: Grid, output: str) -> Codes:
        """Codes of one grid as codes of another."""
        if _covers(grid, codes.grid):
            return codes
        return self._build.table(node, codes, grid.requantize(codes.grid), grid, output)

    def _real(self, node: NodeProto, value: Value | None) -> Codes:
        if isinstance(value, Real):
            return value.codes
        raise self._between(node, value.node if isinstance(value, Floating) else None)

    def _between(self, node: NodeProto, first: NodeProto | None) -> ModelError:
        """A float tensor that is not quantized before it is used."""
        what = "reads a tensor that is not quantized"
        if first is not None and first is not node:
            what = f"follows the {describe(first)} directly"
        return unsupported(
            node,
            what,
            "quantize the tensor between them too (ohmtwin quantize does)",
        )

    def _unquantized(self, value: Floating) -> NodeProto | None:
        return next((o.node for o in value.operands if isinstance(o, Floating)), None)

    def _pair(self, value: Floating) -> tuple[Codes | Fixed, Codes | Fixed] | None:
        """Both operands of Add, Sub or Mul if they are quantized, one of them maybe constant."""
        node = value.node
        if node.op_type not in ("Add", "Sub", "Mul") or len(node.input) != 2:
            return None
        rank = max((len(o.codes.shape) for o in value.operands if isinstance(o, Real)), default=0)
        found: list[Codes | Fixed] = []
        for index, operand in enumerate(value.operands):
            if isinstance(operand, Real):
                found.append(operand.codes)
                continue
            name = node.input[index]
            if operand is not None or name not in self._graph.fixed:
                return None
            fixed = self._build.weights.fixed_codes(node, name)
            if fixed is None or fixed.scale.size != 1 or fixed.zero.size != 1:
                return None
            if fixed.codes.dtype not in (np.int8, np.uint8):
                return None
            signed = fixed.codes.dtype == np.int8
            quant = Quantization(float(fixed.scale[0]), int(fixed.zero[0]), signed)
            found.append(fixed_operand(node, fixed.codes, quant, rank))
        if not any(isinstance(f, Codes) for f in found):
            return None
        return found[0], found[1]

    def _bipolar(
        self, node: NodeProto, value: Value | None, quant: Quantization, output: str
    ) -> Codes:
        """Codes -1 and 1: the sign of a sum, taken without rounding."""
        grid = Grid(quant, 127, 129)
        if isinstance(value, Real):
            real = value.codes.quant.dequantize(np.arange(256))
            table = np.where(real >= 0, 129, 127).astype(np.uint8)
            return self._build.table(node, value.codes, table, grid, output)
        chain = affine_chain(self._build, value) if isinstance(value, Floating) else None
        if chain is None:
            raise unsupported(
                node,
                "takes the sign of a tensor that is neither quantized nor a product",
                "quantize the tensor before it to 8 bits",
            )
        sums = build_affine(self._build, replace(chain, signs=True), BIPOLAR, f"{output}_sum")
        table = np.where(np.arange(256) >= 128, 129, 127).astype(np.uint8)
        return self._build.table(node, sums, table, grid, output)


_KINDS = (TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT4, TensorProto.INT4)


def _covers(grid: Grid, other: Grid) -> bool:
    """Whether codes of ``other`` are codes of ``grid`` as they are."""
    return grid.quant == other.quant and grid.low <= other.low and other.high <= grid.high
