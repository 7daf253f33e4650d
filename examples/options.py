# SPDX-License-Identifier: Apache-2.0
"""Every option of a chip on both demo networks, with noisy RRAM: fast against the Verilated RTL.

    python options.py [FOLDER] [--only NAME ...] [--networks digits,mnist] [--samples N]

A row of the table is an option and a network, compiled for a chip of as many cores as it takes
(MNIST in arrays four times as wide as those of the standard chips, since a model of eight cores is
built sooner than one of 32). Every value inside the network and every counter is compared;
``ideal`` says whether ideal arrays give what golden gives.
The rows also stand in FOLDER/options.json (by default build/options), each as soon as it is
known. The exit code is 1 if anything differs.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from option_list import DEMOS, OPTIONS, Demo, Option, demo
from rich.console import Console
from rich.table import Table

import ohmtwin as ot
from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import CapacityError
from ohmtwin.host.commands.progress import Bars
from ohmtwin.host.files import write_text
from ohmtwin.host.toolchain import Progress

__all__ = ["Row", "compile_small", "main", "run"]

_CORES = (1, 2, 4, 8, 16, 32)
_SEED = 1


@dataclass(frozen=True)
class Row:
    """What one option did on one network.

    Parameters
    ----------
    option, network : str
    cores, samples, values : int
        ``values`` were compared in all.
    differing : int
        Values that differ between fast and Verilator.
    counters : bool
        Whether fast predicted every counter.
    ideal : str
        Of ideal arrays at the fast level: "equal" to golden, the values that differ, or "-" where
        converters are to lose something.
    cycles : int
        Of a sample.
    adc_busy : float
    accuracy : float or None
        Of the noisy fast level on these samples; None for networks that classify nothing.
    corrected, detected, saturated : int
        Events that the RTL counted.
    seconds : float
    refused : str
        Why this network does not fit such a chip; there are no figures then.
    """

    option: str
    network: str
    cores: int = 0
    samples: int = 0
    values: int = 0
    differing: int = 0
    counters: bool = True
    ideal: str = "-"
    cycles: int = 0
    adc_busy: float = 0.0
    accuracy: float | None = None
    corrected: int = 0
    detected: int = 0
    saturated: int = 0
    seconds: float = 0.0
    refused: str = ""

    @property
    def agrees(self) -> bool:
        """Whether all is as the contract says."""
        return self.counters and not self.differing and self.ideal in ("equal", "-")


def compile_small(network: ot.Network, chip: Chip, device: str) -> ot.CompiledNetwork:
    """Compile for as few cores as hold the network.

    Raises
    ------
    InputError
        If the chip cannot hold it, however many there are.
    """
    for cores in _CORES:
        small = chip.with_(cores=cores)
        try:
            compiled = ot.compile(network, chip=small, device=device, seed=_SEED, tiles=1)
        except CapacityError:
            if cores == _CORES[-1]:
                raise
            continue
        return compiled
    raise CapacityError("No number of cores holds the network")


def run(name: str, option: Option, on: Demo, samples: int, folder: Path, bars: Progress) -> Row:
    """One option on one network.

    Raises
    ------
    ToolError
        If the model cannot be built.
    """
    begin = time.perf_counter()
    network = on.network(option.form, folder)
    chip = ot.load_chip(on.chip).with_(cols=on.columns)
    chip = chip.with_(name=name, **option.changes)
    x, y = on.pictures()
    x, y = x[:samples], y[:samples]
    labels = None if option.form == "decisions" else y
    ideal = "-"
    try:
        if option.exact:
            perfect = compile_small(network, chip, "ideal")
            off = ot.verify(perfect, x, levels=("golden", "fast")).levels["fast"].mismatches
            ideal = f"{off} differ" if off else "equal"
        compiled = compile_small(network, chip, "rram")
    except ot.InputError as error:
        if on.name not in option.refused:
            raise
        return Row(name, on.name, refused=str(error))
    report = ot.verify(compiled, x, labels, levels=("fast", "verilator"), progress=bars)
    clocked, counters = report.levels["verilator"], report.counters
    if counters is None:
        raise ot.ToolError("The Verilated chip counted nothing")
    events = {key: sum(counters.details.get(f"core_{key}", ())) for key in _EVENTS}
    return Row(
        name,
        on.name,
        cores=compiled.chip.cores,
        samples=len(x),
        values=clocked.values,
        differing=clocked.mismatches,
        counters=counters.predicted,
        ideal=ideal,
        cycles=round(counters.cycles / len(x)),
        adc_busy=counters.adc_busy,
        accuracy=report.levels["fast"].accuracy,
        seconds=time.perf_counter() - begin,
        **events,
    )


_EVENTS = ("corrected", "detected", "saturated")


def table(rows: Sequence[Row]) -> Table:
    """A line a row."""
    found = Table(title="fast = verilator, device rram")
    found.add_column("option")
    found.add_column("network")
    for column in ("cores", "samples", "values", "differ", "counters", "ideal", "cycles"):
        found.add_column(column, justify="right")
    found.add_column("ADC busy", justify="right")
    found.add_column("fast", justify="right")
    for row in rows:
        if row.refused:
            found.add_row(row.option, row.network, *["-"] * 9, style="dim")
            continue
        found.add_row(
            row.option,
            row.network,
            str(row.cores),
            str(row.samples),
            f"{row.values:,}",
            f"{row.differing:,}",
            "equal" if row.counters else "DIFFER",
            row.ideal,
            f"{row.cycles:,}",
            f"{row.adc_busy:.2f}",
            "-" if row.accuracy is None else f"{100 * row.accuracy:.0f} %",
            style=None if row.agrees else "bold red",
        )
    return found


def main() -> int:
    """Command line; 0 if everything agrees."""
    parser = argparse.ArgumentParser(description="Every option of a chip, fast against its RTL")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/options"))
    parser.add_argument("--only", nargs="+", choices=list(OPTIONS), default=list(OPTIONS))
    parser.add_argument("--networks", default=",".join(one.name for one in DEMOS))
    parser.add_argument("--samples", type=int, default=20, help="of a network and an option")
    options = parser.parse_args()
    # A file has no width of its own.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)
    rows: list[Row] = []
    try:
        chosen = [demo(name) for name in options.networks.split(",")]
        options.folder.mkdir(parents=True, exist_ok=True)
        for name in options.only:
            option = OPTIONS[name]
            samples = min(options.samples, option.samples)
            for on in chosen:
                with Bars() as bars:
                    bars(f"{name}, {on.name}", 0, 0)
                    row = run(name, option, on, samples, options.folder, bars)
                rows.append(row)
                text = json.dumps([asdict(one) for one in rows], indent=1)
                write_text(options.folder / "options.json", text + "\n")
    except (ot.InputError, ot.ToolError) as error:
        print(f"Error: {error}\n'ohmtwin doctor' tells what is missing.", file=sys.stderr)
        return 2 if isinstance(error, ot.InputError) else 1
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130
    console.print(table(rows))
    for row in rows:
        if row.refused:
            console.print(f"{row.option}, {row.network}: {row.refused}")
    agree = all(row.agrees for row in rows)
    console.print("All levels agree as they must." if agree else "LEVELS DIFFER.")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
