# SPDX-License-Identifier: Apache-2.0
"""What a model must be to be quantized, and what of it is left in float afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from ..arch.errors import InputError, ModelError
from .importer.view import describe
from .recurrent import recurrent_nodes

__all__ = ["check_float", "check_valid", "failures", "float_nodes", "inputs_of"]

_MARKS = ("DequantizeLinear", "DynamicQuantizeLinear", "QGemm", "Quant", "QuantizeLinear")


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Failures of ONNX and ONNX Runtime in one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        # ONNX Runtime's exceptions have no base class, and its quantizer raises many of Python's.
        ours = type(error).__module__.startswith(("onnx", "google.protobuf"))
        if not ours and not isinstance(error, _RAISED):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"{what}: {reason[:300]}") from None


_RAISED = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip


def check_valid(model: ModelProto, name: str) -> None:
    """Refuse a model that breaks the rules of ONNX, before it is looked into.

    Raises
    ------
    ModelError
        If it does, or if a weight is NaN or infinite.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    # The checker refuses versions newer than its own, which changed nothing that matters here.
    copy.ir_version = min(copy.ir_version, 10)
    with failures(f"{name} is not a valid ONNX model"):
        onnx.checker.check_model(copy, full_check=True)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ModelError(
                    f"Initializer {tensor.name!r} of {name} holds NaN or infinite values; train "
                    "or export the model again"
                )


def inputs_of(model: ModelProto) -> dict[str, list[int]]:
    """Shape of each input that is no constant, by name; 0 for a dimension that may vary.

    Raises
    ------
    ModelError
        If one is not float32, or has no shape.
    """
    constants = {t.name for t in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        kind = value.type.tensor_type
        if kind.elem_type != TensorProto.FLOAT:
            known = TensorProto.DataType.values()
            name = TensorProto.DataType.Name(kind.elem_type) if kind.elem_type in known else "?"
            raise ModelError(
                f"Input {value.name!r} of the model must be float32, not {name.lower()}; export it "
                "with float32 inputs"
            )
        if not kind.HasField("shape") or not kind.shape.dim:
            raise ModelError(
                f"Input {value.name!r} of the model has no shape; give it with --shape "
                f"{value.name}=n,..."
            )
        found[value.name] = [d.dim_value for d in kind.shape.dim]
    return found


def check_float(model: ModelProto, name: str) -> None:
    """Refuse what cannot be quantized.

    Raises
    ------
    ModelError
        If the model is quantized already, or has recurrent operators.
    """
    for node in model.graph.node:
        if _is_quantized(node):
            raise ModelError(
                f"{name} is quantized already (it has the {describe(node)}); use it as it is"
            )
    found = recurrent_nodes(model)
    if found:
        raise ModelError(
            f"{name} has the {describe(found[0])}, which cannot be quantized as it is; add --step "
            "to make a model of one step, whose state stays on the chip, or --unroll to write "
            "out all steps"
        )


def _is_quantized(node: onnx.NodeProto) -> bool:
    return node.op_type in _MARKS or node.op_type.startswith("QLinear")


def float_nodes(model: ModelProto) -> list[onnx.NodeProto]:
    """Nodes of a quantized model that compute in float, and not between two quantized tensors."""
    graph = model.graph
    constants = {t.name for t in graph.initializer}
    codes: set[str] = set()
    reals: set[str] = set()
    consumers: dict[str, list[str]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node.op_type)
    outputs = {o.name for o in graph.output}
    found = []
    for node in graph.node:
        data = [i for i in node.input if i and i not in constants]
        if node.op_type == "DequantizeLinear":
            reals.update(node.output)
        elif (
            node.op_type in _MARKS
            or node.op_type.startswith("QLinear")
            or (data and all(i in codes for i in data))
        ):
            codes.update(node.output)
        else:
            after = [op for o in node.output for op in consumers.get(o, [])]
            between = all(op == "QuantizeLinear" for op in after) and not outputs & set(node.output)
            if not between or not all(i in reals for i in data):
                found.append(node)
    return found
