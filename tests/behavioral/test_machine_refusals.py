# SPDX-License-Identifier: Apache-2.0
"""What the fast machine refuses: programs that a target would run wrongly, or never end."""

import numpy as np
import pytest
from machine_programs import DENSE, dense, image, machine, make, parts_of, words

from ohmtwin.arch.errors import InputError
from ohmtwin.behavioral import machine_walk
from ohmtwin.behavioral.crossbar import Crossbar
from ohmtwin.behavioral.image import ArrayImage
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.program import (
    ArraySpec,
    OutputSegment,
    ProgramError,
    TileProgram,
)


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


def test_a_pass_may_lean_on_the_product_before_it() -> None:
    """The first sample drains four words of the prologue's product; the second finds one."""
    listing = """
        LOAD bytes=16 cores=2
        MVM rows=16 beats=4 cores=2
        LOOP body=4 count=0
        SYNC in_words=1
        RECV words=1
        REQ dest=1 param=2 outputs=8 cores=2
        MVM rows=16 beats=1 cores=2
        """
    params = np.zeros(8, dtype=np.uint64)
    m = machine(make(listing, params=params, data=words(2)[:, 0]))
    m.run(words(1))
    with pytest.raises(ProgramError, match=r"drains 4 accumulator words, .* of core 1 made 1"):
        m.run(words(1))


@pytest.mark.parametrize(
    ("lines", "fits"),
    [
        ("LOAD bytes=5 cores=3\nLOAD bytes=3 row=5 cores=3", True),
        ("LOAD bytes=5 cores=3\nRECV words=1\nLOAD bytes=3 row=5 cores=3", True),
        ("LOAD source=HOST bytes=5 cores=3\nLOAD bytes=3 row=5 cores=3", True),
        ("LOAD bytes=2 repeats=1 cores=3\nLOAD bytes=3 row=4 cores=3", True),
        ("LOAD bytes=5 cores=3\nLOAD bytes=3 row=5 cores=1", False),
        ("LOAD bytes=5 cores=3\nLOAD bytes=3 row=6 cores=3", False),
        ("LOAD bytes=5 cores=3\nVEC bytes=1\nLOAD bytes=3 row=5 cores=3", False),
        ("LOAD bytes=5 cores=3\nLOAD bytes=8 cores=2\nLOAD bytes=3 row=5 cores=3", False),
    ],
)
def test_a_load_inside_a_word_goes_on_where_one_ended(lines: str, fits: bool) -> None:
    listing = f"LOOP body=5 count=0\nSYNC in_words=1\n{lines}\n"
    taken = "HOST" in lines or "RECV" in lines
    listing += "NOP\n" if taken else "RECV words=1\n"
    listing += "NOP\n" * (6 - listing.count("\n"))
    one = make(listing, data=words(4)[:, 0])
    levels = one.arrays[0].levels
    program = TileProgram(
        **{
            **parts_of(one),
            "data": one.data,
            "arrays": (ArraySpec(0, levels), ArraySpec(1, levels)),
        }
    )
    arrays = [Crossbar(image(program), 1, core) for core in (0, 1)]
    if fits:
        Machine(program, arrays).run(words(2))
    else:
        with pytest.raises(ProgramError, match=r"goes on at row [56], inside a word"):
            Machine(program, arrays)


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
        (_START + "REQ outputs=1 vector=1 cores=3\nNOP", "take the place of core 0; leave that"),
        (
            _START + "VEC bytes=6 op=PUT32\nNOP",
            "a run of bytes of 6, .* multiple of 4",
        ),
        (_START + "VEC bytes=4 op=PUT32 element=3\nNOP", "accumulator of 3, .* multiple of 2"),
        (_START + "VEC bytes=4 repeats=1 op=PUT32\nNOP", "a run of bytes of 4, .* multiple of 8"),
        (_START + "SET reg=A0 value=4\nVEC bytes=4 op=PUT32\nNOP", "an address of 4, .* of 8"),
        (
            _START + "SET reg=PITCH value=4\nVEC bytes=8 repeats=1 op=PUT32\nNOP",
            "a pitch of 4, which must be a multiple of 8",
        ),
        (_START + "VEC bytes=256 repeats=4 op=PUT32\nNOP", "combines 1280 bytes .* last is 255"),
        (_FILL + "VEC bytes=8 op=ADD32\nNOP", "uses vector accumulator 0, which nothing"),
        (_START + "REQ outputs=300 vector=1\nNOP", "drains 300 of 256 vector"),
        (
            _START.replace("body=3", "body=4")
            + _FULL
            + "\nREQ dest=1 dest_step=1 param=1 param_step=1 outputs=1 cores=2",
            "steps A1 twice",
        ),
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
