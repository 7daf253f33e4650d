# SPDX-License-Identifier: Apache-2.0
"""What compile and explain tell of a mesh, and the published mappings of large layers."""

import json
from pathlib import Path

import pytest
from graph_cases import Maker
from typer.testing import CliRunner

from ohmtwin.arch.chip import Chip
from ohmtwin.host.cli import app
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.compiler.report import describe, markdown, sample_codes

MODELS = Path(__file__).parents[2] / "examples" / "models"

ONE_BIT = Chip(
    name="onebit", cores=32, cell_bits=1, rows_per_read=16, data_words=4096, mesh=(2, 2), lanes=8
)
"""Arrays of 128x128 one-bit cells: 16 outputs of 8-bit weights each."""


def large_convolution() -> CompiledNetwork:
    m = Maker(40)
    net = m.network(m.conv(m.input(128, 4, 4), (128, 128, 3, 3)))
    return compile_network(net, chip=ONE_BIT, device="ideal", conv_mapping="kernel", trace=False)


def large_dense() -> CompiledNetwork:
    m = Maker(41)
    net = m.network(m.dense(m.input(1024), 1024, 1024))
    return compile_network(net, chip=ONE_BIT, mesh=(4, 4), device="ideal", trace=False)


def dense_over_tiles() -> CompiledNetwork:
    """Seven row parts where a tile has four cores: 4 of them sum, 3 add up, of 32 outputs."""
    m = Maker(42)
    net = m.network(m.dense(m.input(896), 896, 32))
    chip = ONE_BIT.with_(cores=4, lanes=16)
    return compile_network(net, chip=chip, device="ideal", trace=False)


@pytest.mark.parametrize(
    ("make", "grid", "arrays", "reuse"),
    [
        (large_convolution, [9, 8], 72, 4),
        (large_dense, [8, 64], 512, 1),
        (dense_over_tiles, [7, 2], 14, 1),
    ],
)
def test_published_mappings(make: object, grid: list[int], arrays: int, reuse: int) -> None:
    net = make()
    assert net.mapping.arrays == arrays
    report = describe(net, sample_codes(net, None))
    (weights,) = report["weights"]
    assert (weights["grid"], weights["arrays"]) == (grid, arrays)
    assert weights["reuse"] == reuse
    assert report["mesh"]["arrays"] == arrays * weights["copies"]
    text = markdown(report)
    assert f"| {grid[0]}x{grid[1]} | {arrays} |" in text


def test_report_of_a_mesh(tmp_path: Path) -> None:
    runner = CliRunner()
    folder = tmp_path / "out"
    model = str(MODELS / "mnist_qdq.onnx")
    options = ["--chip", "tile8", "--mesh", "2x2"]
    made = runner.invoke(app, ["compile", model, *options, "-o", str(folder)])
    assert made.exit_code == 0, made.output
    report = json.loads((folder / "mapping.json").read_text())
    mesh = report["mesh"]
    assert (mesh["columns"], mesh["rows"]) == (2, 2)
    assert (mesh["arrays"], mesh["free_arrays"], mesh["free_tiles"]) == (29, 3, 0)
    assert [tile["arrays"] for tile in mesh["tiles"]] == [7, 7, 7, 8]
    assert mesh["pace"] == max(tile["cycles"] for tile in mesh["tiles"])
    assert mesh["pace"] <= mesh["latency"] <= sum(tile["cycles"] for tile in mesh["tiles"])
    last = mesh["tiles"][3]
    assert last["layers"] == ["fc1[96:128]", "fc2"]
    # The three others send 32 codes each to the tile with fc2, and everything to the host.
    for tile in mesh["tiles"][:3]:
        (route,) = [route for route in tile["routes"] if route["to"]]
        assert route["to"] == [[last["x"], last["y"]]]
        assert (route["words"], route["host"]) == (4, True)
        way = abs(tile["x"] - last["x"]) + abs(tile["y"] - last["y"])
        assert route["hops"] == way + tile["x"] + tile["y"]
    (feed,) = mesh["feeds"]
    assert (len(feed["to"]), feed["words"]) == (4, 98)
    told = runner.invoke(app, ["explain", str(folder)])
    assert told.exit_code == 0, told.output
    assert "2x2 tiles: 29 arrays in use, 3 free" in told.output
    assert "fc1" in told.output
    assert "784 x 128" in told.output


def test_copies_are_told_once() -> None:
    from ohmtwin.host.importer.network import load_network

    network = load_network(MODELS / "autoencoder_qdq.onnx")
    net = compile_network(network, chip="tile4", mesh=(2, 2), device="ideal")
    report = describe(net, sample_codes(net, None))
    names = [layer["name"] for layer in report["layers"] if layer["arrays"]]
    assert len(names) == len(set(names))
    copies = {w["name"]: w["copies"] for w in report["weights"]}
    assert max(copies.values()) > 1
    assert report["mesh"]["pace"] < report["cycles"] / 2


def test_what_would_fit_fits() -> None:
    """The ways out that the refusal above names."""
    from ohmtwin.arch.chip import load_chip
    from ohmtwin.host.importer.network import load_network

    network, chip = load_network(MODELS / "mnist_qdq.onnx"), load_chip("tile8")
    for mesh, cores, each in (((2, 2), 8, 1), ((1, 2), 15, 1), ((1, 2), 8, 2)):
        shape = chip.with_(mesh=mesh, cores=cores, arrays_per_core=each)
        assert compile_network(network, chip=shape, device="ideal").mesh is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("0x2", "A mesh has 1 to 16 tiles a side"),
        ("17x1", "A mesh has 1 to 16 tiles a side"),
        ("2by2", "A mesh is written as 4x4"),
        ("1x2", "needs 29 arrays of 128x128 2-bit cells, on 4 tiles"),
        ("1x2", "would fit, or tiles of about 15 cores or about 2 arrays a core (arrays_per_core)"),
    ],
)
@pytest.mark.parametrize("command", ["compile", "verify"])
def test_bad_meshes_are_one_sentence(command: str, given: str, said: str, tmp_path: Path) -> None:
    data: list[str] = []
    if command == "verify":
        import numpy as np

        np.savez(tmp_path / "d.npz", x=np.zeros((1, 784), np.float32), y=np.zeros(1, np.int64))
        data = ["--data", str(tmp_path / "d.npz")]
    model = str(MODELS / "mnist_qdq.onnx")
    told = CliRunner().invoke(
        app, [command, model, *data, "--chip", "tile8", "--device", "ideal", "--mesh", given]
        if command == "verify"
        else [command, model, "--chip", "tile8", "--mesh", given],
    )  # fmt: skip
    assert told.exit_code == 2
    assert said in " ".join(told.output.split())
