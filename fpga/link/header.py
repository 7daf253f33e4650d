# SPDX-License-Identifier: Apache-2.0
"""The header of a frame as Amaranth sees it."""

from amaranth.lib import data

from ...arch.link import HEADER_BYTES, HEADER_FIELDS

__all__ = ["HEADER"]

HEADER: data.StructLayout = data.StructLayout(dict(HEADER_FIELDS))
"""Fields of ``HEADER_FIELDS``, the first in the low bits."""

if HEADER.size != 8 * HEADER_BYTES:
    raise ValueError(f"A header has {8 * HEADER_BYTES} bits, its fields {HEADER.size}")
