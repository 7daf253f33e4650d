# SPDX-License-Identifier: Apache-2.0
"""Number formats, messages and the register map."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohmtwin.arch.formats import RequantScale, adc_bits_needed
from ohmtwin.arch.messages import MAX_LENGTH, Header, Kind, message
from ohmtwin.arch.registers import REGISTERS, CoreCounter, TileRegister, core_address, manual


@given(st.floats(2**-39, 2**22, width=32))
def test_scale_is_kept_without_loss(scale: float) -> None:
    made = RequantScale.from_float(scale)
    assert float(made) == scale
    assert 1 << 23 <= made.mantissa < 1 << 24


def test_scale_worked_by_hand() -> None:
    assert RequantScale.from_float(0.75) == RequantScale(0xC00000, 24)
    assert RequantScale.from_float(2.0) == RequantScale(0x800000, 22)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (0.0, "finite and positive"),
        (-1.0, "finite and positive"),
        (math.nan, "finite and positive"),
        (math.inf, "finite and positive"),
        (0.1, "must be a float32 value"),
        (2.0**-41, "between 2"),
        (2.0**24, "between 2"),
    ],
)
def test_scale_refuses(scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RequantScale.from_float(scale)


@given(st.integers(1, 256), st.sampled_from([1, 2, 4]))
def test_lossless_adc_is_exactly_wide_enough(rows: int, cell_bits: int) -> None:
    bits = adc_bits_needed(rows, cell_bits)
    full = rows * (2**cell_bits - 1)
    assert 2 ** (bits - 1) <= full < 2**bits


@given(
    st.sampled_from(list(Kind)),
    st.integers(0, MAX_LENGTH),
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
)
def test_header_round_trip(kind: Kind, length: int, address: int, tile: int) -> None:
    header = Header(kind, length, address, tile)
    assert Header.decode(header.encode()) == header


def test_long_payload_becomes_several_messages() -> None:
    payload = list(range(MAX_LENGTH + 3))
    words = message(Kind.WRITE_PARAMS, payload, address=10)
    first, second = Header.decode(words[0]), Header.decode(words[1 + MAX_LENGTH])
    assert (first.length, first.address) == (MAX_LENGTH, 10)
    assert (second.length, second.address) == (3, 10 + MAX_LENGTH)
    assert words[1 : 1 + MAX_LENGTH] + words[2 + MAX_LENGTH :] == payload


def test_header_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="length has 16 bits, 65536 does not fit"):
        Header(Kind.INPUT, 65536)
    with pytest.raises(ValueError, match="200"):
        Header.decode(200)


def test_register_addresses_are_distinct_and_documented() -> None:
    cores = [core_address(core, c) for core in range(32) for c in CoreCounter]
    tile = [r.address for r in REGISTERS]
    assert len(set(cores + tile)) == len(cores) + len(tile)
    text = manual()
    for name in TileRegister.__members__ | CoreCounter.__members__:
        assert f"| {name} |" in text


def test_names_of_codes_are_stable() -> None:
    # On the wire: a change here breaks every stored trace and bitstream.
    assert [int(k) for k in Kind] == [*range(1, 16), *range(16, 20), 31]
    assert np.uint64(Header(Kind.INPUT, 98, 0).encode()) == 7 | 98 << 16
