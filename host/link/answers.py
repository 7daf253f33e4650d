# SPDX-License-Identifier: Apache-2.0
"""A port to a tile that asks the host for every read of its arrays (``fpga/hosted.py``)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...arch.messages import Header, Kind
from ...behavioral.cengine import CCrossbar
from ..driver import Port, ProtocolError

__all__ = ["AnsweringPort"]


class AnsweringPort(Port):
    """Answers what the tile asks, and hands on everything else.

    Parameters
    ----------
    port : Port
        Closed with this.
    arrays : mapping of int to CCrossbar
        By core; their read numbers count on.
    """

    def __init__(self, port: Port, arrays: Mapping[int, CCrossbar]) -> None:
        self._port = port
        self._arrays = arrays
        self._here: list[int] = []  # words that came and were not looked at
        self._passed: list[int] = []
        self._left = 0  # payload words of the message that is handed on

    def write(self, words: NDArray[np.uint64]) -> None:
        self._port.write(words)

    def read(self, at_least: int) -> NDArray[np.uint64]:
        """As :meth:`..driver.Port.read`; reads that are asked for are no words.

        Raises
        ------
        ProtocolError
            If a read is asked of an array that there is not.
        """
        while len(self._passed) < at_least:
            words = self._port.read(1)
            if not len(words):
                break
            self._here += words.tolist()
            self._sort()
        found = np.array(self._passed, np.uint64)
        self._passed.clear()
        return found

    def _sort(self) -> None:
        """Hand words on, and answer the reads that are there as a whole."""
        while self._here:
            if self._left:
                part = self._here[: self._left]
                del self._here[: len(part)]
                self._passed += part
                self._left -= len(part)
                continue
            kind, length = self._here[0] & 0xFF, self._here[0] >> 16 & 0xFFFF
            if kind != Kind.ASK_READ:
                self._passed.append(self._here.pop(0))
                self._left = length
                continue
            if len(self._here) <= length:
                return
            self._answer(self._here[0] >> 32, self._here[1 : 1 + length])
            del self._here[: 1 + length]

    def _answer(self, core: int, asked: list[int]) -> None:
        array = self._arrays.get(core)
        if array is None or len(asked) < 2:
            raise ProtocolError(f"The board asks for a read of array {core}, which is not in use")
        image = array.image
        words = np.array(asked[1:], "<u8").view(np.uint8)
        bits = np.unpackbits(words, bitorder="little")[: image.rows].astype(np.bool_)
        columns = min(asked[0] * image.lanes, image.cols)
        codes = array.read(bits, columns).astype(np.uint64).reshape(-1, image.lanes)
        shifts = np.arange(image.lanes, dtype=np.uint64) * np.uint64(image.adc_bits)
        beats = np.bitwise_or.reduce(codes << shifts, axis=1)
        header = Header(Kind.GIVE_CODES, len(beats), core).encode()
        self._port.write(np.insert(beats, 0, np.uint64(header)))

    def close(self) -> None:
        self._port.close()
