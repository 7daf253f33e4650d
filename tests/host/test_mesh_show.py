# SPDX-License-Identifier: Apache-2.0
"""Pipeline diagrams, the report of a mesh, and ``ohmtwin mesh show``."""

import dataclasses
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from ohmtwin.arch.errors import InputError
from ohmtwin.host.cli import app
from ohmtwin.host.mesh_compare import MeshReport, compare_mesh
from ohmtwin.host.mesh_timing import MeshCounters
from ohmtwin.host.plots.pipeline import Lane, Stay, draw_pipeline, pipeline_text, span_of

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"

LANES = (
    Lane("(0,0) a", (Stay(0, 0, 40), Stay(1, 50, 90)), 0.8),
    Lane("(1,0) bb", (Stay(0, 30, 70, ((40, 10, True), (55, 5, False))), Stay(1, 95, 96)), 0.26),
)
"""A lane that rests in 40 .. 49; one that waits within a sample, and works for a single cycle."""


def test_text_shows_work_waits_and_rests() -> None:
    lines = pipeline_text(LANES, window=(0, 100), columns=36).splitlines()
    # Twenty places of five cycles.
    assert lines[0] == "(0,0) a  |00000000  11111111  |  80 %"
    assert lines[1] == "(1,0) bb |      00--0-00     .|  26 %"
    assert lines[2].split() == ["0", "100", "cycles,", "a", "place", "is", "5"]
    zoomed = pipeline_text(LANES, window=(40, 60), columns=36).splitlines()
    assert zoomed[0] == "(0,0) a  |          1111111111|  80 %"
    assert zoomed[1] == "(1,0) bb |----------00000-----|  26 %"


def test_work_is_what_lies_between_waits() -> None:
    assert list(LANES[1].stays[0].work()) == [(30, 40), (50, 55), (60, 70)]
    at_once = Stay(0, 5, 9, ((5, 2, True), (7, 2, True)))
    assert list(at_once.work()) == []
    assert span_of(LANES, 1) == (0, 70)
    assert span_of(LANES, 9) == (0, 96)
    assert span_of((), 9) == (0, 1)


def test_windows_are_checked(tmp_path: Path) -> None:
    for window in ((5, 5), (-1, 5)):
        with pytest.raises(InputError, match=r"A window of cycles is FIRST:END with FIRST below"):
            pipeline_text(LANES, window=window)
        with pytest.raises(InputError, match="A window of cycles"):
            draw_pipeline(LANES, tmp_path / "a.png", window=window)


def test_pictures_show_every_lane(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "p.svg"
    draw_pipeline(LANES, path, window=(0, 100), title="a title", width=700)
    again = tmp_path / "q.svg"
    draw_pipeline(LANES, again, window=(0, 100), title="a title", width=700)
    assert path.read_bytes() == again.read_bytes()
    text = path.read_text()
    ElementTree.fromstring(text)
    for name in ("(0,0) a", "(1,0) bb", "80 %", "26 %", "a title"):
        assert f"<!-- {name} -->" in text


COUNTS = MeshCounters(1, 10, 1000, {"(0, 0) east": (40, 5), "host port (0, 0)": (90, 0)}, (900, 50))


def report(**changes: Any) -> MeshReport:
    return MeshReport((2, 1), "verilator", COUNTS, dataclasses.replace(COUNTS, **changes))


def test_a_report_of_what_is_predicted() -> None:
    equal = report()
    assert (equal.cycle_error, equal.differing, equal.problems) == (0, (), [])
    assert equal.lines() == [
        "mesh 2x1: cycles 1,000, 100 a sample   flits 135   tiles work 5 to 90 % of the time",
        "mesh predicted by fast: cycles 1,000, off by +0.00 %; flits of 2 links: all equal",
    ]
    assert equal.to_json()["occupancy"] == [0.9, 0.05]
    near = report(cycles=1019)
    assert near.problems == []
    assert "off by +1.90 %" in near.lines()[1]
    assert near.to_json()["cycle_error"] == pytest.approx(0.019)
    far = report(cycles=979)
    assert far.problems == [
        "fast predicts 979 cycles of the mesh, verilator took 1,000: off by -2.1 %, more than 2 %"
    ]
    wrong = report(flits={"(0, 0) east": (40, 6), "tile (0, 0)": (1, 0)})
    assert wrong.differing == (
        ("control flits of (0, 0) east", 6, 5),
        ("data flits of tile (0, 0)", 1, 0),
        ("data flits of host port (0, 0)", 0, 90),
    )
    assert wrong.problems[0].startswith("flits of 3 links of the mesh differ from what fast")
    assert "flits of 2 links: 3 differ" in wrong.lines()[1]


def test_what_there_is_to_report() -> None:
    assert compare_mesh(None, {"fast": COUNTS}, "fast") is None
    assert MeshReport((2, 1), "fast", COUNTS).lines()[0].endswith("(predicted by fast)")
    assert MeshReport((2, 1), "verilator", COUNTS).cycle_error is None


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["mesh", "show", str(MODEL), *arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    rng = np.random.default_rng(3)
    np.savez(path, x=rng.random((6, 64), dtype=np.float32))
    return path


def test_show_tells_and_draws(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pipeline, links = tmp_path / "p.png", tmp_path / "l.svg"
    found = run(
        "--data", str(data), "--mesh", "2x2", "--chip", "tile4", "--samples", "6",
        "--pipeline", str(pipeline), "--links", str(links), "--width", "700",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert "use of links" in found.output
    assert "mesh 2x2: cycles" in found.output
    assert f"wrote {pipeline}" in found.output
    assert pipeline.read_bytes().startswith(b"\x89PNG")
    ElementTree.fromstring(links.read_text())


def test_show_as_json(data: Path) -> None:
    found = run("--data", str(data), "--mesh", "2x2", "--chip", "tile4", "--samples", "4", "--json")
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert told["samples"] == 4
    assert told["shape"] == [2, 2]
    assert told["cycles"] > 0
    assert told["flits"] == sum(k["data"] + k["control"] for k in told["links"].values())
    for tile in told["tiles"]:
        assert 0 < tile["occupancy"] == tile["busy"] / told["cycles"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--chip", "tile4"), "Chip 'tile4' is a single tile; tell a mesh, as --mesh 2x2"),
        (("--mesh", "2x2", "--cycles", "5"), "--cycles takes FIRST:END in cycles"),
        (("--mesh", "2x2", "--cycles", "9:5"), "the first cycle must be below the end"),
        (("--mesh", "2x2", "--pipeline", "a.txt"), "must end in .png or .svg"),
        (("--mesh", "0x2"), "A mesh has 1 to 16 tiles a side"),
        (("--mesh", "2x2", "--samples", "7"), "The number of samples must be 1 to 6"),
    ],
)
def test_show_refuses(data: Path, options: tuple[str, ...], message: str) -> None:
    found = run("--data", str(data), *options)
    assert found.exit_code == 2
    assert message in " ".join(found.output.split())
    assert "Traceback" not in found.output
