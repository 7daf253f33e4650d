# SPDX-License-Identifier: Apache-2.0
"""What ``ohmtwin quantize`` says at the end."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from onnx import ModelProto

from .float_model import float_nodes
from .quantize import Settings
from .samples import Samples

__all__ = ["summary"]


def summary(
    path: Path,
    quantized: ModelProto,
    samples: Samples,
    state: Mapping[str, str],
    settings: Settings,
) -> list[str]:
    """Lines about a quantized model: how it was made, and what stays in float."""
    kind = "QDQ" if settings.form == "qdq" else "QOperator"
    scales = "per channel" if settings.per_channel else "per tensor"
    steps = f" of {next(iter(samples.feeds.values())).shape[1]} steps" if state else ""
    lines = [
        f"wrote {path}: {kind}, int8 weights {scales}, {settings.activations} activations, "
        f"calibrated with {len(samples)} sample{'s' * (len(samples) != 1)}{steps}"
    ]
    if state:
        fed = " ".join(f"--state {name}={output}" for name, output in state.items())
        lines.append(f"run it with {fed}")
    left = Counter(node.op_type for node in float_nodes(quantized))
    if left:
        names = ", ".join(op if n == 1 else f"{n} {op}" for op, n in sorted(left.items()))
        lines.append(
            f"left in float: {names}; the twin runs what is quantized, so see whether the import "
            "takes them"
        )
    return lines
