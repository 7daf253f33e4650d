# SPDX-License-Identifier: Apache-2.0
"""Binary networks on sense amplifiers, at every level, and models that they cannot compute."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from compiled_runs import run_fast
from graph_cases import Maker
from networks import random_network
from numpy.typing import NDArray

from ohmtwin import devices
from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.arch.formats import RequantScale
from ohmtwin.behavioral.golden import run_network
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.graph import Conv, Dense, Network
from ohmtwin.host.targets import connect

CHIP = Chip(
    name="sense",
    cores=4,
    rows=32,
    cols=32,
    cell_bits=1,
    adc_bits=1,
    rows_per_read=16,
    row_schedule="baseline",
    weight_encoding="xnor",
    weight_bits=1,
    sense_amplifier=True,
    data_words=64,
    param_words=128,
    fifo_words=64,
)


def binary_network(seed: int = 1, high: int = 1, biases: Sequence[int] = ()) -> Network:
    """Layers of signs: 16 bits in, 12 and 14 hidden, 5 out; ``biases`` are those of the first
    outputs of each."""
    random = np.random.default_rng(seed)
    m = Maker(seed)
    a = m.dense(m.input(16), 16, 12)
    m.dense(m.dense(a, 12, 14), 14, 5)
    one = RequantScale.from_float(1.0)
    for at, layer in enumerate(m.layers):
        if isinstance(layer, Dense):
            shape = layer.weights.shape
            bias = random.integers(-3, 4, shape[0]).astype(np.int32)
            bias[: len(biases)] = biases
            m.layers[at] = replace(
                layer,
                weights=random.choice(np.array([-1, 1], np.int8), shape),
                bias=bias,
                mantissa=np.full(shape[0], one.mantissa, np.uint32),
                shift=np.full(shape[0], one.shift, np.uint8),
                zero_point=0,
                clip_low=0,
                clip_high=high,
            )
    return m.network(m.layers[-1].output)


def bits(network: Network, n: int, seed: int = 2) -> dict[str, NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    return {network.fed[0].tensor: random.integers(0, 2, (n, 16), dtype=np.uint8)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ideal_arrays_give_golden(seed: int) -> None:
    network = binary_network(seed)
    compiled = compile_network(network, chip=CHIP, device="ideal")
    codes = bits(network, 40)
    found, counters = run_fast(compiled, codes)
    golden = run_network(network, codes)
    assert tuple(found) == tuple(layer.name for layer in network.layers)
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor, golden[name], err_msg=name)
        assert 0.05 < tensor.mean() < 0.95, "thresholds decide nothing"
    assert counters[0].reads == 3 * 40, "a read a layer"


def test_outputs_that_are_always_the_same() -> None:
    """No sum reaches code 1, or every one does."""
    network = binary_network(4, biases=(-40, 40))
    codes = bits(network, 20)
    found, _ = run_fast(compile_network(network, chip=CHIP, device="ideal"), codes)
    golden = run_network(network, codes)
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor, golden[name], err_msg=name)
        assert not tensor[:, 0].any()
        assert tensor[:, 1].all()


@pytest.mark.chips
def test_verilator_equals_fast_and_golden() -> None:
    network = binary_network()
    codes = bits(network, 24)
    golden = run_network(network, codes)
    for device in (devices.ideal(), devices.rram(spread=0.2)):
        compiled = compile_network(network, chip=CHIP, device=device)
        with connect("fast", compiled) as fast, connect("verilator", compiled) as clocked:
            wanted, found = fast.run(codes), clocked.run(codes)
            assert fast.counters == clocked.counters
        for name, tensor in found.items():
            np.testing.assert_array_equal(tensor, wanted[name], err_msg=name)
        same = all(np.array_equal(tensor, golden[name]) for name, tensor in found.items())
        assert same == (device.name == "ideal")


def test_thresholds_are_part_of_the_image() -> None:
    compiled = compile_network(binary_network(), chip=CHIP, device="ideal")
    for spec, image in zip(compiled.program.arrays, compiled.images, strict=True):
        assert spec.thresholds is not None
        np.testing.assert_array_equal(image.thresholds, spec.thresholds)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adc_bits": 2}, r"with adc_bits = 2; set adc_bits = 1, or leave sense_amplifier out"),
        ({"weight_bits": 8}, r"with weight_bits = 8; set weight_bits = 1"),
        (
            {"weight_encoding": "offset", "weight_bits": 8, "cell_bits": 2},
            r'with weight_encoding = "offset"; set weight_encoding = "xnor"',
        ),
        ({"adc_clip": True}, r"with adc_clip = true; set adc_clip = false"),
        ({"adc_step": 2}, r"with adc_step = 2; set adc_step = 1"),
        ({"row_budgets": (8,) * 8}, r"with row_budgets = \[8, .*; set row_budgets = \[\]"),
        ({"input_encoding": "digits"}, r"xnor.*; set input_encoding = 'unsigned'"),
        ({"code_a": 69}, r"an AN code is for the encoding offset, not xnor; leave out code_a"),
    ],
)
def test_chips_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CHIP.with_(**changes)


def test_models_of_several_bits_are_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^Layer 'dense\d*' has codes up to \d+, sense amplifiers give 0 or 1; leave "
        r"sense_amplifier out of chip 'sense' and set adc_bits = 5, or quantize its output to one",
    ):
        compile_network(binary_network(high=255), chip=CHIP, device="ideal")
    with pytest.raises(
        ConfigError,
        match=r"^Layer 'fc0' has weights from -\d+ to \d+, the cells of chip 'sense' hold -1 to 1 "
        r"\(encoding xnor, weight_bits = 1\); leave sense_amplifier out and set weight_bits = 8",
    ):
        compile_network(random_network(1, (16, 4)), chip=CHIP, device="ideal")
    with pytest.raises(ConfigError, match=r"adds up 16 inputs, a sense amplifier decides on one"):
        compile_network(binary_network(), chip=CHIP.with_(rows_per_read=8), device="ideal")


def binary_conv(**attributes: object) -> Network:
    """One of signs, with codes of 0 and 1; and what is to be different."""
    m = Maker(1)
    m.conv(m.input(1, 4, 4), (2, 1, 3, 3), pads=(1, 1, 1, 1))
    layer = m.layers[0]
    assert isinstance(layer, Conv)
    scale = RequantScale.from_float(1.0)
    m.layers[0] = replace(
        layer,
        weights=np.where(layer.weights < 0, -1, 1).astype(np.int8),
        bias=np.zeros(2, np.int32),
        mantissa=np.full(2, scale.mantissa, np.uint32),
        shift=np.full(2, scale.shift, np.uint8),
        **{"zero_point": 0, "clip_low": 0, "clip_high": 1, "pad_code": 1, **attributes},
    )
    return m.network(layer.output)


def test_layers_that_are_no_comparison_are_refused() -> None:
    compile_network(binary_conv(), chip=CHIP, device="ideal")
    with pytest.raises(ConfigError, match=r"is padded with code 3, a row is driven or not; leave"):
        compile_network(binary_conv(pad_code=3), chip=CHIP, device="ideal")
    falls = np.zeros(256, np.uint8)
    falls[0] = 1
    with pytest.raises(ConfigError, match=r"has codes that fall as sums rise, .* change the signs"):
        compile_network(binary_conv(table=falls), chip=CHIP, device="ideal")
    m = Maker(2)
    a = m.input(16)
    adds = m.network(m.combine(a, a))
    with pytest.raises(
        ConfigError, match=r"^Layer 'combine\d*' \(\w+\) works on codes of more than"
    ):
        compile_network(adds, chip=CHIP, device="ideal")


def test_samples_of_several_bits_are_refused() -> None:
    network = binary_network()
    compiled = compile_network(network, chip=CHIP, device="ideal")
    codes = {name: 3 * array for name, array in bits(network, 2).items()}
    with pytest.raises(InputError, match=r"^Input codes must be 0 or 1 on chip 'sense' .* not 3"):
        run_fast(compiled, codes)


def test_what_a_bit_cannot_tell_is_not_calibrated() -> None:
    compiled = compile_network(binary_network(), chip=CHIP, device=devices.rram())
    with connect("fast", compiled) as target:
        for measure in (target.calibrate_lanes, target.compensate):
            with pytest.raises(InputError, match=r"^Chip 'sense' has sense amplifiers, which tell"):
                measure()
