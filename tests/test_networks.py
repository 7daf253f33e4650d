# SPDX-License-Identifier: Apache-2.0
"""Every shipped network, at every level: what the README promises of them, a few samples each.

`make networks` runs more of them through the RTL.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from network_cases import FILES, MODELS, NETWORKS, Case, case_of

import ohmtwin as ot
from ohmtwin.bench import compiling
from ohmtwin.host.graph import Conv, Dense, Network

# Of each network one file; between them both formats, both kinds of scales and both types.
ON_RTL = (
    "lenet_qdq_per_channel",
    "resnet_qoperator_per_channel",
    "vowels_conv_qoperator",
    "vowels_lstm_step_qdq_per_channel",
    "autoencoder_qdq",
)


def stem(path: Path) -> str:
    return path.stem


def steps_of(case: Case) -> int | None:
    return case.samples(1)[0].shape[1] if case.states else None


def all_values(network: Network, steps: int | None) -> int:
    """Values of a sample: codes of each layer that computes, and the sums of those on arrays."""
    total = 0
    for layer in network.layers:
        size = math.prod(network.shape(layer.output))
        if isinstance(layer, Conv | Dense):
            total += 2 * size
        elif layer.kind not in ("Constant", "Reshape", "Slice", "Transpose"):
            total += size
    return total * (steps or 1)


def test_no_file_is_left_out() -> None:
    assert len(FILES) == 26
    assert {case_of(path).name for path in FILES} == {case.name for case in NETWORKS}


@pytest.mark.parametrize("path", FILES, ids=stem)
def test_onnx_runtime_golden_and_fast_are_equal(path: Path) -> None:
    """With ideal arrays: each quantized tensor of the file, and each tensor of the tile."""
    pytest.importorskip("onnxruntime", reason="pip install 'ohmtwin[reference]'")
    case = case_of(path)
    network, (x, y) = case.network(path), case.samples(8)
    compiled = ot.compile(network, device="ideal", steps=steps_of(case))
    report = ot.verify(compiled, x, y, levels=("golden", "fast"), model=path, states=case.states)
    assert report.agree, str(report)
    assert report.notes == ()
    reference, fast = report.reference, report.levels["fast"]
    assert reference is not None
    assert reference.exact
    assert (reference.differing, reference.unmatched) == (0, ())
    assert reference.tensors == case.quantized_tensors
    assert reference.codes >= len(x) * reference.tensors
    assert (fast.against, fast.required, fast.mismatches) == ("golden", True, 0)
    assert fast.values == all_values(network, steps_of(case)) * len(x)
    if y is not None:
        assert reference.accuracy == report.levels["golden"].accuracy == fast.accuracy
        assert fast.accuracy is not None
        assert fast.accuracy >= 0.75


def assert_rtl_equals_fast(case: Case, compiled: ot.CompiledNetwork, count: int) -> None:
    """Values and counters; and the device disturbs, else equality would be an empty one."""
    x, y = case.samples(count)
    report = ot.verify(compiled, x, y, levels=("golden", "fast", "verilator"))
    assert report.agree, str(report)
    rtl, counters = report.levels["verilator"], report.counters
    assert (rtl.against, rtl.required, rtl.mismatches) == ("fast", True, 0)
    assert rtl.values == all_values(compiled.network, steps_of(case)) * count
    assert report.levels["fast"].mismatches > 0
    assert counters is not None
    assert (counters.level, counters.predicted, counters.differing) == ("verilator", True, ())
    assert counters.reads >= counters.reads_bound > 0


# The chips are those of the main job, in its worker, so that their models are built once.


@pytest.mark.xdist_group("main_job")
@pytest.mark.parametrize("name", ON_RTL)
def test_rtl_equals_fast_with_noise(name: str) -> None:
    path = MODELS / f"{name}.onnx"
    case = case_of(path)
    compiled = ot.compile(
        case.network(path), chip="tile32", device="rram", seed=5, steps=steps_of(case)
    )
    assert_rtl_equals_fast(case, compiled, 2)


@pytest.mark.xdist_group("main_job")
def test_rtl_equals_fast_on_several_tiles() -> None:
    """Residuals cross from tile to tile; no two arrays of the tiles share their noise."""
    path = MODELS / "resnet_qdq.onnx"
    case = case_of(path)
    compiled = ot.compile(case.network(path), chip="tile4", tiles=8, device="rram", seed=5)
    assert len(compiled.parts) >= 2
    assert_rtl_equals_fast(case, compiled, 2)


@pytest.mark.parametrize(
    ("name", "chip", "mapping"),
    [
        ("lenet_qoperator_per_channel", "tile4", "rows"),
        ("lenet_qdq", "tile32", "kernel"),
        ("resnet_qdq_per_channel", "tile4", "rows"),
        ("mnist_qdq", "tile16", "rows"),
    ],
)
def test_several_tiles_equal_golden(name: str, chip: str, mapping: str) -> None:
    path = MODELS / f"{name}.onnx"
    case = case_of(path)
    network, (x, y) = case.network(path), case.samples(4)
    options = {"chip": chip, "tiles": 8, "device": "ideal", "conv_mapping": mapping}
    compiled = ot.compile(network, **options)
    assert len(compiled.parts) >= 2
    report = ot.verify(compiled, x, y, levels=("golden", "fast"))
    fast = report.levels["fast"]
    assert (fast.required, fast.mismatches) == (True, 0), str(report)
    assert fast.values == all_values(network, None) * len(x)


@pytest.mark.parametrize("case", NETWORKS, ids=lambda case: case.name)
def test_arrays_are_as_few_as_shapes_allow(case: Case) -> None:
    """A matrix takes the fewest arrays that hold it; the group of a convolution is one matrix."""
    compiled = ot.compile(
        case.network(MODELS / f"{case.name}_qdq.onnx"), device="ideal", steps=steps_of(case)
    )
    chip = compiled.chip
    for mapped in compiled.mapping.layers:
        layer = mapped.layer
        groups = layer.groups if isinstance(layer, Conv) else 1
        rows, outputs = mapped.rows, layer.outputs
        if groups == 1:
            fewest = -(-rows // chip.rows) * -(-outputs // chip.outputs)
        else:
            # Side by side on the diagonal, as many as rows and columns take.
            per_group = rows // groups, outputs // groups
            together = min(chip.rows // per_group[0], chip.outputs // per_group[1])
            fewest = -(-groups // together)
        assert len(mapped.blocks) == fewest, layer.name
    full = {"lenet", "mnist"}
    assert (compiled.mapping.utilisation >= 0.6) == (case.name in full)


@pytest.mark.parametrize("case", NETWORKS, ids=lambda case: case.name)
def test_small_arrays_are_full(case: Case) -> None:
    """But for depthwise convolutions: of the cells that n channels take, one in n has a weight."""
    network = case.network(MODELS / f"{case.name}_qdq.onnx")
    chip = MODELS.parent / "small_arrays.toml"
    compiled = ot.compile(network, chip=chip, tiles=16, device="ideal", steps=steps_of(case))
    assert (compiled.mapping.utilisation >= 0.6) == (case.name != "resnet")


def program_size(case: Case, form: str, steps: int | None = None) -> int:
    network = case.network(MODELS / f"{case.name}_{form}.onnx")
    return len(ot.compile(network, device="ideal", steps=steps).program.instructions)


def test_a_sequence_is_a_loop() -> None:
    case = next(case for case in NETWORKS if case.states)
    assert program_size(case, "qoperator", 29) == program_size(case, "qoperator", 290) < 200


def test_positions_of_convolutions_are_loops() -> None:
    """LeNet's two have 28x28 and 10x10 of them."""
    case = next(case for case in NETWORKS if case.name == "lenet")
    assert program_size(case, "qdq") < 150


def test_twelve_million_weights(tmp_path: Path) -> None:
    """They compile in bounded memory, and run on 97 tiles as golden says."""
    assert compiling.compile_ten_million()["gib"] < 1
    path = tmp_path / "wide.onnx"
    assert compiling.write_wide(path) > 10_000_000
    network = ot.load_network(path)
    compiled = ot.compile(network, chip="tile32", tiles=128, device="ideal")
    assert len(compiled.parts) > 90
    x = np.random.default_rng(1).integers(0, 256, (1, 784)).astype(np.uint8)
    with ot.connect("golden", compiled) as golden, ot.connect("fast", compiled) as fast:
        wanted, found = golden.run(x), fast.run(x)
    assert list(found) == [f"fc{i}{what}" for i in range(5) for what in (".acc", "")]
    for name, values in found.items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)
