# SPDX-License-Identifier: Apache-2.0
"""Noise-aware retraining of a quantized MLP, in plain NumPy.

Weights see a fresh Gaussian error in every forward and backward pass while the clean ones are
updated, so that training ends where errors of that size do little harm: noise injection (Yan, Hu,
Shi, "Computing-in-memory ... survey", on training with noise; Joshi et al. 2020, "Accurate deep
neural network inference using computational phase-change memory", Methods, whose clipping of
weights to a few of their own deviations is used too). With offset encoding the error of a weight
hangs little on its value: ``noise`` counts in largest weights of the layer, and a device of
relative spread s is met by about ``noise = s``.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError, ModelError
from ..arch.formats import RequantScale
from .graph import Dense, Network, Quantization, Reshape

__all__ = ["FloatLayer", "float_layers", "quantize_layers", "retrain"]

Floats = NDArray[np.float64]

_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8  # of Adam, as its paper has them


@dataclass(frozen=True, eq=False)
class FloatLayer:
    """A dense layer in real numbers.

    ``weights`` float64 [outputs, inputs], ``bias`` float64 [outputs]; ``relu`` tells whether values
    below 0 become 0.
    """

    weights: Floats
    bias: Floats
    relu: bool


def float_layers(network: Network) -> list[FloatLayer]:
    """The real weights that a quantized chain of dense layers stands for.

    Raises
    ------
    ModelError
        If the layers are no chain, or one ends in a table.
    """
    quant = network.input_quant
    found = []
    for layer in _chain(network):
        factor = np.array([float(scale) for scale in layer.scales])
        whole = layer.weights.astype(np.float64)
        bias = layer.bias + quant.internal_zero_point * whole.sum(axis=1)
        out = layer.out_quant
        found.append(
            FloatLayer(
                weights=whole * (factor * out.scale / quant.scale)[:, None],
                bias=bias * factor * out.scale,
                relu=layer.clip_low >= out.internal_zero_point,
            )
        )
        quant = out
    return found


def _chain(network: Network) -> list[Dense]:
    """The dense layers of a network that is a chain of them; reshapes between them do nothing."""
    tensor = network.input_name
    found = []
    for layer in network.layers:
        reads = layer.sources == (tensor,)
        if (
            not reads
            or not isinstance(layer, Dense | Reshape)
            or getattr(layer, "table", None) is not None
        ):
            what = "is no dense layer"
            if not reads:
                what = f"does not read '{tensor}'"
            elif isinstance(layer, Dense):
                what = "ends in a table"
            raise ModelError(
                f"Layer '{layer.name}' of network '{network.name}' {what}; only chains of dense "
                "layers with ReLU can be retrained"
            )
        if isinstance(layer, Dense):
            found.append(layer)
        tensor = layer.output
    return found


def _forward(layers: list[FloatLayer], x: Floats) -> list[Floats]:
    """Values in front of, between and behind the layers."""
    values = [x]
    for layer in layers:
        total = values[-1] @ layer.weights.T + layer.bias
        values.append(np.maximum(total, 0.0) if layer.relu else total)
    return values


def quantize_layers(network: Network, layers: list[FloatLayer], x: NDArray[np.float32]) -> Network:
    """Quantize real layers in the form of a network.

    Weights symmetric to 8 bits with one scale a layer; activations to the range that ``x`` brings
    about, 0 included.

    Parameters
    ----------
    network : Network
        Gives names, input and signedness.
    layers : list of FloatLayer
        One for each dense layer of the network.
    x : float32 [n, inputs]
        Real inputs, for the ranges.

    Raises
    ------
    ModelError
        If a layer's factor is out of the requantizer's range.
    CapacityError
        If an accumulator can leave 32 bits.
    """
    quant = network.input_quant
    dense: dict[str, Dense] = {}
    values = _forward(layers, x.astype(np.float64))
    for old, layer, reached in zip(_chain(network), layers, values[1:], strict=True):
        low, high = min(0.0, float(reached.min())), max(0.0, float(reached.max()))
        # A layer that never answers still needs a scale.
        scale = float(np.float32((high - low) / 255 or 1.0))
        zero = round(-low / scale)
        signed = old.out_quant.signed
        out = Quantization(scale, zero - 128 if signed else zero, signed=signed)
        unit = np.float32(np.abs(layer.weights).max() / 127 or 1.0)
        weights = np.rint(layer.weights / unit).astype(np.int8)
        factor = np.float32(quant.scale) * unit / np.float32(scale)
        try:
            requant = RequantScale.from_float(float(factor))
        except ValueError as error:
            raise ModelError(f"Layer '{old.name}' gives no usable factor: {error}") from None
        bias = np.rint(layer.bias / (quant.scale * float(unit)))
        bias -= quant.internal_zero_point * weights.astype(np.float64).sum(axis=1)
        dense[old.name] = dataclasses.replace(
            old,
            weights=weights,
            bias=bias.astype(np.int32),
            mantissa=np.full(old.outputs, requant.mantissa, np.uint32),
            shift=np.full(old.outputs, requant.shift, np.uint8),
            zero_point=zero,
            clip_low=zero if layer.relu else 0,
            clip_high=255,
            out_quant=out,
        )
        quant = out
    again = tuple(dense.get(layer.name, layer) for layer in network.layers)
    return dataclasses.replace(network, layers=again, notes=())


def retrain(
    network: Network,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    noise: float,
    epochs: int = 10,
    batch: int = 64,
    rate: float = 1e-3,
    clip: float = 3.0,
    seed: int = 0,
) -> Network:
    """Train a network on with errors in its weights, and quantize it again.

    Parameters
    ----------
    network : Network
        A chain of dense layers whose last output gives a score a class.
    x : float32 [n, inputs]
        Real inputs, as the network's float input.
    y : int64 [n]
        Class of each.
    noise : float
        Deviation of the error of a weight, in largest weights of its layer; 0 trains on without.
    epochs, batch : int
        Passes over the data, and samples to a step.
    rate : float
        Step size of Adam at the start; it falls to 0 in a straight line.
    clip : float
        Weights are kept within that many deviations of their layer's, for a large weight makes the
        steps of all others small and their errors large.
    seed : int
        Of the order of samples and of the errors: the same call gives the same network.

    Returns
    -------
    Network
        Of the same shape; it has no ONNX file of its own.

    Raises
    ------
    InputError
        If data and network do not fit, or a setting is out of range.
    ModelError
        If the network is no chain of dense layers.
    """
    x = np.asarray(x, np.float32).reshape(len(x), -1)
    chain = _chain(network)
    if not chain:
        raise ModelError(f"Network '{network.name}' has no dense layer to retrain")
    inputs, classes = chain[0].inputs, chain[-1].outputs
    if not len(x) or x.shape[1] != inputs or y.shape != (len(x),):
        raise InputError(
            f"Training needs samples [n, {inputs}] and a class for each, not {list(x.shape)} and "
            f"{list(y.shape)}"
        )
    if not np.isfinite(x).all() or y.min() < 0 or y.max() >= classes:
        raise InputError(f"Training needs finite samples and classes 0 to {classes - 1}")
    if not noise >= 0 or epochs < 1 or batch < 1 or not rate > 0 or not clip > 0:
        raise InputError(
            "Training needs noise of 0 or more, epochs and batch of 1 or more, rate and clip above "
            f"0, not {noise}, {epochs}, {batch}, {rate} and {clip}"
        )
    layers = float_layers(network)
    # Inputs up to 1, so that one step size suits all layers; undone at the end.
    peak = float(np.abs(x).max()) or 1.0
    layers[0] = dataclasses.replace(layers[0], weights=layers[0].weights * peak)
    trained = _train(layers, x / peak, y, noise, epochs, batch, rate, clip, seed)
    trained[0] = dataclasses.replace(trained[0], weights=trained[0].weights / peak)
    return quantize_layers(network, trained, x)


def _train(
    layers: list[FloatLayer],
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    noise: float,
    epochs: int,
    batch: int,
    rate: float,
    clip: float,
    seed: int,
) -> list[FloatLayer]:
    random = np.random.default_rng(seed)
    held = [part.copy() for layer in layers for part in (layer.weights, layer.bias)]
    first, second = ([np.zeros_like(part) for part in held] for _ in range(2))
    steps, step = epochs * -(-len(x) // batch), 0
    for _ in range(epochs):
        order = random.permutation(len(x))
        for chosen in np.split(order, range(batch, len(x), batch)):
            noisy = []
            for layer, w, b in zip(layers, held[::2], held[1::2], strict=True):
                error = random.standard_normal(w.shape) * (noise * np.abs(w).max())
                noisy.append(FloatLayer(w + error, b, layer.relu))
            gradients = _gradients(noisy, x[chosen].astype(np.float64), y[chosen])
            step += 1
            size = rate * (1 - (step - 1) / steps)
            for part, g, m, v in zip(held, gradients, first, second, strict=True):
                m += (1 - _BETA1) * (g - m)
                v += (1 - _BETA2) * (g**2 - v)
                corrected = m / (1 - _BETA1**step)
                part -= size * corrected / (np.sqrt(v / (1 - _BETA2**step)) + _TINY)
            for w in held[::2]:
                limit = clip * w.std()
                np.clip(w, -limit, limit, out=w)
    return [
        FloatLayer(w, b, layer.relu)
        for layer, w, b in zip(layers, held[::2], held[1::2], strict=True)
    ]


def _gradients(layers: list[FloatLayer], x: Floats, y: NDArray[np.int64]) -> list[Floats]:
    """Gradients of the mean cross entropy: of weights and bias of each layer in turn."""
    values = _forward(layers, x)
    scores = values[-1] - values[-1].max(axis=1, keepdims=True)
    back = np.exp(scores)
    back /= back.sum(axis=1, keepdims=True)
    back[np.arange(len(y)), y] -= 1.0
    back /= len(y)
    found: list[Floats] = []
    for layer, source, out in zip(layers[::-1], values[-2::-1], values[:0:-1], strict=True):
        if layer.relu:
            back = back * (out > 0)
        found[:0] = [back.T @ source, back.sum(axis=0)]
        back = back @ layer.weights
    return found
