# SPDX-License-Identifier: Apache-2.0
"""Every shipped network, in every quantized form, against ONNX Runtime and through noisy arrays.

    python networks.py [FOLDER]

Makes the data (into FOLDER, by default build/networks), takes the samples that training did not
see, and prints a table: one row a network, in its QDQ form with a weight scale a tensor.
Accuracies of fast are the lowest and the highest of five chips, with the spread of cells and
without. Utilisation is the share of cells that hold a weight, on the smallest standard tile that
the network fits and on arrays of 32x64.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from make_data import split, write_data
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import ohmtwin as ot
from ohmtwin.behavioral import devices
from ohmtwin.host.commands.progress import Bars

__all__ = ["NETWORKS", "Shipped", "main"]

MODELS = Path(__file__).parent / "models"

SMALL_ARRAYS = Path(__file__).parent / "small_arrays.toml"

SEEDS = (1, 2, 3, 4, 5)
"""Chips that are written anew: each has errors of its own."""

CYCLE_SAMPLES = 20

VIEWS = {"Constant", "Reshape", "Slice", "Transpose"}
"""They cost nothing, or next to it."""

Samples = tuple[NDArray[np.float32], NDArray[np.int64] | None]


@dataclass(frozen=True)
class Shipped:
    """A network, the array file of its samples, and what it keeps from step to step.

    ``labelled`` tells whether its outputs are scores of the classes of that file.
    """

    name: str
    data: str
    labelled: bool = True
    states: Mapping[str, str] = field(default_factory=dict)

    @property
    def forms(self) -> list[Path]:
        """Its quantized files."""
        return sorted(MODELS.glob(f"{self.name}_q*.onnx"))

    def samples(self, folder: Path) -> Samples:
        """Those that training did not see."""
        with np.load((MODELS if self.data.startswith("vowels") else folder) / self.data) as data:
            x, y = data["x"], data["y"]
        if self.data == "digits.npz":  # holds all of them
            _, (x, y) = split(x, y)
        return x.astype(np.float32), y if self.labelled else None


NETWORKS = (
    Shipped("digits", "digits.npz"),
    Shipped("mnist", "mnist_test.npz"),
    Shipped("lenet", "mnist_test.npz"),
    Shipped("resnet", "digits.npz"),
    Shipped("vowels_conv", "vowels_channels.npz"),
    Shipped("vowels_lstm_step", "vowels_steps.npz", states={"h": "h_out", "c": "c_out"}),
    Shipped("autoencoder", "digits.npz", labelled=False),
)


@dataclass
class Total:
    """Codes compared with ONNX Runtime, over all files."""

    files: int = 0
    codes: int = 0
    differing: int = 0

    def add(self, report: ot.Report) -> None:
        if report.reference is None:
            raise ot.ToolError(report.reference_missing)
        self.files += 1
        self.codes += report.reference.codes
        self.differing += report.reference.differing


def _percent(*shares: float | None) -> str:
    known = [f"{100 * share:.1f}" for share in shares if share is not None]
    return f"{' to '.join(dict.fromkeys(known))} %" if known else "-"


def _cycles(network: ot.Network, x: NDArray[np.float32], steps: int | None) -> float:
    """Of a sample, where only outputs leave the tile."""
    compiled = ot.compile(network, trace=False, steps=steps)
    some = x[:CYCLE_SAMPLES]
    with ot.connect("fast", compiled) as chip:
        chip.run(network.fed[0].quant.quantize(some))
        counters = chip.counters
    return 0.0 if counters is None else counters.cycles / len(some)


def _accuracies(
    shipped: Shipped, network: ot.Network, samples: Samples, device: devices.Device, bars: Bars
) -> tuple[float | None, list[float | None]]:
    """Of golden, and of fast: the lowest and the highest of all chips."""
    x, y = samples
    golden, found = None, []
    for seed in SEEDS:
        bars(f"{shipped.name}: fast, spread of cells {device.spread}, seed {seed}", 0, 0)
        compiled = ot.compile(
            network, device=device, seed=seed, steps=x.shape[1] if shipped.states else None
        )
        levels = ot.verify(compiled, x, y, levels=("golden", "fast")).levels
        golden = levels["golden"].accuracy
        found.append(levels["fast"].accuracy)
    known = sorted(share for share in found if share is not None)
    return golden, [*known[:1], *known[-1:]]


def _row(shipped: Shipped, folder: Path, total: Total, bars: Bars) -> Iterator[str]:
    """Cells of a network's row; raises ToolError if levels differ that must not."""
    x, y = shipped.samples(folder)
    steps = x.shape[1] if shipped.states else None
    for path in shipped.forms:
        bars(f"{path.stem}: ONNX Runtime, golden, fast with ideal arrays", 0, 0)
        network = ot.load_network(path, shipped.states)
        compiled = ot.compile(network, device="ideal", steps=steps)
        levels = ("golden", "fast")
        report = ot.verify(compiled, x, y, levels=levels, model=path, states=shipped.states)
        if not report.agree:
            raise ot.ToolError("; ".join(report.problems))
        total.add(report)
    path = MODELS / f"{shipped.name}_qdq.onnx"
    network = ot.load_network(path, shipped.states)
    golden, noisy = _accuracies(shipped, network, (x, y), ot.devices.rram(), bars)
    _, even = _accuracies(shipped, network, (x, y), ot.devices.rram(spread=0.0), bars)
    yield shipped.name
    yield f"{len(x):,}"
    yield _percent(golden)
    yield _percent(*noisy)
    yield _percent(*even)
    compiled = ot.compile(network, device="ideal", steps=steps)
    yield compiled.chip.name
    yield str(compiled.mapping.arrays)
    yield f"{compiled.mapping.utilisation:.2f}"
    small = ot.compile(network, chip=SMALL_ARRAYS, tiles=16, device="ideal", steps=steps)
    yield f"{small.mapping.utilisation:.2f}"
    yield f"{_cycles(network, x, steps):,.0f}"
    yield ", ".join(sorted({layer.kind for layer in network.layers} - VIEWS))


def _run_all(folder: Path, console: Console) -> None:
    begin = time.perf_counter()
    write_data(folder)
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    names = ("network", "samples", "golden", "fast, rram", "without spread", "tile")
    for name in (*names, "arrays", "utilisation", "of 32x64", "cycles a sample", "layers"):
        table.add_column(
            name,
            justify="left" if name in ("network", "layers", "tile") else "right",
            no_wrap=True,
        )
    total = Total()
    with Bars() as bars:
        for shipped in NETWORKS:
            table.add_row(*_row(shipped, folder, total, bars))
    console.print(table)
    console.print(
        f"\n{total.files} files: {total.codes:,} codes of quantized tensors compared with ONNX "
        f"Runtime, {total.differing} differ; golden = fast with ideal arrays. "
        f"{time.perf_counter() - begin:.0f} s"
    )


def main() -> int:
    """Command line; 0 if everything agrees."""
    parser = argparse.ArgumentParser(description="Run every shipped network")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/networks"))
    folder = parser.parse_args().folder
    console = Console(highlight=False, soft_wrap=True, width=200)
    try:
        _run_all(folder, console)
    except (ot.InputError, ot.ToolError) as error:
        print(f"Error: {error}\n'ohmtwin doctor' tells what is missing.", file=sys.stderr)
        return 2 if isinstance(error, ot.InputError) else 1
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
