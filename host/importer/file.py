# SPDX-License-Identifier: Apache-2.0
"""Read an ONNX file from disk, and say in one sentence why it cannot be read."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto
from onnx.external_data_helper import load_external_data_for_tensor

from ...arch.errors import ModelError

__all__ = ["MAX_BYTES", "load_external", "read_model"]

MAX_BYTES = (1 << 31) - 1
"""Protocol Buffers cannot hold more in one message."""


def read_model(path: str | Path, *, external: bool = True) -> onnx.ModelProto:
    """Read a model.

    Parameters
    ----------
    path : str or Path
    external : bool
        Whether to read external data into the model. They are checked in any case; those that are
        not read here are for :func:`load_external`, one tensor at a time.

    Raises
    ------
    ModelError
        If there is no such file, it is a directory, too large, empty, truncated or not ONNX, or if
        its external data are missing or lie outside the model's folder.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a directory, not an ONNX file; name the .onnx file in it")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(
                f"{path} has {size} bytes, more than the {MAX_BYTES} an ONNX file can have; "
                "store large weights as external data"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"{path} cannot be read: {reason}") from None
    if not data:
        raise ModelError(f"{path} is empty; export or copy the model again")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(
            f"{path} is not an ONNX file, or it is truncated; export or copy the model again"
        ) from None
    # Almost any short string parses as some message, and a truncated one may parse as well.
    if not model.ir_version or not model.opset_import or not model.graph.node:
        raise ModelError(
            f"{path} holds no ONNX graph (no version, operator set or node); it is truncated or "
            "another kind of file, so export or copy the model again"
        )
    _check_names(model, path)
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            _check_external(tensor, path)
            if external:
                tensor.CopyFrom(load_external(tensor, path))
    return model


def _check_names(model: onnx.ModelProto, path: Path) -> None:
    """Names must be text; damaged UTF-8 comes out of the parser as bytes."""
    graph = model.graph
    names: list[object] = [graph.name, *(t.name for t in graph.initializer)]
    names += [i.name for i in (*graph.input, *graph.output)]
    for node in graph.node:
        names += [node.op_type, node.name, node.domain, *node.input, *node.output]
        names += [a.name for a in node.attribute]
    if not all(isinstance(name, str) for name in names):
        raise ModelError(f"{path} has damaged names in it; export or copy the model again")


def _where(tensor: TensorProto, path: Path) -> tuple[str, str]:
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    return location, f"external data {location!r} of tensor {tensor.name!r} in {path}"


def _check_external(tensor: TensorProto, path: Path) -> None:
    """The file must be there, in or below the model's folder."""
    folder = path.resolve().parent
    location, where = _where(tensor, path)
    try:
        target = (folder / location).resolve()
    except (OSError, ValueError, RuntimeError):  # a null character; a loop of links
        target = folder
    if not location or not target.is_relative_to(folder) or target == folder:
        raise ModelError(
            f"The {where} lie outside the model's folder, and are not read; save the model "
            "with its data beside it"
        )
    if not target.is_file():
        raise ModelError(f"The {where} are missing; copy them beside the model")


def load_external(tensor: TensorProto, path: str | Path) -> TensorProto:
    """A tensor with its external data in it; the tensor given stays as it is.

    Raises
    ------
    ModelError
        If they cannot be read, or lie outside the model's folder.
    """
    path = Path(path)
    _check_external(tensor, path)
    loaded = TensorProto()
    loaded.CopyFrom(tensor)
    _, where = _where(tensor, path)
    try:
        load_external_data_for_tensor(loaded, str(path.resolve().parent))
    except (OSError, ValueError, OverflowError, MemoryError, onnx.checker.ValidationError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise ModelError(f"The {where} cannot be read: {reason}") from None
    loaded.data_location = TensorProto.DEFAULT
    del loaded.external_data[:]
    return loaded
