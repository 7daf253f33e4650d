# SPDX-License-Identifier: Apache-2.0
"""Networks that run behind AXI: for the tests, and for the bench inside the simulator."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))

from networks import random_codes, random_network

from ohmtwin.arch.chip import Chip, load_chip
from ohmtwin.arch.link import Ident
from ohmtwin.fpga.axi.top import AxiTop
from ohmtwin.fpga.crossbar.image import EmulatorConfig
from ohmtwin.fpga.fabric import EmulatedFabric
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network

__all__ = ["CASES", "Case", "case"]

TINY = Chip(
    name="tiny", cores=2, rows=16, cols=16, lanes=4, adc_bits=6, rows_per_read=8,
    program_words=64, data_words=32, param_words=32, tables=1, fifo_words=32,
)  # fmt: skip
DIGITS = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"


@dataclass(frozen=True)
class Case:
    """A network, what emulates its arrays, and samples in as many runs."""

    compiled: CompiledNetwork
    config: EmulatorConfig
    batches: tuple[NDArray[np.uint8], ...]

    @property
    def ident(self) -> Ident:
        fabric = EmulatedFabric(chip=self.compiled.chip, config=self.config)
        return Ident(self.compiled.chip.structure_hash, 0, fabric.features)

    def top(self) -> AxiTop:
        fabric = EmulatedFabric(chip=self.compiled.chip, config=self.config)
        return AxiTop(fabric=fabric, ident=self.ident)


def _tiny() -> Case:
    net = compile_network(random_network(5, (14, 4, 3)), chip=TINY, device="rram", seed=3)
    batches = random_codes(1, 3, 14), random_codes(2, 1, 14)
    return Case(net, EmulatorConfig(columns=4), batches)


def _digits() -> Case:
    from sklearn.datasets import load_digits

    chip = load_chip("ulx3s")
    net = compile_network(str(DIGITS), chip=chip, device="rram", seed=1)
    x = load_digits().data[:20].astype(np.float32)
    codes = net.network.inputs[0].quantize(x)
    return Case(net, EmulatorConfig(columns=16), (codes,))


CASES = {"tiny": _tiny, "digits": _digits}


def case(name: str) -> Case:
    """A case by its name."""
    return CASES[name]()
