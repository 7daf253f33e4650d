# SPDX-License-Identifier: Apache-2.0
"""Where a difference comes from: reads compared, and differences planted in the RTL's arrays."""

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import random_codes, random_network

import ohmtwin as ot
from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ToolError
from ohmtwin.behavioral import devices
from ohmtwin.host.capture import Read, capture_rtl, record_fast
from ohmtwin.host.cause import WAVES, first_difference
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.plots.vcd import read_header
from ohmtwin.host.start import Start
from ohmtwin.host.targets import Target, VerilatorTarget, connect
from ohmtwin.host.verilator_build import build_model

# What they share is built in one worker.
pytestmark = pytest.mark.xdist_group("cause")

verify_module = importlib.import_module("ohmtwin.host.verify")

CHIP = Chip(
    name="small",
    cores=2,
    rows=16,
    cols=32,
    cell_bits=2,
    lanes=8,
    adc_bits=6,
    rows_per_read=8,
    program_words=128,
    data_words=64,
    param_words=64,
    fifo_words=32,
)
NOISY = devices.rram(read_noise=0.2, adc={"gain_spread": 0.1, "offset_spread": 1.0})


def read(number: int, rows: str, codes: list[int], cycle: int | None = None) -> Read:
    mask = np.array([c == "1" for c in rows])
    return Read(number, mask, np.array(codes, np.uint16), order=number, cycle=cycle)


def test_reads_that_differ_are_told_apart() -> None:
    wanted = {0: [read(5, "1010", [3, 4]), read(6, "0110", [1, 2])], 1: [read(0, "1111", [9])]}
    same = {0: [read(5, "1010", [3, 4, 7]), read(6, "0110", [1, 2, 8])], 1: wanted[1]}
    assert first_difference(wanted, same).kind == "none"

    code = first_difference(wanted, {**same, 0: [same[0][0], read(6, "0110", [1, 6], cycle=70)]})
    assert (code.kind, code.array, code.read, code.in_sample, code.column) == ("code", 0, 6, 1, 1)
    assert (code.expected, code.got, code.bit, code.cycle) == (2, 6, 2, 70)
    assert str(code) == (
        "first in read 6 of array 0 (1 of the sample): column 1 converts to 6, not 2 (bit 2), "
        "cycle 70 of the sample"
    )

    rows = first_difference(wanted, {**same, 0: [read(5, "1001", [0, 0]), same[0][1]]})
    assert (rows.kind, rows.read, rows.row, rows.expected, rows.got) == ("rows", 5, 2, 1, 0)
    assert "which does not drive row 2" in str(rows)

    count = first_difference(wanted, {**same, 1: []})
    assert (count.kind, count.array, count.expected, count.got) == ("count", 1, 1, 0)
    assert "array 1 makes 0 reads for the sample, not 1" in str(count)


def test_a_read_of_one_slice_has_every_so_many_th_column() -> None:
    """The fast level records all columns, the macro shows those that it converts."""
    wanted = {0: [read(0, "11", [1, 2, 3, 4, 5, 6, 7, 8])]}
    for codes, kind in (([3, 7], "none"), ([3, 7, 0], "none"), ([3, 6], "code")):
        part = replace(read(0, "11", codes, cycle=9), part=(2, 4))
        cause = first_difference(wanted, {0: [part]})
        assert cause.kind == kind
    assert (cause.column, cause.expected, cause.got) == (6, 7, 6)


def test_the_earliest_of_several_arrays_is_named() -> None:
    wanted = {0: [read(0, "1", [1])], 1: [read(0, "1", [1])]}
    got = {0: [read(0, "1", [2], cycle=90)], 1: [read(0, "1", [3], cycle=40)]}
    assert first_difference(wanted, got).array == 1
    assert first_difference({0: wanted[0]}, got).array == 0, "only the arrays that are asked for"


def compiled(device: str | devices.Device) -> CompiledNetwork:
    network = random_network(1, (16, 8, 6))
    return compile_network(network, chip=CHIP, device=device, seed=3)


@pytest.fixture(scope="module")
def library() -> Path:
    try:
        return build_model(CHIP, trace=True)
    except ToolError as error:
        pytest.skip(f"no Verilated model can be built here: {error}")


@pytest.mark.parametrize("device", [NOISY, "ideal"], ids=["noisy", "ideal"])
def test_fast_and_rtl_make_the_same_reads(library: Path, device: str | devices.Device) -> None:
    """Row for row and code for code, in the sample after others, from any read number."""
    network = compiled(device)
    words = network.program.pack_inputs(random_codes(4, 3, 16))
    images = dict(enumerate(network.images))
    start = Start(images, {0: 1000, 1: 77})
    fast, fast_output = record_fast(network, start, words)
    rtl, rtl_output, begun = capture_rtl(network, start, words, library)
    np.testing.assert_array_equal(fast_output, rtl_output)
    assert begun == {core: reads[0].number for core, reads in fast.items()}
    assert min(begun[0] - 1000, begun[1] - 77) > 0, "two samples went before"
    assert first_difference(fast, rtl).kind == "none"
    for core in (0, 1):
        assert [r.number for r in fast[core]] == [r.number for r in rtl[core]]
        assert len(fast[core]) >= 8
        for ours, theirs in zip(fast[core], rtl[core], strict=True):
            np.testing.assert_array_equal(ours.codes, theirs.codes[: len(ours.codes)])
        cycles = [r.cycle for r in rtl[core]]
        assert None not in cycles
        assert cycles == sorted(cycles)
    # The other way round: another number gives other noise, and it is seen.
    later = Start(images, {0: 1001, 1: 77})
    other, _, _ = capture_rtl(network, later, words, library)
    assert (first_difference(fast, other).kind == "none") == (device == "ideal")


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch, library: Path) -> Any:
    """Call it with what to do to the arrays of the RTL before they are used."""

    def install(spoil: Any) -> None:
        def instead(level: str, network: CompiledNetwork, progress: object = None) -> Target:
            if level != "verilator":
                return connect(level, network)
            target = VerilatorTarget(network, library=library)
            spoil(target.crossbars())
            return target

        monkeypatch.setattr(verify_module, "connect", instead)

    return install


def test_a_wrong_cell_is_found_down_to_the_read_and_column(spoilt: Any, tmp_path: Path) -> None:
    row, column = 11, 9  # slice 1 of output 2

    def spoil(arrays: Any) -> None:
        image = arrays[0].image
        g = image.g.copy()
        g[row, column] += 2 << 12
        arrays[0].program(replace(image, g=g))

    spoilt(spoil)
    network = compiled("ideal")
    x = random_codes(5, 60, 16)
    x[:53, row] = 0  # 53 samples that do not drive the row: the second batch, sample 3 of it
    x[53, row] = 0b10100
    report = ot.verify(
        network, x.astype(np.float32), levels=("golden", "fast", "verilator"), trace=tmp_path
    )
    first = report.levels["verilator"].first_divergence
    assert first is not None
    assert (first.sample, first.tensor, first.index, first.cores) == (53, "fc0.acc", 2, (0,))
    cause = first.cause
    assert cause is not None
    assert (cause.kind, cause.array, cause.column) == ("code", 0, column)
    # Zero-skip: planes 0 and 1 come first, all of their rows; then rows 0 to 11 of plane 2.
    ones = [[r for r in range(16) if x[53, r] >> plane & 1] for plane in range(3)]
    reads = [-(-len(plane) // 8) for plane in ones]
    assert cause.in_sample == sum(reads[:2]) + ones[2].index(row) // 8
    assert cause.read is not None
    assert cause.expected is not None
    assert cause.got == cause.expected + 2
    assert f"column {column} converts to {cause.got}" in str(report)
    assert cause.waves == str(tmp_path / WAVES)
    with (tmp_path / WAVES).open(encoding="ascii") as lines:
        names = {v.name for _, v in read_header(lines) if v is not None}
    assert {f"col{c}_x" for c in range(8, 12)} <= names, "the columns of the output's slices"
    json = report.to_json()["verilator"]["first_divergence"]["cause"]
    assert (json["column"], json["kind"]) == (column, "code")


def test_a_read_number_that_is_off_is_found(spoilt: Any, tmp_path: Path) -> None:
    def spoil(arrays: Any) -> None:
        arrays[1].reads = 1

    spoilt(spoil)
    report = ot.verify(
        compiled(NOISY),
        random_codes(6, 4, 16).astype(np.float32),
        levels=("fast", "verilator"),
        trace=tmp_path,
    )
    first = report.levels["verilator"].first_divergence
    assert first is not None
    assert (first.tensor, first.cores) == ("fc1.acc", (1,))
    assert first.cause is not None
    assert (first.cause.kind, first.cause.array) == ("code", 1)
    assert first.cause.read == 1 + (first.cause.in_sample or 0)


def test_without_a_folder_nothing_is_replayed(spoilt: Any) -> None:
    def spoil(arrays: Any) -> None:
        arrays[1].reads = 1

    spoilt(spoil)
    x = random_codes(6, 4, 16).astype(np.float32)
    report = ot.verify(compiled(NOISY), x, levels=("fast", "verilator"))
    first = report.levels["verilator"].first_divergence
    assert first is not None
    assert first.cause is None
