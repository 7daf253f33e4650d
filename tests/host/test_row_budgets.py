# SPDX-License-Identifier: Apache-2.0
"""Choosing row budgets: what reads give, the fewest reads for a target, refusals."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from compiled_runs import run_fast
from networks import random_codes, random_network
from typer.testing import CliRunner

from ohmtwin import devices
from ohmtwin.arch.chip import Chip, load_chip
from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.behavioral.devices.sections import Adc
from ohmtwin.behavioral.golden import run_network
from ohmtwin.host.budgets import _by_error, choose_budgets, measure_reads, most_rows
from ohmtwin.host.cli import app
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network

CHIP = Chip(cores=8, rows=64, cols=64, data_words=256)
NETWORK = random_network(3, (96, 24, 10))
CODES = {NETWORK.fed[0].tensor: random_codes(4, 12, 96)}


def compiled(chip: Chip = CHIP, spread: float = 0.1, **options: bool) -> CompiledNetwork:
    return compile_network(NETWORK, chip=chip, device=devices.rram(spread=spread), **options)


def test_errors_grow_with_rows() -> None:
    found = measure_reads(compiled(), reads=32)
    assert set(found) == {layer.name for layer in NETWORK.layers}
    for errors in found.values():
        assert errors.rate.shape == (1, 22)  # 21 rows of level 3 fit 6 bits
        rate, variance = errors.rate[0], errors.variance[0]
        assert rate[0] == variance[0] == 0
        assert rate[1] < rate[4] < rate[16]
        assert variance[1] < variance[4] < variance[16]


def test_ideal_cells_need_no_budget() -> None:
    """Nothing is ever off, so a read takes all rows that the ADC does."""
    net = compile_network(NETWORK, chip=CHIP, device="ideal")
    plan = choose_budgets(net, CODES, error_rate=1e-9)
    assert plan.budgets == (21,) * 8
    assert plan.error == 0


def test_budgets_raise_reads_and_lower_errors() -> None:
    """The chip with the chosen budgets makes the reads that were predicted, and errs less."""
    before = compiled(spread=0.05)
    plan = choose_budgets(before, CODES, output_error=0.6 * choose_error(before))
    assert plan.budgets[7] < plan.budgets[0], "planes that count more read fewer rows"
    after = compiled(CHIP.with_(row_budgets=plan.budgets), spread=0.05)
    golden = run_network(NETWORK, CODES)
    off = {}
    for name, net, reads in (("before", before, plan.reads_before), ("after", after, plan.reads)):
        tensors, counters = run_fast(net, CODES)
        # Codes of the second layer depend on what the first one got wrong.
        assert counters[0].reads == pytest.approx(reads * 12, rel=0.05)
        layer = f"{NETWORK.layers[0].name}.acc"
        off[name] = np.sqrt(((tensors[layer] - golden[layer]) ** 2.0).mean())
    assert off["after"] < 0.8 * off["before"]


def test_slices_have_budgets_of_their_own() -> None:
    """Slices that count more read fewer rows, and the same error takes less reading: a read of one
    slice converts a quarter of the columns."""
    whole = compiled(spread=0.05)
    sliced = compiled(CHIP.with_(slice_reads=True, lanes=4), spread=0.05)
    plans = [choose_budgets(net, CODES, output_error=0.6 * choose_error(whole), reads=32)
             for net in (whole, sliced)]  # fmt: skip
    slices = sliced.chip.read_slices
    assert [(b.plane, b.slice) for b in plans[1].planes] == [divmod(n, slices) for n in range(32)]
    tables = np.array(plans[1].budgets).reshape(8, slices)
    assert tables[7, 3] < tables[7, 0], "slices that count more read fewer rows"
    assert tables[7, 3] < tables[0, 3], "and so do planes"
    assert plans[1].reads < slices * plans[0].reads
    after = compiled(sliced.chip.with_(row_budgets=plans[1].budgets), spread=0.05)
    tensors, counters = run_fast(after, CODES)
    assert counters[0].reads == pytest.approx(plans[1].reads * 12, rel=0.05)
    golden = run_network(NETWORK, CODES)
    layer = f"{NETWORK.layers[0].name}.acc"
    before, _ = run_fast(whole, CODES)
    off = [np.sqrt(((found[layer] - golden[layer]) ** 2.0).mean()) for found in (before, tensors)]
    assert off[1] < 0.8 * off[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"row_schedule": "baseline"},
        {"input_encoding": "twos_complement"},
        {"weight_encoding": "differential"},
        {"weight_encoding": "flipped"},
        {"weight_encoding": "flipped", "row_schedule": "baseline"},
        {"weight_encoding": "xnor", "cell_bits": 1, "row_schedule": "baseline", "cores": 24},
        {"code_a": 37, "code_b": 5, "code_errors": "power_of_two"},
        {"arrays_per_core": 16, "cores": 1},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_what_is_predicted_is_what_comes(changes: dict[str, object]) -> None:
    """Reads and errors of a chip with other options, whose budgets it then takes."""
    net = compiled(CHIP.with_(cores=12).with_(**changes), spread=0.05)
    plan = choose_budgets(net, CODES, error_rate=1.0, reads=32)
    tensors, counters = run_fast(net, CODES)
    assert counters[0].reads == pytest.approx(plan.reads_before * 12, rel=0.05)
    layer = NETWORK.layers[0]
    golden = run_network(NETWORK, CODES)[f"{layer.name}.acc"]
    steps = (layer.mantissa * 2.0 ** -layer.shift.astype(float)) ** 2
    off = np.sqrt(((tensors[f"{layer.name}.acc"] - golden) ** 2.0 * steps).mean())
    assert plan.error_before == pytest.approx(off, rel=0.35)
    again = compiled(net.chip.with_(row_budgets=plan.budgets), spread=0.05)
    assert again.chip.most_rows == plan.budgets[0] > net.chip.most_rows


def test_flipped_columns_err_the_other_way() -> None:
    """An ADC that reads one too much adds to a plain column and takes off from a flipped one."""
    chip = CHIP.with_(weight_encoding="flipped", rows_per_read=4)
    device = devices.ideal().model_copy(update={"adc": Adc(offset=1.0)})
    net = compile_network(NETWORK, chip=chip, device=device)
    found = measure_reads(net, most=4, reads=4)
    layer = net.mapping.layers[1]
    weighed = []
    for spec in net.program.arrays:
        if (spec.core, spec.array) in layer.arrays:
            assert spec.flips is not None
            signs = np.where(spec.flips, -1, 1)[: 10 * chip.columns_per_output].reshape(10, -1)
            weighed.append((signs * chip.column_weights).sum(axis=1).mean())
    bias = found[layer.layer.name].bias[0]
    assert bias[1:] == pytest.approx([np.mean(weighed)] * 4)
    assert abs(bias[1]) < sum(chip.column_weights)


def test_flipped_columns_fit_reads_of_fewer_rows_too() -> None:
    """In the baseline a block of fewer rows may sum to more than any that flips are made for."""
    chip = Chip(
        **{"cores": 16, "rows": 32, "cols": 64, "data_words": 256, "adc_bits": 5},
        **{"weight_encoding": "flipped", "row_schedule": "baseline", "rows_per_read": 4},
    )
    network = random_network(1, (30, 10))

    def fits(*budgets: int) -> bool:
        try:
            compile_network(network, chip=chip.with_(row_budgets=budgets), device="ideal")
        except ConfigError:
            return False
        return True

    most = most_rows(compile_network(network, chip=chip, device="ideal"))
    assert all(fits(most, *[n] * 7) for n in range(1, most + 1))
    assert fits(*[21] * 8), "reads of as many rows alone would fit"
    assert most == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"input_encoding": name, "adc_bits": 8},
            rf"the passes of input_encoding = '{name}' of chip 'custom' are others; set",
        )
        for name in ("sign_magnitude", "digits", "unary", "stochastic")
    ],
)
def test_passes_that_are_no_planes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_budgets(compiled(CHIP.with_(**changes)), CODES, error_rate=0.5)


def test_several_tiles_are_refused() -> None:
    with pytest.raises(InputError, match=r"takes 2 of chip 'custom'; leave out its mesh$"):
        choose_budgets(compiled(CHIP.with_(mesh=(2, 1))), CODES, error_rate=0.5)


def choose_error(net: CompiledNetwork) -> float:
    return choose_budgets(net, CODES, error_rate=1.0).error_before


def test_fewest_reads_of_all() -> None:
    """Against every choice there is."""
    random = np.random.default_rng(5)
    costs = np.zeros((3, 6, 3))
    for plane in costs:
        plane[1:, 0] = np.sort(random.random(5))[::-1]
        plane[1:, 1] = np.sort(random.random(5))
    for limit in (0.5, 1.0, 1.7):
        fits = [
            rows
            for rows in itertools.product(range(1, 6), repeat=3)
            if sum(costs[p, n, 1] for p, n in enumerate(rows)) <= limit
        ]
        best = min(fits, key=lambda rows: sum(costs[p, n, 0] for p, n in enumerate(rows)))
        assert tuple(_by_error(costs, limit)) == best


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, r"^Give a target: either an output error or an error rate$"),
        ({"error_rate": 0.1, "output_error": 1.0}, r"^Give a target: either"),
        ({"output_error": 0.0}, r"must be above 0, not 0\.0$"),
        ({"output_error": 1e-9}, r"^No row budgets leave an output error of 1e-09 code steps"),
        ({"error_rate": 1e-9}, r"are off with one row a read; take an error rate of"),
    ],
)
def test_refusals(target: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_budgets(compiled(spread=0.2), CODES, reads=8, **target)


MODELS = Path(__file__).parents[2] / "examples" / "models"


def run(model: str, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["budgets", str(MODELS / model), *map(str, arguments)])


@pytest.mark.parametrize("slices", [False, True])
def test_the_command(slices: bool, tmp_path: Path) -> None:
    """What it prints is a line of a chip's file, that it then reads."""
    data, chip = tmp_path / "d.npz", tmp_path / "chip.toml"
    np.savez(data, x=(np.random.default_rng(1).random((4, 64)) * 16).astype(np.float32))
    chip.write_text("slice_reads = true\n" if slices else "")
    call = ["digits_qdq.onnx", "--data", data, "--chip", chip, "--error-rate", "0.2"]
    result = run(*call)
    assert result.exit_code == 0, result.output
    assert ("slice" in result.output.splitlines()[0]) == slices
    line = result.output.splitlines()[-1]
    chip.write_text(chip.read_text() + line + "\n")
    found = json.loads(run(*call, "--json").stdout)
    assert load_chip(chip).row_budgets == tuple(found["row_budgets"])
    assert [entry["rows_before"] for entry in found["planes"]] == found["row_budgets"]
    assert found["reads"] == found["reads_before"]
    assert found.keys() == {
        *("row_budgets", "reads", "reads_before", "error", "error_before", "planes")
    }


def test_a_network_with_states() -> None:
    call = ["vowels_lstm_step_qdq.onnx", "--data", MODELS / "vowels_steps.npz", "--samples", "1"]
    call += ["--error-rate", "0.9", "--state", "h=h_out", "--state", "c=c_out", "--json"]
    result = run(*call)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["row_budgets"] == [21] * 8


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    data = tmp_path / "d.npz"
    np.savez(data, x=np.zeros((3, 64), np.float32))
    for more, text in (
        ([], "Give a target: either an output error or an error rate"),
        (["--error-rate", "0"], "must be above 0, not 0.0"),
        (["--error-rate", "0.1", "--samples", "0"], "must be 1 to"),
        (["--error-rate", "0.1", "--chip", "none"], "There is no standard chip 'none'"),
    ):
        result = run("digits_qdq.onnx", "--data", data, *more)
        assert result.exit_code == 2
        assert text in result.output
        assert "Traceback" not in result.output
