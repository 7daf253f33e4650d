# SPDX-License-Identifier: Apache-2.0
"""The comparison of levels: what counts as a difference, and that each is found and located."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ohmtwin as ot
from ohmtwin.behavioral.golden import run_network
from ohmtwin.behavioral.machine import Counters
from ohmtwin.host import verify as verify_module
from ohmtwin.host.targets import FastTarget, Target, connect

MODEL = Path(__file__).parents[2] / "examples" / "models" / "digits_qdq.onnx"
SAMPLES = 120  # more than two batches
Tensors = Mapping[str, NDArray[Any]]


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.float32]:
    """Random pictures, half of their pixels dark: float32 [SAMPLES, 64]."""
    rng = np.random.default_rng(7)
    x = rng.integers(0, 17, (SAMPLES, 64)) * rng.integers(0, 2, (SAMPLES, 64))
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def ideal() -> ot.CompiledNetwork:
    return ot.compile(MODEL, device="ideal")


@pytest.fixture(scope="module")
def noisy() -> ot.CompiledNetwork:
    return ot.compile(MODEL, device="rram", seed=3)


class StandIn(FastTarget):
    """The fast level under the name of a clocked one, with a bug that a test plants."""

    name = "verilator"

    def __init__(
        self,
        compiled: ot.CompiledNetwork,
        spoil: Callable[[int, dict[str, NDArray[Any]]], None] | None = None,
        miscount: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(compiled)
        self._spoil = spoil
        self._miscount = miscount or {}
        self._done = 0

    def _run(
        self, codes: dict[str, NDArray[np.uint8]], progress: Callable[[int, int], None]
    ) -> Tensors:
        tensors = {name: array.copy() for name, array in super()._run(codes, progress).items()}
        if self._spoil is not None:
            self._spoil(self._done, tensors)
        self._done += len(next(iter(codes.values())))
        return tensors

    def _counters(self) -> Counters:
        return dataclasses.replace(super()._counters(), **self._miscount)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it to put a :class:`StandIn` in the place of the Verilated model."""

    def install(**options: Any) -> None:
        def fake(level: str, compiled: ot.CompiledNetwork, progress: object = None) -> Target:
            return (
                StandIn(compiled, **options) if level == "verilator" else connect(level, compiled)
            )

        monkeypatch.setattr(verify_module, "connect", fake)

    return install


def flip(sample: int, tensor: str, index: int, bit: int) -> Callable[[int, Any], None]:
    """Flip one bit of one value of one sample."""

    def spoil(done: int, tensors: dict[str, NDArray[Any]]) -> None:
        row = sample - done
        if 0 <= row < len(tensors[tensor]):
            tensors[tensor][row, index] ^= 1 << bit

    return spoil


def test_ideal_levels_are_equal_and_must_be(
    ideal: ot.CompiledNetwork, pictures: NDArray[np.float32]
) -> None:
    report = ot.verify(ideal, pictures, levels=("golden", "fast"))
    fast = report.levels["fast"]
    assert (fast.against, fast.required, fast.mismatches) == ("golden", True, 0)
    assert fast.tensors == 4
    assert fast.values == SAMPLES * 2 * (32 + 10)
    assert report.agree
    assert "Every value of every tensor is equal: fast = golden." in str(report)


def test_a_noisy_device_makes_fast_differ_from_golden_as_information(
    noisy: ot.CompiledNetwork, pictures: NDArray[np.float32]
) -> None:
    report = ot.verify(noisy, pictures, levels=("golden", "fast"))
    fast = report.levels["fast"]
    assert fast.against == "golden"
    assert not fast.required
    assert fast.mismatches > 1000
    assert fast.first_divergence is not None
    assert report.agree
    assert "fast need not equal golden" in str(report)


def test_mismatches_are_those_of_a_direct_comparison(
    noisy: ot.CompiledNetwork, pictures: NDArray[np.float32]
) -> None:
    report = ot.verify(noisy, pictures, levels=("golden", "fast"))
    codes = noisy.network.quantize_input(pictures)
    golden = run_network(noisy.network, codes)
    with connect("fast", noisy) as target:
        fast = target.run(codes)
    expected = sum(int((golden[name] != fast[name]).sum()) for name in noisy.tensors)
    assert report.levels["fast"].mismatches == expected
    first = report.levels["fast"].first_divergence
    assert first is not None
    assert golden[first.tensor][first.sample, first.index] == first.expected
    assert fast[first.tensor][first.sample, first.index] == first.got


@pytest.mark.parametrize(
    ("sample", "tensor", "index", "bit"),
    [(0, "fc1.acc", 0, 0), (57, "fc1", 31, 3), (119, "fc2.acc", 9, 20), (100, "fc2", 4, 7)],
)
def test_one_flipped_bit_is_found_and_located(
    sample: int,
    tensor: str,
    index: int,
    bit: int,
    noisy: ot.CompiledNetwork,
    pictures: NDArray[np.float32],
    stand_in: Callable[..., None],
) -> None:
    stand_in(spoil=flip(sample, tensor, index, bit))
    report = ot.verify(noisy, pictures, levels=("golden", "fast", "verilator"))
    level = report.levels["verilator"]
    assert (level.against, level.required, level.mismatches) == ("fast", True, 1)
    first = level.first_divergence
    assert first is not None
    assert (first.sample, first.tensor, first.index) == (sample, tensor, index)
    assert first.layer == tensor.removesuffix(".acc")
    assert first.bit == bit
    assert first.expected ^ first.got == 1 << bit
    assert first.cores == ((0,) if first.layer == "fc1" else (1,))
    assert not report.agree
    assert f"tensor {tensor}[{index}]" in str(report)


def test_the_first_difference_is_the_earliest_sample_then_the_earliest_tensor(
    noisy: ot.CompiledNetwork, pictures: NDArray[np.float32], stand_in: Callable[..., None]
) -> None:
    bugs = [flip(70, "fc1.acc", 1, 0), flip(60, "fc2", 2, 0), flip(60, "fc1", 3, 1)]

    def spoil(done: int, tensors: dict[str, NDArray[Any]]) -> None:
        for bug in bugs:
            bug(done, tensors)

    stand_in(spoil=spoil)
    level = ot.verify(noisy, pictures, levels=("fast", "verilator")).levels["verilator"]
    assert level.mismatches == 3
    assert level.first_divergence is not None
    assert level.first_divergence.sample == 60
    assert level.first_divergence.tensor == "fc1"


def test_a_level_of_another_shape_is_no_silent_success(
    ideal: ot.CompiledNetwork, pictures: NDArray[np.float32], stand_in: Callable[..., None]
) -> None:
    def cut(done: int, tensors: dict[str, NDArray[Any]]) -> None:
        tensors["fc1"] = tensors["fc1"][:, :5]

    stand_in(spoil=cut)
    with pytest.raises(ot.ToolError, match=r"verilator returned tensor fc1 as uint8 \[50, 5\]"):
        ot.verify(ideal, pictures, levels=("fast", "verilator"))


@pytest.mark.parametrize("counter", ["cycles", "instructions", "vector_stalls"])
def test_a_wrong_counter_is_a_difference(
    counter: str,
    noisy: ot.CompiledNetwork,
    pictures: NDArray[np.float32],
    stand_in: Callable[..., None],
) -> None:
    stand_in(miscount={counter: 1})
    report = ot.verify(noisy, pictures, levels=("fast", "verilator"))
    assert report.counters is not None
    assert [name for name, _, _ in report.counters.differing] == [counter]
    assert report.levels["verilator"].mismatches == 0
    assert not report.agree
    assert f"first {counter}: predicted" in str(report)


def test_counters_of_a_core_are_compared(
    noisy: ot.CompiledNetwork, pictures: NDArray[np.float32], stand_in: Callable[..., None]
) -> None:
    stand_in(miscount={"core_reads": (1, 2, 3, 4)})
    report = ot.verify(noisy, pictures, levels=("fast", "verilator"))
    assert report.counters is not None
    assert "core_reads[0]" in [name for name, _, _ in report.counters.differing]
    assert not report.agree


def test_onnx_runtime_is_compared_and_a_difference_counts(
    pictures: NDArray[np.float32],
) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    network = ot.load_network(MODEL)
    good = ot.verify(ot.compile(network, device="ideal"), pictures, levels=("golden",), model=MODEL)
    assert good.reference is not None
    assert good.reference.codes == SAMPLES * (64 + 32 + 10)
    assert (good.reference.differing, good.reference.max_lsb) == (0, 0)
    assert good.agree
    # One bias off by a code's worth: the levels still agree with each other, not with float.
    layer = network.layers[-1]
    step = int(np.ceil(1 / float(layer.scales[4])))
    bias = layer.bias.copy()
    bias[4] += step
    wrong = dataclasses.replace(
        network, layers=(*network.layers[:-1], dataclasses.replace(layer, bias=bias))
    )
    compiled = ot.compile(wrong, device="ideal")
    bad = ot.verify(compiled, pictures, levels=("golden", "fast"), model=MODEL)
    assert bad.levels["fast"].mismatches == 0
    assert bad.reference is not None
    assert 0.9 * SAMPLES < bad.reference.differing <= SAMPLES
    assert bad.reference.max_lsb in (1, 2)
    assert not bad.agree
    noted = dataclasses.replace(wrong, notes=("This model is computed in float there.",))
    told = ot.verify(ot.compile(noted, device="ideal"), pictures, levels=("golden",), model=MODEL)
    assert told.reference is not None
    assert told.reference.differing == bad.reference.differing
    assert told.agree
    assert "This model is computed in float there." in str(told)


def test_accuracy_is_the_share_of_labels_hit(
    ideal: ot.CompiledNetwork, pictures: NDArray[np.float32]
) -> None:
    codes = ideal.network.quantize_input(pictures)
    y = run_network(ideal.network, codes)["fc2"].argmax(axis=1)
    y[:30] = (y[:30] + 1) % 10
    report = ot.verify(ideal, pictures, y, levels=("golden", "fast"))
    assert report.levels["golden"].accuracy == pytest.approx(1 - 30 / SAMPLES)
    assert report.levels["fast"].accuracy == pytest.approx(1 - 30 / SAMPLES)
    assert ot.verify(ideal, pictures, levels=("golden",)).levels["golden"].accuracy is None


def test_json_has_the_agreed_names(
    noisy: ot.CompiledNetwork, pictures: NDArray[np.float32], stand_in: Callable[..., None]
) -> None:
    stand_in(spoil=flip(3, "fc1.acc", 5, 2))
    y = np.zeros(SAMPLES, int)
    found = json.loads(ot.verify(noisy, pictures, y, model=MODEL).json_text())
    for level in ("golden", "fast", "verilator"):
        wanted = {"accuracy", "seconds", "tensors", "values", "mismatches", "first_divergence"}
        assert wanted <= found[level].keys()
        assert found[level]["seconds"] > 0
    first = found["verilator"]["first_divergence"]
    assert (first["sample"], first["tensor"], first["index"]) == (3, "fc1.acc", 5)
    assert (first["array"], first["cores"], first["bit"]) == (0, [0], 2)
    assert {"codes", "differing", "max_lsb"} <= found["golden_vs_float"].keys()
    assert 0 <= found["float"]["accuracy"] <= 1
    counters = found["counters"]
    assert {"cycles", "reads", "conversions", "adc_busy", "reads_bound"} <= counters.keys()
    assert 0 < counters["adc_busy"] <= 1
    assert found["agree"] is False


def test_reads_bound_holds_and_baseline_meets_it(pictures: NDArray[np.float32]) -> None:
    network = ot.load_network(MODEL)
    for schedule in ot.RowSchedule:
        chip = ot.load_chip("tile4").with_(row_schedule=schedule)
        report = ot.verify(ot.compile(network, chip=chip), pictures, levels=("fast",))
        assert report.counters is not None
        assert report.counters.reads >= report.counters.reads_bound > 0
        if schedule is ot.RowSchedule.BASELINE:
            # fc1 has 64 rows, fc2 32: 4 and 2 reads of 16 rows for each of 8 planes.
            assert report.counters.reads == report.counters.reads_bound == SAMPLES * 8 * (4 + 2)


def test_a_clocked_level_without_fast_says_that_nothing_was_checked(
    noisy: ot.CompiledNetwork, pictures: NDArray[np.float32], stand_in: Callable[..., None]
) -> None:
    stand_in()
    report = ot.verify(noisy, pictures, levels=("golden", "verilator"))
    assert not report.levels["verilator"].required
    assert "add fast to the levels" in str(report)


def test_ideal_is_seen_in_the_images_not_in_the_name(ideal: ot.CompiledNetwork) -> None:
    assert verify_module.is_ideal(ideal)
    renamed = dataclasses.replace(ideal, device=ot.devices.rram(name="ideal"))
    assert not verify_module.is_ideal(renamed)
    # Wrong cells, yet no noise.
    bent = ot.compile(MODEL, device=ot.devices.rram(read_noise=0.0, bandwidth=0.0))
    assert not verify_module.is_ideal(bent)


def test_arguments_are_checked(ideal: ot.CompiledNetwork, pictures: NDArray[np.float32]) -> None:
    with pytest.raises(ot.InputError, match=r"no level 'vhdl'; choose from golden"):
        ot.verify(ideal, pictures, levels=("vhdl",))
    with pytest.raises(ot.InputError, match=r"takes samples of shape \['n', 64\], not \[3, 63\]"):
        ot.verify(ideal, np.zeros((3, 63)), levels=("golden",))
    with pytest.raises(ot.InputError, match=r"Sample 2 holds NaN"):
        ot.verify(ideal, np.where(np.arange(3)[:, None] < 2, 0, np.nan) + np.zeros((3, 64)))
    with pytest.raises(ot.InputError, match=r"The labels have the shape \[2\].*\[3\]"):
        ot.verify(ideal, np.zeros((3, 64)), [0, 1], levels=("golden",))
    untraced = ot.compile(MODEL, device="ideal", trace=False)
    with pytest.raises(ot.InputError, match=r"compiled without trace"):
        ot.verify(untraced, pictures, levels=("golden",))


@pytest.mark.parametrize("device", ["ideal", "rram"])
def test_the_verilated_chip_agrees(device: str, pictures: NDArray[np.float32]) -> None:
    """The contract itself, on RTL; the conformance suite has more of it."""
    compiled = ot.compile(MODEL, device=device, seed=11)
    report = ot.verify(compiled, pictures, model=MODEL)
    level = report.levels["verilator"]
    assert (level.against, level.required) == ("fast", True)
    assert (level.mismatches, level.values) == (0, SAMPLES * 2 * (32 + 10))
    assert report.levels["fast"].required is (device == "ideal")
    assert report.counters is not None
    assert report.counters.level == "verilator"
    assert report.counters.differing == ()
    assert report.agree, str(report)
