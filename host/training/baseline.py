# SPDX-License-Identifier: Apache-2.0
"""The same training in float64, in the same order of samples: what devices are compared to."""

import numpy as np
from numpy.typing import NDArray

from .compile import activate, derivative, first_weights
from .config import TrainConfig
from .curve import Curve, Point
from .data import Samples, order_of

__all__ = ["float_training"]


def float_training(config: TrainConfig, samples: Samples) -> Curve:
    """Stochastic gradient descent with softmax and cross-entropy, one sample at a time.

    Returns
    -------
    Curve
        A point an epoch.
    """
    weights = first_weights(config)
    name, curve = config.network.activation, Curve()
    count = len(samples.x)
    for epoch in range(config.train.epochs):
        rate = config.train.rate * config.train.decay**epoch
        loss, right = 0.0, 0
        for i in order_of(config.train.seed, epoch, count):
            inputs, sums = _forward(weights, samples.x[i], name)
            p = _softmax(sums[-1])
            label = int(samples.y[i])
            loss -= float(np.log(max(p[label], 1e-12)))
            right += int(p.argmax() == label)
            error = p
            error[label] -= 1
            for layer in range(len(weights) - 1, -1, -1):
                step = rate * np.outer(inputs[layer], error)
                if layer:
                    error = weights[layer][:-1] @ error * derivative(name, sums[layer - 1])
                weights[layer] -= step
        x = samples.test_x
        for layer, w in enumerate(weights):
            z = x @ w[:-1] + w[-1]
            x = activate(name, z) if layer < len(weights) - 1 else z
        accuracy = float((x.argmax(axis=1) == samples.test_y).mean())
        curve.add(Point((epoch + 1) * count, loss / count, right / count, accuracy))
    return curve


def _forward(
    weights: list[NDArray[np.float64]], x: NDArray[np.float64], name: str
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    inputs, sums = [], []
    for layer, w in enumerate(weights):
        inputs.append(np.append(x, 1.0))
        sums.append(inputs[-1] @ w)
        if layer < len(weights) - 1:
            x = activate(name, sums[-1])
    return inputs, sums


def _softmax(z: NDArray[np.float64]) -> NDArray[np.float64]:
    e: NDArray[np.float64] = np.exp(z - z.max())
    p: NDArray[np.float64] = e / e.sum()
    return p
