# SPDX-License-Identifier: Apache-2.0
"""What the subcommands of ``ohmtwin fpga`` do."""

import json as json_module
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from ...arch.chip import Chip, load_chip
from ...arch.errors import InputError, ToolError
from ...behavioral import devices
from ...behavioral.cengine import CCrossbar
from ...behavioral.state import ArrayState
from ...fpga.boards import BOARDS, Board, find_board
from ...fpga.resources import check_fit
from ..board_sim import SIMULATED_BAUD, BoardSimulation, build_board, simulated_board
from ..compiler.network import MAX_SEED
from ..link.faults import FaultInjector, FaultRates
from ..link.port import SerialPort
from ..link.pty import PtyBoard
from ..remote_array import RemoteArray
from ..serial_address import DEFAULT_BAUD, SIMULATED, parse_target
from .progress import Bars

__all__ = ["run_build", "run_program", "run_read", "run_simulate", "show_boards"]

_LOADER = "openFPGALoader"
_REPORT = "report.json"
_READS_AT_ONCE = 1000
_COLUMNS = {"lut": "LUT", "ff": "FF", "bram": "block RAM", "dsp": "multiplier"}


def show_boards(json: bool) -> None:
    """The boards, as a table or as JSON."""
    if json:
        entries = [
            {
                "name": board.name,
                "title": board.title,
                "family": board.family,
                "chip": board.chip,
                "clock_hz": board.clock_hz,
                "baud": board.baud,
                "array_only": board.array_only,
                "capacity": dict(board.capacity),
            }
            for board in BOARDS.values()
        ]
        typer.echo(json_module.dumps(entries, indent=2))
        return
    table = Table()
    # Names are to be typed, so they are never cut: 80 columns hold everything else.
    for column in ("board", "chip", "MHz", "Mbaud"):
        table.add_column(column, no_wrap=True)
    for column in ("LUT", "RAM", "DSP"):
        table.add_column(column, no_wrap=True, justify="right")
    table.add_column("what it is")
    for board in BOARDS.values():
        table.add_row(
            board.name,
            board.chip,
            f"{board.clock_hz / 1e6:g}",
            f"{board.baud / 1e6:g}",
            *(str(board.capacity[kind]) for kind in ("lut", "bram", "dsp")),
            board.title,
        )
    Console(highlight=False, soft_wrap=True).print(table)


def _chip(board: Board, name: str | None) -> Chip:
    return board.load_chip() if name is None else load_chip(name)


def run_build(
    name: str,
    output: Path,
    chip_name: str | None,
    seeds: int,
    clock_mhz: float | None,
    host_arrays: bool = False,
    *,
    baud: int | None = None,
) -> None:
    """Build a bitstream and print what it needs and how fast it is.

    Raises
    ------
    InputError
        If anything given cannot be used, the chip too large for the board among it.
    ToolError
        If a tool is missing or fails.
    """
    board = find_board(name)
    chip = _chip(board, chip_name)
    if clock_mhz is not None and not 1 <= clock_mhz <= 400:
        raise InputError(f"--clock must be 1 to 400 MHz, not {clock_mhz:g}")
    from ...fpga.build import build_bitstream  # here, for it loads Amaranth

    with Bars() as bars:
        report = build_bitstream(
            board,
            chip,
            output,
            seeds=seeds,
            clock_hz=None if clock_mhz is None else round(clock_mhz * 1e6),
            baud=baud,
            host_arrays=host_arrays,
            progress=bars,
        )
    console = Console(highlight=False, soft_wrap=True)
    table = Table("module")
    for column in _COLUMNS.values():
        table.add_column(column, justify="right")
    for place, inside in _tree(report.modules):
        table.add_row(place, *(str(inside[kind]) if inside else "" for kind in _COLUMNS))
    table.add_section()
    table.add_row("all", *(str(report.totals[kind]) for kind in _COLUMNS))
    table.add_row(
        "of",
        *(
            f"{report.capacity[kind]} ({report.totals[kind] / report.capacity[kind]:.0%})"
            for kind in _COLUMNS
        ),
    )
    console.print(table)
    console.print("slowest path of the placement that was packed:")
    for step in report.critical_path:
        console.print(f"  {step}", markup=False)
    speeds = ", ".join(f"{value:.1f}" for value in report.fmax_mhz.values())
    console.print(
        f"{speeds} MHz over {seeds} placements, worst {report.fmax_worst:.1f}, wanted "
        f"{report.clock_mhz:g}; a bitstream takes {report.build_s:.0f} s"
    )
    if not report.meets_clock:
        raise ToolError(
            f"No placement reaches {report.clock_mhz:g} MHz, so {output / report.bitstream} may "
            f"compute wrong results; build it with --clock {int(max(report.fmax_mhz.values()))}, "
            "or try more --seeds"
        )
    rate = "" if report.baud == DEFAULT_BAUD else f"@{report.baud}"
    console.print(f"wrote {output / report.bitstream}; load it with")
    console.print(f"  ohmtwin fpga program --board {board.name} {output}")
    console.print(f"and name its port as serial:/dev/ttyUSB0{rate}")


def _tree(modules: Mapping[str, Mapping[str, int]]) -> Iterator[tuple[str, Mapping[str, int]]]:
    """Names, each beneath that of the module it is in, and cells; none where it has none itself."""
    seen: set[tuple[str, ...]] = set()
    for path in sorted(modules, key=lambda path: path.split(".")):
        parts = tuple(path.split("."))
        for depth in range(1, len(parts) + 1):
            if parts[:depth] not in seen:
                seen.add(parts[:depth])
                here = ".".join(parts[:depth])
                yield "  " * (depth - 1) + parts[depth - 1], modules.get(here, {})


def run_program(name: str, folder: Path, flash: bool) -> None:
    """Load a bitstream into a board.

    Raises
    ------
    InputError
        If there is no such board, or the folder holds no bitstream for it.
    ToolError
        If openFPGALoader is missing or fails.
    """
    board = find_board(name)
    try:
        report = json_module.loads((folder / _REPORT).read_text(encoding="utf-8"))
        built, bitstream = report["board"], folder / report["bitstream"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{folder} holds no bitstream; build one with 'ohmtwin fpga build --board {name} "
            f"-o {folder}'"
        ) from None
    if built != board.name:
        raise InputError(f"{folder} holds a bitstream for board {built}, not for {board.name}")
    if not bitstream.is_file():
        raise InputError(f"There is no file {bitstream}; build the bitstream anew")
    loader = shutil.which(_LOADER)
    if loader is None:
        raise ToolError(
            f"{_LOADER} was not found, which loads bitstreams; install it with "
            "`apt-get install openfpgaloader` (Debian, Ubuntu), `brew install openfpgaloader` "
            "(macOS), or see https://trabucayre.github.io/openFPGALoader"
        )
    options = ["-f"] if flash else []
    command = [loader, "-b", board.loader, *options, str(bitstream)]
    if report.get("meets_clock") is False:
        typer.echo("No placement reached the clock, so this may compute wrong results", err=True)
    typer.echo(shlex.join(command))
    if subprocess.run(command, check=False).returncode:
        raise ToolError(
            f"{_LOADER} failed; see whether the board is plugged in and this user may use its USB "
            "device (docs/bringup.md)"
        )


def run_read(
    name: str, target: str, chip_name: str | None, device: str, reads: int, seed: int
) -> bool:
    """Read random rows of an array of random cells on a board, and compare every code.

    Raises
    ------
    InputError
        If there is no such board, chip, device or target.
    ToolError
        If the port or the board fails.
    """
    board = find_board(name)
    if not board.array_only:
        raise InputError(f"Board {name} holds a tile; run networks on it with ohmtwin verify")
    chip = _chip(board, chip_name)
    where = parse_target(target)
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"--seed must be 0 to {MAX_SEED}, not {seed}")
    config = board.config_for(chip)
    check_fit(board, chip, config)
    numbers = np.random.default_rng(seed)
    levels = numbers.integers(0, 1 << chip.cell_bits, (chip.rows, chip.cols), dtype=np.uint8)
    image = ArrayState(
        levels,
        devices.load(device),
        cell_bits=chip.cell_bits,
        seed=seed,
        array=0,
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
    ).image()
    model = CCrossbar(image, seed, 0)
    wrong = 0
    with ExitStack() as made:
        bars = made.enter_context(Bars())
        if where.device == SIMULATED:
            library = build_board(chip, config, bars, array_only=True)
            where = made.enter_context(simulated_board(library))
        began = time.monotonic()
        port = SerialPort.open(where.device, where.baud, chip_hash=chip.structure_hash)
        made.callback(port.close)
        array = RemoteArray(port, chip, image, seed, 0)
        for start in range(0, reads, _READS_AT_ONCE):
            bars("reading", start, reads)
            count = min(_READS_AT_ONCE, reads - start)
            masks = numbers.random((count, chip.rows)) < chip.rows_per_read / chip.rows
            wrong += int((array.read_many(masks) != model.read_many(masks)).sum())
        bars("reading", reads, reads)
    typer.echo(
        f"{reads} reads of {chip.rows}x{chip.cols} cells, device {device}: {reads * chip.cols} "
        f"codes, {wrong} differ; {time.monotonic() - began:.1f} s with loading"
    )
    return wrong == 0


def run_simulate(
    name: str,
    chip_name: str | None,
    errors: float,
    faults: float,
    seed: int,
    seconds: float | None,
    host_arrays: bool = False,
) -> None:
    """Run a simulated board until it is interrupted, or for some seconds.

    Raises
    ------
    InputError
        If there is no such board or chip, or a share is no probability.
    ToolError
        If the model cannot be built, or fails.
    """
    board = find_board(name)
    chip = _chip(board, chip_name)
    config = board.config_for(chip)
    check_fit(board, chip, config, host_arrays)
    for option, share in (("--errors", errors), ("--faults", faults)):
        if not 0 <= share <= 1:
            raise InputError(f"{option} is a share from 0 to 1, not {share:g}")
    rates = FaultRates.bytes_and_frames(errors, faults)
    bad = errors > 0 or faults > 0
    there, back = (FaultInjector(rates, s) if bad else None for s in (seed, seed + 1))
    with Bars() as bars:
        library = build_board(
            chip,
            config,
            bars,
            array_only=board.array_only,
            host_arrays=host_arrays,
        )
    simulation = BoardSimulation(library)
    cycles = 0
    try:
        with PtyBoard(simulation, there, back) as line:
            target = f"serial:{line.device}@{SIMULATED_BAUD}"
            typer.echo(f"{board.name} with chip {chip.name} is on {line.device}; try")
            typer.echo(
                f"  ohmtwin fpga read --board {board.name} --target {target}"
                if board.array_only
                else f"  ohmtwin verify MODEL --data FILE --chip {chip_name or board.chip} "
                f"--levels fast,serial --target {target}"
            )
            typer.echo("Ctrl-C pulls the cable")
            until = None if seconds is None else time.monotonic() + seconds
            while line.running and (until is None or time.monotonic() < until):
                time.sleep(0.1)
            cycles = simulation.cycles
    except KeyboardInterrupt:
        cycles = simulation.cycles
    finally:
        simulation.close()
    typer.echo(f"{cycles} cycles simulated")
