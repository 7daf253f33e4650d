# SPDX-License-Identifier: Apache-2.0
"""Quantize a float ONNX model with ONNX Runtime's static quantizer, so that the twin takes it.

Weights become int8, symmetric, biases int32, activations uint8 or int8 with the range that they
have over the calibration data. What the quantizer leaves to its user is done here: batch
normalisation is folded, no two layers share a bias, and what feeds a state back is scaled as the
state itself, so that its codes pass from step to step unchanged.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from ..arch.errors import InputError
from .float_model import check_float, check_valid, failures, inputs_of
from .graph_edit import prune, put
from .normalization import fold_normalization

__all__ = ["Calibration", "Settings", "quantize"]

Reals = NDArray[np.float32]

_FORMATS = ("qdq", "qoperator")
_ACTIVATIONS = ("uint8", "int8")

# The newest version that ONNX Runtime 1.20 reads; onnx 1.23 writes 14. Later versions changed
# nothing that a float network of these operators uses.
_IR_VERSION = 10
# The first with axis in QuantizeLinear, which scales per channel need, and the one that the
# shipped models have.
_OLDEST_OPSET, _OPSET = 13, 17

_OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gelu", "Gemm", "GlobalAveragePool",
    "HardSwish", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Sigmoid",
    "Slice", "Softmax", "Split", "Squeeze", "Tanh", "Transpose", "Unsqueeze",
)  # fmt: skip
"""What is quantized: the operators that the chip has. The rest stays in float, and is named."""


@dataclass(frozen=True)
class Settings:
    """How to quantize.

    Parameters
    ----------
    form : str
        ``qdq`` or ``qoperator``.
    per_channel : bool
        A scale for each output channel of the weights.
    activations : str
        ``uint8`` or ``int8``.
    """

    form: str = "qdq"
    per_channel: bool = False
    activations: str = "uint8"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("--format", self.form, _FORMATS),
            ("--activations", self.activations, _ACTIVATIONS),
        ):
            if value not in known:
                raise InputError(f"{name} must be {' or '.join(known)}, not {value!r}")


@dataclass(frozen=True)
class Calibration:
    """Samples, and what of a model is to be scaled alike.

    Parameters
    ----------
    feeds : mapping
        Samples float32 [n, ...] of each input but the states.
    state : mapping
        Of a step model, the output that feeds each input of the state. The feeds are sequences
        then, [n, steps, ...], and the state is zero at the start.
    shared : sequence
        Groups of tensors that get one scale.
    """

    feeds: Mapping[str, Reals]
    state: Mapping[str, str] = field(default_factory=dict)
    shared: Sequence[Sequence[str]] = ()


def quantize(
    model: ModelProto, calibration: Calibration, settings: Settings = Settings()
) -> ModelProto:
    """Quantize a float model.

    Parameters
    ----------
    model : ModelProto
        Float, with fixed shapes but for the first axis. It is not changed.
    calibration : Calibration
    settings : Settings

    Raises
    ------
    ModelError
        If the model cannot be quantized.
    InputError
        If ONNX Runtime is not installed, or samples and model do not fit.
    """
    check_valid(model, "The model")
    check_float(model, "The model")
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        ready = _prepare(model, Path(folder))
        if calibration.state:
            feeds, alike = _follow(ready, calibration)
        else:
            feeds, alike = dict(calibration.feeds), []
        groups = [*alike, *(list(group) for group in calibration.shared)]
        return _quantize(ready, feeds, groups, settings, Path(folder))


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            "Quantizing needs ONNX Runtime, which is not installed; run "
            "pip install 'ohmtwin[reference]'"
        ) from None
    return onnxruntime


_WARNING, _FATAL = 2, 4
"""Severities of ONNX Runtime's logger; the first is its default."""


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer logs advice on steps that are done here, and errors that it raises as well."""
    runtime, before = _runtime(), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    runtime.set_default_logger_severity(_FATAL)
    try:
        yield
    finally:
        logging.disable(before)
        runtime.set_default_logger_severity(_WARNING)


def _prepare(model: ModelProto, folder: Path) -> ModelProto:
    """Bring a model to a form that quantizes well, in float."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = ModelProto()
    ready.CopyFrom(model)
    opset = next((o.version for o in ready.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST_OPSET:
        with failures(f"The model's operator set {opset} cannot be brought to {_OPSET}"):
            ready = onnx.version_converter.convert_version(ready, _OPSET)
    ready.ir_version = min(ready.ir_version, _IR_VERSION)
    fold_normalization(ready)
    _session(ready)  # says what is wrong, where the preparation would only log it and go on
    source, target = folder / "float.onnx", folder / "ready.onnx"
    onnx.save(ready, source)
    with failures("ONNX Runtime cannot load the model"):
        # Symbolic shapes would need another package, and matter for transformers only.
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
        ready = onnx.load(target)
    _unshare_biases(ready)
    prune(ready)
    return ready


def _unshare_biases(model: ModelProto) -> None:
    """Give each layer a bias of its own.

    A bias is quantized with the scale of its layer's input; the quantizer to QOperator takes the
    scale of the first layer for all that share it.
    """
    constants = {t.name: t for t in model.graph.initializer}
    seen: set[str] = set()
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3:
            continue
        name = node.input[2]
        if name in seen and name in constants:
            copy = TensorProto()
            copy.CopyFrom(constants[name])
            number = 2
            while f"{name}_{number}" in constants:
                number += 1
            copy.name = node.input[2] = f"{name}_{number}"
            constants[copy.name] = copy
            model.graph.initializer.append(copy)
        seen.add(name)


def _session(model: ModelProto) -> Any:
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    with failures("ONNX Runtime cannot load the model"):
        return runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def _follow(
    model: ModelProto, calibration: Calibration
) -> tuple[dict[str, Reals], list[list[str]]]:
    """Run a step model over sequences: each step of each as a sample, with the state it met."""
    session, state = _session(model), calibration.state
    feeds = calibration.feeds
    count, steps = next(iter(feeds.values())).shape[:2]
    shapes = inputs_of(model)
    now = {name: np.zeros((count, *shapes[name][1:]), np.float32) for name in state}
    met: dict[str, list[Reals]] = {name: [] for name in (*feeds, *state)}
    for step in range(steps):
        given = {name: np.ascontiguousarray(x[:, step]) for name, x in feeds.items()} | now
        for name, array in given.items():
            met[name].append(array)
        with failures("ONNX Runtime cannot run the model on the samples"):
            found = _in_batches(session, given, shapes, list(state.values()))
        now = {name: found[output] for name, output in state.items()}
    groups = [[name, output] for name, output in state.items()]
    return {name: np.concatenate(arrays) for name, arrays in met.items()}, groups


def _batches(
    feeds: Mapping[str, Reals], shapes: Mapping[str, list[int]]
) -> Iterator[tuple[int, dict[str, Reals]]]:
    """Samples in batches of the size that the model takes, the last filled up by repetition."""
    fixed = {shape[0] for shape in shapes.values()} - {0}
    size = max(fixed, default=100)
    count = len(next(iter(feeds.values())))
    for begin in range(0, count, size):
        part = {name: x[begin : begin + size] for name, x in feeds.items()}
        used = len(next(iter(part.values())))
        if fixed and used < size:
            part = {k: np.resize(v, (size, *v.shape[1:])) for k, v in part.items()}
        yield used, part


def _in_batches(
    session: Any, feeds: Mapping[str, Reals], shapes: Mapping[str, list[int]], names: list[str]
) -> dict[str, Reals]:
    """Outputs of all samples."""
    parts = [
        [value[:used] for value in session.run(names, part)]
        for used, part in _batches(feeds, shapes)
    ]
    return {
        name: np.concatenate(values)
        for name, values in zip(names, zip(*parts, strict=True), strict=True)
    }


def _ranges(
    model: ModelProto, feeds: Mapping[str, Reals], groups: Sequence[Sequence[str]]
) -> dict[str, list[dict[str, np.float32]]]:
    """The range that the tensors of each group span together, as the quantizer takes it."""
    tapped = ModelProto()
    tapped.CopyFrom(model)
    produced = {t for node in model.graph.node for t in node.output}
    shapes = inputs_of(model)
    known = {o.name for o in model.graph.output}
    wanted = list(dict.fromkeys(t for g in groups for t in g if t in produced))
    tapped.graph.output.extend(onnx.ValueInfoProto(name=t) for t in wanted if t not in known)
    session = _session(tapped)
    low, high = dict.fromkeys(wanted, np.inf), dict.fromkeys(wanted, -np.inf)
    for _, part in _batches(feeds, shapes) if wanted else ():
        for name, value in zip(wanted, session.run(wanted, part), strict=True):
            low[name] = min(low[name], float(value.min()))
            high[name] = max(high[name], float(value.max()))
    for name, x in feeds.items():
        low[name], high[name] = float(x.min()), float(x.max())
    found = {}
    for group in groups:
        members = [t for t in group if t in low]
        for name in members:
            found[name] = [
                {
                    "rmin": np.float32(min(low[t] for t in members)),
                    "rmax": np.float32(max(high[t] for t in members)),
                }
            ]
    return found


def _quantize(
    model: ModelProto,
    feeds: Mapping[str, Reals],
    groups: Sequence[Sequence[str]],
    settings: Settings,
    folder: Path,
) -> ModelProto:
    from onnxruntime.quantization import (
        QuantFormat,
        QuantType,
        quantize_static,
    )

    shapes = inputs_of(model)

    class Reader:
        """A CalibrationDataReader, which asks for this method alone."""

        def __init__(self) -> None:
            self._batches = _batches(feeds, shapes)

        def get_next(self) -> dict[str, Reals] | None:
            _, part = next(self._batches, (0, None))
            return part

    source, target = folder / "ready.onnx", folder / "quantized.onnx"
    onnx.save(model, source)
    with failures("ONNX Runtime's quantizer fails on the model"):
        unsigned = settings.activations == "uint8"
        options = {"TensorQuantOverrides": _ranges(model, feeds, groups)} if groups else {}
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ if settings.form == "qdq" else QuantFormat.QOperator,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=settings.per_channel,
            activation_type=QuantType.QUInt8 if unsigned else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options=options,
        )
        quantized = onnx.load(target)
    quantized.ir_version = min(quantized.ir_version, _IR_VERSION)
    # ONNX Runtime's optimizer lists all domains that it knows.
    used = {node.domain for node in quantized.graph.node} | {""}
    put(quantized.opset_import, [o for o in quantized.opset_import if o.domain in used])
    del quantized.metadata_props[:]
    return quantized
