# SPDX-License-Identifier: Apache-2.0
"""The figures of ``ohmtwin bench``: each function gives ``{key: {"value", "unit", "how"}}``."""

import tempfile
from pathlib import Path

from ..arch.chip import Chip, RowSchedule
from ..fpga.area import core_area, writer_area
from ..fpga.boards import find_board
from ..fpga.build import build_bitstream
from ..host.link.line import goodput
from . import (
    behavioral,
    boards,
    compiling,
    ecc,
    fabric,
    mesh,
    noc,
    pipeline,
    prediction,
    recovered,
    simulation,
    training,
    wires,
)

__all__ = [
    "Figures",
    "adc_busy",
    "all_effects",
    "board_build",
    "board_speed",
    "code_area",
    "code_unit",
    "compile_times",
    "cycle_error",
    "fast_products",
    "fast_reads",
    "image_derivation",
    "irdrop",
    "lenet_images",
    "link_goodput",
    "network_on_chip",
    "pipeline_pace",
    "recovered_accuracy",
    "sim_images",
    "sim_mesh",
    "sim_speed",
    "training_accuracy",
    "writer_size",
    "zero_skip",
]

Figures = dict[str, dict[str, float | str]]


def _figure(key: str, value: float, unit: str, how: str) -> Figures:
    return {key: {"value": value, "unit": unit, "how": how}}


def fast_reads() -> Figures:
    """Reads of one array in C."""
    runs = 7
    found = behavioral.fast_reads_per_s(rows_on=128, columns=128, runs=runs)
    how = (
        f"all 128 rows driven, 128 columns converted, device {found['device']}, "
        f"one processor, median of {runs} runs"
    )
    return _figure("fast.reads_per_s", found["reads_per_s"], "reads/s", how)


def fast_products() -> Figures:
    """Products of a vector and a 128x128 matrix of 8-bit weights in C."""
    runs = 7
    found = behavioral.fast_products_per_s(rows_per_read=128, zero_skip=False, runs=runs)
    how = (
        "8-bit weights in four slices, 8 planes, 128 rows a read, device rram, one processor, "
        f"median of {runs} runs"
    )
    return _figure("fast.products_per_s", found["products_per_s"], "products/s", how)


def all_effects() -> Figures:
    """What every effect at once costs the C engine."""
    dense = behavioral.all_effects_ratio(128, False)
    sparse = behavioral.all_effects_ratio(16, True)
    how = (
        "products of a 128x128 array with every effect and wires on over those with thermal and "
        f"shot noise alone, in turn, one processor: the lower of {sparse:.2f} (16 rows a read, "
        f"zero-skip) and {dense:.2f} (128 rows a read)"
    )
    return _figure("fast.all_effects_ratio", min(dense, sparse), "ratio", how)


def image_derivation() -> Figures:
    """From the cells of an array to the image that reads see."""
    runs = 15
    how = (
        "time to let a day pass with 100,000 reads and derive the image of 128x128 cells, every "
        f"effect on, {{}}, one processor, median of {runs} runs"
    )
    without, all_of_it = (behavioral.derive_ms(wires, runs) for wires in (False, True))
    return _figure("image.derive_ms", without, "ms", how.format("without wires")) | _figure(
        "image.derive_ms_wires", all_of_it, "ms", how.format("wires solved anew")
    )


def adc_busy() -> Figures:
    """Conversions over lanes, over the cycles of the products."""
    figures: Figures = {}
    for schedule in RowSchedule:
        busy, _, count = fabric.first_layer(schedule)
        how = (
            f"RTL counters of the 28 cores of the MNIST network's first layer, 16 rows a read, "
            f"8 lanes, {count} images"
        )
        figures |= _figure(f"adc_busy.{schedule}", busy, "of cycles", how)
    return figures


def zero_skip() -> Figures:
    """Reads that zero-skip makes, over the fewest that the data allows."""
    _, ratio, count = fabric.first_layer(RowSchedule.ZERO_SKIP)
    how = (
        f"RTL counters of the MNIST network's first layer, 16 rows a read, {count} images, over "
        f"the sum over planes and blocks of ceil(popcount / 16)"
    )
    return _figure("zero_skip.reads_over_bound", ratio, "ratio", how)


def sim_speed() -> Figures:
    """Clock cycles a second of a tile of four cores, and against the bare clock loop."""
    made = {
        "": simulation.CHIP_128,
        "_8_lanes": simulation.CHIP_128.with_(lanes=8),
        "_16_rows": simulation.CHIP_16,
    }
    figures: Figures = {}
    for suffix, chip in made.items():
        found = simulation.simulation_speed(chip)
        how = (
            f"Verilated tile of {chip.cores} cores, all busy, {chip.rows_per_read} rows a read, "
            f"ADCs a core: {chip.lanes}, device rram, one processor, median of {found['runs']} runs"
        )
        bare = ", each beside one of the same model with its crossbars stubbed out"
        figures |= _figure(f"sim.cycles_per_s{suffix}", found["cycles_per_s"], "cycles/s", how)
        figures |= _figure(
            f"sim.ratio_to_stub{suffix}", found["ratio_to_stub"], "ratio", how + bare
        )
    return figures


def sim_mesh() -> Figures:
    """Many tiles in lock step, and the build of their models."""
    found = mesh.mesh_speed()
    columns, rows = mesh.CHIP.mesh
    how = (
        f"{columns}x{rows} Verilated tiles of {mesh.CHIP.cores} cores, {mesh.CHIP.lanes} ADCs a "
        f"core, device rram, tiles busy in {found['occupancy']:.2f} of the cycles, one thread, "
        f"median of {found['runs']} runs, at most {found['gib']:.2f} GiB"
    )
    beside = f"{how}, over cycles/s of one such tile alone in runs between"
    build = "its models built from nothing, on as many processors as there are"
    return {
        **_figure("sim.mesh_tile_cycles_per_s", found["tile_cycles_per_s"], "tile-cycles/s", how),
        **_figure("sim.mesh_ratio", found["ratio"], "ratio", beside),
        **_figure("sim.mesh_build_s", mesh.build_seconds(), "s", build),
        **_figure("sim.mesh_gib", found["gib"], "GiB", f"{how}; memory of the whole process"),
    }


def sim_images() -> Figures:
    """Inferences through the RTL."""
    speed, count, runs = fabric.images_per_s()
    how = (
        f"MNIST 784-128-10 on the Verilated tile of 32 cores, device rram, zero-skip, one "
        f"processor, {count} images a run, median of {runs} runs"
    )
    return _figure("sim.images_per_s", speed, "images/s", how)


def compile_times() -> Figures:
    """From model files to programs and cell levels."""
    runs = 5
    wide = compiling.compile_ten_million()
    layers = "-".join(str(width) for width in compiling.TEN_MILLION)
    how = (
        f"ONNX file of dense layers {layers}, {wide['weights']:,} weights, to programs and levels "
        f"of {wide['arrays']:,} arrays on {wide['tiles']} tiles of 32 cores, in a process of its "
        "own, one processor"
    )
    return (
        _figure(
            "compile.lenet_s",
            compiling.compile_lenet(runs),
            "s",
            f"lenet_qdq.onnx, from the file to programs and cell levels on the smallest standard "
            f"chip that holds it, one processor, median of {runs} runs",
        )
        | _figure("compile.ten_million_s", wide["seconds"], "s", how)
        | _figure("compile.ten_million_gib", wide["gib"], "GiB", f"peak memory: {how}")
    )


def lenet_images() -> Figures:
    """A convolutional network at the fast level."""
    count = 1000
    how = (
        f"lenet_qdq.onnx compiled and {count} MNIST images run at the fast level, device rram, "
        "one processor, one run"
    )
    return _figure("fast.lenet_1000_s", compiling.lenet_fast(count), "s", how)


def pipeline_pace() -> Figures:
    """Samples that follow each other through the tiles of a mesh."""
    images, samples = 200, 40
    figures = _figure(
        "pipeline.throughput_ratio",
        pipeline.throughput_ratio(images),
        "ratio",
        f"RTL counters of the MNIST MLP on 2x2 tiles of 8 cores, {images} images in a row, filling "
        "and draining included: cycles an image in which the slowest tile works, over cycles from "
        "image to image; device rram",
    )
    return figures | _figure(
        "pipeline.duplication_gain",
        pipeline.duplication_gain(samples),
        "ratio",
        "RTL counters of a convolution, a pool and a dense layer on tiles of one array: cycles "
        "from sample to sample with the convolution on one tile, over those with it on two; "
        f"{samples} samples in a row, device rram",
    )


def cycle_error() -> Figures:
    """What level fast predicts of meshes, against the RTL."""
    errors = prediction.cycle_errors()
    worst = max(errors, key=lambda case: abs(errors[case]))
    exact = sum(error == 0 for error in errors.values())
    how = (
        f"largest relative error of the predicted cycles of a pipelined run, of {len(errors)} "
        f"networks on meshes: {worst}; {exact} are exact; all flits are equal"
    )
    return _figure("fast.cycle_error", abs(errors[worst]), "", how)


def irdrop() -> Figures:
    """Wire networks, against badcrossbar."""
    ohm = ", ".join(f"{resistance:g}" for resistance in wires.RESISTANCES)
    ratio, vectors = wires.speedup()
    return (
        _figure(
            "irdrop.max_rel_diff",
            wires.max_rel_diff(),
            "of the largest current",
            f"column currents against badcrossbar at 32x32, 64x64 and 128x128, {ohm} ohm a "
            "segment, random cells and voltages",
        )
        | _figure(
            "irdrop.speedup",
            ratio,
            "ratio",
            f"time a vector of badcrossbar over that of v @ T once solved, 128x128, {vectors} "
            "vectors a call, one processor, medians of 5 runs",
        )
        | _figure(
            "irdrop.solve_s",
            wires.solve_s(),
            "s",
            "transfer matrix of 128x128 cells, one processor, median of 5 runs",
        )
    )


def board_build() -> Figures:
    """A bitstream for the ULX3S, over several placements."""
    seeds = 5
    board = find_board("ulx3s-85f")
    chip = board.load_chip()
    with tempfile.TemporaryDirectory(prefix="ohmtwin-bench-") as folder:
        alone = build_bitstream(board, chip, Path(folder) / "alone")
        report = build_bitstream(board, chip, Path(folder) / "several", seeds=seeds)
    each = ", ".join(f"{value:.1f}" for value in report.fmax_mhz.values())
    how = f"chip {report.chip} on {board.title}"
    return _figure(
        "fpga.fmax_mhz_worst",
        report.fmax_worst,
        "MHz",
        f"{how}, synthesized once, worst of {seeds} placements: {each} MHz",
    ) | _figure("fpga.build_s", alone.build_s, "s", f"{how}, of one placement, nothing beside it")


def board_speed() -> Figures:
    """Inferences of the digits network on the ULX3S, and against the Verilated tile."""
    board = find_board("ulx3s-85f")
    count = 500
    cycles = boards.board_cycles(board, count)
    found = board.clock_hz / cycles
    how = (
        f"digits network with noisy emulated crossbars: {cycles:,.0f} cycles an image, counted in "
        f"the Verilated fabric over {count} images, at {board.clock_hz / 1e6:g} MHz; words come "
        "and go at once, which no serial line can do"
    )
    beside = boards.verilator_per_s(board, count)
    return _figure("fpga.inferences_per_s", found, "images/s", how) | _figure(
        "fpga.over_verilator",
        found / beside,
        "ratio",
        f"over {beside:,.0f} images/s of the same network at level verilator, one processor, "
        "median of 5 runs",
    )


def link_goodput() -> Figures:
    """Payload over what the line could carry, between both ends of the link."""
    frames = 4000
    how = (
        f"{frames} full frames one way over a line of 3 Mbaud whose ends answer at once, byte "
        "errors of {} both ways; in virtual time, so the same on every machine"
    )
    return {
        **_figure("link.goodput_clean", goodput(0.0, frames), "of the line", how.format("none")),
        **_figure("link.goodput_1e-3", goodput(1e-3, frames), "of the line", how.format("0.1 %")),
    }


def network_on_chip() -> Figures:
    """The mesh under uniform random traffic, and empty."""
    found = noc.uniform()
    mesh = (
        f"Verilated {noc.SHAPE} mesh of buffered routers, {noc.SHAPE.depth} flits a buffer, "
        f"packets of {noc.FLITS} flits"
    )
    return {
        **_figure(
            "noc.saturation",
            found.saturation,
            "flits a node a cycle",
            f"{mesh}, uniform random: what comes out at the largest load of which 0.98 come out in "
            f"{noc.CYCLES} cycles",
        ),
        **_figure(
            "noc.latency_excess",
            found.zero.excess,
            "cycles a hop",
            f"{mesh}, empty: the most that a packet takes beyond hops and length, over "
            f"{found.zero.pairs} pairs of tiles",
        ),
    }


def code_unit() -> Figures:
    """The AN-code unit under every single error of its model."""
    corrected, rate, count = ecc.single_errors_corrected()
    what = (
        f"RTL in Amaranth's simulator, A = {ecc.CHIP.code_a}, B = {ecc.CHIP.code_b}: {count} "
        "codewords, every sum of 16 stored 8-bit weights with every error of one slice of 2-bit "
        "cells"
    )
    return _figure("ecc.single_corrected", corrected, "of codewords", what) | _figure(
        "ecc.codewords_per_cycle", rate, "an output", what + "; those that load the table not"
    )


def code_area() -> Figures:
    """What the AN-code unit adds to a core."""
    area = ecc.area()
    how = (
        f"{area.unit} of {area.core} transistors (Yosys' estimate for CMOS gates, 8 a bit of "
        f"memory, 6 where one port reads and writes: {area.unit_bits} of {area.core_bits} bits), "
        f"A = {ecc.CHIP.code_a}, B = {ecc.CHIP.code_b}, over the rest of a core without its "
        "array and its converters: row registers, scheduler, accumulators, counters"
    )
    return _figure("ecc.area_fraction", area.fraction, "of the core without it", how)


def writer_size() -> Figures:
    """What the controller that programs arrays adds to the cores of a tile."""
    chip = Chip(cores=4, program_verify=True)
    transistors, cells, bits = writer_area(chip)
    core = core_area(chip.with_(program_verify=False)).core
    how = (
        f"{transistors} transistors ({cells} cells, {bits} bits of memory; Yosys' estimate for "
        f"CMOS gates, and 8 a bit of memory), one a tile, over those of {chip.cores} cores of "
        f"{core}, without arrays and converters"
    )
    fraction = transistors / (chip.cores * core)
    return _figure("program.area_fraction", fraction, f"of {chip.cores} cores", how)


def recovered_accuracy() -> Figures:
    """What codes and row budgets recover of the accuracy that analog cells lose."""
    found = recovered.experiment()
    plain = next(one for one in found.points if one.point.label == "plain")
    how = (
        f"MNIST MLP, {found.samples} held-out images, RRAM with 10 % spread, 2-bit cells, fast "
        f"level: of {100 * (found.golden - plain.accuracy):.1f} points of accuracy lost with 16 "
        f"rows a read, medians over {len(found.seeds)} seeds; point '{{}}' of "
        "examples/protection.toml"
    )
    return {
        key: entry
        for name, label in recovered.POINTS.items()
        for key, entry in _figure(
            f"recovered.{name}", recovered.recovered(found, label), "of the loss", how.format(label)
        ).items()
    }


def training_accuracy() -> Figures:
    """What networks reach that train in their own arrays."""
    found: Figures = {}
    runs = {
        "float": ("digits", "float64, the order of samples and first weights of train.sgd_ideal"),
        "sgd_ideal": ("digits", "ideal devices"),
        "rpu": ("rpu", "devices of Gokmen and Vlasov's specification"),
        "dfa": ("dfa", "direct feedback alignment, ideal devices"),
        "rram_plain": ("rram", "strongly asymmetric RRAM, plain gradient descent"),
        "rram_mended": ("mixed", "the same RRAM, mixed precision"),
    }
    for key, (name, what) in runs.items():
        one = training.float_accuracy if key == "float" else training.accuracy
        values = [one(name, seed) for seed in training.SEEDS]
        each = ", ".join(f"{100 * v:.1f}" for v in values)
        how = (
            f"digits 64-32-10, 30 epochs of 1437 samples, {what}: right of 360 test samples, median"
            f" over seeds {training.SEEDS} ({each}); examples/training/{name}.toml, level fast"
        )
        found |= _figure(f"train.{key}", training.median(values), "%", how)
    return found | _figure(
        "train.epoch_s",
        training.epoch_seconds("rpu"),
        "s",
        "1437 samples of digits in RPU devices with all their spreads and noises, and the test of"
        " 360; examples/training/rpu.toml, level fast, one core",
    )
