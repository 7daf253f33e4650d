# SPDX-License-Identifier: Apache-2.0
"""How well level fast predicts the runs of meshes: cycles and flits, against the RTL."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arch.errors import ToolError
from ..host.compiler.network import compile_network
from ..host.graph import Network
from ..host.importer.network import load_network
from ..host.mesh_compare import compare_mesh
from ..host.targets import connect

__all__ = ["CASES", "Case", "cycle_errors"]

_MODELS = Path(__file__).parents[1] / "examples" / "models"
_SEED = 9


@dataclass(frozen=True)
class Case:
    """A shipped network on a mesh of tiles of a standard chip, and how many samples of it run."""

    model: str
    chip: str
    mesh: tuple[int, int]
    samples: int
    trace: bool = False

    def __str__(self) -> str:
        name = self.model.removesuffix("_qdq.onnx")
        return f"{name} on {self.mesh[0]}x{self.mesh[1]}{' traced' if self.trace else ''}"


CASES = (
    Case("mnist_qdq.onnx", "tile8", (2, 2), 100),
    Case("mnist_qdq.onnx", "tile8", (2, 2), 100, trace=True),
    Case("lenet_qdq.onnx", "tile4", (4, 4), 12),
    Case("lenet_qdq.onnx", "tile4", (4, 4), 12, trace=True),
    Case("resnet_qdq.onnx", "tile4", (2, 2), 12),
    Case("resnet_qdq.onnx", "tile4", (3, 3), 18, trace=True),
    Case("digits_qdq.onnx", "tile4", (2, 2), 60),
    Case("autoencoder_qdq.onnx", "tile4", (3, 3), 30, trace=True),
)


def _codes(network: Network, samples: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype]]:
    rng = np.random.default_rng(_SEED)
    return {
        entry.tensor: rng.integers(0, 256, (samples, *entry.shape), dtype=np.uint8)
        for entry in network.inputs
    }


def cycle_errors(cases: tuple[Case, ...] = CASES) -> dict[str, float]:
    """For each case, predicted cycles of the run over those of the RTL, less 1.

    Raises
    ------
    ToolError
        If a model cannot be built, or the flits of a link are predicted wrongly.
    """
    found = {}
    for case in cases:
        network = load_network(_MODELS / case.model)
        net = compile_network(
            network, chip=case.chip, mesh=case.mesh, device="rram", trace=case.trace
        )
        codes = _codes(network, case.samples)
        with connect("fast", net) as fast, connect("verilator", net) as verilator:
            fast.run(codes)
            verilator.run(codes)
            counters = {level.name: level.mesh_counters for level in (fast, verilator)}
        report = compare_mesh(net.mesh, counters, "verilator")
        if report is None or report.cycle_error is None:
            raise TypeError("A network for a mesh has its counters")
        for name, predicted, counted in report.differing[:1]:
            raise ToolError(f"{case}: fast predicts {predicted} {name}, the RTL counts {counted}")
        found[str(case)] = report.cycle_error
    return found
