# SPDX-License-Identifier: Apache-2.0
"""What the importer refuses by name, and what to do instead."""

from pathlib import Path

from onnx import NodeProto, TensorProto

from ...arch.errors import ModelError
from .build import unsupported
from .expression import ELEMENTWISE
from .qoperator import QOPERATORS
from .view import GraphView, describe
from .views import VIEWS

__all__ = ["check_operators", "refuse_operator"]

_QUANTIZED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Quant", "IntQuant", "BipolarQuant", *QOPERATORS}
)
_DYNAMIC = frozenset(
    {"ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul",
     "MatMulInteger", "MatMulIntegerToFloat"}
)  # fmt: skip
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})

_FLOAT = frozenset(
    {"AveragePool", "BatchNormalization", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MatMul",
     "MaxPool", "Pad", "ReduceMean", "Softmax"}
)  # fmt: skip

_SUPPORTED = (
    "supported are Conv, Gemm, MatMul, Relu, Clip, LeakyRelu, MaxPool, AveragePool, "
    "GlobalAveragePool, Add, Sub, Mul, Concat, Split, Slice, Reshape, Transpose, Flatten, "
    "Squeeze, Unsqueeze, BatchNormalization, Sigmoid, Tanh, HardSwish, HardSigmoid, Gelu, Erf, "
    "Softmax, Pad, Identity, Dropout, QuantizeLinear, DequantizeLinear and their QLinear forms"
)

_INSTEAD = {
    "Attention": "write it with MatMul of constant weights, Softmax and Mul",
    "ConvTranspose": "use Conv, with the input spread by the host",
    "DepthToSpace": "use Reshape and Transpose",
    "Einsum": "use MatMul with constant weights",
    "Expand": "let Add or Mul broadcast",
    "GlobalMaxPool": "use MaxPool with the kernel of the whole image",
    "GroupNormalization": "use BatchNormalization, which is folded",
    "If": "export the branch that is used",
    "InstanceNormalization": "use BatchNormalization, which is folded",
    "LayerNormalization": "use BatchNormalization, which is folded",
    "Loop": "unroll it, or export one step with its states as inputs and outputs",
    "LpPool": "use AveragePool",
    "ReduceMax": "use MaxPool with the kernel of the whole image",
    "ReduceSum": "use GlobalAveragePool, whose scale takes the count",
    "Resize": "use a Conv with strides, or resize on the host",
    "Scan": "unroll it, or export one step with its states as inputs and outputs",
    "SpaceToDepth": "use Reshape and Transpose",
    "Sum": "use Add",
    "Tile": "use Concat",
    "Upsample": "use a Conv with strides, or resize on the host",
    "Where": "use Mul by a mask",
}


def check_operators(graph: GraphView, path: Path) -> None:
    """Refuse whole models: recurrent operators, dynamic quantization, float."""
    operators = {node.op_type for node in graph.nodes}
    for node in graph.nodes:
        if node.op_type in _RECURRENT:
            raise ModelError(
                f"The {describe(node)} is not supported as one operator; write its steps out with "
                f"ohmtwin quantize {path.name} --data calib.npz --unroll, or make a model of one "
                "step whose state stays on the chip with --step"
            )
    dynamic = operators & _DYNAMIC
    if dynamic:
        raise ModelError(
            f"{path} is quantized dynamically ({sorted(dynamic)[0]}), so its scales are not known "
            f"before it runs; quantize its float model with ohmtwin quantize {path.name} --data "
            "calib.npz"
        )
    codes = any(given.kind != TensorProto.FLOAT for given in graph.inputs)
    if not operators & _QUANTIZED and not codes:
        raise ModelError(
            f"{path} is a float model; quantize it first with ohmtwin quantize {path.name} --data "
            "calib.npz"
        )


def refuse_operator(node: NodeProto) -> None:
    """Raise if an operator is none that can stand in a float part.

    Raises
    ------
    ModelError
    """
    kind = node.op_type
    known = kind in _FLOAT or kind in ELEMENTWISE or kind in VIEWS
    if not known or node.domain not in ("", "ai.onnx", "com.microsoft"):
        raise unsupported(node, "is not supported", _INSTEAD.get(kind, _SUPPORTED))
