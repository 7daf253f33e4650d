# SPDX-License-Identifier: Apache-2.0
"""The fast machine on programs written by hand, its errors, and the layout of words."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.errors import InputError
from ohmtwin.arch.isa import assemble
from ohmtwin.arch.timing import vector_latency
from ohmtwin.behavioral import machine_walk
from ohmtwin.behavioral.cengine import CCrossbar
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import (
    ArraySpec,
    InputLayout,
    OutputSegment,
    ProgramError,
    TileProgram,
)

CHIP = Chip(cores=2, rows=16, cols=32, lanes=8, rows_per_read=8, data_words=16, fifo_words=16)
_NO_PARAMS = np.zeros(0, dtype=np.uint64)


def make(
    listing: str,
    *,
    inputs: int = 1,
    outputs: tuple[OutputSegment, ...] | int = 0,
    params: NDArray[np.uint64] = _NO_PARAMS,
    levels: NDArray[np.uint8] | None = None,
    chip: Chip = CHIP,
    data: NDArray[np.uint64] = _NO_PARAMS,
) -> TileProgram:
    """A program from a listing, ``inputs`` words a sample; outputs may be a number of words."""
    if isinstance(outputs, int):
        index = np.arange(8 * outputs)
        outputs = (OutputSegment("out", "uint8", outputs, index),) if outputs else ()
    if levels is None:
        levels = np.zeros((chip.rows, chip.cols), dtype=np.uint8)
    return TileProgram(
        chip=chip,
        instructions=tuple(assemble(listing)),
        params=params,
        tables=np.zeros((4, 256), dtype=np.uint8),
        arrays=(ArraySpec(1, levels),),
        input=InputLayout.plain(8 * inputs),
        outputs=outputs,
        data=data,
    )


def image(program: TileProgram, noise: int = 0) -> ArrayImage:
    return ArrayImage(
        program.arrays[0].levels.astype(np.int32) << 12,
        np.zeros(program.chip.rows, dtype=np.int32),
        v0=noise,
        adc_bits=program.chip.adc_bits,
        lanes=program.chip.lanes,
    )


def machine(program: TileProgram) -> Machine:
    return Machine(program, [Crossbar(image(program), 1, 1)])


def words(n: int, width: int = 1) -> NDArray[np.uint64]:
    return np.random.default_rng(5).integers(0, 1 << 63, (n, width), dtype=np.uint64)


# A dense layer of 16 inputs and 8 outputs, one core.

DENSE = """
SET reg=SCHEDULE value=1
SET reg=ROWS_PER_READ value=8
SET reg=PLANES value=8
LOOP body=8 count=0
SYNC in_words=2 out_words=5
LOAD source=HOST bytes=16 cores=2
MVM rows=16 beats=4 cores=2
SET reg=QUANT value=0xff0003
SET reg=A1 value=32
SET reg=A2 value=0
REQ dest=1 param=2 tap=1 outputs=8 cores=2
SEND addr=1 words=1
"""


def dense() -> tuple[TileProgram, NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(11)
    weights = rng.integers(-128, 128, (16, 8))
    bias = rng.integers(-5000, 5000, 8)
    stored = weights + 128
    levels = np.stack([stored >> 2 * s & 3 for s in range(4)], axis=2).reshape(16, 32)
    scale = np.uint64((1 << 23 | 0x1234) << 32 | 34 << 56)
    program = make(
        DENSE,
        inputs=2,
        outputs=(
            OutputSegment("fc.acc", "int32", 4, np.arange(8)),
            OutputSegment("fc", "uint8", 1, np.arange(8)),
        ),
        params=bias.astype(np.int32).view(np.uint32).astype(np.uint64) | scale,
        levels=levels.astype(np.uint8),
    )
    return program, weights, bias


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
            **_parts(program),
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


@pytest.mark.parametrize(
    ("between", "fits"),
    [
        ("NOP", False),
        ("SET reg=SCALE value=1", False),
        ("SYNC", True),
        ("SET reg=QUANT value=0xff0000", True),
        ("RECV addr=5 words=1", True),
        ("SEND addr=5 words=1", True),
    ],
)
@pytest.mark.parametrize("reader", ["LOAD addr=1 bytes=8 cores=2", "VEC addr=1 bytes=8"])
def test_a_reader_of_stored_codes_waits(between: str, fits: bool, reader: str) -> None:
    sends = between.startswith("SEND")
    listing = f"""
        SET reg=A1 value=33
        LOOP body=7 count=0
        SYNC in_words=1 out_words=1
        {"NOP" if between.startswith("RECV") else "RECV addr=5 words=1"}
        VEC bytes=8
        REQ dest=4 param=0 outputs=2 vector=1
        {between}
        {reader}
        NOP
        """.replace("SET reg=A1", "SET reg=A4 value={}\nSET reg=A1")
    params = np.zeros(2, dtype=np.uint64)
    for dest, overlaps in ((40, True), (33, True), (31, False), (41, False)):
        program = make(
            listing.format(dest),
            outputs=int(sends),
            params=params,
            data=np.zeros(8, dtype=np.uint64),
        )
        # The last of two codes at 32 overlaps as well; those at 31 and 32 do not reach byte 33.
        if fits or not overlaps:
            machine(program).run(words(2))
        else:
            with pytest.raises(ProgramError, match=f"reads data byte {dest}, which a REQ before"):
                machine(program)


def test_a_loop_may_bring_a_reader_back_too_early() -> None:
    listing = """
        LOOP body=6 count=0
        SYNC in_words=1
        RECV addr=5 words=1
        LOOP body=2 count=2
        VEC bytes=8
        REQ param=0 outputs=1 vector=1
        NOP
        """
    with pytest.raises(ProgramError, match=r"Instruction 4 \(VEC .* reads data byte 0, which"):
        machine(make(listing, params=np.zeros(2, dtype=np.uint64)))


def test_padding_may_be_sent_unwritten() -> None:
    listing = "LOOP body=3 count=0\nSYNC in_words=1 out_words=2\nRECV words=1\nSEND words=2"
    index = np.concatenate([np.arange(8), np.full(8, -1)])
    good = make(listing, outputs=(OutputSegment("x", "uint8", 2, index),))
    x = words(3)
    np.testing.assert_array_equal(machine(good).run(x)[:, 0], x[:, 0])
    index[13] = 8
    bad = make(listing, outputs=(OutputSegment("x", "uint8", 2, index),))
    with pytest.raises(ProgramError, match="uses data byte 13, which nothing has written yet"):
        machine(bad)


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
    parts = {**_parts(program), "instructions": tuple(assemble(listing)), "data": words(2)[:, 0]}
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


_SETUP = "SET reg=SCHEDULE value=0\nSET reg=PLANES value=8\nSET reg=ROWS_PER_READ value=8\n"
_START = f"{_SETUP}LOOP body=3 count=0\nSYNC in_words=1 out_words=1\n"
_FILL = _START.replace("body=3", "body=4") + "RECV words=1\n"
_LOAD = "LOAD source=HOST bytes=8 cores=2"
_FULL = f"{_LOAD}\nMVM rows=8 beats=4 cores=2"


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        ("NOP", "past its last instruction, 0"),
        ("HALT", r"Instruction 0 \(HALT\) is wrong: the program stops"),
        ("LOOP body=1 count=0\nNOP", r"Instruction 1 \(NOP\) .* comes round without a wait"),
        ("LOOP body=2\nSYNC in_words=1\nNOP", "comes round without a wait"),
        ("LOOP body=0 count=2", "body is empty"),
        ("LOOP body=9 count=2", "ends at 9, behind the last"),
        ("LOOP body=2 count=2\nLOOP body=1 count=2\nNOP", "end that one with a NOP"),
        (
            "LOOP body=9\nLOOP body=7\nLOOP body=5\nLOOP body=3\nLOOP body=1\n" + "NOP\n" * 5,
            "nest at most 4 deep",
        ),
        ("ADD reg=QUANT value=1", "ADD is for address registers"),
        ("LOAD source=HOST bytes=8 cores=2", "leaves 0"),
        (_START + "LOAD source=HOST bytes=8 cores=0\nNOP", "names no core"),
        (_START + "LOAD source=HOST bytes=8 cores=3\nNOP", "core 0 has no array"),
        (_START + "LOAD source=HOST bytes=0 cores=2\nNOP", "loads 0 bytes"),
        (_START + "LOAD source=HOST bytes=17 cores=2\nNOP", "17 bytes from row 0 .* 16 rows"),
        (_START + "LOAD source=HOST bytes=9 row=8 cores=2\nNOP", "9 bytes from row 8"),
        (_START + "LOAD source=HOST bytes=8 row=8 cores=2\nNOP", "uses the sum of activ"),
        (_START + "LOAD source=HOST bytes=4 row=4 cores=2\nNOP", "goes on at row 4, inside a word"),
        (_START + "LOAD source=HOST bytes=4 repeats=1 cores=2\nNOP", "come in one run"),
        (_START + "LOAD bytes=4 repeats=4 cores=2\nNOP", "loads 20 bytes from row 0 .* 16 rows"),
        (_FILL + "SET reg=A0 value=6\nLOAD bytes=4 cores=2", "uses data byte 8, which nothing"),
        (_START + "SET reg=A0 value=126\nLOAD bytes=4 cores=2", "data bytes 126 to 129"),
        (
            _FILL + "SET reg=PITCH value=127\nLOAD bytes=2 repeats=1 cores=2",
            "data bytes 127 to 128, the last is 127",
        ),
        (
            _FILL + "SET reg=PITCH value=-1\nVEC bytes=2 repeats=1",
            "data bytes -1 to 0, the last is 127",
        ),
        ("SET reg=PITCH value=0x800000", "register PITCH holds -8388608 to 8388607"),
        ("SET reg=SCALE value=-0x800001", "register SCALE holds -8388608 to 8388607"),
        (_START + "VEC bytes=100 repeats=2\nNOP", "combines 300 bytes .* the last is 255"),
        (_START + "VEC bytes=2 element=255\nNOP", "combines 2 bytes"),
        (_START + "VEC bytes=0\nNOP", "combines 0 bytes"),
        (_FILL + "VEC bytes=3 op=ADD\nNOP", "uses vector accumulator 0, which nothing"),
        (_START + "LOAD source=HOST bytes=16 cores=2\nNOP", "takes 2 input words .* leaves 1"),
        (_START + "SET reg=A0 value=-8\nRECV words=1", "data bytes 16777208 to 16777215, .* 127"),
        (_START + "SET reg=A0 value=128\nRECV words=1", "data bytes 128 to 135"),
        (_START + "SET reg=A0 value=12\nRECV words=1", "whole words, byte 12 is not the first"),
        (_START + "SET reg=A0 value=12\nSEND words=1", "whole words, byte 12 is not the first"),
        (
            "SET reg=A0 value=24\n" + _START + _LOAD + "\nSEND words=1",
            "uses data byte 24, which nothing",
        ),
        (_START + "SET reg=A0 value=3\nRECV words=0", "moves no word"),
        (_START + "SYNC in_words=2\nNOP", "waits for 2 input words, a sample has 1 left"),
        (_START + "SYNC out_words=17\nNOP", "a host FIFO holds 16"),
        (_START + "MVM rows=8 beats=4 cores=2\n" + _LOAD, "uses row 0 of core 1"),
        (_START + _FULL.replace("rows=8", "rows=16"), "uses row 8 of core 1"),
        (_START + _FULL.replace("rows=8", "rows=17"), "rows must be 1 to 16, not 17"),
        (_START + _FULL.replace("beats=4", "beats=5"), "beats must be 1 to 4, not 5"),
        (_START.replace("value=0", "value=2") + _FULL, "SCHEDULE must be 0 to 1"),
        (_START.replace("PLANES value=8", "PLANES value=9") + _FULL, "PLANES must be 1 to 8"),
        (_START.replace("READ value=8", "READ value=0") + _FULL, "ROWS_PER_READ must be 1 to 16"),
        (_START + "REQ outputs=1 cores=2\nNOP", "last product of core 1 made 0"),
        (_START + "REQ outputs=0 cores=2\nNOP", "drains no accumulator"),
        (_START + "REQ outputs=1 vector=1 cores=2\nNOP", "vector accumulators; set cores to 0"),
        (_START + "REQ outputs=300 vector=1\nNOP", "drains 300 of 256 vector"),
        (_START + "REQ outputs=1\nNOP", "names no core"),
        (_START + "LOAD source=HOST bytes=8 cores=2\nNOP", "0 words are sent .* take 1"),
    ],
)
def test_bad_programs_are_refused(listing: str, message: str) -> None:
    outputs = 1 if "SEND" in listing or "0 words are sent" in message else 0
    with pytest.raises(ProgramError, match=message):
        machine(make(listing, outputs=outputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("value=0xff0003", "value=0x020303"), "lowest code 3 above 2"),
        (("A1 value=32", "A1 value=121"), "data bytes 121 to 128, the last is 127"),
        (("A2 value=0", "A2 value=1"), "groups of 2 parameters 1 to 4, the last is 3"),
        (("out_words=5", "out_words=3"), "sends 4 words .* room for 3"),
        (("tap=1", "tap=0"), "1 words are sent .* take 5"),
        (("SEND addr=1 words=1", "SEND addr=1 words=2"), "uses data byte 40|sends 2 words"),
        (("outputs=8", "outputs=9"), "drains 5 accumulator words"),
        (("outputs=8", "outputs=7"), "holds a sum that it sends behind its 7"),
        (("tap=1", "tap=1 table_on=1 table=4"), "names table 4, the last is 3"),
    ],
)
def test_bad_requantizations_are_refused(change: tuple[str, str], message: str) -> None:
    good, _, _ = dense()
    assert change[0] in DENSE
    bad = make(
        DENSE.replace(*change),
        inputs=2,
        outputs=good.outputs,
        params=good.params,
        levels=good.arrays[0].levels,
    )
    with pytest.raises(ProgramError, match=message):
        machine(bad)


def test_wrong_arrays_and_words_are_refused() -> None:
    program, _, _ = dense()
    with pytest.raises(InputError, match="needs 1 arrays, 0 were given"):
        Machine(program, [])
    small = ArrayImage(np.zeros((8, 32), dtype=np.int32), np.zeros(8, dtype=np.int32))
    with pytest.raises(InputError, match="Core 1 needs an array of 16 x 32 cells, not 8 x 32"):
        Machine(program, [Crossbar(small, 1, 1)])
    with pytest.raises(InputError, match=r"uint64 \[n, 2\], not uint64 \[3, 1\]"):
        machine(program).run(words(3))


def test_an_endless_pass_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_walk, "STEP_LIMIT", 1000)
    listing = "SET reg=A0 value=0\nLOOP body=1 count=0\nADD reg=A0 value=1"
    with pytest.raises(ProgramError, match="more than 1000 instructions pass without a wait"):
        machine(make(listing))


# Layout


def test_inputs_go_where_the_layout_says() -> None:
    program, _, _ = dense()
    order = np.array([3, -1, 0, 1, 2, -1, -1, 3])
    layout = TileProgram(**{**_parts(program), "input": InputLayout(order)})
    codes = np.array([[10, 20, 30, 40]], dtype=np.uint8)
    packed = layout.pack_inputs(codes.reshape(1, 2, 2))
    assert packed.tolist() == [[int.from_bytes([40, 0, 10, 20, 30, 0, 0, 40], "little")]]
    assert layout.pack_inputs(codes[:0]).shape == (0, 1)
    layout = TileProgram(**{**_parts(program), "input": InputLayout(order, 9)})
    assert layout.pack_inputs(codes).tolist() == [
        [int.from_bytes([40, 9, 10, 20, 30, 9, 9, 40], "little")]
    ]
    fill = np.arange(100, 108, dtype=np.uint8)
    layout = TileProgram(**{**_parts(program), "input": InputLayout(order, fill)})
    packed = [40, 101, 10, 20, 30, 105, 106, 40]
    assert layout.pack_inputs(codes).tolist() == [[int.from_bytes(packed, "little")]]
    for wrong in (codes[:, :3], codes.astype(np.int16), codes[0]):
        with pytest.raises(InputError, match="4 elements a sample"):
            layout.pack_inputs(wrong)


def test_wrong_pad_bytes_are_refused() -> None:
    order = np.full(8, -1)
    with pytest.raises(ValueError, match="pad byte must be 0 to 255, not 256"):
        InputLayout(order, 256)
    with pytest.raises(ValueError, match=r"Pad bytes must be uint8 \[8\], not uint8 \[7\]"):
        InputLayout(order, np.zeros(7, dtype=np.uint8))


def test_scattered_tensors_come_back() -> None:
    program, _, _ = dense()
    rng = np.random.default_rng(4)
    acc = rng.integers(-(1 << 31), 1 << 31, (5, 6)).astype(np.int32)
    codes = rng.integers(0, 256, (5, 10), dtype=np.uint8)
    places = rng.permutation(10)
    segments = (
        OutputSegment("a", "int32", 2, np.array([5, -1, 0, 1])),
        OutputSegment("c", "uint8", 1, np.array([*places[:6], -1, -1])),
        OutputSegment("a", "int32", 2, np.array([2, 3, 4, -1])),
        OutputSegment("c", "uint8", 1, np.array([-1, *places[6:], -1, -1, -1])),
    )
    parts = {**_parts(program), "outputs": segments, "shapes": {"a": (2, 3)}}
    scattered = TileProgram(**parts)
    tensors = {"a": acc, "c": codes}
    packed = np.zeros((5, 6), dtype="<u8")
    start = 0
    for s in segments:
        slots = packed[:, start : start + s.words]
        values = np.where(s.index < 0, 77, tensors[s.tensor][:, s.index])
        kind = "<i4" if s.dtype == "int32" else "u1"
        slots[:] = np.ascontiguousarray(values.astype(kind)).view("<u8")
        start += s.words
    result = scattered.unpack_outputs(packed)
    np.testing.assert_array_equal(result["a"], acc.reshape(5, 2, 3))
    np.testing.assert_array_equal(result["c"], codes)
    with pytest.raises(InputError, match=r"uint64 \[n, 6\]"):
        scattered.unpack_outputs(packed[:, :5])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"shapes": {"fc": (9,)}}, "'fc' has 9 elements"),
        ({"shapes": {"other": (9,)}}, "No output holds"),
        ({"arrays": (ArraySpec(2, np.zeros((16, 32), np.uint8)),)}, "cores 0 to 1"),
        ({"arrays": (ArraySpec(0, np.zeros((8, 32), np.uint8)),)}, "Levels of core 0"),
        ({"arrays": (ArraySpec(0, np.full((16, 32), 4, np.uint8)),)}, "cell of level 4"),
        ({"tables": np.zeros((3, 256), np.uint8)}, r"Tables must be uint8 \[4, 256\]"),
        ({"data": np.zeros(17, np.uint64)}, "17 data words, .* holds 16; raise data_words"),
        ({"data": np.zeros(3, np.int64)}, "data words must be uint64"),
        ({"params": np.zeros(2048, np.uint64)}, "2048 parameter words, .* holds 1024"),
        ({"instructions": tuple(assemble("NOP\n" * 513))}, "513 instructions, .* holds 512"),
        (
            {"outputs": (OutputSegment("x", "uint8", 1, np.array([0, 1, 1, 2, 3, 4, 5, -1])),)},
            "each of which must come out once",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(part: dict[str, object], message: str) -> None:
    program, _, _ = dense()
    with pytest.raises(ValueError, match=message):
        TileProgram(**{**_parts(program), **part})


def _parts(program: TileProgram) -> dict[str, object]:
    names = ("chip", "instructions", "params", "tables", "arrays", "input", "outputs")
    return {name: getattr(program, name) for name in names}
