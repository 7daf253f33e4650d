# SPDX-License-Identifier: Apache-2.0
"""A quantized network as integer operators: what the importer produces and the compiler reads.

All activations are *internal codes*: uint8, an int8 tensor being carried as ``q + 128`` with zero
point ``z + 128`` (see :mod:`ohmtwin.arch.formats`).
"""

from .checks import Summing, check_accumulators
from .conv import Conv
from .dense import Dense
from .elementwise import Combine, Multiply, Sum
from .network import Network, NetworkInput, State
from .operators import Operator, Shape
from .pools import AveragePool, MaxPool
from .quantization import Quantization
from .softmax import Softmax, lower_softmax
from .views import Concat, Constant, Pad, Reshape, Slice, Transpose

__all__ = [
    "AveragePool",
    "Combine",
    "Concat",
    "Constant",
    "Conv",
    "Dense",
    "MaxPool",
    "Multiply",
    "Network",
    "NetworkInput",
    "Operator",
    "Pad",
    "Quantization",
    "Reshape",
    "Shape",
    "Slice",
    "Softmax",
    "State",
    "Sum",
    "Summing",
    "Transpose",
    "check_accumulators",
    "lower_softmax",
]
