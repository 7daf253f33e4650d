# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin tradeoff``: which points there are, what is measured, and which of them are best."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.behavioral.machine_steps import Control
from ohmtwin.behavioral.machine_trace import trace_pass
from ohmtwin.fpga import core_cost
from ohmtwin.fpga.core_cost import CoreCost
from ohmtwin.host.cli import app
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.dataset import load_dataset
from ohmtwin.host.importer.network import load_network
from ohmtwin.host.plots.tradeoff import draw_tradeoff
from ohmtwin.host.targets import connect
from ohmtwin.host.tradeoff import Job, moved_words, tradeoff
from ohmtwin.host.tradeoff_points import (
    Plan,
    Point,
    apply_chip,
    apply_device,
    load_plan,
    parse_vary,
    points_of,
)
from ohmtwin.host.tradeoff_report import Gates, Measured, TradeoffReport
from ohmtwin.host.verify import verify

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blobs: what the classes are does not matter, so they are what the network says."""
    path = tmp_path_factory.mktemp("tradeoff") / "d.npz"
    x = (np.random.default_rng(1).random((12, 64)) * 16).astype(np.float32)
    y = np.zeros(12, np.int64)
    compiled = compile_network(MODEL, device="ideal", trace=False)
    np.savez(path, x=x, y=y)
    codes = load_dataset(path, compiled.network)
    with connect("golden", compiled) as target:
        from ohmtwin.host.codes import check_data, quantize

        given, _ = check_data(compiled.network, codes.inputs, y)
        y = next(reversed(target.run(quantize(compiled.network, given)).values())).argmax(axis=1)
    np.savez(path, x=x, y=y)
    return path


def job(data: Path, chip: str = "tile4", seeds: Sequence[int] = (1,)) -> Job:
    return Job(MODEL, data, None, chip, "rram", tuple(seeds), {})


# Which points there are.


def test_values_are_read_as_toml_or_as_words() -> None:
    found = parse_vary(
        ["adc_bits=5, 6", "row_schedule=baseline,zero_skip", "row_budgets=[16,8],[4,4]", "a=0.5"]
    )
    assert found == {
        "adc_bits": [5, 6],
        "row_schedule": ["baseline", "zero_skip"],
        "row_budgets": [[16, 8], [4, 4]],
        "a": [0.5],
    }


@pytest.mark.parametrize("text", ["adc_bits", "=5", "adc_bits=", " = "])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--vary must be KEY=VALUE"):
        parse_vary([text])


def test_points_are_the_product_of_what_varies_and_the_points_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(
        'device = "rram"\n[set]\n"device.spread" = 0.1\n[vary]\nadc_bits = [5, 6]\n'
        '[[point]]\nlabel = "plain"\n[[point]]\nlabel = "few"\nrows_per_read = 8\n'
    )
    plan = load_plan(tmp_path / "p.toml")
    points = points_of(plan, {"lanes": [4, 8]})
    assert len(points) == 2 * 2 * 2
    assert points[0] == Point({"device.spread": 0.1, "adc_bits": 5, "lanes": 4}, "plain")
    assert points[-1] == Point(
        {"device.spread": 0.1, "rows_per_read": 8, "adc_bits": 6, "lanes": 8}, "few"
    )
    assert points_of(Plan()) == [Point({})]


@pytest.mark.parametrize(
    ("plan", "vary", "text"),
    [
        ({}, {"adc_bit": [5]}, "There is no 'adc_bit' to vary; did you mean 'adc_bits'"),
        ({}, {"name": ["a"]}, "There is no 'name' to vary"),
        ({}, {"device.spred": [0.1]}, "did you mean 'device.spread'"),
        ({}, {"adc_bits": []}, "--vary adc_bits has no value"),
        ({"set": {"x": 1}}, {}, "There is no 'x' to vary; choose from"),
        ({"vary": {"lanes": [8]}}, {"lanes": [4]}, "is varied by the file of --config as well"),
        ({"point": [{"lanes": 8}]}, {"lanes": [4]}, "point 1 sets lanes, which is varied too"),
        (
            {},
            {"lanes": [*range(100)], "rows": [*range(100)]},
            "make 10000 points; 4096 are the most",
        ),
    ],
)
def test_bad_plans_are_refused(plan: dict[str, Any], vary: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        points_of(Plan.model_validate(plan), vary)


def test_every_field_of_chips_and_devices_can_be_set() -> None:
    chip = apply_chip(Chip(), Point({"rows_per_read": 8, "row_budgets": [8] * 8, "device": "pcm"}))
    assert (chip.rows_per_read, chip.row_budgets) == (8, (8,) * 8)
    device = apply_device("rram", Point({"device.spread": 0.2, "device.faults.stuck_on": 0.01}))
    assert device.spread == 0.2
    assert device.faults is not None
    assert device.faults.stuck_on == 0.01
    assert apply_device("rram", Point({"device": "pcm"})).name == "pcm"
    for key, text in (
        ("device.spread", "'spread' is wrong"),
        ("device.spread.more", "spread of a device is a value"),
        ("device.faults.stuck", "unknown key 'faults.stuck'"),
    ):
        with pytest.raises(ConfigError, match=text):
            apply_device("rram", Point({key: 7}))


# What is measured.


def test_events_are_those_of_verify(data: Path) -> None:
    points = points_of(Plan(), {"rows_per_read": [8, 16], "row_schedule": ["baseline"]})
    report = tradeoff(job(data), points, gates=False, jobs=1)
    assert report.golden == 1.0
    network = load_network(MODEL)
    dataset = load_dataset(data, network)
    for one in report.points:
        chip = apply_chip(Chip(), one.point)
        compiled = compile_network(network, chip=chip, device="rram", seed=1, trace=False)
        with connect("fast", compiled) as target:
            from ohmtwin.host.codes import check_data, quantize

            given, _ = check_data(network, dataset.inputs, dataset.y)
            target.run(quantize(network, given))
            counters = target.counters
        assert counters is not None
        assert one.events is not None
        assert one.events["cycles"] == counters.cycles / 12
        assert one.events["conversions"] == counters.beats * chip.lanes / 12
        assert one.events["adc_decisions"] == one.events["conversions"] * chip.adc_bits
    traced = compile_network(network, chip="tile4", device="rram", seed=1)
    levels = verify(traced, dataset.inputs, dataset.y, levels=("fast",)).levels
    default = tradeoff(job(data), [Point({})], gates=False, jobs=1).points[0]
    assert default.accuracies == (levels["fast"].accuracy,)


def test_rows_driven_are_the_set_bits_of_what_is_loaded(data: Path) -> None:
    """Whatever the schedule: a row is driven once for every bit of its activation that is set."""
    points = points_of(
        Plan(), {"row_schedule": ["baseline", "zero_skip"], "rows_per_read": [4, 16]}
    )
    ideal = Job(MODEL, data, None, "tile4", "ideal", (1,), {})
    rows = {
        one.events["rows_driven"]
        for one in tradeoff(ideal, points, gates=False).points
        if one.events
    }
    assert len(rows) == 1
    network = load_network(MODEL)
    compiled = compile_network(network, chip="tile4", device="ideal")
    dataset = load_dataset(data, network)
    from ohmtwin.host.codes import check_data, quantize

    codes = quantize(network, check_data(network, dataset.inputs, dataset.y)[0])
    with connect("golden", compiled) as target:
        hidden = target.run(codes)
    want = 0
    inputs = [next(iter(codes.values())), *list(hidden.values())[1::2]]
    for layer, x in zip(compiled.mapping.layers, inputs, strict=False):
        want += int(np.unpackbits(x).sum()) * len(layer.col_parts)
    assert rows == {want / 12}


def test_words_moved_are_counted_by_hand() -> None:
    compiled = compile_network(MODEL, chip="tile4", device="ideal", trace=False)
    start = Control.reset(compiled.chip)
    waits = trace_pass(compiled.program, start, first=True).after(start)
    steps = trace_pass(compiled.program, waits, first=False).steps
    # One image of 64 bytes comes from the host; 32 codes are stored, loaded, and 10 stored, sent.
    assert {int(k) for k in steps["kind"]} >= {1, 2, 7}
    width = compiled.chip.outputs_per_beat
    stored = -(-32 // width) + -(-10 // width)
    assert moved_words(compiled.program) == stored + 32 // 8 + 2


def test_refused_points_say_why_and_seeds_make_a_median(data: Path) -> None:
    points = points_of(Plan(), {"rows_per_read": [16, 32], "device.spread": [0.3]})
    report = tradeoff(job(data, seeds=(1, 2, 3)), points, gates=False, jobs=2)
    good, bad = report.points
    assert len(good.accuracies) == 3
    assert good.accuracy == sorted(good.accuracies)[1]
    assert good.ideal == 1.0
    assert "need an ADC of 7 bits, 6 were given" in bad.refused
    found = json.loads(report.json_text())
    assert found["points"][1]["set"] == {"rows_per_read": 32, "device.spread": 0.3}
    assert "accuracy" not in found["points"][1]
    alone = tradeoff(job(data, seeds=(1, 2, 3)), points, gates=False, jobs=1)
    assert alone.json_text() == report.json_text()


def test_a_conversion_takes_as_many_decisions_as_the_adc_has_bits(data: Path) -> None:
    points = points_of(Plan(), {"adc_bits": [6, 9]})
    narrow, wide = tradeoff(job(data), points, gates=False, jobs=1).points
    assert narrow.cost("adc_decisions") == 6 * (narrow.events or {})["conversions"] > 0
    assert wide.cost("adc_decisions") == 9 * (wide.events or {})["conversions"] > 0


def test_auto_takes_more_tiles_where_one_is_too_small(data: Path) -> None:
    points = points_of(Plan(), {"rows": [128, 8], "rows_per_read": [8]})
    report = tradeoff(job(data, "auto"), points, gates=False, jobs=1)
    chips = [one.chip for one in report.points]
    assert chips[0] is not None
    assert chips[0].cores == 4
    assert chips[1] is not None
    assert chips[1].cores > 4


# Which are best.


def point(number: int, accuracy: float, cycles: float) -> Measured:
    events = {"cycles": cycles, "adc_decisions": 1.0}
    return Measured(Point({"lanes": number}), Chip(), (accuracy,), ideal=accuracy, events=events)


def report(*points: Measured) -> TradeoffReport:
    return TradeoffReport("m", "d", 1, (1,), 1.0, points)


def test_the_front_holds_what_nothing_beats() -> None:
    a, b, c, d = point(1, 0.9, 10), point(2, 0.8, 5), point(3, 0.85, 12), point(4, 0.9, 10)
    refused = Measured(Point({"lanes": 5}), refused="no")
    found = report(a, b, c, d, refused)
    assert found.front("cycles") == [b, a, d]
    assert found.front("adc_decisions") == [a, d]
    assert found.front("lut") == []
    assert found.fronts() == [
        ("cycles", "adc_decisions"),
        ("cycles",),
        (),
        ("cycles", "adc_decisions"),
        (),
    ]


def test_a_writer_is_shared_by_the_cores_of_a_tile() -> None:
    gates = Gates(1000, 500, 0, 0, 0, 0, {}, writer_lut=400)
    chip = Chip(cores=4, program_verify=True)
    one = replace(point(1, 0.9, 10), chip=chip, gates=gates)
    assert one.cost("lut") == 1100
    found = report(one, replace(point(2, 0.8, 5), gates=replace(gates, writer_lut=0)))
    assert found.front("lut") == [found.points[1], one]
    assert found.to_json()["points"][0]["gates"]["writer_lut"] == 400
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(found)
    text = console.export_text()
    assert "writer" in text.splitlines()[2]
    assert " 400 " in text


def test_gates_are_set_against_a_core_without_options(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synthesis itself is tested in tests/fpga; here each option has a price of its own."""

    def core(chip: Chip) -> CoreCost:
        lut = 1000 + 34 * (chip.code_a > 0) + chip.lanes
        return CoreCost(lut, 10 * chip.lanes, 1, 2, {"combine": {"LUT4": lut}})

    monkeypatch.setattr(core_cost, "core_cost", core)
    monkeypatch.setattr(core_cost, "writer_cost", lambda chip: CoreCost(500, 90, 3, 4, {}))
    points = [
        Point({}),
        Point({"code_a": 69, "lanes": 4}),
        Point({"adc_bits": 4, "adc_clip": True}),
        Point({"adc_bits": 2}),
        Point({"program_verify": True}),
    ]
    gates = [one.gates for one in tradeoff(job(data), points, jobs=1).points]
    assert gates[3] is None, "refused"
    plain, coded, clipped, _, written = gates
    assert plain == Gates(1008, 80, 1, 2, 0, 0, {"combine": {"LUT4": 1008}})
    assert coded == Gates(1038, 40, 1, 2, 34, 0, {"combine": {"LUT4": 1038}})
    assert clipped == replace(plain, lut_over_plain=None, ff_over_plain=None)
    assert written == replace(plain, writer_lut=500, writer_ff=90, writer_bram=3, writer_dsp=4)


def test_labels_name_what_differs() -> None:
    one = Measured(Point({"adc_bits": 6, "lanes": 4, "device.spread": 0.1}), refused="x")
    two = Measured(Point({"adc_bits": 6, "lanes": 8, "device.spread": 0.2}), refused="x")
    found = report(one, two)
    assert found.keys == ("lanes", "device.spread")
    assert found.label(one) == "lanes=4, spread=0.1"
    assert report(one).label(one) == "adc_bits=6, lanes=4, spread=0.1"
    plain = Measured(Point({}), refused="x")
    assert report(plain).label(plain) == "base"


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("width", [600, 1300])
def test_pictures(kind: str, width: int, tmp_path: Path) -> None:
    found = report(point(1, 0.9, 10), point(2, 0.8, 5), Measured(Point({"lanes": 4}), refused="no"))
    for name in ("a", "b"):
        draw_tradeoff(found, tmp_path / f"{name}.{kind}", width)
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert (tmp_path / f"a.{kind}").stat().st_size > 3000


# The command.


def test_the_command(data: Path, tmp_path: Path) -> None:
    call = ["tradeoff", str(MODEL), "--data", str(data), "--no-gates", "--samples", "4"]
    call += ["--vary", "rows_per_read=8,32", "--jobs", "1"]
    picture = tmp_path / "t.svg"
    result = CliRunner().invoke(app, [*call, "--plot", str(picture)])
    assert result.exit_code == 0, result.output
    assert "rows_per_read=8" in result.output
    assert "refused: rows_per_read=32: chip: 32 rows of 2-bit cells need" in result.output
    assert picture.exists()
    found = json.loads(CliRunner().invoke(app, [*call, "--json"]).stdout)
    assert found["samples"] == 4
    first = found["points"][0]["front"]
    # Without a single point there is no picture, but every reason.
    picture.unlink()
    call[-3] = "rows_per_read=32,300"
    result = CliRunner().invoke(app, [*call, "--json", "--plot", str(picture)])
    assert result.exit_code == 2
    assert "None of the points (2) can be had" in result.stderr
    assert [bool(one["refused"]) for one in json.loads(result.stdout)["points"]] == [True, True]
    assert not picture.exists()
    assert first == ["cycles", "adc_decisions"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--vary", "rows"], "--vary must be KEY=VALUE"),
        (["--vary", "row=1"], "did you mean 'rows'"),
        (["--vary", "rows=8", "--vary", "rows=16"], "names 'rows' twice"),
        (["--seeds", "a"], "--seeds must be numbers"),
        (["--seeds", ","], "--seeds names no seed"),
        (["--seeds", "-1"], "--seeds must be 0 to"),
        (["--seeds", "1,2,1"], "--seeds names 1 twice; name each once"),
        (["--vary", "lanes=4,8,4"], "--vary lanes has the value 4 twice; name each once"),
        (["--vary", "adc_bits=5"], "None of the points (1) can be had, so that nothing was"),
        (["--samples", "0"], "--samples must be 1 to 12"),
        (["--jobs", "0"], "--jobs must be 1 or more"),
        (["--plot", "a.pdf"], "must end in .png or .svg"),
        (["--config", "none.toml"], "tradeoff file none.toml does not exist"),
        (["--chip", "none"], "There is no standard chip 'none'"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], text: str, data: Path) -> None:
    call = ["tradeoff", str(MODEL), "--data", str(data), "--no-gates", "--jobs", "1"]
    result = CliRunner().invoke(app, [*call, *arguments])
    assert result.exit_code == 2, result.output
    assert text in result.output
    assert "Traceback" not in result.output


def test_labels_are_needed(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 64), np.float32))
    with pytest.raises(InputError, match="holds no labels"):
        tradeoff(job(tmp_path / "d.npz"), [Point({})], gates=False)
