# SPDX-License-Identifier: Apache-2.0
"""Learning curves: what is measured after every epoch, and its picture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..plots.figures import COLOURS, canvas, save

__all__ = ["Curve", "Point", "draw_curves"]

_WIDTH, _HEIGHT = 1000, 400


@dataclass(frozen=True)
class Point:
    """After so many samples: mean loss and accuracy over the last epoch, accuracy of the test."""

    samples: int
    loss: float
    train_accuracy: float
    test_accuracy: float


@dataclass
class Curve:
    """Points in their order."""

    points: list[Point] = field(default_factory=list)

    def add(self, point: Point) -> None:
        """Append one."""
        self.points.append(point)

    @property
    def accuracy(self) -> float:
        """Of the test, at the end; 0 before the first point."""
        return self.points[-1].test_accuracy if self.points else 0.0

    def array(self) -> NDArray[np.float64]:
        """float64 [points, 4], in the order of the fields."""
        rows = [list(asdict(point).values()) for point in self.points]
        return np.array(rows, np.float64).reshape(-1, 4)

    @classmethod
    def from_array(cls, values: NDArray[np.float64]) -> "Curve":
        """Back from :meth:`array`."""
        return cls([Point(int(v[0]), float(v[1]), float(v[2]), float(v[3])) for v in values])

    def data(self) -> list[dict[str, float]]:
        """As JSON has it."""
        return [asdict(point) for point in self.points]


def draw_curves(curves: Mapping[str, Curve], path: Path, title: str = "") -> None:
    """Draw the loss and the accuracy of the test against samples.

    Raises
    ------
    InputError
        If the file system refuses.
    ToolError
        If matplotlib is not installed.
    """
    with canvas(_WIDTH, _HEIGHT) as figure:
        left, right = figure.subplots(1, 2)
        for i, (name, curve) in enumerate(curves.items()):
            at = [point.samples for point in curve.points]
            colour = COLOURS[i % len(COLOURS)]
            left.plot(at, [point.loss for point in curve.points], ".-", color=colour)
            accuracy = [100 * point.test_accuracy for point in curve.points]
            label = f"{name}, {100 * curve.accuracy:.1f} %" if accuracy else name
            right.plot(at, accuracy, ".-", color=colour, label=label)
        left.set_ylabel("loss of training, mean of an epoch")
        right.set_ylabel("accuracy of the test, %")
        for panel in (left, right):
            panel.set_xlabel("samples")
        left.set_yscale("log")
        right.legend()
        figure.suptitle(title, fontsize=10)
        save(figure, path)
