# SPDX-License-Identifier: Apache-2.0
"""Fix the shapes of a model's inputs, as the option --shape gives them."""

from onnx import ModelProto

from ..arch.errors import InputError
from .graph_edit import put

__all__ = ["fix_shapes"]


def fix_shapes(model: ModelProto, given: list[str]) -> None:
    """Set shapes of inputs in place: ``x=n,1,28,28``, where ``n`` leaves the first one free.

    Raises
    ------
    InputError
        If there is no such input, the text is no shape, or it contradicts the model.
    """
    constants = {t.name for t in model.graph.initializer}
    inputs = {i.name: i for i in model.graph.input if i.name not in constants}
    for text in given:
        name, sign, sizes = text.partition("=")
        dims = sizes.replace("x", ",").split(",") if sign else []
        if not dims or not all(d == "n" or (d.isdecimal() and 0 < int(d) < 1 << 31) for d in dims):
            raise InputError(f"--shape must be INPUT=n,1,28,28 or the like, not {text!r}")
        if "n" in dims[1:]:
            raise InputError(f"--shape {text}: only the first dimension may be n")
        if name not in inputs:
            known = ", ".join(inputs) or "none"
            raise InputError(f"--shape {text}: the model has no input {name!r}; it has {known}")
        kind = inputs[name].type.tensor_type
        has = [d.dim_value for d in kind.shape.dim]
        wanted = [0 if d == "n" else int(d) for d in dims]
        fits = len(has) == len(wanted) and all(
            not a or a == b for a, b in zip(has[1:], wanted[1:], strict=True)
        )
        if kind.HasField("shape") and not (fits and (not has[0] or wanted[0] in (0, has[0]))):
            shown = ", ".join(str(d or "?") for d in has)
            raise InputError(f"--shape {text} contradicts the model, which has [{shown}]")
        first = kind.shape.dim[0].dim_param if has else ""
        del kind.shape.dim[:]
        for size in wanted:
            dim = kind.shape.dim.add()
            if size:
                dim.dim_value = size
            else:
                dim.dim_param = first or "n"
    if given:
        put(model.graph.value_info, [])  # what was inferred for other shapes
        for output in model.graph.output:
            for dim in output.type.tensor_type.shape.dim[1:]:
                if dim.dim_param:
                    dim.ClearField("dim_param")
