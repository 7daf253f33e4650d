# SPDX-License-Identifier: Apache-2.0
"""Small networks of every kind of layer, built by hand, for the tests of the compiler."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.formats import RequantScale
from ohmtwin.host.graph import (
    AveragePool,
    Combine,
    Concat,
    Constant,
    Conv,
    Dense,
    MaxPool,
    Multiply,
    Network,
    NetworkInput,
    Operator,
    Pad,
    Quantization,
    Reshape,
    Slice,
    Softmax,
    State,
    Transpose,
)

__all__ = ["GRAPH_CHIP", "PLAIN", "Maker", "random_inputs"]

PLAIN = Quantization(1.0, 0, signed=False)

GRAPH_CHIP = Chip(
    name="graph",
    cores=16,
    rows=32,
    cols=64,
    cell_bits=2,
    lanes=8,
    adc_bits=6,
    rows_per_read=16,
    program_words=512,
    data_words=512,
    param_words=512,
    tables=8,
    fifo_words=64,
)
"""Small arrays, so that small layers are cut; small FIFOs, so that they fill up."""


def _scale(factor: float) -> RequantScale:
    return RequantScale.from_float(float(np.float32(factor)))


class Maker:
    """Appends layers with random weights; each method returns the name of the tensor it makes.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng([41, seed])
        self.seed = seed
        self.inputs: list[NetworkInput] = []
        self.layers: list[Operator] = []

    def input(self, *shape: int) -> str:
        name = f"in{len(self.inputs)}"
        self.inputs.append(NetworkInput(name, f"{name}_q", shape, PLAIN))
        return f"{name}_q"

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self.layers)}"

    def _add(self, layer: Operator) -> str:
        self.layers.append(layer)
        return layer.output

    def table(self) -> NDArray[np.uint8]:
        return self.random.permutation(256).astype(np.uint8)

    def _products(self, name: str, shape: Sequence[int], table: bool) -> dict[str, Any]:
        """Weights, bias and requantizer that spread codes over most of 0 to 255."""
        outputs = shape[0]
        inputs = int(np.prod(shape[1:]))
        factors = self.random.uniform(0.3, 1.2, outputs) * 60 / (74 * 147 * inputs**0.5)
        scales = [_scale(f) for f in factors]
        return {
            "name": name,
            "output": name,
            "weights": self.random.integers(-128, 128, tuple(shape)).astype(np.int8),
            "bias": self.random.integers(-20000, 20000, outputs).astype(np.int32),
            "mantissa": np.array([s.mantissa for s in scales], np.uint32),
            "shift": np.array([s.shift for s in scales], np.uint8),
            **self._behind(table),
        }

    def _behind(self, table: bool) -> dict[str, Any]:
        return {
            "zero_point": int(self.random.integers(60, 200)),
            "clip_low": int(self.random.integers(0, 30)),
            "clip_high": 255,
            "out_quant": PLAIN,
            "table": self.table() if table else None,
            "pre_quant": PLAIN if table else None,
        }

    def dense(self, source: str, inputs: int, outputs: int, table: bool = False) -> str:
        made = self._products(self._name("dense"), (outputs, inputs), table)
        return self._add(Dense(input=source, **made))

    def conv(
        self, source: str, shape: Sequence[int], table: bool = False, **attributes: Any
    ) -> str:
        """``shape`` is that of the weights."""
        made = self._products(self._name("conv"), shape, table)
        code = int(self.random.integers(0, 256))
        return self._add(Conv(input=source, **made, **{"pad_code": code, **attributes}))

    def combine(self, *sources: str, table: bool = False, offset: int = -9000) -> str:
        name = self._name("combine")
        scale = _scale(1 / 700)
        factors = tuple(int(f) for f in self.random.integers(-400, 600, len(sources)))
        return self._add(
            Combine(
                name=name,
                sources=sources,
                output=name,
                factors=factors,
                offset=offset,
                mantissa=scale.mantissa,
                shift=scale.shift,
                **self._behind(table),
            )
        )

    def multiply(self, a: str, b: str, gains: tuple[int, int] = (1, 1), offset: int = 0) -> str:
        """``offset`` counts units of the product without gains."""
        name = self._name("multiply")
        gain = gains[0] * gains[1]
        scale = _scale(1 / (150 * gain))
        return self._add(
            Multiply(
                name=name,
                sources=(a, b),
                output=name,
                zero_points=(int(self.random.integers(256)), 131),
                gains=gains,
                offset=offset * gain,
                mantissa=scale.mantissa,
                shift=scale.shift,
                **self._behind(False),
            )
        )

    def max_pool(self, source: str, kernel: tuple[int, int], **attributes: Any) -> str:
        name = self._name("maxpool")
        return self._add(
            MaxPool(
                name=name, input=source, output=name, kernel=kernel, out_quant=PLAIN, **attributes
            )
        )

    def average(
        self, source: str, kernel: tuple[int, int], counts: Sequence[int], **attributes: Any
    ) -> str:
        name = self._name("average")
        scales = [_scale(0.9 / count) for count in counts]
        return self._add(
            AveragePool(
                name=name,
                input=source,
                output=name,
                kernel=kernel,
                input_zero_point=int(self.random.integers(256)),
                counts=tuple(counts),
                mantissa=np.array([s.mantissa for s in scales], np.uint32),
                shift=np.array([s.shift for s in scales], np.uint8),
                **self._behind(False),
                **attributes,
            )
        )

    def concat(self, *sources: str, axis: int = 0, tables: Sequence[bool] = ()) -> str:
        name = self._name("concat")
        wanted = list(tables) or [False] * len(sources)
        return self._add(
            Concat(
                name=name,
                sources=sources,
                output=name,
                axis=axis,
                tables=tuple(self.table() if table else None for table in wanted),
                out_quant=PLAIN,
            )
        )

    def pad(self, source: str, before: Sequence[int], after: Sequence[int], code: int = 17) -> str:
        name = self._name("pad")
        return self._add(
            Pad(
                name=name,
                input=source,
                output=name,
                before=tuple(before),
                after=tuple(after),
                code=code,
                out_quant=PLAIN,
            )
        )

    def softmax(self, source: str, scale: float = 0.05) -> str:
        name = self._name("softmax")
        out = Quantization(1 / 256, 0, signed=False)
        return self._add(Softmax(name=name, input=source, output=name, scale=scale, out_quant=out))

    def reshape(self, source: str, *to: int) -> str:
        name = self._name("reshape")
        return self._add(Reshape(name=name, input=source, output=name, to=to, out_quant=PLAIN))

    def transpose(self, source: str, *permutation: int) -> str:
        name = self._name("transpose")
        return self._add(
            Transpose(
                name=name, input=source, output=name, permutation=permutation, out_quant=PLAIN
            )
        )

    def slice(
        self, source: str, starts: Sequence[int], steps: Sequence[int], counts: Sequence[int]
    ) -> str:
        name = self._name("slice")
        return self._add(
            Slice(
                name=name,
                input=source,
                output=name,
                starts=tuple(starts),
                steps=tuple(steps),
                counts=tuple(counts),
                out_quant=PLAIN,
            )
        )

    def constant(self, *shape: int) -> str:
        name = self._name("constant")
        codes = self.random.integers(0, 256, shape).astype(np.uint8)
        return self._add(Constant(name=name, output=name, codes=codes, out_quant=PLAIN))

    def network(self, *outputs: str, states: Sequence[State] = ()) -> Network:
        return Network(
            name=f"made{self.seed}",
            inputs=tuple(self.inputs),
            layers=tuple(self.layers),
            outputs=outputs,
            states=tuple(states),
        )


def random_inputs(
    network: Network, n: int, seed: int = 0, steps: int | None = None
) -> dict[str, NDArray[np.uint8]]:
    """Codes of all inputs by tensor, a third of them 0."""
    random = np.random.default_rng([43, seed])
    lead = (n,) if steps is None else (n, steps)
    found = {}
    for entry in network.fed:
        codes = random.integers(0, 256, (*lead, *entry.shape)).astype(np.uint8)
        codes[random.random(codes.shape) < 0.33] = 0
        found[entry.tensor] = codes
    return found
