# SPDX-License-Identifier: Apache-2.0
"""The designs under test, as Verilog, and what both sides of a bench must agree on."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.timing import CORE_TAIL
from ohmtwin.behavioral.core import MvmConfig
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.rtl.core import Core
from amaranth.back.verilog import convert
from ohmtwin.rtl.macro import CrossbarMacro, MacroSignature
from ohmtwin.tb import runner
from ohmtwin.tb.dpi import COCOTB_MACRO, DPI_ARGS, DPI_SOURCES

__all__ = ["CHIPS", "CORE_OUTPUTS", "CoreTop", "Product", "build_core", "core_image", "core_products"]

CHIPS = {
    # Two groups of rows, so that reads cross them; two outputs a beat.
    "wide": Chip(cores=1, rows=32, cols=32, cell_bits=2, lanes=8, adc_bits=6, rows_per_read=8),
    # Fewer lanes than slices: an accumulator word takes two beats.
    "narrow": Chip(cores=1, rows=32, cols=32, cell_bits=1, lanes=4, adc_bits=5, rows_per_read=8),
}

CORE_OUTPUTS = ("busy", "drain_data", "counter")


class CoreTop(wiring.Component):
    """A core and its macro; the core's ports outside, and the seam to look at."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._core = Core(chip=chip)
        seam = MacroSignature(chip).members
        ports = {k: v for k, v in self._core.signature.members.items() if k not in seam}
        watch = {f"watch_{k}": Out(seam[k].signature) for k in seam}
        # All of a watched stream is output, ready included.
        flat = {}
        for name, member in watch.items():
            flat[f"{name}_valid"] = Out(1)
            flat[f"{name}_ready"] = Out(1)
            flat[f"{name}_payload"] = Out(member.signature.members["payload"].shape)
        super().__init__({**ports, **flat})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = self._core
        m.submodules.crossbar = macro = CrossbarMacro(chip=self._chip, id=0)
        connect(m, core.cmd, macro.cmd)
        connect(m, macro.codes, core.codes)
        for name, member in core.signature.members.items():
            if name in ("cmd", "codes"):
                watched = getattr(core, name)
                for wire in ("valid", "ready", "payload"):
                    m.d.comb += getattr(self, f"watch_{name}_{wire}").eq(getattr(watched, wire))
            elif member.flow == In:
                m.d.comb += getattr(core, name).eq(getattr(self, name))
            else:
                m.d.comb += getattr(self, name).eq(getattr(core, name))
        return m


@functools.cache
def core_verilog(chip: str) -> str:
    return convert(CoreTop(CHIPS[chip]), name="core_top", emit_src=False, strip_internal_attrs=True)


PUBLIC = {"core_top": ["*"]}


def build_core(simulator: str, chip: str, macro: str, verilog: str | None = None) -> runner.Build:
    """The core with ``macro`` "cocotb" or "dpi"; ``verilog`` in place of what is emitted."""
    text = core_verilog(chip) if verilog is None else verilog
    sources: tuple[Path, ...] = (COCOTB_MACRO,) if macro == "cocotb" else DPI_SOURCES
    return runner.build(
        simulator,
        sources,
        "core_top",
        verilog={"core_top.v": text},
        public=PUBLIC,
        args=DPI_ARGS if macro == "dpi" else (),
    )


def core_image(chip: Chip, noise: float, seed: int = 5) -> ArrayImage:
    """Random cells; ``noise`` is one sigma of the amplifier, in level steps."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, 1 << chip.cell_bits, (chip.rows, chip.cols)) * 4096
    if noise:
        g = g + rng.normal(0, 300, g.shape).astype(np.int64)
    return ArrayImage(
        np.ascontiguousarray(g, np.int32),
        np.zeros(chip.rows, np.int32),
        v0=round((noise * 4096) ** 2),
        v1=1 << 20 if noise else 0,
        adc_bits=chip.adc_bits,
        lanes=chip.lanes,
    )


@dataclass(frozen=True)
class Product:
    """One matrix-vector product: the start inputs of a core and its activations."""

    x: list[int]
    rows: int
    beats: int
    zero_skip: bool
    rows_per_read: int
    planes: int

    def config(self, chip: Chip) -> MvmConfig:
        return MvmConfig(
            rows_used=self.rows,
            outputs=self.beats * chip.lanes // chip.slices,
            rows_per_read=self.rows_per_read,
            zero_skip=self.zero_skip,
            group=chip.planner_group,
            slices=chip.slices,
            cell_bits=chip.cell_bits,
            beats=self.beats,
            planes=self.planes,
            tail=CORE_TAIL,
        )


def core_products(chip: Chip, seed: int, count: int = 24) -> list[Product]:
    """Random products: all modes, sparse and dense, part of the rows and of the columns."""
    rng = np.random.default_rng(seed)
    most = ((1 << chip.adc_bits) - 1) // ((1 << chip.cell_bits) - 1)
    products = []
    for i in range(count):
        density = rng.choice([0.0, 0.1, 0.5, 1.0], p=[0.1, 0.3, 0.3, 0.3])
        x: NDArray[np.int64] = rng.integers(0, 256, chip.rows) * (rng.random(chip.rows) < density)
        if i % 5 == 4:
            x &= 0b10010110  # planes without a bit
        words = chip.beats // chip.beats_per_word
        products.append(
            Product(
                x=[int(v) for v in x],
                rows=int(rng.choice([chip.rows, rng.integers(1, chip.rows + 1)])),
                beats=int(rng.choice([words, rng.integers(1, words + 1)])) * chip.beats_per_word,
                zero_skip=bool(rng.integers(2)),
                rows_per_read=int(rng.integers(1, min(most, chip.rows) + 1)),
                planes=int(rng.choice([8, rng.integers(1, 9)])),
            )
        )
    return products
