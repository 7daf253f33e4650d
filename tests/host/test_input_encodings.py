# SPDX-License-Identifier: Apache-2.0
"""Input encodings from the compiler to the RTL: golden = fast = verilator, noise and counters."""

import dataclasses

import numpy as np
import pytest
from networks import SMALL_CHIP, random_codes, random_network
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import ConfigError, InputError
from ohmtwin.arch.inputs import MAX_PASSES, InputCode, InputEncoding, lfsr_states
from ohmtwin.arch.isa import Instruction, Opcode, Reg
from ohmtwin.behavioral import devices, golden
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.devices.sections import Driver
from ohmtwin.behavioral.inputs import counts_of, drives_of
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import ProgramError
from ohmtwin.fpga.crossbar.image import check_arrays
from ohmtwin.host.compiler.compiled import CompiledNetwork
from ohmtwin.host.compiler.network import compile_network
from ohmtwin.host.graph import Network
from ohmtwin.host.targets import connect

_OTHERS = [e for e in InputEncoding if e is not InputEncoding.UNSIGNED]
_EXACT = [e for e in _OTHERS if e is not InputEncoding.STOCHASTIC]
_INPUTS, _SAMPLES = 21, 4
_SLICED: dict[str, object] = {
    "cell_bits": 1,
    "weight_encoding": "differential",
    "slice_reads": True,
    "cols": 64,
    "cores": 6,
    "lanes": 2,
}


def chip_of(encoding: InputEncoding, **changes: object) -> Chip:
    """The small chip, with an ADC for all digits; streams are short."""
    if encoding is InputEncoding.STOCHASTIC:
        changes = {"stream_length": 40, **changes}
    return SMALL_CHIP.with_(**{"adc_bits": 7, "input_encoding": encoding, **changes})


def network(zero_point: int = 128) -> Network:
    """Two layers whose inputs straddle zero."""
    plain = random_network(3, (_INPUTS, 8, 5))
    unit = dataclasses.replace(plain.inputs[0].quant, zero_point=zero_point)
    return dataclasses.replace(
        plain,
        inputs=(dataclasses.replace(plain.inputs[0], quant=unit),),
        layers=tuple(dataclasses.replace(one, out_quant=unit) for one in plain.layers),
    )


def compiled(encoding: InputEncoding, device: str, **changes: object) -> CompiledNetwork:
    return compile_network(network(), chip=chip_of(encoding, **changes), device=device, trace=True)


def assert_equal(
    found: dict[str, NDArray[np.generic]], expected: dict[str, NDArray[np.generic]]
) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("encoding", InputEncoding)
def test_passes_weigh_what_a_code_says(encoding: InputEncoding) -> None:
    """All 256 codes, at several origins."""
    code = InputCode(encoding, 40 if encoding is InputEncoding.STOCHASTIC else MAX_PASSES)
    x = np.arange(256, dtype=np.uint8)
    for zero in (0, 1, 100, 255) if code.has_zero else (0,):
        drives = [drives_of(x, code, k, zero).astype(np.int64) for k in range(code.passes)]
        assert max(int(d.max()) for d in drives) == code.top_digit
        total = sum(w * d for w, d in zip(code.weights, drives, strict=True))
        expected = counts_of(x, code).astype(np.int64) - code.origin(zero)
        assert np.array_equal(total, expected)
    assert code.exact == np.array_equal(counts_of(x, code), x)


def test_the_register_of_streams_goes_round_once_in_255() -> None:
    assert sorted(lfsr_states(255)) == list(range(1, 256))
    assert lfsr_states(256)[-1] == 1


@pytest.mark.parametrize("schedule", ["baseline", "zero_skip"])
@pytest.mark.parametrize("encoding", _OTHERS)
def test_ideal_arrays_give_the_golden_network(encoding: InputEncoding, schedule: str) -> None:
    """Sums and codes of every layer, and as many reads as the encoding says."""
    net = compiled(encoding, "ideal", row_schedule=schedule)
    codes = random_codes(7, _SAMPLES, _INPUTS)
    with connect("fast", net) as fast:
        found = fast.run(codes)
        assert fast.counters is not None
        assert fast.counters.reads == net.reads_bound(codes, found) > 0
    with connect("golden", net) as exact:
        assert_equal(dict(found), dict(exact.run(codes)))
    if encoding in _EXACT:
        assert_equal(dict(found), golden.run_network(network(), codes))


@pytest.mark.parametrize(
    ("encoding", "changes"),
    [
        *((encoding, {}) for encoding in _OTHERS),
        # As many row budgets as there can be: 16 passes of 16 slices.
        (InputEncoding.SIGN_MAGNITUDE, _SLICED),
    ],
)
def test_numpy_and_c_are_one_machine(encoding: InputEncoding, changes: dict[str, object]) -> None:
    net = compiled(encoding, "rram", **changes)
    codes = random_codes(8, 2, _INPUTS)
    arrays = [
        Crossbar(image, net.seed, net.array_base + spec.core)
        for spec, image in zip(net.program.arrays, net.images, strict=True)
    ]
    reference = Machine(net.program, arrays)
    words = reference.run(net.program.pack_inputs(codes))
    with connect("fast", net) as fast:
        found = fast.run(codes)
        assert fast.counters == reference.counters
    assert_equal(dict(net.program.unpack_outputs(words)), dict(found))


@pytest.mark.parametrize("encoding", _OTHERS)
@pytest.mark.chips
def test_noisy_rtl_is_the_fast_level(encoding: InputEncoding) -> None:
    net = compiled(encoding, "rram")
    codes = random_codes(9, _SAMPLES, _INPUTS)
    with connect("fast", net) as fast, connect("verilator", net) as clocked:
        assert_equal(dict(clocked.run(codes)), dict(fast.run(codes)))
        assert clocked.counters == fast.counters


def test_sign_and_magnitude_skip_zeros_that_straddle() -> None:
    """Codes near their zero have few bits of magnitude, whatever side they lie on."""
    codes = np.random.default_rng(1).integers(124, 133, (_SAMPLES, _INPUTS)).astype(np.uint8)
    reads = {}
    for encoding in (InputEncoding.UNSIGNED, InputEncoding.SIGN_MAGNITUDE):
        net = compile_network(network(), chip=chip_of(encoding), device="ideal", trace=True)
        with connect("fast", net) as fast:
            fast.run(codes)
            assert fast.counters is not None
            reads[encoding] = fast.counters.core_reads[0]
    print(reads)
    assert reads[InputEncoding.SIGN_MAGNITUDE] < reads[InputEncoding.UNSIGNED]


def test_longer_streams_come_closer() -> None:
    codes = random_codes(11, 40, _INPUTS)
    exact = golden.run_network(network(), codes)["fc1"].astype(np.int64)
    distance = []
    for length in (8, 40, 200, 255):
        net = compiled(InputEncoding.STOCHASTIC, "ideal", stream_length=length)
        with connect("golden", net) as target:
            codes_out = target.run(codes)["fc1"].astype(np.int64)
        distance.append(float(np.abs(codes_out - exact).mean()))
    print(distance)
    assert distance[0] > distance[1] > distance[2] > distance[3] == 0


def test_voltages_of_the_device_enter() -> None:
    """Drivers that fall behind at the top digit give smaller sums."""
    compressed = devices.ideal().model_copy(update={"driver": Driver(digits=4, compression=0.5)})
    codes = np.full((1, _INPUTS), 255, np.uint8)
    chip = chip_of(InputEncoding.DIGITS)
    net = compile_network(network(), chip=chip, device=compressed, trace=True)
    with connect("fast", net) as fast, connect("golden", net) as exact:
        assert not np.array_equal(fast.run(codes)["fc0.acc"], exact.run(codes)["fc0.acc"])


def test_drivers_of_too_few_voltages_are_refused() -> None:
    few = devices.ideal().model_copy(update={"driver": Driver(digits=3)})
    with pytest.raises(ConfigError, match=r"drivers of 4 voltages, those of device .* have 3"):
        compile_network(network(), chip=chip_of(InputEncoding.DIGITS), device=few)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"input_encoding": "digits", "adc_bits": 6, "rows_per_read": 16},
            r"16 rows of 2-bit cells driven with up to 3 read voltages need an ADC of 8 bits, 6 "
            r"were given; raise adc_bits to 8, lower rows_per_read to 7",
        ),
        (
            {"stream_length": 20},
            r"stream_length is for input_encoding = 'stochastic', a product of the encoding "
            r"'unsigned' takes 8 passes; leave it out",
        ),
        (
            {"input_encoding": "unary", "row_budgets": (4,) * 8},
            r"row_budgets are for bit planes, the passes of input_encoding = 'unary' are others",
        ),
        (
            {"input_encoding": "digits", "program_verify": True, "adc_bits": 7},
            r"program_verify reads cells with rows driven or not",
        ),
        (
            {"input_encoding": "digits", "weight_encoding": "flipped", "adc_bits": 8},
            r"weight_encoding = 'flipped' counts the rows that a read drives",
        ),
        (
            {
                **{"input_encoding": "twos_complement", "weight_encoding": "xnor"},
                **{"cell_bits": 1, "row_schedule": "baseline"},
            },
            r"weight_encoding = 'xnor' drives a row for every bit of an input",
        ),
        ({"input_encoding": "gray"}, r"input_encoding"),
    ],
)
def test_chips_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SMALL_CHIP.with_(**changes)


def test_a_board_takes_no_digits() -> None:
    with pytest.raises(ConfigError, match=r"arrays of a board take rows that are driven or not"):
        check_arrays(chip_of(InputEncoding.DIGITS))


def _with_instruction(net: CompiledNetwork, before: Opcode, reg: Reg, value: int) -> Machine:
    """The network's machine with a SET before the first instruction of a kind in the loop."""
    listing = list(net.program.instructions)
    at = next(k for k, one in enumerate(listing) if one.op is before)
    listing.insert(at, Instruction.make(Opcode.SET, reg=reg, value=value))
    loop = next(k for k, one in enumerate(listing) if one.op is Opcode.LOOP and not one["count"])
    fields = dict(listing[loop].fields)
    listing[loop] = Instruction(Opcode.LOOP, {**fields, "body": fields["body"] + 1})
    program = dataclasses.replace(net.program, instructions=tuple(listing))
    arrays = [Crossbar(image, 0, k) for k, image in enumerate(net.images)]
    return Machine(program, arrays)


def test_zero_must_stand_from_load_to_product() -> None:
    net = compiled(InputEncoding.SIGN_MAGNITUDE, "ideal")
    with pytest.raises(ProgramError, match=r"register ZERO is 3, rows 0 and up of core \d were"):
        _with_instruction(net, Opcode.MVM, Reg.ZERO, 3)


def test_only_sign_and_magnitude_have_a_zero() -> None:
    net = compiled(InputEncoding.DIGITS, "ideal")
    with pytest.raises(InputError, match=r"input_encoding = 'digits' have no register ZERO"):
        _with_instruction(net, Opcode.MVM, Reg.ZERO, 3)
