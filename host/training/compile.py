# SPDX-License-Identifier: Apache-2.0
"""The training step of a network as a program of the core that learns; all of it in integers.

A sample's pixels (0 to 127) and its label come in. Layers are read one after the other; codes
become activations by table. The softmax's exponentials come from a table, its division from DIV;
the error, less 4096 at the label, is brought to 7 bits with an exponent (Gokmen and Vlasov's noise
management), goes back through the arrays' columns, through a table of derivatives, and is brought
to 7 bits again. An update takes input, error and exponent.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import ConfigError
from ...arch.learning import MAX_SETTINGS, LearnChip, LearnProgram
from ...arch.learning_isa import Flag, LearnOp, ReduceFunction
from ...arch.learning_isa import VectorFunction as V
from ...behavioral.learning.cells import MAX_INPUT
from .assembler import Assembler, fixed_point
from .config import TrainConfig, learn_device
from .rates import pulse_settings, transfer_settings
from .weights import (
    CARRY_COUNTER,
    ROTATION,
    SCRATCH,
    ArraySpec,
    Layer,
    emit_carry,
    emit_pulses,
    emit_read,
    emit_row,
    emit_write,
    make_specs,
    row_code,
    row_shift,
)

__all__ = ["Compiled", "activate", "compile_training", "derivative", "first_weights"]

_LABEL = 1
_EXPONENT = 3
_TRANSFER = 9
_ONE = 4096
"""The probability 1 of a softmax."""

_TRIES = 3
"""Reads again, of bound management."""

_CHI = 14
"""Bits of digital gradients below a pulse."""

_DIGITAL = 16
"""Bits of digital weights below 1, and those that a product of theirs is shifted by."""
_DIGITAL_SHIFT = 14

_EXPONENTIAL = 14
_REACH = {"relu": 4.0, "sigmoid": 8.0, "tanh": 4.0}
_SLOPE = {"relu": 1.0, "sigmoid": 0.25, "tanh": 1.0}


@dataclass(frozen=True, eq=False)
class Compiled:
    """A network as the core trains it.

    Parameters
    ----------
    chip : LearnChip
    train, test : LearnProgram
        The step of a sample, and its products alone; both give the softmax, 4096 to 1.
    arrays : tuple of ArraySpec
        In their order.
    layers : tuple of Layer
    """

    chip: LearnChip
    train: LearnProgram
    test: LearnProgram
    arrays: tuple[ArraySpec, ...]
    layers: tuple[Layer, ...]


def activate(name: str, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The activation function."""
    if name == "relu":
        return np.maximum(z, 0)
    return np.tanh(z) if name == "tanh" else 1 / (1 + np.exp(-z))


def derivative(name: str, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Its derivative."""
    if name == "relu":
        return (z > 0).astype(np.float64)
    a = activate(name, z)
    return 1 - a * a if name == "tanh" else a * (1 - a)


def first_weights(config: TrainConfig) -> list[NDArray[np.float64]]:
    """Weights before training, biases (0) in the last row: float64 [inputs + 1, outputs] each.

    He's uniform ones for ReLU, Glorot's for others.
    """
    found = []
    widths = config.network.layers
    for i, (n, k) in enumerate(pairwise(widths)):
        random = np.random.default_rng((config.train.seed, 1000 + i))
        last = i == len(widths) - 2
        relu = config.network.activation == "relu" and not last
        limit = math.sqrt(6 / n) if relu else math.sqrt(6 / (n + k))
        weights = random.uniform(-limit, limit, (n + 1, k))
        weights[-1] = 0
        found.append(weights)
    return found


def compile_training(config: TrainConfig, epoch: int = 0) -> Compiled:
    """The programs of an epoch, whose rate may differ from another's; and chip and arrays.

    Raises
    ------
    ConfigError
        If pulses cannot express the rate, or the network does not fit a core.
    """
    return _Compiler(config, epoch).compile()


class _Compiler:
    def __init__(self, config: TrainConfig, epoch: int) -> None:
        self.config = config
        less = config.train.decay**epoch
        self.rate = config.train.rate * less
        # What is carried over shrinks as well, or the noise of its reads would remain.
        carried = config.train.transfer_rate * less
        self.section = config.train.model_copy(update={"rate": self.rate, "transfer_rate": carried})
        self.device = learn_device(config.device, "device")
        self.capacitor = learn_device(config.capacitor, "capacitor").model_copy(
            update={
                "adc_bits": self.device.adc_bits,
                "output_bound": self.device.output_bound,
                "weight_max": self.device.weight_max,
            }
        )
        self.code = Assembler()
        self.specs: list[ArraySpec] = []
        self.layers: list[Layer] = []
        self.weights = first_weights(config)
        self.activation = config.network.activation

    # ------------------------------------------------------------ units and memory

    def _plan(self) -> None:
        config, code = self.config, self.code
        widths = config.network.layers
        x_unit = 1.0
        self.x = [code.words(n + 1) for n in widths[:-1]]
        # The label's word comes after the pixels, where the bias then stands.
        self.label = code.words(1)
        self.z = [code.words(n) for n in widths[1:]]
        self.d = [code.words(n) for n in widths[1:]]
        self.steps: list[int] = []
        for i, w in enumerate(self.weights):
            layer = Layer(i, w.shape[0], w.shape[1], self.device, x_unit)
            if config.cells.last == "sram" and i == len(self.weights) - 1:
                self._plan_memory(layer, w)
            else:
                self._plan_arrays(layer, w)
            self.layers.append(layer)
            bias = min(MAX_INPUT, max(1, round(MAX_INPUT / x_unit)))
            code.preset(self.x[i] + w.shape[0] - 1, [bias])
            reach = config.network.range if self.activation == "relu" else _REACH[self.activation]
            step = max(0, math.ceil(math.log2(reach / MAX_INPUT / layer.code) - 1e-6))
            self.steps.append(step)
            if self.activation == "relu":
                x_unit = reach
        widest = max(*(layer.rows for layer in self.layers), *widths)
        self.scratch = [code.words(widest) for _ in range(3)]
        spare = {name: code.words(widest) for name in _SPARES} if self._spares() else {}
        for layer in self.layers:
            layer.scratch = spare

    def _spares(self) -> bool:
        train, cells = self.config.train, self.config.cells
        plain = cells.kind in ("single", "multi") and train.scheme != "serial"
        return not plain or train.algorithm == "tiki_taka"

    def _plan_arrays(self, layer: Layer, weights: NDArray[np.float64]) -> None:
        specs, layer.factors, layer.learns = make_specs(
            self.config, self.device, self.capacitor, weights
        )
        layer.first = len(self.specs)
        self.specs += specs
        # A code of an array that counts more is worth more: it need not reach as far.
        most = max(abs(f) for f in layer.factors)
        reach = self.device.model_copy(update={"output_bound": self.device.output_bound / most})
        layer.shift = reach.read_shift()
        worth = 2**layer.shift * self.device.unit
        layer.code = worth * layer.x_unit
        layer.back = worth

    def _plan_memory(self, layer: Layer, weights: NDArray[np.float64]) -> None:
        whole = np.rint(weights * 2**_DIGITAL).astype(np.int64)
        layer.memory = self.code.words(whole.size, whole.reshape(-1).tolist())
        layer.shift = _DIGITAL_SHIFT
        worth = 2.0 ** (_DIGITAL_SHIFT - _DIGITAL) / MAX_INPUT
        layer.code = worth * layer.x_unit
        layer.back = worth

    def _chip(self) -> LearnChip:
        size = max(16, 1 << (self.code.size - 1).bit_length())
        if size > 1 << 20:
            raise ConfigError(
                f"The network needs {self.code.size} words of vector memory, but a core has at most"
                f" {1 << 20}; take smaller layers"
            )
        analog = [layer for layer in self.layers if layer.memory is None]
        if not analog:
            raise ConfigError("cells.last = 'sram' leaves no layer to arrays; add a layer")
        if len(self.specs) > 64:
            raise ConfigError(
                f"The network needs {len(self.specs)} arrays, but a core has at most 64; lower"
                " cells.count"
            )
        return LearnChip(
            rows=max(layer.rows for layer in analog),
            cols=max(layer.cols for layer in analog),
            arrays=len(self.specs),
            adc_bits=self.device.adc_bits,
            lanes=min(8, max(layer.cols for layer in analog)),
            memory=size,
        )

    def _digital(self, layer: Layer) -> int:
        """Gradients, or the targets of weights, in memory, if the algorithm has such."""
        weights = self.weights[layer.index]
        if layer.memory is None and self.section.algorithm == "mixed":
            return self.code.words(weights.size)
        if layer.memory is None and self.section.scheme == "serial":
            whole = np.rint(weights / row_code(self.device) * 2**_CHI).astype(np.int64)
            return self.code.words(weights.size, whole.reshape(-1).tolist())
        return 0

    # ------------------------------------------------------------ the step

    def compile(self) -> Compiled:
        self._plan()
        self.digital = [self._digital(layer) for layer in self.layers]
        code = self.code
        self._forward()
        forward = list(code.code)
        self._backward()
        chip = self._chip()
        train = code.program()
        code.code = forward
        test = code.program()
        if len(train.settings) > MAX_SETTINGS:
            raise ConfigError(f"The network needs more than {MAX_SETTINGS} settings of updates")
        train.check(chip)
        return Compiled(chip, train, test, tuple(self.specs), tuple(self.layers))

    def _tries(self) -> int:
        return _TRIES if self.section.bound_management else 0

    def _forward(self) -> None:
        code, widths = self.code, self.config.network.layers
        code.emit(LearnOp.IN, dst=self.x[0], n=widths[0])
        code.emit(LearnOp.IN, dst=self.label, n=1)
        for i, layer in enumerate(self.layers):
            z = self.z[i]
            emit_read(
                code, layer, z, self.x[i], back=False, tries=self._tries(), outputs=layer.cols
            )
            if i < len(self.layers) - 1:
                self._table(
                    self.x[i + 1], z, layer.cols, self.steps[i], self._entries(i, slope=False)
                )
        self._softmax()

    def _table(self, dst: int, a: int, n: int, shift: int, entries: list[int]) -> None:
        number = self.code.table(entries)
        self.code.emit(LearnOp.TABLE, dst=dst, a=a, n=n, shift=shift, m=number)

    def _entries(self, i: int, *, slope: bool) -> list[int]:
        """The activation of a code of -128 to 127, or its derivative: 127 to its largest."""
        at = np.arange(-128, 128)
        name = self.activation
        z = at * (self.layers[i].code * 2 ** self.steps[i])
        if name == "relu":
            # Where it saturates nothing changes, so nothing may be learned there: with a slope,
            # weights would grow without end.
            share = z / self.config.network.range
            values = (share > 0) & (share < 1 - 1e-6) if slope else np.clip(share, 0, 1)
            return [int(v) for v in np.rint(values * MAX_INPUT)]
        f = derivative(name, z) / _SLOPE[name] if slope else activate(name, z)
        return [int(v) for v in np.rint(f * MAX_INPUT)]

    def _softmax(self) -> None:
        code, layer = self.code, self.layers[-1]
        n, z, t, p = layer.cols, self.z[-1], self.scratch[0], self.scratch[1]
        step = max(0, round(math.log2(10 / 128 / layer.code)))
        below = np.minimum(np.arange(-128, 128), 0) * (layer.code * 2**step)
        entries = [int(v) for v in np.rint(2**_EXPONENTIAL * np.exp(below))]
        code.reduce(ReduceFunction.MAX, SCRATCH, z, n)
        code.vector(V.SUBR, t, z, n, reg=SCRATCH)
        self._table(t, t, n, step, entries)
        code.reduce(ReduceFunction.SUM, SCRATCH, t, n)
        code.emit(LearnOp.DIV, dst=p, a=t, n=n, reg=SCRATCH, shift=12)
        code.emit(LearnOp.OUT, a=p, n=n)

    def _backward(self) -> None:
        code, last = self.code, len(self.layers) - 1
        t, p = self.scratch[0], self.scratch[1]
        n = self.layers[last].cols
        code.emit(LearnOp.LOADR, a=self.label, reg=_LABEL)
        code.hot(t, n, _LABEL, _ONE)
        code.vector(V.SUB, p, p, n, b=t)
        unit = self._normalize(self.d[last], p, n, 1 / _ONE, 0, _EXPONENT + last)
        output = unit
        for i in range(last, -1, -1):
            if i:
                below = self._error_below(i, unit, output)
            self._update(i, unit)
            if i:
                unit = below
        self._periodic()

    def _error_below(self, i: int, unit: float, output: float) -> float:
        """The error of layer i - 1, from that of layer i or of the output; what it is worth."""
        code, layer = self.code, self.layers[i]
        last = len(self.layers) - 1
        n, t, g = layer.rows - 1, self.scratch[0], self.scratch[2]
        algorithm = self.section.algorithm
        register = _EXPONENT + i
        if algorithm in ("fa", "dfa"):
            source = last if algorithm == "dfa" else i
            register = _EXPONENT + source
            fan = self.layers[source].cols
            code.emit(
                LearnOp.FEED,
                **{"dst": t, "a": self.d[source], "b": fan, "n": n, "shift": 4},
                **{"m": i, "k": self.section.seed & 0xFFFF},
            )
            unit = (output if algorithm == "dfa" else unit) * 16 * self.section.feedback / 128
        else:
            emit_read(code, layer, t, self.d[i], back=True, tries=self._tries(), outputs=n)
            unit *= layer.back * MAX_INPUT
        self._table(g, self.z[i - 1], n, self.steps[i - 1], self._entries(i - 1, slope=True))
        code.vector(V.MUL, t, t, n, b=g)
        unit *= _SLOPE[self.activation] / MAX_INPUT
        return self._normalize(self.d[i - 1], t, n, unit, register, _EXPONENT + i - 1)

    def _normalize(self, dst: int, a: int, n: int, unit: float, source: int, to: int) -> float:
        """Bring a vector to 7 bits; what a unit of it is then worth at exponent 0."""
        code = self.code
        if self.section.noise_management:
            code.reduce(ReduceFunction.MAX_ABS, SCRATCH, a, n)
            code.emit(LearnOp.NORM, dst=dst, a=a, n=n, reg=SCRATCH, bits=7, k=source, m=to)
            return unit
        # An error of 1 is the largest number.
        code.scale(dst, a, n, unit * MAX_INPUT)
        code.vector(V.MINK, dst, dst, n, k=MAX_INPUT)
        code.vector(V.MAXK, dst, dst, n, k=-MAX_INPUT)
        return 1 / MAX_INPUT

    # ------------------------------------------------------------ updates

    def _update(self, i: int, unit: float) -> None:
        code, layer, train = self.code, self.layers[i], self.section
        x, d, register = self.x[i], self.d[i], _EXPONENT + i
        if layer.memory is not None:
            # rate * x * delta in units of digital weights, of x's and d's units.
            gain = self.rate * layer.x_unit / MAX_INPUT * unit * 2**_DIGITAL
            self._outer(i, layer.memory, gain)
            return
        spec = self.specs[layer.first + layer.learns]
        step = spec.device.step
        if train.algorithm == "mixed":
            self._outer(
                i, self.digital[i], self.rate * layer.x_unit / MAX_INPUT * unit / step * 2**_CHI
            )
            return
        if train.scheme == "serial":
            gain = self.rate * layer.x_unit / MAX_INPUT * unit / row_code(self.device) * 2**_CHI
            self._outer(i, self.digital[i], gain)
            return
        most = self.rate * layer.x_unit / step
        settings = code.settings(pulse_settings(train, layer.name, most, unit))
        signed = self.activation == "tanh" and i > 0
        emit_pulses(code, self.config, layer, settings, x, d, register, signed=signed)

    def _outer(self, i: int, address: int, gain: float) -> None:
        """Take the product of input and error off digital numbers."""
        code, layer = self.code, self.layers[i]
        k, s = fixed_point(gain, 15, 40)
        if not k:
            raise ConfigError(
                f"train.rate {self.rate:g} is too small for the digital numbers of {layer.name};"
                " raise it"
            )
        t = self.scratch[0]
        code.vector(V.MULK, t, self.d[i], layer.cols, k=k)
        code.emit(
            LearnOp.OUTER,
            **{"dst": address, "a": self.x[i], "b": t, "n": layer.rows, "k": layer.cols},
            **{"reg": _EXPONENT + i, "shift": s, "flags": int(Flag.INVERT)},
        )

    def _periodic(self) -> None:
        code, config, train = self.code, self.config, self.section
        analog = [layer for layer in self.layers if layer.memory is None]
        for layer in analog:
            for number, spec in enumerate(self._parts(layer)):
                if spec.device.decay:
                    code.emit(LearnOp.RELAX, array=layer.first + number)
        if config.cells.kind == "multi":
            code.emit(LearnOp.STEP, reg=ROTATION, n=config.cells.count)
        elif config.cells.kind != "single":
            with code.every(CARRY_COUNTER, config.cells.carry):
                for layer in analog:
                    emit_carry(code, config, layer, self._parts(layer))
        if train.algorithm == "mixed":
            with code.every(CARRY_COUNTER, train.every):
                for layer in analog:
                    code.emit(
                        LearnOp.APPLY,
                        **{"a": self.digital[layer.index], "n": layer.rows, "k": layer.cols},
                        **{"array": layer.first, "shift": _CHI},
                    )
        elif train.scheme == "serial":
            with code.every(CARRY_COUNTER, train.every):
                for layer in analog:
                    self._verify(layer)
        elif train.algorithm == "tiki_taka":
            with code.every(CARRY_COUNTER, train.every):
                for layer in analog:
                    self._transfer(layer)

    def _parts(self, layer: Layer) -> list[ArraySpec]:
        return self.specs[layer.first : layer.first + len(layer.factors)]

    def _transfer(self, layer: Layer) -> None:
        """Read a row of the fast array and give the slow one pulses in proportion."""
        code, scratch = self.code, layer.scratch
        found, d = scratch["positive"], scratch["negative"]
        code.emit(LearnOp.STEP, reg=layer.row_register, n=layer.rows)
        code.hot(scratch["hot"], layer.rows, layer.row_register, MAX_INPUT)
        emit_row(code, layer, 0, found, shift=row_shift(self.device))
        code.reduce(ReduceFunction.MAX_ABS, SCRATCH, found, layer.cols)
        code.emit(LearnOp.NORM, dst=d, a=found, n=layer.cols, reg=SCRATCH, bits=7, k=0, m=_TRANSFER)
        most = self.section.transfer_rate * row_code(self.device) / self.device.step
        number = code.settings(transfer_settings(self.section, most))
        code.emit(
            LearnOp.UPDATE,
            **{"a": scratch["hot"], "b": d, "n": layer.rows, "k": layer.cols, "m": number},
            **{"reg": _TRANSFER, "array": layer.first + 1},
        )

    def _verify(self, layer: Layer) -> None:
        """Rows in turn: compare with their targets, and give each cell the pulses it lacks."""
        code, scratch = self.code, layer.scratch
        found, wanted, q = scratch["positive"], scratch["negative"], scratch["kept"]
        with code.loop(min(self.section.rows, layer.rows)):
            code.emit(LearnOp.STEP, reg=layer.row_register, n=layer.rows)
            code.hot(scratch["hot"], layer.rows, layer.row_register, MAX_INPUT)
            emit_row(code, layer, 0, found, shift=row_shift(self.device))
            code.emit(
                LearnOp.PICK,
                **{"dst": wanted, "a": self.digital[layer.index], "n": layer.cols},
                reg=layer.row_register,
            )
            code.vector(V.MULK, wanted, wanted, layer.cols, k=1, shift=_CHI)
            code.vector(V.SUB, wanted, wanted, layer.cols, b=found)
            code.scale(q, wanted, layer.cols, row_code(self.device) / self.device.step)
            emit_write(code, layer, 0, q, invert=False)


_SPARES = ("hot", "positive", "negative", "above", "below", "full", "kept")
