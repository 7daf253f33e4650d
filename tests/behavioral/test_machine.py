# SPDX-License-Identifier: Apache-2.0
"""The fast machine on programs written by hand."""

import numpy as np
import pytest
from machine_programs import CHIP, DENSE, dense, image, machine, make, parts_of, words
from numpy.typing import NDArray

from ohmtwin.arch.isa import assemble
from ohmtwin.arch.timing import vector_latency
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import (
    ArraySpec,
    InputLayout,
    OutputSegment,
    ProgramError,
    TileProgram,
)


def test_dense_layer_with_ideal_arrays_is_exact() -> None:
    program, weights, bias = dense()
    x = np.random.default_rng(2).integers(0, 256, (50, 16), dtype=np.uint8)
    tensors = program.unpack_outputs(machine(program).run(program.pack_inputs(x)))
    acc = x.astype(np.int64) @ weights + bias
    np.testing.assert_array_equal(tensors["fc.acc"], acc)
    # No tie can occur with this factor at these magnitudes, so plain rounding agrees.
    scaled = np.rint(acc.astype(np.float32) * np.float32((1 << 23 | 0x1234) / 2**34))
    np.testing.assert_array_equal(tensors["fc"], np.clip(scaled + 3, 0, 255))
    assert list(tensors) == ["fc.acc", "fc"]
    assert tensors["fc.acc"].dtype == np.int32
    assert tensors["fc"].dtype == np.uint8


def test_a_cut_word_loads_zeros() -> None:
    program, weights, bias = dense()
    again = "MVM rows=16"
    listing = DENSE.replace(again, f"LOAD source=HOST bytes=3 row=8 cores=2\n{again}")
    listing = listing.replace("body=8", "body=9").replace("in_words=2", "in_words=3")
    cut = TileProgram(
        **{
            **parts_of(program),
            "instructions": tuple(assemble(listing)),
            "input": InputLayout.plain(24),
        }
    )
    x = np.random.default_rng(6).integers(1, 256, (9, 24), dtype=np.uint8)
    acc = cut.unpack_outputs(machine(cut).run(cut.pack_inputs(x)))["fc.acc"]
    held = np.concatenate([x[:, :8], x[:, 16:19], np.zeros((9, 5), np.uint8)], axis=1)
    loaded = x[:, :19].sum(axis=1, dtype=np.int64)
    expected = held.astype(np.int64) @ (weights + 128) - 128 * loaded[:, None] + bias
    np.testing.assert_array_equal(acc, expected)


def test_cycles_of_a_program_counted_by_hand() -> None:
    program, _, _ = dense()
    m = machine(program)
    # Four instructions of two cycles, then the fetch of SYNC.
    assert m.counters.cycles == 9
    assert (m.counters.instructions, m.counters.reads) == (4, 0)
    m.run(np.zeros((1, 2), dtype=np.uint64))
    # SYNC 0, LOAD 2..3 and one more, MVM 6 with its 8 empty planes in 7..14 and its tail in 15..16;
    # SETs 8, 10, 12; REQ could at 14, does at 17; issues in 18..21; SEND could at 23, does when the
    # vector unit is idle; the next SYNC two cycles later.
    idle = 21 + vector_latency(CHIP)
    assert m.counters.cycles == 9 + idle + 2
    assert m.counters.instructions == 4 + 8
    assert m.counters.core_stalls == 17 - 14
    assert m.counters.vector_stalls == idle - 23
    assert m.counters.core_active == (0, 10)
    assert m.counters.adc_busy == 0
    one = np.zeros((1, 2), dtype=np.uint64)
    one[0, 0] = 1
    m.clear_counters()
    m.run(one)
    # Read planned 7, accepted 8, beats 9..12; the planes behind it are seen meanwhile, 8..14.
    assert m.counters.core_active == (0, 10)
    assert (m.counters.reads, m.counters.beats, m.counters.conversions) == (1, 4, 32)
    assert m.counters.adc_busy == pytest.approx(0.4)


def test_c_arrays_give_the_same() -> None:
    program, _, _ = dense()
    noisy = image(program, noise=1 << 24)
    x = program.pack_inputs(np.random.default_rng(2).integers(0, 256, (20, 16), dtype=np.uint8))
    reference = Machine(program, [Crossbar(noisy, 1, 1)])
    fast = Machine(program, [CCrossbar(noisy, 1, 1)])
    np.testing.assert_array_equal(fast.run(x), reference.run(x))
    assert fast.counters == reference.counters


@pytest.mark.parametrize("later", ["SEND addr=0 words=1\nRECV addr=1 words=1", "delay"])
def test_state_between_samples(later: str) -> None:
    """A word that the first sample leaves; one that each sample leaves to the next."""
    address = 8 if later != "delay" else 0
    program = make(
        f"""
        SET reg=A0 value=0
        SET reg=A1 value={address}
        SYNC in_words=1 out_words=1
        RECV addr=0 words=1
        SEND addr=0 words=1
        LOOP body=3 count=0
        SYNC in_words=1 out_words=1
        SEND addr=0 words=1
        RECV addr=1 words=1
        """,
        outputs=1,
    )
    x = words(6)
    m = machine(program)
    out = np.concatenate([m.run(x[:3]), m.run(x[3:])])
    before = x[:1].repeat(5, axis=0) if address else x[:-1]
    np.testing.assert_array_equal(out, np.concatenate([x[:1], before]))


def test_addresses_that_drift_from_sample_to_sample() -> None:
    listing = """
        SET reg=A0 value=0
        LOOP body=3 count=0
        SYNC in_words=1 out_words=1
        RECV addr=0 words=1 addr_step=1
        NOP
        """
    m = machine(make(listing))
    assert m.run(words(16)).shape == (16, 0)
    with pytest.raises(ProgramError, match=r"Instruction 3 \(RECV .*\) .* data bytes 128 to 135"):
        m.run(words(1))


# A 4 x 4 image within a margin of zero points, whose windows of 3 x 3 a core multiplies.

WINDOWS = """
SET reg=SCHEDULE value=1
SET reg=ROWS_PER_READ value=8
SET reg=PITCH value=6
LOOP body=14 count=0
SYNC in_words=5 out_words=4
SET reg=A0 value=0
RECV addr=0 words=5
SET reg=A1 value=0
SET reg=A2 value=41
LOOP body=6 count=4
LOOP body=4 count=4
LOAD addr=1 bytes=3 repeats=2 cores=2
MVM rows=9 beats=1 cores=2
ADD reg=A1 value=1
REQ dest=2 dest_step=1 param=3 outputs=2 cores=2
ADD reg=A1 value=2
SET reg=A2 value=40
SEND addr=2 words=4
"""


def windows(c: bool, n: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Codes of the convolution, and what they should be before they are rounded."""
    rng = np.random.default_rng(3)
    weights = rng.integers(-128, 128, (3, 3, 2))
    stored = weights.reshape(9, 2) + 128
    levels = np.zeros((16, 32), dtype=np.uint8)
    levels[:9, :8] = np.stack([stored >> 2 * s & 3 for s in range(4)], axis=2).reshape(9, 8)
    chip = CHIP.with_(lanes=8)
    order = np.full(40, -1)
    fill = np.full(40, 7, dtype=np.uint8)
    order[:36].reshape(6, 6)[1:5, 1:5] = np.arange(16).reshape(4, 4)
    # Codes go to byte 41 and up: byte 40 was never written, and belongs to no tensor.
    index = np.concatenate([[-1], np.arange(31)])
    program = TileProgram(
        chip=chip,
        instructions=tuple(assemble(WINDOWS)),
        params=np.full(2, (1 << 23) << 32 | 35 << 56 | 500, dtype=np.uint64),
        tables=np.zeros((4, 256), dtype=np.uint8),
        arrays=(ArraySpec(1, levels),),
        input=InputLayout(order, fill),
        outputs=(OutputSegment("conv", "uint8", 4, index),),
    )
    x = rng.integers(0, 256, (n, 4, 4), dtype=np.uint8)
    padded = np.pad(x.astype(np.int64), ((0, 0), (1, 1), (1, 1)), constant_values=7)
    acc = np.zeros((n, 4, 4, 2), dtype=np.int64)
    for i in range(3):
        for j in range(3):
            acc += padded[:, i : i + 4, j : j + 4, None] * weights[i, j]
    array = CCrossbar(image(program), 1, 1) if c else Crossbar(image(program), 1, 1)
    m = Machine(program, [array])
    codes = program.unpack_outputs(m.run(program.pack_inputs(x)))["conv"]
    return codes, ((acc + 500) / 2**12).reshape(n, 32)[:, :31]


@pytest.mark.parametrize("c", [False, True])
def test_a_convolution_over_a_padded_image_is_exact(c: bool) -> None:
    codes, expected = windows(c, 5)
    assert (expected > 1).any()
    np.testing.assert_array_equal(codes, np.clip(np.rint(expected), 0, 255))


def test_a_gather_takes_a_cycle_for_each_word_that_a_run_touches() -> None:
    def cycles(line: str) -> int:
        loop = "LOOP body=2 count=0\nSYNC in_words=1\nRECV addr=7 words=1"
        listing = f"SET reg=PITCH value=6\nSET reg=A0 value=3\n{line}\n{loop}"
        return machine(make(listing, data=words(16)[:, 0])).counters.cycles

    nothing = cycles("NOP")
    # Runs at 3..7, 9..13 and 15..19: one, one and two words; and one cycle for what is left.
    assert cycles("VEC bytes=5 repeats=2") == nothing - 1 + 4 + 1
    assert cycles("LOAD bytes=5 repeats=2 cores=2") == nothing - 1 + 4 + 1
    assert cycles("LOAD bytes=16 cores=2") == nothing - 1 + 3 + 1


# A sample of three steps: a state is the larger of itself less 5 and the step's input.

RECURRENCE = """
SET reg=QUANT value=0xff0000
LOOP body=15 count=0
SYNC in_words=1 out_words=1
SET reg=A3 value=16
SET reg=A4 value=24
LOOP body=10 count=3
SYNC in_words=1 out_words=1
SET reg=A1 value=8
RECV addr=1 words=1
SET reg=OFFSET value=-5
VEC addr=3 bytes=8
SET reg=OFFSET value=0
VEC addr=1 bytes=8 op=MAX
REQ dest=4 param=0 outputs=8 vector=1 same_param=1
SET reg=A3 value=24
SEND addr=4 words=1
NOP
"""


@pytest.mark.parametrize("arrays", [CCrossbar, Crossbar])
def test_a_state_goes_from_step_to_step(arrays: type[CCrossbar] | type[Crossbar]) -> None:
    program = make(
        RECURRENCE,
        inputs=3,
        outputs=3,
        params=np.full(2, (1 << 23) << 32 | 23 << 56, dtype=np.uint64),
        # The state at the start of each sample.
        data=np.array([0, 0, 0x6464646464646464], dtype=np.uint64),
    )
    x = np.random.default_rng(5).integers(0, 256, (6, 3, 8), dtype=np.uint8)
    found = program.unpack_outputs(
        Machine(program, [arrays(image(program), 1, 1)]).run(program.pack_inputs(x))
    )["out"].reshape(6, 3, 8)
    state = np.full((6, 8), 100)
    for step in range(3):
        state = np.maximum(np.maximum(state - 5, x[:, step]), 0)
        np.testing.assert_array_equal(found[:, step], state)


def test_the_data_image_is_there_at_the_start() -> None:
    listing = """
        LOOP body=5 count=0
        SYNC in_words=1 out_words=2
        SET reg=A0 value=0
        SEND words=2
        SET reg=A0 value=8
        RECV words=1
        """
    data = words(2)[:, 0]
    x = words(2) + np.uint64(1)
    out = machine(make(listing, outputs=2, data=data)).run(x)
    np.testing.assert_array_equal(out, [data, [data[0], x[0, 0]]])


def test_products_before_the_first_sample() -> None:
    """A program may work on its data image before it waits for input."""
    program, _, _ = dense()
    listing = DENSE.replace("LOOP", "LOAD bytes=16 cores=2\nMVM rows=16 beats=4 cores=2\nLOOP")
    parts = {**parts_of(program), "instructions": tuple(assemble(listing)), "data": words(2)[:, 0]}
    arrays = [Crossbar(image(program), 1, 1)], [CCrossbar(image(program), 1, 1)]
    counters = []
    for array in arrays:
        m = Machine(TileProgram(**parts), array)
        assert array[0].reads == m.counters.reads > 0
        # LOAD of two words and one cycle more; the MVM is still busy when the SYNC comes.
        assert m.counters.cycles == 9 + 4 + 2 + m.counters.core_stalls
        assert m.counters.core_stalls == m.counters.core_active[1] - 3
        counters.append(m.counters)
    assert counters[0] == counters[1]


def test_address_registers_wrap() -> None:
    listing = """
        LOOP body=6 count=0
        SYNC in_words=1 out_words=1
        SET reg=A0 value=-16
        ADD reg=A0 value=24
        RECV addr=0 words=1
        ADD reg=A0 value=0x1000000
        SEND addr=0 words=1
        """
    x = words(3)
    np.testing.assert_array_equal(machine(make(listing, outputs=1)).run(x), x)


def test_long_samples() -> None:
    listing = """
        LOOP body=5 count=0
        SYNC in_words=1 out_words=1
        LOOP body=1 count=100000
        NOP
        RECV words=1
        SEND words=1
        """
    x = words(2)
    program = make(listing, outputs=1)
    m = Machine(program, [CCrossbar(image(program), 1, 1)])
    m.clear_counters()
    np.testing.assert_array_equal(m.run(x), x)
    assert m.counters.instructions == 2 * 100_004
    assert m.counters.cycles == 2 * 2 * 100_004


def test_a_sample_longer_than_the_fifo() -> None:
    program = make(
        """
        SET reg=A0 value=0
        LOOP body=7 count=0
        SYNC in_words=12
        RECV addr=0 words=12
        SYNC in_words=12 out_words=12
        SEND addr=0 words=12
        RECV addr=0 words=12
        SYNC out_words=12
        SEND addr=0 words=12
        """,
        inputs=24,
        outputs=24,
    )
    x = words(4, 24)
    np.testing.assert_array_equal(machine(program).run(x), x)
