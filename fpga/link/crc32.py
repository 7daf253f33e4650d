# SPDX-License-Identifier: Apache-2.0
"""The CRC of frames as a component, a byte a cycle."""

from amaranth.lib import crc

from ...arch.link import CRC_BYTES, CRC_INIT, CRC_POLYNOMIAL, CRC_XOR_OUT

__all__ = ["CRC32"]

CRC32: crc.Parameters = crc.Algorithm(
    crc_width=8 * CRC_BYTES,
    polynomial=CRC_POLYNOMIAL,
    initial_crc=CRC_INIT,
    reflect_input=True,
    reflect_output=True,
    xor_output=CRC_XOR_OUT,
)(data_width=8)
"""CRC-32 of IEEE 802.3; ``CRC32.create()`` makes a component, ``CRC32.compute(data)`` a number."""
