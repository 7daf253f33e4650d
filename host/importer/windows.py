# SPDX-License-Identifier: Apache-2.0
"""Kernels, strides and padding of convolutions and pools, brought to two axes."""

from dataclasses import dataclass

from onnx import NodeProto

from ...arch.errors import ModelError
from ..graph.operators import Shape
from .build import unsupported
from .view import GraphView, describe

__all__ = ["Window", "conv_window", "pool_window"]

_MAX_EXTENT = 1 << 16


@dataclass(frozen=True)
class Window:
    """A kernel of rows and columns; ``pads`` are top, left, bottom, right.

    ``extra`` are rows and columns below and right that ``ceil_mode`` adds beyond ``pads``.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]
    extra: tuple[int, int] = (0, 0)


def _attribute(
    graph: GraphView, node: NodeProto, name: str, count: int, default: int, least: int
) -> tuple[int, ...]:
    values = graph.integers(node, name)
    if values is None:
        return (default,) * count
    if len(values) != count or min(values) < least or max(values) > _MAX_EXTENT:
        raise ModelError(
            f"Attribute {name!r} of the {describe(node)} must be {count} numbers from {least} to "
            f"{_MAX_EXTENT}, not {list(values)}"
        )
    return values


def _window(
    graph: GraphView, node: NodeProto, size: tuple[int, ...], kernel: tuple[int, ...]
) -> Window:
    """Attributes that convolutions and pools share."""
    axes = len(size)
    strides = _attribute(graph, node, "strides", axes, 1, 1)
    dilations = _attribute(graph, node, "dilations", axes, 1, 1)
    mode = graph.text(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = _attribute(graph, node, "pads", 2 * axes, 0, 0)
    elif mode == "VALID":
        pads = (0,) * (2 * axes)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        before, after = [], []
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            less, more = total // 2, total - total // 2
            before.append(less if mode == "SAME_UPPER" else more)
            after.append(more if mode == "SAME_UPPER" else less)
        pads = (*before, *after)
    else:
        raise unsupported(
            node,
            f"has auto_pad={mode!r}",
            "supported are NOTSET, VALID, SAME_UPPER and SAME_LOWER",
        )
    if axes == 1:
        return Window((1, kernel[0]), (1, strides[0]), (0, pads[0], 0, pads[1]), (1, dilations[0]))
    return Window(
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (pads[0], pads[1], pads[2], pads[3]),
        (dilations[0], dilations[1]),
    )


def _check_axes(node: NodeProto, shape: Shape) -> tuple[int, ...]:
    if len(shape) not in (2, 3):
        raise unsupported(
            node,
            f"reads a tensor of shape {list(shape)} a sample",
            "supported are one or two axes behind the channels",
        )
    return shape[1:]


def conv_window(
    graph: GraphView, node: NodeProto, shape: Shape, weights: tuple[int, ...]
) -> Window:
    """Window of a convolution with weights [outputs, channels, rows, columns]."""
    size = _check_axes(node, shape)
    kernel = weights[2:][-len(size) :]
    if len(size) == 1 and weights[2] != 1:
        raise ModelError(
            f"The {describe(node)} has a kernel of two axes, but its input has the shape "
            f"{list(shape)}"
        )
    stated = graph.integers(node, "kernel_shape")
    if stated is not None and stated != tuple(kernel):
        raise ModelError(
            f"Attribute 'kernel_shape' of the {describe(node)} is {list(stated)}, but its weights "
            f"have the kernel {list(kernel)}"
        )
    if len(size) == 2 and len(kernel) != 2:
        raise ModelError(f"The kernel {list(kernel)} of the {describe(node)} needs two axes")
    return _window(graph, node, size, tuple(kernel))


def pool_window(graph: GraphView, node: NodeProto, shape: Shape) -> Window:
    """Window of a pool, ``ceil_mode`` turned into rows and columns of padding."""
    size = _check_axes(node, shape)
    if graph.integers(node, "kernel_shape") is None:
        raise ModelError(f"The {describe(node)} has no kernel_shape; the file is damaged")
    kernel = _attribute(graph, node, "kernel_shape", len(size), 1, 1)
    window = _window(graph, node, size, kernel)
    if not graph.integer(node, "ceil_mode", 0):
        return window
    rows = size if len(size) == 2 else (1, *size)
    extra = []
    for axis in (0, 1):
        before, after = window.pads[axis], window.pads[axis + 2]
        reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        stride = window.strides[axis]
        span = rows[axis] + before + after - reach
        count = -(-span // stride) + 1
        if (count - 1) * stride >= rows[axis] + before:  # a window that lies in padding alone
            count -= 1
        extra.append(max((count - 1) * stride - span, 0))
    top, left, bottom, right = window.pads
    return Window(
        window.kernel,
        window.strides,
        (top, left, bottom + extra[0], right + extra[1]),
        window.dilations,
        (extra[0], extra[1]),
    )
