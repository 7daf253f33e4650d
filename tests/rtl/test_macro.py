# SPDX-License-Identifier: Apache-2.0
"""The macros: the ideal one in Amaranth's simulator, the one behind DPI in Verilator."""

import os
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Member, Out, connect
from amaranth.sim import SimulatorContext
from simulate import simulate
from streams import stream_collect, stream_put

import ohmtwin
from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.core import MvmConfig, core_mvm
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.host.toolchain import find_tools
from ohmtwin.host.verilating import build_runtime, silent
from ohmtwin.rtl.core import Core
from ohmtwin.rtl.emit import emit_verilog
from ohmtwin.rtl.macro import CrossbarMacro, IdealMacro

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("macro")

PACKAGE = Path(ohmtwin.__file__).parent
CHIP = Chip(rows=16, cols=16, cell_bits=2, lanes=4, adc_bits=4, rows_per_read=1)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_ideal_macro(stall: float) -> None:
    """Codes are clipped sums, beats keep their order, whoever waits."""
    rng = Random(f"ideal {stall}")
    levels = [[rng.randrange(4) for _ in range(CHIP.cols)] for _ in range(CHIP.rows)]
    dut = IdealMacro(chip=CHIP, levels=levels)
    got: list[Any] = []
    expected: list[int] = []

    async def commands(ctx: SimulatorContext) -> None:
        for _ in range(60):
            rows = rng.getrandbits(16) & rng.choice([0xFFFF, rng.getrandbits(16), 0x0101])
            beats = rng.randint(1, CHIP.beats)
            codes = [
                min(15, sum(levels[r][c] for r in range(16) if rows >> r & 1))
                for c in range(beats * CHIP.lanes)
            ]
            for start in range(0, len(codes), CHIP.lanes):
                beat = codes[start : start + CHIP.lanes]
                expected.append(sum(code << 4 * lane for lane, code in enumerate(beat)))
            idle = rng.randrange(3) if rng.random() < stall else 0
            await stream_put(ctx, dut.cmd, {"rows": rows, "beats": beats}, idle)
        for _ in range(1000):
            if len(got) == len(expected):
                break
            await ctx.tick()
        assert got == expected

    async def codes(ctx: SimulatorContext) -> None:
        await stream_collect(ctx, dut.codes, got, rng, stall)

    simulate(dut, commands, cycles=4000, background=[codes])


def test_ideal_macro_takes_a_read_with_the_last_beat() -> None:
    """Accepted in cycle a, its beats come in a + 1 .. a + beats, the next read in a + beats."""
    dut = IdealMacro(chip=CHIP, levels=[[1] * CHIP.cols] * CHIP.rows)

    async def bench(ctx: SimulatorContext) -> None:
        ctx.set(dut.codes.ready, 1)
        ctx.set(dut.cmd.valid, 1)
        ctx.set(dut.cmd.payload, {"rows": 1, "beats": 3})
        seen = []
        for _ in range(9):
            _, _, ready, valid = await ctx.tick().sample(dut.cmd.ready, dut.codes.valid)
            seen.append((ready, valid))
        assert seen == [(1, 0), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1), (1, 1), (0, 1), (0, 1)]

    simulate(dut, bench, cycles=20)


def test_macro_arguments() -> None:
    with pytest.raises(TypeError, match=r"^Macro id must be an integer, not '0'$"):
        CrossbarMacro(chip=CHIP, id="0")
    with pytest.raises(ValueError, match=r"^Macro id must not be negative, not -1$"):
        CrossbarMacro(chip=CHIP, id=-1)
    with pytest.raises(ValueError, match=r"^Levels must be 16 rows of 16, not 2 of \[1\]$"):
        IdealMacro(chip=CHIP, levels=[[0], [1]])
    levels = [[0] * 16 for _ in range(16)]
    levels[3][5] = 4
    with pytest.raises(ValueError, match=r"^Level of row 3, column 5 must be 0 to 3, not 4$"):
        IdealMacro(chip=CHIP, levels=levels)


class Pair(wiring.Component):
    """A core and a macro; all other ports of the core are those of the pair."""

    def __init__(self, chip: Chip, id: int) -> None:
        self._chip = chip
        self._id = id
        members: dict[str, Member] = {}
        for name, member in Core(chip=chip).signature.members.items():
            if name in ("even", "odd"):
                # By plain names: Verilator writes two underscores in another way.
                for part, port in member.signature.members.items():
                    members[f"{name}_{part}"] = port
            elif name not in ("cmd", "codes"):
                members[name] = member
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = Core(chip=self._chip)
        m.submodules.macro = macro = CrossbarMacro(chip=self._chip, id=self._id)
        connect(m, core.cmd, macro.cmd)
        connect(m, core.codes, macro.codes)
        for name, member in self.signature.members.items():
            way, _, part = name.partition("_")
            within = way in ("even", "odd")
            inner = getattr(getattr(core, way), part) if within else getattr(core, name)
            outer = getattr(self, name)
            if member.flow == Out:
                m.d.comb += outer.eq(inner)
            else:
                m.d.comb += inner.eq(outer)
        return m


def run(command: list[str | Path], folder: Path, **options: Any) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Objects that do not depend on the model."""
    tools = find_tools()
    folder = tmp_path_factory.mktemp("runtime")
    flags = ["-O1", "-w", "-I", PACKAGE / "behavioral/csrc", *tools.include]
    run([tools.cxx, "-c", "-x", "c", *flags, PACKAGE / "rtl/sv/ohm_dpi.c"], folder)
    shared = build_runtime(tools, tools.versions(), False, silent)
    return [folder / "ohm_dpi.o", *sorted(shared.glob("*.o"))]


def build(chip: Chip, id: int, folder: Path, runtime: list[Path]) -> Path:
    tools = find_tools()
    (folder / "pair.sv").write_text(emit_verilog(Pair(chip, id), "pair"), encoding="utf-8")
    verilator: list[str | Path] = [
        tools.verilator,
        "--cc",
        "--no-timing",
        "-Wno-fatal",
        "-Wno-lint",
    ]
    run(
        [*verilator, "--top", "pair", "-Mdir", folder, "pair.sv",
         PACKAGE / "rtl/sv/crossbar_macro_dpi.sv"],
        folder,
        env={**os.environ, "VERILATOR_ROOT": str(tools.root)},
    )  # fmt: skip
    # In one source: each by itself would parse Verilator's headers.
    whole = folder / "whole.cpp"
    sources = sorted(folder.glob("Vpair*.cpp"))
    whole.write_text("".join(f'#include "{path}"\n' for path in sources), encoding="utf-8")
    bench = Path(__file__).with_name("macro_bench.cpp")
    run(
        [tools.cxx, "-std=c++20", "-O0", "-w", f"-DW={chip.outputs_per_beat}", "-I", folder,
         "-I", PACKAGE / "rtl/sv", "-I", PACKAGE / "behavioral/csrc", *tools.include,
         whole, bench, *runtime, "-lm", "-pthread",
         "-o", folder / "bench"],
        folder,
    )  # fmt: skip
    return folder / "bench"


@pytest.mark.parametrize("lanes", [8, 16], ids=["48-bit beats", "96-bit beats"])
def test_macro_behind_dpi(lanes: int, runtime: list[Path], tmp_path: Path) -> None:
    """Sums with noise, cycles and read numbers equal the readable reference."""
    chip = Chip(rows=40, cols=48, cell_bits=2, lanes=lanes, adc_bits=6, rows_per_read=1)
    bench = build(chip, 1, tmp_path, runtime)
    numbers = np.random.default_rng(lanes)
    rng = Random(f"dpi {lanes}")
    image = ArrayImage(
        g=(numbers.integers(0, 4, (chip.rows, chip.cols)) << 12).astype(np.int32),
        ref=np.zeros(chip.rows, dtype=np.int32),
        v0=3_000_000,
        v1=1 << 26,
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
    )
    crossbar = Crossbar(image, seed=7, array=5)
    cells = " ".join(map(str, image.g.ravel().tolist()))
    lines = []
    for array in (4, 5):
        lines.append(f"array {chip.rows} {chip.cols} 7 {array} {image.v0} {image.v1} 6 {lanes}")
        lines.append(cells)
    expected = []
    ideal = []
    for _ in range(12):
        x = numbers.integers(0, 256, chip.rows, dtype=np.uint8)
        words = rng.randint(1, chip.acc_words)
        config = MvmConfig.of(
            chip,
            rows=rng.randint(1, chip.rows),
            rows_per_read=rng.randint(1, 21),
            zero_skip=rng.random() < 0.5,
            beats=words * chip.beats_per_word,
            planes=rng.randint(1, 8),
        )
        for word in range(chip.rows // 8):
            part = x[8 * word : 8 * word + 8]
            planes = sum(int(part[r] >> p & 1) << 8 * p + r for p in range(8) for r in range(8))
            lines.append(f"load {word} {planes} {part.sum()}")
        lines.append(
            f"start {config.rows_used} {config.beats} {config.zero_skip:d} "
            f"{config.rows_per_read} {config.planes}"
        )
        lines.append(f"drain {words}")
        reference = core_mvm(crossbar, x[None, :], config)
        expected.append(str(reference.active[0]))
        expected.append(" ".join(map(str, reference.acc[0].view(np.uint32).tolist())))
        quiet = Crossbar(ArrayImage(g=image.g, ref=image.ref), seed=0, array=0)
        ideal.append(" ".join(map(str, core_mvm(quiet, x[None, :], config).acc[0].tolist())))
    assert not set(ideal) & set(expected), "the noise is too small to show"
    out = run([bench], tmp_path, input="\n".join([*lines, "quit"]))
    got = [line.strip() for line in out.splitlines()]
    assert got == [*expected, "no error", "0", str(crossbar.reads)]

    # Without its array the macro answers with zeros, and the session knows why.
    out = run([bench], tmp_path, input="load 0 255 8\nstart 8 2 0 4 1\ndrain 1\nquit")
    cycles, sums, error = out.splitlines()
    assert int(cycles) > 0
    assert set(sums.split()) == {"0"}
    assert error == "macro TOP.pair.macro.macro asks for array 1, but 0 are bound"
