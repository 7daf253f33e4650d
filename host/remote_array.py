# SPDX-License-Identifier: Apache-2.0
"""The emulated array of a board that is nothing else (``fpga/array.py``), read over its link."""

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.link import Feature
from ..arch.messages import Header, Kind
from ..behavioral.image import ArrayImage
from ..fpga.crossbar.image import image_words
from ..fpga.loading import emulator_config, image_messages, row_words
from .driver import ProtocolError, SilentLinkError
from .link.errors import ForeignDeviceError
from .link.port import SerialPort

__all__ = ["RemoteArray"]

_UNDER_WAY = 16
"""Reads that are asked for before the first one is answered."""


class RemoteArray:
    """Reads as :class:`~ohmtwin.behavioral.crossbar.Crossbar` of the same image and key does.

    Parameters
    ----------
    port : SerialPort
        Of a board with one array; closed with this.
    chip : Chip
        Its ``rows``, ``cols``, ``lanes`` and ``adc_bits`` are those of the array.
    image : ArrayImage
    seed, array : int
        Key of the noise, uint32 each.

    Raises
    ------
    ForeignDeviceError
        If the board is a tile.
    CapacityError
        If the array cannot hold the image.
    LinkError
        If the link fails.
    """

    def __init__(
        self, port: SerialPort, chip: Chip, image: ArrayImage, seed: int, array: int
    ) -> None:
        self._port = port
        self._chip = chip
        bits = port.ident.features
        if not bits & Feature.ARRAY_ONLY:
            raise ForeignDeviceError(
                "The board holds a tile, not an array alone; run networks on it, with level serial"
            )
        words = image_words(image, chip, emulator_config(bits), seed=seed, array=array)
        port.write(image_messages(words, 0))

    def read_many(self, masks: NDArray[np.bool_]) -> NDArray[np.uint16]:
        """Read the array for each mask, in order.

        Parameters
        ----------
        masks : bool [n, rows]

        Returns
        -------
        uint16 [n, cols]

        Raises
        ------
        LinkError
            If the link fails or the board answers otherwise than it must.
        """
        chip = self._chip
        count = row_words(chip)
        packed = np.zeros((len(masks), count * 8), np.uint8)
        packed[:, : chip.rows // 8] = np.packbits(masks, axis=1, bitorder="little")
        header = Header(Kind.READ_ARRAY, count, chip.beats).encode()
        asks = np.insert(packed.view("<u8").astype(np.uint64), 0, np.uint64(header), axis=1)
        codes = np.empty((len(masks), chip.beats, chip.lanes), np.uint16)
        size = chip.beats + 1
        sent, here = 0, np.empty(0, np.uint64)
        for number in range(len(masks)):
            if sent < min(len(masks), number + _UNDER_WAY):
                until = min(len(masks), number + _UNDER_WAY)
                self._port.write(asks[sent:until].reshape(-1))
                sent = until
            while len(here) < size:
                new = self._port.read(size - len(here))
                if not len(new):
                    raise SilentLinkError(f"The array did not answer read {number}")
                here = np.concatenate([here, new])
            found = Header(Kind.CODES, chip.beats).encode()
            if int(here[0]) != found:
                raise ProtocolError(
                    f"The board sent {int(here[0]):#018x} where the codes of a read should begin"
                )
            for lane in range(chip.lanes):
                shifted = here[1:size] >> np.uint64(lane * chip.adc_bits)
                codes[number, :, lane] = shifted & np.uint64((1 << chip.adc_bits) - 1)
            here = here[size:]
        return codes.reshape(len(masks), chip.cols)

    def close(self) -> None:
        """Close the port; closing twice is harmless."""
        self._port.close()
