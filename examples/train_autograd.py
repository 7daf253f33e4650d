# SPDX-License-Identifier: Apache-2.0
"""Shared by the training scripts: reverse-mode differentiation over NumPy, and Adam.

Only what small convolutional and recurrent networks need, in float32, with no framework to install.
Images are [n, channels, height, width]; a sequence is an image of height 1.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = [
    "Adam",
    "BatchNorm",
    "Value",
    "concat",
    "conv",
    "cross_entropy",
    "he_normal",
    "linear",
    "max_pool",
    "mean_square",
    "spatial_mean",
]

Reals = NDArray[np.float32]
Backward = Callable[[Reals], Iterable[Reals | None]]


class Value:
    """An array, and how its gradient flows to the arrays that it was computed from.

    Parameters
    ----------
    data : float32 array
    parents : tuple of Value
    backward : callable, optional
        Takes the gradient of ``data``, gives the gradient of each parent in order; None for none.
    """

    def __init__(
        self, data: Reals, parents: tuple["Value", ...] = (), backward: Backward | None = None
    ) -> None:
        self.data = np.asarray(data, np.float32)
        self.grad: Reals | None = None
        self._parents = parents
        self._backward = backward

    def differentiate(self) -> None:
        """Set ``grad`` of all values that this scalar depends on."""
        order: list[Value] = []
        seen: set[int] = set()
        pending: list[tuple[Value, bool]] = [(self, False)]
        while pending:  # depth first, with a stack of its own: recurrent networks are deep
            value, done = pending.pop()
            if done:
                order.append(value)
            elif id(value) not in seen:
                seen.add(id(value))
                pending.append((value, True))
                pending += [(parent, False) for parent in value._parents]
        self.grad = np.ones_like(self.data)
        for value in reversed(order):
            if value._backward is None or value.grad is None:
                continue
            for parent, grad in zip(value._parents, value._backward(value.grad), strict=True):
                if grad is not None:
                    parent.grad = grad if parent.grad is None else parent.grad + grad
            value.grad = None  # an inner gradient is used once

    def __add__(self, other: "Value") -> "Value":
        return Value(self.data + other.data, (self, other), lambda g: (g, g))

    def __mul__(self, other: "Value") -> "Value":
        a, b = self.data, other.data
        return Value(a * b, (self, other), lambda g: (g * b, g * a))

    def relu(self, limit: float = np.inf) -> "Value":
        """``min(max(x, 0), limit)``."""
        inside = (self.data > 0) & (self.data < limit)
        return Value(np.clip(self.data, 0, limit), (self,), lambda g: (g * inside,))

    def sigmoid(self) -> "Value":
        """Logistic function."""
        y = 1 / (1 + np.exp(-np.clip(self.data, -30, 30)))
        return Value(y, (self,), lambda g: (g * y * (1 - y),))

    def tanh(self) -> "Value":
        """Hyperbolic tangent."""
        y = np.tanh(self.data)
        return Value(y, (self,), lambda g: (g * (1 - y * y),))

    def flatten(self) -> "Value":
        """[n, ...] as [n, all the rest]."""
        shape = self.data.shape
        return Value(self.data.reshape(len(self.data), -1), (self,), lambda g: (g.reshape(shape),))

    def columns(self, begin: int, end: int) -> "Value":
        """Columns ``begin`` to ``end - 1`` of [n, columns]."""
        whole = self.data.shape

        def backward(g: Reals) -> tuple[Reals]:
            grad = np.zeros(whole, np.float32)
            grad[:, begin:end] = g
            return (grad,)

        return Value(self.data[:, begin:end], (self,), backward)


def concat(values: list[Value]) -> Value:
    """[n, a], [n, b], ... side by side."""
    cuts = np.cumsum([v.data.shape[1] for v in values])[:-1]
    joined = np.concatenate([v.data for v in values], axis=1)
    return Value(joined, tuple(values), lambda g: np.split(g, cuts, axis=1))


def linear(x: Value, weight: Value, bias: Value) -> Value:
    """``x @ weight.T + bias``: [n, in], [out, in], [out] to [n, out]."""
    a, w = x.data, weight.data
    return Value(a @ w.T + bias.data, (x, weight, bias), lambda g: (g @ w, g.T @ a, g.sum(axis=0)))


def conv(
    x: Value,
    weight: Value,
    bias: Value,
    *,
    pad: tuple[int, int] = (0, 0),
    stride: tuple[int, int] = (1, 1),
) -> Value:
    """Correlate [n, c, h, w] with [out, c, kh, kw]; with [c, 1, kh, kw] for c > 1, each alone."""
    w, (kh, kw) = weight.data, weight.data.shape[2:]
    depthwise = w.shape[1] == 1 and x.data.shape[1] > 1
    padded = np.pad(x.data, ((0, 0), (0, 0), (pad[0], pad[0]), (pad[1], pad[1])))
    windows = sliding_window_view(padded, (kh, kw), axis=(2, 3))[:, :, :: stride[0], :: stride[1]]
    n, channels, h, width = windows.shape[:4]
    if depthwise:
        out = np.einsum("nchwij,cij->nchw", windows, w[:, 0], optimize=True)
    else:
        rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * width, -1)
        out = (rows @ w.reshape(len(w), -1).T).reshape(n, h, width, -1).transpose(0, 3, 1, 2)

    def backward(g: Reals) -> tuple[Reals | None, Reals, Reals]:
        b_grad = g.sum(axis=(0, 2, 3))
        if depthwise:
            w_grad = np.einsum("nchwij,nchw->cij", windows, g, optimize=True)[:, None]
            pieces = g[..., None, None] * w[None, :, 0, None, None]
        else:
            flat = g.transpose(0, 2, 3, 1).reshape(n * h * width, -1)
            w_grad = (flat.T @ rows).reshape(w.shape)
            pieces = (flat @ w.reshape(len(w), -1)).reshape(n, h, width, channels, kh, kw)
            pieces = pieces.transpose(0, 3, 1, 2, 4, 5)
        if not x._parents:  # the network's input: nobody asks for its gradient
            return None, w_grad, b_grad
        x_grad = np.zeros_like(padded)
        for i in range(kh):
            for j in range(kw):
                down = slice(i, i + stride[0] * (h - 1) + 1, stride[0])
                across = slice(j, j + stride[1] * (width - 1) + 1, stride[1])
                x_grad[:, :, down, across] += pieces[..., i, j]
        x_grad = x_grad[:, :, pad[0] : padded.shape[2] - pad[0], pad[1] : padded.shape[3] - pad[1]]
        return x_grad, w_grad, b_grad

    return Value(out + bias.data[:, None, None], (x, weight, bias), backward)


def max_pool(x: Value, size: tuple[int, int]) -> Value:
    """Largest of each ``size`` window, windows side by side; what is left over is dropped."""
    n, c, h, w = x.data.shape
    (sh, sw), shape = size, x.data.shape
    h, w = h // sh, w // sw
    tiles = x.data[:, :, : h * sh, : w * sw].reshape(n, c, h, sh, w, sw)
    tiles = tiles.transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h, w, sh * sw)
    chosen = tiles.argmax(axis=-1)[..., None]

    def backward(g: Reals) -> tuple[Reals]:
        spread = np.zeros_like(tiles)
        np.put_along_axis(spread, chosen, g[..., None], axis=-1)
        spread = spread.reshape(n, c, h, w, sh, sw).transpose(0, 1, 2, 4, 3, 5)
        grad = np.zeros(shape, np.float32)
        grad[:, :, : h * sh, : w * sw] = spread.reshape(n, c, h * sh, w * sw)
        return (grad,)

    return Value(np.take_along_axis(tiles, chosen, axis=-1)[..., 0], (x,), backward)


def spatial_mean(x: Value) -> Value:
    """Mean over height and width: [n, c, h, w] to [n, c]."""
    shape = x.data.shape
    area = np.float32(shape[2] * shape[3])

    def backward(g: Reals) -> tuple[Reals]:
        return (np.broadcast_to((g / area)[:, :, None, None], shape),)

    return Value(x.data.mean(axis=(2, 3)), (x,), backward)


class BatchNorm:
    """Normalise each channel over the batch; keeps running statistics for inference.

    Ioffe and Szegedy, "Batch Normalization", algorithm 1.
    """

    def __init__(self, channels: int, momentum: float = 0.9) -> None:
        self.scale = Value(np.ones(channels, np.float32))
        self.shift = Value(np.zeros(channels, np.float32))
        self.mean = np.zeros(channels, np.float32)
        self.variance = np.ones(channels, np.float32)
        self.epsilon = 1e-5
        self._momentum = np.float32(momentum)

    def __call__(self, x: Value) -> Value:
        """Normalise [n, c, h, w] by the statistics of this batch."""
        axes = (0, 2, 3)
        mean, variance = x.data.mean(axis=axes), x.data.var(axis=axes)
        keep = self._momentum
        self.mean = keep * self.mean + (1 - keep) * mean
        self.variance = keep * self.variance + (1 - keep) * variance
        inverse = (1 / np.sqrt(variance + self.epsilon))[:, None, None]
        normal = (x.data - mean[:, None, None]) * inverse
        scale = self.scale.data[:, None, None]

        def backward(g: Reals) -> tuple[Reals, Reals, Reals]:
            scaled = g * scale
            centred = scaled - scaled.mean(axis=axes, keepdims=True)
            x_grad = inverse * (centred - normal * (scaled * normal).mean(axis=axes, keepdims=True))
            return x_grad, (g * normal).sum(axis=axes), g.sum(axis=axes)

        out = normal * scale + self.shift.data[:, None, None]
        return Value(out, (x, self.scale, self.shift), backward)


def cross_entropy(logits: Value, labels: NDArray[np.int64]) -> Value:
    """Mean of ``-log(softmax(logits)[label])``, a scalar."""
    shifted = logits.data - logits.data.max(axis=1, keepdims=True)
    odds = np.exp(shifted)
    probability = odds / odds.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(probability[rows, labels] + 1e-12).mean()

    def backward(g: Reals) -> tuple[Reals]:
        grad = probability.copy()
        grad[rows, labels] -= 1
        return (g * grad / np.float32(len(labels)),)

    return Value(loss, (logits,), backward)


def mean_square(x: Value, target: Reals) -> Value:
    """Mean squared distance to ``target``, a scalar."""
    gap = x.data - target
    return Value(np.mean(gap * gap), (x,), lambda g: (g * gap * np.float32(2 / gap.size),))


class Adam:
    """Adam with decoupled weight decay and a cosine schedule down to zero.

    Kingma and Ba, "Adam", algorithm 1; Loshchilov and Hutter, "Decoupled Weight Decay".
    """

    def __init__(
        self, parameters: list[Value], steps: int, rate: float = 2e-3, decay: float = 1e-2
    ) -> None:
        self._parameters = parameters
        self._moments = [(np.zeros_like(p.data), np.zeros_like(p.data)) for p in parameters]
        self._steps, self._rate, self._decay = steps, rate, decay
        self._done = 0

    def step(self, loss: Value) -> None:
        """Differentiate ``loss`` and move the parameters."""
        loss.differentiate()
        rate = self._rate * 0.5 * (1 + np.cos(np.pi * self._done / self._steps))
        self._done += 1
        for parameter, (first, second) in zip(self._parameters, self._moments, strict=True):
            grad = parameter.grad
            if grad is None:
                continue
            first += 0.1 * (grad - first)
            second += 0.001 * (grad * grad - second)
            mean = first / (1 - 0.9**self._done)
            spread = np.sqrt(second / (1 - 0.999**self._done)) + 1e-8
            decay = self._decay if parameter.data.ndim > 1 else 0.0
            parameter.data -= np.float32(rate) * (
                mean / spread + np.float32(decay) * parameter.data
            )
            parameter.grad = None


def he_normal(generator: np.random.Generator, *shape: int) -> Value:
    """Weights [out, ...] with the variance 2 / inputs (He et al. 2015, section 2.2)."""
    fan_in = int(np.prod(shape[1:]))
    return Value(generator.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in)))
