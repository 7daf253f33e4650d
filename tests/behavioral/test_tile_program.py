# SPDX-License-Identifier: Apache-2.0
"""What a compiled program holds: the layout of its words, and parts that must fit each other."""

import numpy as np
import pytest
from machine_programs import dense, parts_of

from ohmtwin.arch.errors import InputError
from ohmtwin.arch.isa import assemble
from ohmtwin.behavioral.program import (
    ArraySpec,
    InputLayout,
    OutputSegment,
    TileProgram,
)


def test_inputs_go_where_the_layout_says() -> None:
    program, _, _ = dense()
    order = np.array([3, -1, 0, 1, 2, -1, -1, 3])
    layout = TileProgram(**{**parts_of(program), "input": InputLayout(order)})
    codes = np.array([[10, 20, 30, 40]], dtype=np.uint8)
    packed = layout.pack_inputs(codes.reshape(1, 2, 2))
    assert packed.tolist() == [[int.from_bytes([40, 0, 10, 20, 30, 0, 0, 40], "little")]]
    assert layout.pack_inputs(codes[:0]).shape == (0, 1)
    layout = TileProgram(**{**parts_of(program), "input": InputLayout(order, 9)})
    assert layout.pack_inputs(codes).tolist() == [
        [int.from_bytes([40, 9, 10, 20, 30, 9, 9, 40], "little")]
    ]
    fill = np.arange(100, 108, dtype=np.uint8)
    layout = TileProgram(**{**parts_of(program), "input": InputLayout(order, fill)})
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
    parts = {**parts_of(program), "outputs": segments, "shapes": {"a": (2, 3)}}
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
        TileProgram(**{**parts_of(program), **part})
