# SPDX-License-Identifier: Apache-2.0
"""The main job: two trained networks through the Verilated chip, every tensor compared.

    python demo.py [FOLDER] [--target serial:/dev/ttyUSB0]

Makes the data (into FOLDER, by default build/demo), compiles both shipped networks for the smallest
chip that holds them, with noisy RRAM crossbars, and runs them at every level. With a target it runs
the network that fits a board on that board instead.
"""

import argparse
import sys
import time
from pathlib import Path

from make_data import write_data
from rich.console import Console

import ohmtwin as ot
from ohmtwin.host.commands.progress import Bars
from ohmtwin.host.files import write_text
from ohmtwin.host.serial_address import parse_target

__all__ = ["main", "run"]

MODELS = Path(__file__).parent / "models"

JOBS = (
    ("Handwritten digits, 64-32-10", "digits_qdq.onnx", "digits.npz"),
    ("MNIST, 784-128-10", "mnist_qdq.onnx", "mnist_test.npz"),
)

BOARD_JOBS = JOBS[:1]
BOARD_CHIP = "ulx3s"
"""What the boards that hold a tile are built with."""

WORDS = """\
Each network runs at four levels, and every value inside it is compared:

  float      in ONNX Runtime, software that is not ours
  golden     in exact integers, as a perfect chip would compute it
  fast       through a model of the RRAM crossbars, their noise and their ADCs
"""
VERILATED = "  verilator  through the chip's RTL, cycle by cycle, around the same crossbars\n"
ON_BOARD = "  serial     on the board, in gates, its crossbars emulated bit for bit\n"


def run(title: str, model: Path, data: Path, seed: int = 1, target: str | None = None) -> ot.Report:
    """Compile a network, run its data at every level, show and return what came out."""
    network = ot.load_network(model)
    dataset = ot.load_dataset(data, network)
    with Bars() as bars:
        bars(f"{title}: programming the arrays", 0, 0)
        compiled = ot.compile(
            network,
            chip="auto" if target is None else BOARD_CHIP,
            device=ot.devices.rram(),
            seed=seed,
        )
        return ot.verify(
            compiled,
            dataset.x,
            dataset.y,
            levels=("golden", "fast", "verilator" if target is None else "serial"),
            model=model,
            progress=bars,
            target=target,
        )


def main() -> int:
    """Command line; 0 if everything agrees."""
    parser = argparse.ArgumentParser(description="Run the main job")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/demo"))
    parser.add_argument("--target", help="a board, as serial:/dev/ttyUSB0, or serial:simulated")
    given = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    console.print(WORDS + (VERILATED if given.target is None else ON_BOARD))
    try:
        return _run_all(given.folder, console, given.target)
    except (ot.InputError, ot.ToolError) as error:
        print(f"Error: {error}\n'ohmtwin doctor' tells what is missing.", file=sys.stderr)
        return 2 if isinstance(error, ot.InputError) else 1
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130


def _run_all(folder: Path, console: Console, target: str | None) -> int:
    begin = time.perf_counter()
    if target is not None:
        parse_target(target)  # before any work
    write_data(folder)
    reports = []
    for title, model, data in JOBS if target is None else BOARD_JOBS:
        report = run(title, MODELS / model, folder / data, target=target)
        console.print(f"\n[bold]{title}[/bold]")
        console.print(report)
        write_text(folder / f"{Path(model).stem}.json", report.json_text())
        reports.append(report)
    agree = all(report.agree for report in reports)
    console.print(
        f"\n{'All levels agree as they must.' if agree else 'LEVELS DIFFER.'} "
        f"{time.perf_counter() - begin:.0f} s; reports as JSON in {folder}"
    )
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
