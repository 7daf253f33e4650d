# SPDX-License-Identifier: Apache-2.0
"""ohmtwin compile and ohmtwin explain."""

import json
from pathlib import Path

import numpy as np
import pytest
from compiled_runs import run_fast
from graph_cases import GRAPH_CHIP, Maker, random_inputs
from onnx_models import Builder, qgemm_layer, random_bias, random_weights
from typer.testing import CliRunner

from ohmtwin.arch.errors import InputError
from ohmtwin.arch.isa import Opcode, assemble
from ohmtwin.host.cli import app
from ohmtwin.host.compiler.artifacts import read_report, write_artifacts
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.compiler.profile import CAUSES, profile_tile
from ohmtwin.host.compiler.report import describe, markdown, sample_codes


def small_net() -> CompiledNetwork:
    m = Maker(1)
    a = m.conv(m.input(5, 9, 9), (12, 5, 3, 3), pads=(1, 1, 1, 1))
    b = m.conv(m.max_pool(a, (2, 2), strides=(2, 2)), (12, 1, 3, 3), groups=12)
    net = m.network(m.dense(m.reshape(b, 48), 48, 6))
    return compile_network(net, chip=GRAPH_CHIP, device="ideal")


def model(folder: Path) -> Path:
    random = np.random.default_rng(0)
    b = Builder()
    b.quant("x", 0.1, 3, np.uint8)
    b.node("QuantizeLinear", ["x", "x_scale", "x_zero"], "x_q")
    b.quant("y", 0.5, 7, np.uint8)
    out = qgemm_layer(
        b,
        "fc",
        "x_q",
        ["x_scale", "x_zero"],
        ["y_scale", "y_zero"],
        random_weights(random, 9, 12),
        np.full(9, 0.01, np.float32),
        random_bias(random, 9),
    )
    b.node("DequantizeLinear", [out, "y_scale", "y_zero"], "out")
    return b.save(folder, "out")


@pytest.mark.parametrize("schedule", ["zero_skip", "baseline"])
def test_predicted_cycles_are_those_of_the_machine(schedule: str) -> None:
    one = small_net()
    one = compile_network(one.network, chip=GRAPH_CHIP, device="ideal", schedule=schedule)
    codes = random_inputs(one.network, 1)
    profile = profile_tile(one, codes)
    _, (counters,) = run_fast(one, codes)
    assert sum(layer.reads for layer in profile.layers.values()) == counters.reads
    assert profile.total == pytest.approx(counters.cycles, rel=0.03)
    assert profile.layers["conv0"].products == 81 * len(one.mapping.layer("conv0").blocks)
    assert profile.layers["maxpool1"].cycles["vector"] > 0


def test_report_of_a_network() -> None:
    one = small_net()
    report = describe(one, sample_codes(one, None))
    assert report["arrays"] == one.mapping.arrays
    by_name = {layer["name"]: layer for layer in report["layers"]}
    conv = by_name["conv0"]
    assert conv["grid"] == [2, 1]
    assert conv["positions"] == 81
    assert 0 < conv["reads_per_product"] <= conv["most_reads_per_product"]
    assert conv["utilisation"] == round(45 * 12 * 4 / (2 * 32 * 64), 4)
    assert by_name["maxpool1"]["limit"] == "vector"
    for layer in report["layers"]:
        assert sum(layer["by_cause"][cause] for cause in CAUSES) == layer["cycles"]
    assert report["cycles"] == sum(layer["cycles"] for layer in report["layers"])
    text = markdown(report)
    assert "| conv0 | 0 | 2 | 2x1 | 45 x 12 |" in text
    assert "groups lie on the diagonal" in text


def test_folder_holds_the_program(tmp_path: Path) -> None:
    one = small_net()
    folder = tmp_path / "out"
    report = describe(one, sample_codes(one, None))
    for _ in range(2):  # the second time over the first
        names = {path.name for path in write_artifacts(folder, one, report)}
        assert names == {"tile0000.asm", "tile0000.npz", "mapping.json", "mapping.md"}
    assert list(tmp_path.iterdir()) == [folder]
    program = one.program
    assert tuple(assemble((folder / "tile0000.asm").read_text())) == program.instructions
    with np.load(folder / "tile0000.npz") as arrays:
        np.testing.assert_array_equal(arrays["instructions"], program.encoded)
        np.testing.assert_array_equal(arrays["params"], program.params)
        np.testing.assert_array_equal(arrays["levels"][1], program.arrays[1].levels)
        assert arrays["output_index"].size == sum(s.index.size for s in program.outputs)
    assert read_report(folder) == json.loads(json.dumps(report))


def test_folders_that_are_not_ours_stay(tmp_path: Path) -> None:
    one = small_net()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds files that are no result of ohmtwin compile"):
        write_artifacts(tmp_path / "other", one, {})
    assert (tmp_path / "other" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InputError, match="is a file; name a folder"):
        write_artifacts(tmp_path / "other" / "thesis.tex", one, {})
    with pytest.raises(InputError, match="there is no folder"):
        write_artifacts(tmp_path / "a" / "b", one, {})
    # A report that cannot be rendered leaves nothing behind.
    with pytest.raises(KeyError):
        write_artifacts(tmp_path / "new", one, {})
    assert {path.name for path in tmp_path.iterdir()} == {"other"}


def test_commands(tmp_path: Path) -> None:
    runner = CliRunner()
    path = str(model(tmp_path))
    printed = runner.invoke(app, ["compile", path])
    assert printed.exit_code == 0, printed.output
    assert "MVM" in [i.op.name for i in assemble(printed.output)]
    assert "core  0: fc inputs 0..11, outputs 0..8" in printed.output
    as_json = runner.invoke(app, ["compile", path, "--json", "--chip", "tile8"])
    report = json.loads(as_json.output)
    assert report["chip"]["name"] == "tile8"
    assert report["layers"]
    folder = tmp_path / "out"
    written = runner.invoke(app, ["compile", path, "-o", str(folder)])
    assert written.exit_code == 0, written.output
    told = runner.invoke(app, ["explain", str(folder)])
    assert told.exit_code == 0, told.output
    assert "fc" in told.output
    assert "of all cycles" in told.output


def test_bad_options(tmp_path: Path) -> None:
    runner = CliRunner()
    path = str(model(tmp_path))
    for arguments, told in (
        (["compile", path, "--conv-mapping", "best"], "There is no mapping 'best'"),
        (["compile", path, "--tiles", "0"], "There can be 1 to 4096 tiles, not 0"),
        (["compile", path, "--steps", "3"], "it keeps no states"),
        (["explain", str(tmp_path)], "is no result of ohmtwin compile"),
    ):
        result = runner.invoke(app, arguments)
        assert result.exit_code == 2
        assert told in result.output
    (tmp_path / "mapping.json").write_text('{"network": 3}')
    result = runner.invoke(app, ["explain", str(tmp_path)])
    assert result.exit_code == 2
    assert "is damaged (KeyError); compile the model again" in result.output


def test_an_endless_loop_holds_all_work() -> None:
    ops = [i.op for i in small_net().program.instructions]
    assert ops.count(Opcode.HALT) == 0
    assert any(i.op is Opcode.LOOP and i["count"] == 0 for i in small_net().program.instructions)
