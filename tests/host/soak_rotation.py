# SPDX-License-Identifier: Apache-2.0
"""MNIST and LeNet with arrays that take turns, on one tile and on meshes: RTL against golden with
ideal arrays, against fast with noisy ones.

    python tests/host/soak_rotation.py [NAME ...]

raises at the first tensor or counter that differs.
"""

import sys
from pathlib import Path

from test_rotation_networks import compare

from ohmtwin.arch.chip import Chip
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.targets import connect

__all__ = ["main"]

MODELS = Path(__file__).parents[2] / "examples" / "models"

CASES = {
    "mnist, 8 cores of 4": ("mnist", Chip(cores=8, arrays_per_core=4)),
    "lenet, 3 cores of 8": ("lenet", Chip(cores=3, arrays_per_core=8)),
    "mnist, 2x2 tiles, 2 cores of 4": ("mnist", Chip(cores=2, arrays_per_core=4, mesh=(2, 2))),
    "lenet, 3x3 tiles, 2 cores of 3": ("lenet", Chip(cores=2, arrays_per_core=3, mesh=(3, 3))),
}


def main(names: list[str]) -> int:
    for name in names or CASES:
        model, chip = CASES[name]
        network = load_network(MODELS / f"{model}_qdq.onnx")
        for device, reference in (("ideal", "golden"), ("rram", "fast")):
            net = compile_network(network, chip=chip, device=device, seed=3)
            compare(net, connect("verilator", net), reference)
            print(f"{name}: {device}, no difference against {reference}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
