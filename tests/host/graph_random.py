# SPDX-License-Identifier: Apache-2.0
"""Random small networks of all kinds of layers, a function of the seed."""

from collections.abc import Callable

import numpy as np
from graph_cases import Maker

from ohmtwin.arch.errors import ModelError
from ohmtwin.behavioral.golden import window_counts
from ohmtwin.host.graph import Network

__all__ = ["random_graph"]

Shape = tuple[int, ...]


class _Growing:
    """A network that grows by a layer at a time."""

    def __init__(self, seed: int) -> None:
        self.maker = Maker(seed)
        self.random = self.maker.random
        shape = tuple(self.number(low, high) for low, high in ((1, 9), (3, 10), (3, 10)))
        # A stream of its own: other choices do not depend on gains.
        self.gains = np.random.default_rng([43, seed])
        self.shapes: dict[str, Shape] = {}
        for _ in range(self.number(1, 3)):
            self.shapes[self.maker.input(*shape)] = shape

    def number(self, low: int, high: int) -> int:
        """low to high - 1."""
        return int(self.random.integers(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def pick(self, *shape: int) -> str:
        """A tensor, of the shape if one is given."""
        names = [name for name, s in self.shapes.items() if s == shape or not shape]
        return names[self.number(0, len(names))]

    def grow(self) -> None:
        """Add a layer of a random kind; nothing if its shapes do not fit."""
        maker = self.maker
        kept = len(maker.layers)
        source = self.pick()
        shape = self.shapes[source]
        kinds: list[Callable[[str, Shape], str]] = [
            self.combine, self.multiply, self.concat, self.dense, self.table, self.slice
        ]  # fmt: skip
        if len(shape) == 3:
            kinds += [self.conv, self.depthwise, self.groups, self.max, self.average, self.whole]
            kinds += [self.pad, self.flat, self.turned, self.conv]
        if shape[-1] > 1:
            kinds.append(self.softmax)
        try:
            kinds[self.number(0, len(kinds))](source, shape)
            for layer in maker.layers[kept:]:
                made = layer.shape(*(self.shapes[s] for s in layer.sources))
                self.shapes[layer.output] = made
        except ModelError:
            for layer in maker.layers[kept:]:
                self.shapes.pop(layer.output, None)
            del maker.layers[kept:]

    # Windows

    def window(self, shape: Shape) -> tuple[tuple[int, int], tuple[int, int], tuple[int, ...]]:
        """Kernel, strides and pads."""
        kernel = (self.number(1, min(4, shape[1]) + 1), self.number(1, min(4, shape[2]) + 1))
        strides = (self.number(1, 3), self.number(1, 3))
        return kernel, strides, tuple(self.number(0, kernel[i % 2]) for i in range(4))

    def conv(self, source: str, shape: Shape) -> str:
        kernel, strides, pads = self.window(shape)
        return self.maker.conv(
            source,
            (self.number(1, 40), shape[0], *kernel),
            table=self.chance(0.3),
            pads=pads,
            strides=strides,
            dilations=(self.number(1, 3), self.number(1, 3)),
            pad_code=(0, 77, 128)[self.number(0, 3)],
        )

    def depthwise(self, source: str, shape: Shape) -> str:
        kernel, strides, pads = self.window(shape)
        outputs = shape[0] * self.number(1, 3)
        return self.maker.conv(
            source, (outputs, 1, *kernel), groups=shape[0], pads=pads, strides=strides
        )

    def groups(self, source: str, shape: Shape) -> str:
        kernel, _, pads = self.window(shape)
        found = [g for g in range(1, shape[0] + 1) if shape[0] % g == 0]
        groups = found[self.number(0, len(found))]
        outputs = groups * self.number(1, 4)
        return self.maker.conv(
            source, (outputs, shape[0] // groups, *kernel), groups=groups, pads=pads
        )

    def max(self, source: str, shape: Shape) -> str:
        kernel, strides, pads = self.window(shape)
        dilations = (self.number(1, 3), self.number(1, 3))
        return self.maker.max_pool(source, kernel, pads=pads, strides=strides, dilations=dilations)

    def average(self, source: str, shape: Shape) -> str:
        kernel, strides, pads = self.window(shape)
        include = self.chance(0.5)
        counts = window_counts(shape, kernel, strides, (*pads[:2], *pads[2:]), include)
        return self.maker.average(
            source,
            kernel,
            sorted({max(1, int(c)) for c in np.unique(counts)}),
            pads=pads,
            strides=strides,
            count_include_pad=include,
        )

    def whole(self, source: str, shape: Shape) -> str:
        return self.maker.average(source, (shape[1], shape[2]), [shape[1] * shape[2]])

    # Element by element

    def combine(self, source: str, shape: Shape) -> str:
        made = self.maker.combine(source, self.pick(*shape))
        if self.chance(0.3):
            self.shapes[made] = shape
            row = self.maker.constant(shape[0], *(1 for _ in shape[1:]))
            made = self.maker.combine(made, row)
        return made

    def multiply(self, source: str, shape: Shape) -> str:
        other = self.pick(*shape)
        if self.chance(0.5):
            other = self.maker.constant(*(size if self.chance(0.5) else 1 for size in shape))
        if self.gains.random() < 0.5:
            return self.maker.multiply(source, other)
        first, second = (int(g) for g in self.gains.integers(1, 129, 2))
        offset = int(self.gains.integers(-20000, 20000))
        return self.maker.multiply(source, other, (first, second), offset)

    def table(self, source: str, shape: Shape) -> str:
        return self.maker.combine(source, table=True)

    def softmax(self, source: str, shape: Shape) -> str:
        return self.maker.softmax(source)

    def dense(self, source: str, shape: Shape) -> str:
        return self.maker.dense(source, shape[-1], self.number(1, 40), table=self.chance(0.2))

    # Movement

    def concat(self, source: str, shape: Shape) -> str:
        axis = self.number(0, len(shape))
        others = [
            name
            for name, s in self.shapes.items()
            if s[:axis] + s[axis + 1 :] == shape[:axis] + shape[axis + 1 :] and len(s) == len(shape)
        ]
        sources = [others[self.number(0, len(others))] for _ in range(self.number(2, 4))]
        tables = [self.chance(0.25) for _ in sources]
        return self.maker.concat(*sources, axis=axis, tables=tables)

    def pad(self, source: str, shape: Shape) -> str:
        before = [self.number(0, 2), self.number(0, 3), self.number(0, 3)]
        return self.maker.pad(source, before, [0, self.number(0, 3), self.number(0, 3)])

    def flat(self, source: str, shape: Shape) -> str:
        return self.maker.reshape(source, int(np.prod(shape)))

    def turned(self, source: str, shape: Shape) -> str:
        if self.chance(0.3):
            return self.maker.reshape(source, *reversed(shape))
        return self.maker.transpose(source, *(int(a) for a in self.random.permutation(3)))

    def slice(self, source: str, shape: Shape) -> str:
        starts = [self.number(0, size) for size in shape]
        steps = [(-1, 1, 2)[self.number(0, 3)] for _ in shape]
        counts = [
            self.number(1, (start + 1 if step < 0 else (size - 1 - start) // step + 1) + 1)
            for start, step, size in zip(starts, steps, shape, strict=True)
        ]
        return self.maker.slice(source, starts, steps, counts)


def random_graph(seed: int) -> Network:
    """Up to a dozen layers; whatever nothing reads is an output."""
    grown = _Growing(seed)
    for _ in range(grown.number(2, 8)):
        grown.grow()
    first = grown.maker.inputs[0]
    grown.maker.combine(first.tensor)
    layers = grown.maker.layers
    read = {source for layer in layers for source in layer.sources}
    grown.maker.inputs = [entry for entry in grown.maker.inputs if entry.tensor in read]
    outputs = [x.output for x in layers if x.output not in read and x.kind != "Constant"]
    return grown.maker.network(*outputs)
