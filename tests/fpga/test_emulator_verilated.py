# SPDX-License-Identifier: Apache-2.0
"""Thousands of noisy reads of an emulated crossbar, Verilated, against the readable reference."""

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import device_image, random_image, random_masks
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.fpga.crossbar.emulator import EmulatedCrossbar
from ohmtwin.fpga.crossbar.image import EmulatorConfig, Noise, image_words
from ohmtwin.host.toolchain import find_tools
from ohmtwin.rtl.emit import emit_verilog

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("emulator")

LARGE = Chip(rows=128, cols=128, lanes=8, adc_bits=6, rows_per_read=16)
SMALL = Chip(rows=16, cols=16, lanes=2, adc_bits=6, rows_per_read=8)
WIDE = Chip(rows=40, cols=48, cell_bits=1, lanes=16, adc_bits=5, rows_per_read=16)


def run(command: list[str | Path], folder: Path, **options: Any) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Verilator's own objects, which do not depend on the model."""
    tools = find_tools()
    folder = tmp_path_factory.mktemp("runtime")
    sources = [tools.root / "include" / f"verilated{part}.cpp" for part in ("", "_threads")]
    run([tools.cxx, "-std=c++20", "-O0", "-w", "-c", *tools.include, *sources], folder)
    return folder


def build(chip: Chip, config: EmulatorConfig, folder: Path, runtime: Path) -> Path:
    tools = find_tools()
    dut = EmulatedCrossbar(chip=chip, config=config)
    (folder / "emulator.sv").write_text(emit_verilog(dut, "emulator"), encoding="utf-8")
    run(
        [tools.verilator, "--cc", "--no-timing", "-Wno-fatal", "-Wno-lint", "-O1",
         "--top", "emulator", "-Mdir", folder, "emulator.sv"],
        folder,
        env={**os.environ, "VERILATOR_ROOT": str(tools.root)},
    )  # fmt: skip
    bench = shutil.copy(Path(__file__).with_name("emulator_bench.cpp"), folder)
    run(
        [tools.cxx, "-std=c++20", "-O1", "-w", f"-DROWS={chip.rows}",
         f"-DWIDTH={chip.lanes * chip.adc_bits}", "-I", folder, *tools.include,
         *folder.glob("Vemulator*.cpp"), bench, *runtime.glob("*.o"), "-pthread",
         "-o", folder / "bench"],
        folder,
    )  # fmt: skip
    return folder / "bench"


class Script:
    """Lines for the bench, and the words that it is to print."""

    def __init__(self, chip: Chip, config: EmulatorConfig) -> None:
        self.chip = chip
        self.config = config
        self.lines: list[str] = []
        self.expected: list[list[int]] = []

    def load(self, image: ArrayImage, seed: int, array: int, reads: int) -> None:
        words = image_words(image, self.chip, self.config, seed=seed, array=array, reads=reads)
        self.lines.append(f"load {len(words)}")
        self.lines += [f"{addr} {word}" for addr, word in words.tolist()]
        self.crossbar = Crossbar(image, seed, array)
        self.crossbar.reads = reads

    def reads(self, masks: NDArray[np.bool_], beats: list[int], stall: int) -> None:
        chip = self.chip
        self.lines.append(f"reads {len(masks)} {stall}")
        packed = np.zeros((len(masks), -(-chip.rows // 32) * 32), np.bool_)
        packed[:, : chip.rows] = masks
        words = np.packbits(packed, axis=1, bitorder="little").view(np.uint32)
        self.lines += [f"{n} {' '.join(map(str, w))}" for n, w in zip(beats, words, strict=True)]
        codes = self.crossbar.read_many(masks).tolist()
        self.expected.append([])
        for row, n in zip(codes, beats, strict=True):
            for k in range(0, n * chip.lanes, chip.lanes):
                beat = sum(c << chip.adc_bits * i for i, c in enumerate(row[k : k + chip.lanes]))
                for bit in range(0, chip.lanes * chip.adc_bits, 32):
                    self.expected[-1].append(beat >> bit & 0xFFFFFFFF)

    def check(self, bench: Path) -> None:
        out = run([bench], bench.parent, input="\n".join(self.lines))
        got = [line.split() for line in out.splitlines()]
        assert got == [[str(word) for word in words] for words in self.expected]


@pytest.mark.parametrize(
    ("chip", "config", "n"),
    [
        (LARGE, EmulatorConfig(columns=16), 700),
        (WIDE, EmulatorConfig(columns=4), 500),
        (SMALL, EmulatorConfig(columns=2, noise=Noise.ITERATIVE), 300),
    ],
    ids=["128x128", "40x48, wide beats", "16x16, iterative"],
)
def test_codes(chip: Chip, config: EmulatorConfig, n: int, runtime: Path, tmp_path: Path) -> None:
    """Images of devices and at random, loaded one after another, reads of part of the columns."""
    numbers = np.random.default_rng([chip.rows, n])
    script = Script(chip, config)
    names = ("rram", "pcm", "ideal", "sram" if chip.cell_bits == 1 else "fefet")
    images = [device_image(chip, name) for name in names]
    images += [random_image(chip, numbers) for _ in range(3)]
    for k, image in enumerate(images):
        # The last of 2**56 numbers and the last of 32 bits are among them.
        reads = int(numbers.choice([0, 2**32 - 5, 2**56 - 5, 2**40 + 77]))
        seed, array = (int(v) for v in numbers.integers(0, 1 << 32, 2))
        script.load(image, seed, array, reads)
        masks = random_masks(numbers, n, chip.rows)
        beats = numbers.integers(1, chip.beats + 1, n)
        beats[numbers.random(n) < 0.3] = chip.beats
        script.reads(masks, beats.tolist(), stall=(0, 30, 70)[k % 3])
    bench = build(chip, config, tmp_path, runtime)
    script.check(bench)
    quiet = Crossbar(dataclasses.replace(images[-1], q=None, v0=0, v1=0), 0, 0)
    share = np.mean(quiet.read_many(masks) != Crossbar(images[-1], 0, 0).read_many(masks))
    assert share > 0.01, "the noise is too small to show"

    # A reset forgets the beats, but neither the image nor that the read was made.
    script.load(images[0], 7, 5, 100)
    masks = random_masks(numbers, 5, chip.rows)
    for cycles in (0, 1, 2, 3, 17, 60, 90):
        script.lines.append(f"reset {cycles}")
        script.crossbar.reads += 1
        script.reads(masks, [chip.beats] * 5, stall=20)
    script.check(bench)
