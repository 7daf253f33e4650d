# SPDX-License-Identifier: Apache-2.0
"""The conformance suite: what holds for every target, and what must be equal between them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from networks import SMALL_CHIP, random_codes, random_network
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip, RowSchedule
from ohmtwin.arch.errors import InputError, ToolError
from ohmtwin.behavioral import devices
from ohmtwin.host.compiler.network import CompiledNetwork, compile_network
from ohmtwin.host.driver import WrongChipError
from ohmtwin.host.simulation import Simulation
from ohmtwin.host.targets import (
    TARGETS,
    ClosedTargetError,
    FastTarget,
    GoldenTarget,
    Target,
    VerilatorTarget,
    connect,
)
from ohmtwin.host.verify import verify
from ohmtwin.host.verilator_build import build_model

Tensors = dict[str, NDArray[np.generic]]

# Two structures of RTL, hence two models to build; all else varies at run time.
CHIP = SMALL_CHIP
# Fewer lanes than slices, one output a word, reads of all rows, rows no multiple of 16.
NARROW = CHIP.with_(
    name="narrow", cores=3, rows=24, cols=48, cell_bits=1, lanes=4, adc_bits=5, rows_per_read=24
)

NETWORK = random_network(1, (21, 7, 5), table_after=0)

LEVELS = tuple(TARGETS)

CLOCKED = ("fast", "verilator")


def compiled(
    chip: Chip = CHIP, device: str | devices.Device = "rram", seed: int = 3, network: int = 1
) -> CompiledNetwork:
    """A network that fits the chip with all its cores in use, or nearly so."""
    sizes = {1: (21, 7, 5), 2: (16, 8, 8, 3), 3: (30, 5)}[network]
    table = {1: 0, 2: 1, 3: None}[network]
    if chip.structure == NARROW.structure:
        sizes = {1: (21, 6, 5), 2: (24, 6, 6, 2), 3: (40, 5)}[network]
    net = random_network(network, sizes, table)
    return compile_network(net, chip=chip, device=device, seed=seed)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(level: str) -> Iterator[Target]:
    with connect(level, compiled()) as found:
        yield found


def assert_equal(found: Tensors, want: Tensors) -> None:
    assert list(found) == list(want)
    for name, array in want.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# Every target.


def test_tensors_have_the_names_types_and_shapes_that_were_compiled(target: Target) -> None:
    tensors = target.run(random_codes(0, 4, 21))
    assert tuple(tensors) == target.compiled.tensors
    want = {"fc0.acc": 7, "fc0": 7, "fc1.acc": 5, "fc1": 5}
    for name, outputs in want.items():
        assert tensors[name].shape == (4, outputs)
        assert tensors[name].dtype == (np.int32 if name.endswith(".acc") else np.uint8)


def test_two_runs_are_one_run_of_both(target: Target, level: str) -> None:
    codes = random_codes(1, 10, 21)
    parts = [target.run(codes[:3]), target.run(codes[3:])]
    with connect(level, compiled()) as other:
        whole = other.run(codes)
        assert other.counters == target.counters
    both = {name: np.concatenate([part[name] for part in parts]) for name in whole}
    assert_equal(both, whole)


def test_noise_goes_on_from_run_to_run(target: Target, level: str) -> None:
    codes = random_codes(2, 20, 21)
    first, second = target.run(codes), target.run(codes)
    differ = any((first[name] != second[name]).any() for name in first)
    assert differ == (level != "golden")


def test_empty_batch(target: Target) -> None:
    before = target.counters
    tensors = target.run(np.zeros((0, 21), np.uint8))
    assert [array.shape for array in tensors.values()] == [(0, 7), (0, 7), (0, 5), (0, 5)]
    assert [array.dtype for array in tensors.values()] == [np.int32, np.uint8, np.int32, np.uint8]
    assert target.counters == before


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        (np.zeros((2, 21), np.int8), r"must be uint8 \[n, 21\] .*'random1', not int8 \[2, 21\]"),
        (np.zeros((2, 21), np.float32), r"not float32 \[2, 21\]"),
        (np.zeros((2, 20), np.uint8), r"not uint8 \[2, 20\]"),
        (np.zeros(21, np.uint8), r"not uint8 \[21\]"),
        (np.zeros((2, 3, 7), np.uint8), r"not uint8 \[2, 3, 7\]"),
    ],
)
def test_wrong_codes(target: Target, codes: NDArray[np.uint8], text: str) -> None:
    with pytest.raises(InputError, match=text):
        target.run(codes)
    # A wrong call leaves the target as it was.
    assert len(target.run(random_codes(0, 1, 21))["fc1"]) == 1


def test_input_is_left_alone(target: Target) -> None:
    codes = random_codes(3, 5, 21)
    kept = codes.copy()
    codes.setflags(write=False)
    target.run(codes)
    target.run(kept[::-1][:, ::1])
    np.testing.assert_array_equal(codes, kept)


def test_counters(target: Target, level: str) -> None:
    if level == "golden":
        assert target.counters is None
        return
    before = target.counters
    assert before is not None
    assert before.reads == 0
    assert target.counters == before, "reading counters must not change them"
    target.run(random_codes(4, 3, 21))
    once = target.counters
    assert once is not None
    assert len(once.core_reads) == CHIP.cores
    assert once.lanes == CHIP.lanes
    assert once.conversions == once.beats * CHIP.lanes > 0
    assert 0 < once.adc_busy <= 1
    assert once.cycles > before.cycles
    assert sum(once.core_active) <= once.cycles * CHIP.cores
    target.run(random_codes(4, 3, 21))
    twice = target.counters
    assert twice is not None
    # The same samples take the same time: rows are picked by the codes of the layer before, which
    # noise may change, so only the first layer's reads are sure to double.
    first_layer = target.compiled.mapping.layers[0].cores
    for core in first_layer:
        assert twice.core_reads[core] == 2 * once.core_reads[core]


def test_progress_tells_all_samples(target: Target) -> None:
    told: list[tuple[int, int]] = []
    target.run(random_codes(5, 9, 21), lambda done, total: told.append((done, total)))
    assert told[-1] == (9, 9)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_closed_target(target: Target) -> None:
    target.close()
    target.close()
    with pytest.raises(ClosedTargetError, match=f"The {target.name} target is closed"):
        target.run(random_codes(0, 1, 21))
    with pytest.raises(ClosedTargetError, match="is closed"):
        print(target.counters)
    assert issubclass(ClosedTargetError, ToolError)


def test_context_closes_also_after_an_error(level: str) -> None:
    with pytest.raises(KeyError, match="inside"), connect(level, compiled()) as target:
        raise KeyError("inside")
    with pytest.raises(ClosedTargetError):
        target.run(random_codes(0, 1, 21))


def test_targets_are_independent(level: str) -> None:
    codes = random_codes(6, 6, 21)
    network = compiled()
    with connect(level, network) as alone:
        want = alone.run(codes)
    with connect(level, network) as one, connect(level, network) as two:
        one.run(codes[:4])
        assert_equal(two.run(codes), want)
        one.close()
        assert len(two.run(codes)["fc1"]) == 6


def test_names_of_levels(level: str) -> None:
    with connect(level, compiled()) as target:
        assert target.name == level
        assert isinstance(
            target,
            {"golden": GoldenTarget, "fast": FastTarget, "verilator": VerilatorTarget}[level],
        )
    with pytest.raises(InputError, match="no target 'vhdl'; choose one of golden, fast"):
        connect("vhdl", compiled())


# Between targets.


@pytest.mark.parametrize("chip", [CHIP, NARROW], ids=lambda chip: chip.name)
@pytest.mark.parametrize("schedule", list(RowSchedule))
@pytest.mark.parametrize("network", [1, 2, 3])
def test_ideal_arrays_give_golden_codes(chip: Chip, schedule: RowSchedule, network: int) -> None:
    made = compiled(chip.with_(row_schedule=schedule), "ideal", network=network)
    codes = random_codes(network, 12, made.program.input.inputs)
    with connect("golden", made) as golden:
        want = golden.run(codes)
    for level in CLOCKED:
        with connect(level, made) as target:
            assert_equal(target.run(codes), want)


@pytest.mark.parametrize("chip", [CHIP, NARROW], ids=lambda chip: chip.name)
@pytest.mark.parametrize("schedule", list(RowSchedule))
@pytest.mark.parametrize("rows_per_read", [3, 8, 16])
@pytest.mark.parametrize("seed", [0, 1, 0xFFFFFFFF])
def test_noisy_arrays_give_the_same_everywhere(
    chip: Chip, schedule: RowSchedule, rows_per_read: int, seed: int
) -> None:
    network = seed % 3 + 1
    # Noisier than the standard one: also a read of three one-bit cells is to go wrong at times.
    device = devices.rram(read_noise=0.2, spread=0.1)
    made = compiled(
        chip.with_(row_schedule=schedule, rows_per_read=rows_per_read), device, seed, network
    )
    codes = random_codes(seed, 15, made.program.input.inputs)
    with (
        connect("fast", made) as fast,
        connect("verilator", made) as verilator,
        connect("golden", made) as golden,
    ):
        for part in (codes[:4], codes[4:]):
            want = fast.run(part)
            assert_equal(verilator.run(part), want)
            assert verilator.counters == fast.counters
        exact = golden.run(codes[4:])
        noise = sum(int((exact[name] != want[name]).sum()) for name in want)
        assert noise > 0, "the comparison says nothing if the device disturbs no code"


@pytest.mark.parametrize("disturb", [{"seed": 4}, {"device": "ideal"}], ids=["noise key", "device"])
def test_comparison_sees_another_noise(disturb: dict[str, object]) -> None:
    codes = random_codes(7, 20, 21)
    with (
        connect("fast", compiled()) as fast,
        connect("verilator", compiled(**disturb)) as other,
    ):
        found, want = other.run(codes), fast.run(codes)
    assert any((found[name] != want[name]).any() for name in want)


def test_device_with_much_noise_and_long_batches() -> None:
    made = compile_network(
        NETWORK, chip=CHIP, device=devices.rram(read_noise=0.3, spread=0.2), seed=8
    )
    codes = random_codes(8, 400, 21)
    with connect("fast", made) as fast, connect("verilator", made) as verilator:
        assert_equal(verilator.run(codes), fast.run(codes))
        assert verilator.counters == fast.counters


def test_without_trace_only_the_last_codes_come_back() -> None:
    made = compile_network(NETWORK, chip=CHIP, device="rram", seed=3, trace=False)
    codes = random_codes(9, 10, 21)
    results = []
    for level in CLOCKED:
        with connect(level, made) as target:
            results.append(target.run(codes))
    assert list(results[0]) == ["fc1"]
    assert_equal(results[1], results[0])


# The Verilated target alone.


def test_model_of_another_chip() -> None:
    library = build_model(NARROW)
    with pytest.raises(WrongChipError, match="another configuration than chip 'small'"):
        VerilatorTarget(compiled(), library=library)


def test_run_time_fields_share_a_model() -> None:
    changed = CHIP.with_(name="x", rows_per_read=3, row_schedule=RowSchedule.BASELINE)
    assert build_model(changed) == build_model(CHIP)


def test_cycles_do_not_depend_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = random_codes(10, 8, 21)
    with connect("verilator", compiled()) as target:
        target.run(codes)
        want = target.counters
    run: Callable[[Simulation, int, int], int] = Simulation.run

    def slow(self: Simulation, wanted: int, max_idle: int) -> int:
        self.step(997)  # the host is away; the tile may wait, and must not count it
        return run(self, wanted, max_idle)

    monkeypatch.setattr(Simulation, "run", slow)
    with connect("verilator", compiled()) as target:
        for code in codes:
            target.run(code[None])
        assert target.counters == want


def test_only_a_board_is_resumed() -> None:
    with pytest.raises(InputError, match="leave resume out for fast"):
        connect("fast", compiled(), resume=True)
    with pytest.raises(InputError, match="Only the board of level serial is resumed"):
        verify(compiled(), np.zeros((1, 21), np.float32), levels=("fast",), resume=True)
