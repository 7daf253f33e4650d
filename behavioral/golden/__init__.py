# SPDX-License-Identifier: Apache-2.0
"""The golden level: quantized operators in exact integer arithmetic, with no analog limit at all.

This is the readable definition that every other level is compared with (DESIGN sections 1 and 3).
It equals the QLinear operators of ONNX Runtime bit for bit, which multiply the int32 accumulator
by a float32 factor; in hardware that product is a soft float made of integers.
"""

from .elementwise import window_counts
from .network import VIEWS, output_codes, run_layer, run_network, tensor_codes, view
from .operators import ConvLike, DenseLike, LayerLike, NetworkLike
from .products import conv_accumulate, dense_accumulate
from .requantizer import requantize, requantize_integers
from .softmax import SoftmaxPlan, plan_softmax, softmax

__all__ = [
    "VIEWS",
    "ConvLike",
    "DenseLike",
    "LayerLike",
    "NetworkLike",
    "SoftmaxPlan",
    "conv_accumulate",
    "dense_accumulate",
    "output_codes",
    "plan_softmax",
    "requantize",
    "requantize_integers",
    "run_layer",
    "run_network",
    "softmax",
    "tensor_codes",
    "view",
    "window_counts",
]
