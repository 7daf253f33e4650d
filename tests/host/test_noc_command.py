# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin noc bench``: what it prints and draws, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ohmtwin.arch.noc import Channel, MeshShape, Port
from ohmtwin.host.cli import app
from ohmtwin.host.plots.mesh_map import draw_mesh_map, mesh_text


@pytest.mark.xdist_group("noc")
def test_table_and_pictures(tmp_path: Path) -> None:
    picture = tmp_path / "noc.svg"
    arguments = ["noc", "bench", "--mesh", "3x2", "--pattern", "layer", "--cycles", "1000"]
    result = CliRunner().invoke(app, [*arguments, "--plot", str(picture)])
    assert result.exit_code == 0, result.output
    for text in ("3x2 tiles, buffered routers", "saturation 0.", "empty mesh", "percent of cycles"):
        assert text in result.output
    assert picture.read_text().count("<path") > 20
    result = CliRunner().invoke(app, [*arguments, "--json"])
    found = json.loads(result.stdout)
    assert found["mesh"] == "3x2"
    assert found["zero_load"]["excess"] == 0
    assert 0.3 < found["saturation"] <= 1
    links = {(link["x"], link["y"], link["port"]): link["flits"] for link in found["links"]}
    assert len(links) == 6 + 2 * (2 * 2 + 3) + 1
    assert links[0, 0, "east"] > 0
    assert links[0, 0, "west"] == 0, "nobody sends to the host"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mesh", "0x4"], "A mesh has 1 to 16 tiles a side"),
        (["--mesh", "17x17"], "not 17x17"),
        (["--mesh", "1x1"], "two tiles or more"),
        (["--pattern", "tornado"], "There is no pattern 'tornado'; choose from uniform,"),
        (["--mesh", "2x3", "--pattern", "transpose"], "needs a square mesh, not 2x3"),
        (["--router", "none"], "There is no router 'none'; choose buffered or deflection"),
        (["--depth", "6"], "power of two, not 6"),
        (["--flits", "0"], "A packet has 1 to 256 flits with buffered routers, not 0"),
        (["--router", "deflection", "--flits", "33"], "1 to 32 flits with deflection routers"),
        (["--seed", "-1"], "--seed must be 0 to"),
        (["--plot", "noc.pdf"], "must end in .png or .svg"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["noc", "bench", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1


def test_map_as_text() -> None:
    shape = MeshShape(width=2, height=2, hosts=(1,))
    use = {
        Channel(0, 0, Port.EAST): 0.5,
        Channel(1, 0, Port.WEST): 0.25,
        Channel(1, 0, Port.SOUTH): 1.0,
        Channel(1, 1, Port.NORTH): 0.0,
        Channel(1, 1, Port.LOCAL): 0.99,
        Channel(0, 1, Port.WEST): 0.07,
    }
    lines = mesh_text(shape, use).splitlines()
    assert lines[0].split() == ["[", "]", "50>", "[", "]"]
    assert lines[1].split() == ["[", "]", "25<", "[", "]"]
    assert lines[2].split() == ["v", "^", "100v", "0^"]
    assert lines[3].split() == ["[", "]", ">", "[", "99]"]
    assert lines[4].split() == ["7<", "[", "]", "<", "[", "]"]
    shades = mesh_text(shape, use, digits=False)
    assert "@v ^" in shades
    assert "[@]" in shades


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_map_as_picture(kind: str, tmp_path: Path) -> None:
    shape = MeshShape(width=16, height=2)
    file = tmp_path / f"map.{kind}"
    again = tmp_path / f"again.{kind}"
    for path in (file, again):
        draw_mesh_map(shape, {Channel(3, 1, Port.EAST): 12.0}, path, unit="flits", full=None)
    assert file.read_bytes() == again.read_bytes()
    assert file.stat().st_size > 3000
