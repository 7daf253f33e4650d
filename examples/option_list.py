# SPDX-License-Identifier: Apache-2.0
"""Every option of a chip, by name, and the forms of the demo networks that its cells can hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from make_data import digits, mnist_split, split
from numpy.typing import NDArray
from train_lowbits import lowbit_mlp, train

import ohmtwin as ot
from ohmtwin.arch.formats import RequantScale
from ohmtwin.arch.inputs import InputEncoding
from ohmtwin.host.graph import Dense

__all__ = ["DEMOS", "OPTIONS", "Demo", "Option", "demo"]

MODELS = Path(__file__).parent / "models"

_PLANES = 8


@dataclass(frozen=True)
class Option:
    """A chip that differs from the standard ones.

    Parameters
    ----------
    changes : mapping of str to object
        Fields of the chip.
    form : str
        Which form of the networks: "8 bits" as shipped; "4 bits", rounded; "ternary" and "binary",
        trained with such weights; "decisions", binary with codes of one bit.
    samples : int
        So many are enough where a sample takes long.
    exact : bool
        Whether ideal arrays give exactly what golden says.
    refused : tuple of str
        Networks that such a chip cannot hold, for a reason that is given.
    """

    changes: Mapping[str, object] = field(default_factory=dict)
    form: str = "8 bits"
    samples: int = 1000
    exact: bool = True
    refused: tuple[str, ...] = ()


def _xnor(**changes: object) -> dict[str, object]:
    """Two rows an input, 16 inputs a read, single bits."""
    fields = {"rows": 256, "cell_bits": 1, "adc_bits": 5, "row_schedule": "baseline"}
    return {"weight_encoding": "xnor", **fields, **changes}


_AN = {"code_a": 69}
_AB = {"code_a": 69, "code_b": 3}
_BUDGETS = {"row_budgets": (21, 21, 21, 21, 21, 16, 8, 4)}

OPTIONS: Mapping[str, Option] = MappingProxyType(
    {
        "none": Option(),
        "baseline": Option({"row_schedule": "baseline"}),
        # Weight encodings.
        "differential": Option({"weight_encoding": "differential"}),
        "flipped": Option({"weight_encoding": "flipped", "rows_per_read": 128, "adc_bits": 8}),
        "xnor": Option(_xnor()),
        "4 bits": Option({"weight_bits": 4}, "4 bits"),
        "differential, 4 bits": Option(
            {"weight_encoding": "differential", "weight_bits": 4}, "4 bits"
        ),
        "ternary": Option(
            {"weight_encoding": "ternary", "weight_bits": 2, "cell_bits": 1, "adc_bits": 5},
            "ternary",
        ),
        "binary": Option(_xnor(weight_bits=1, cols=128), "binary"),
        # Input encodings.
        **{
            str(encoding): Option({"input_encoding": encoding, "adc_bits": 8})
            for encoding in (
                InputEncoding.TWOS_COMPLEMENT,
                InputEncoding.SIGN_MAGNITUDE,
                InputEncoding.DIGITS,
            )
        },
        "unary": Option({"input_encoding": InputEncoding.UNARY}, samples=1),
        "stochastic": Option({"input_encoding": InputEncoding.STOCHASTIC}, samples=1),
        "stochastic, 63": Option(
            {"input_encoding": InputEncoding.STOCHASTIC, "stream_length": 63}, samples=2
        ),
        # Codes.
        "code 69": Option(_AN),
        "code 69 * 3": Option(_AB),
        "code 37 * 5": Option({"code_a": 37, "code_b": 5, "code_errors": "power_of_two"}),
        # Reads and converters.
        "budgets": Option(_BUDGETS),
        "budgets, code 69 * 3": Option(_BUDGETS | _AB),
        "slice budgets": Option(
            {"slice_reads": True, "row_budgets": (((21, 21, 16, 8),) * 6 + ((21, 21, 2, 1),) * 2)}
        ),
        "clip": Option({"adc_bits": 5, "adc_clip": True}, exact=False),
        "coarse": Option({"adc_bits": 5, "adc_step": 2}, exact=False),
        "clip, coarse": Option({"adc_bits": 4, "adc_step": 2, "adc_clip": True}, exact=False),
        "sense amplifiers": Option(
            _xnor(
                weight_bits=1, rows=128, cols=128, rows_per_read=64, adc_bits=1,
                sense_amplifier=True,
            ),
            "decisions",
            refused=("mnist",),
        ),
        # Arrays.
        "program and verify": Option({"program_verify": True}),
        "two arrays a core": Option({"arrays_per_core": 2}),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Demo:
    """A demo network with its pictures.

    Parameters
    ----------
    name : str
    chip : str
        The standard chip that its option chips are made from.
    columns : int
        Of their arrays: wide ones, where many narrow cores would take long to build.
    pixel : float
        Scale of a pixel in eight bits.
    epochs : int
        To train its forms of few bits.
    """

    name: str
    chip: str
    columns: int
    pixel: float
    epochs: int

    def pictures(self, *, training: bool = False) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Those that training did not see, or those it did."""
        seen, held_out = mnist_split() if self.name == "mnist" else split(*digits())
        x, y = seen if training else held_out
        return x.astype(np.float32), y

    def network(self, form: str, folder: Path) -> ot.Network:
        """The network in a form; what has to be trained for it is kept in ``folder``."""
        if form in ("8 bits", "4 bits"):
            network = ot.load_network(MODELS / f"{self.name}_qdq.onnx")
            return network if form == "8 bits" else _rounded(network, 4)
        kind = "ternary" if form == "ternary" else "binary"
        path = MODELS / "lowbits" / f"{self.name}_{kind}.onnx"
        if not path.exists():
            path = folder / path.name
        if not path.exists():
            self._train(path, ternary=kind == "ternary")
        network = ot.load_network(path)
        if form == "decisions":
            return _decisions(network, self.pictures(training=True)[0])
        return network

    def _train(self, path: Path, *, ternary: bool) -> None:
        x, y = self.pictures(training=True)
        peak = float(x.max())
        sizes = (x.shape[1], 128, 10)
        layers = train(
            x.astype(np.float64) / peak, y, ternary=ternary, sizes=sizes, epochs=self.epochs
        )
        model = lowbit_mlp(layers, x, ternary=ternary, step=self.pixel, title=self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, path)


DEMOS = (Demo("digits", "tile4", 128, 2.0**-3, 80), Demo("mnist", "tile32", 512, 1.0, 12))


def demo(name: str) -> Demo:
    """By its name.

    Raises
    ------
    InputError
        If there is none.
    """
    for one in DEMOS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in DEMOS)
    raise ot.InputError(f"There is no demo network '{name}'; choose from {known}")


def _rounded(network: ot.Network, bits: int) -> ot.Network:
    """Weights rounded to fewer bits, with biases and scales to match."""
    layers = []
    for layer in network.layers:
        if isinstance(layer, Dense):
            drop = 8 - bits
            top = (1 << bits - 1) - 1
            weights = np.clip(np.rint(layer.weights / (1 << drop)), -top, top)
            layer = replace(
                layer,
                weights=weights.astype(np.int8),
                bias=np.rint(layer.bias / (1 << drop)).astype(np.int32),
                shift=(layer.shift - drop).astype(np.uint8),
            )
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def _decisions(network: ot.Network, x: NDArray[np.float32]) -> ot.Network:
    """Codes of one bit: whether a sum is above its median over the pictures ``x``.

    Pixels are set above half the peak. It classifies nothing, but decides on real sums.
    """
    first = network.inputs[0]
    pixels = replace(first.quant, scale=float(x.max()), zero_point=0)
    bits = pixels.quantize(x).astype(np.int64)
    one = RequantScale.from_float(1.0)
    layers = []
    for layer in network.layers:
        if not isinstance(layer, Dense):
            raise ot.InputError(f"Layer '{layer.name}' is no Dense, which decisions are made of")
        sums = bits @ layer.weights.T.astype(np.int64)
        bias = -np.median(sums, axis=0).astype(np.int32)
        bits = (sums + bias > 0).astype(np.int64)
        layers.append(
            replace(
                layer,
                bias=bias,
                mantissa=np.full(layer.outputs, one.mantissa, np.uint32),
                shift=np.full(layer.outputs, one.shift, np.uint8),
                zero_point=0,
                clip_low=0,
                clip_high=1,
                out_quant=replace(layer.out_quant, zero_point=0, signed=False),
            )
        )
    return replace(network, layers=tuple(layers), inputs=(replace(first, quant=pixels),))
