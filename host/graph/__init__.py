# SPDX-License-Identifier: Apache-2.0
"""A quantized network as integer operators: what the importer produces and the compiler reads.

All activations are *internal codes*: uint8, an int8 tensor being carried as ``q + 128`` with zero
point ``z + 128`` (see :mod:`ohmtwin.arch.formats`).
"""

from .dense import Dense, check_accumulators
from .network import Network, NetworkInput, State
from .operators import (
    AveragePool,
    Combine,
    Concat,
    Constant,
    Conv,
    MaxPool,
    Multiply,
    Operator,
    Pad,
    Reshape,
    Shape,
    Slice,
    Softmax,
    Transpose,
)
from .quantization import Quantization

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
    "Transpose",
    "check_accumulators",
]
