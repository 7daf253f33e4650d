# SPDX-License-Identifier: Apache-2.0
"""A tile's word stream over a serial port."""

import time
from random import Random
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...arch.link import (
    ENCODED_BYTES,
    LINK_VERSION,
    PAYLOAD_WORDS,
    WINDOW,
    WORD_BYTES,
    Ident,
)
from ...arch.registers import ID_MAGIC, ID_VERSION
from ..driver import LinkError, Port, WrongChipError
from ..serial_address import DEFAULT_BAUD
from .errors import BoardRestartedError, BoardSilentError, ForeignDeviceError
from .session import HostLink
from .transport import SerialTransport, Transport

__all__ = ["SerialPort"]

_TIMEOUT = 0.05
"""Least seconds without an ACK after which frames are sent again."""

_PATIENCE = 1.5
"""Seconds without a valid frame after which a board is given up; under the two promised."""

_POLL_AFTER = 0.1
_PROBE_AFTER = 0.4
"""Seconds of silence after which the board is asked for an ACK; and for its session."""

_AHEAD = 0.002
"""Seconds for which the line is kept busy: what is queued further would be sent in vain after a
loss."""

_BACKLOG = 4 * WINDOW * PAYLOAD_WORDS
"""Words that a write leaves for later."""


class SerialPort(Port):
    """Carries words in order and whole over a line that may lose, repeat and damage bytes.

    Opening it opens a session, which resets the tile. Whatever happens, a call ends: with words,
    without any after the patience while the board still answers, or with an error at most two
    seconds after the last sign of life of the board.

    Parameters
    ----------
    transport : Transport
        Closed with the port, also if opening fails.
    baud : int
        Rate of the line, for pacing.
    chip_hash : int, optional
        Refuse a board of another configuration.
    patience : float
        Seconds without a word after which :meth:`read` returns what there is.
    random : Random, optional
        Picks the session; by default the system's.

    Raises
    ------
    BoardSilentError, ForeignDeviceError, WrongChipError, PortLostError
        If no board of ours answers within two seconds.
    """

    def __init__(
        self,
        transport: Transport,
        baud: int = DEFAULT_BAUD,
        *,
        chip_hash: int | None = None,
        patience: float = 1.0,
        random: Random | None = None,
    ) -> None:
        self._transport = transport
        self._byte_time = 10 / baud
        self._chip_hash = chip_hash
        self._patience = patience
        # A slow line, or a simulated one, takes longer to answer than a board.
        answer = max(_TIMEOUT, 2 * WINDOW * ENCODED_BYTES * self._byte_time)
        self._link = HostLink(self._check, answer, random)
        self._line_free = 0.0
        self._received = 0  # bytes, valid or not
        self._closed = False
        self._since = self._polled_at = self._probed_at = time.monotonic()
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(
        cls,
        device: str,
        baud: int = DEFAULT_BAUD,
        *,
        chip_hash: int | None = None,
        patience: float = 1.0,
    ) -> Self:
        """Open a serial port by name.

        Raises
        ------
        LinkError
            One of its subclasses says what is wrong with the port or the board.
        ToolError
            If pyserial is missing.
        """
        return cls(SerialTransport(device, baud), baud, chip_hash=chip_hash, patience=patience)

    @property
    def ident(self) -> Ident:
        """Who the board is."""
        if self._link.ident is None:
            raise LinkError("The port was never connected")
        return self._link.ident

    @property
    def link(self) -> HostLink:
        """The session, with its figures."""
        return self._link

    def _check(self, ident: Ident) -> None:
        """Refuse what no session should be opened with."""
        if ident.magic != ID_MAGIC:
            raise ForeignDeviceError(
                f"What answers is no ohmtwin board: its ID register holds {ident.magic:#010x}"
            )
        ours = (LINK_VERSION, WINDOW, PAYLOAD_WORDS)
        theirs = (ident.link_version, ident.window, ident.payload_words)
        if ours != theirs:
            raise ForeignDeviceError(
                f"The board speaks version {theirs[0]} of the link with windows of {theirs[1]} "
                f"frames of {theirs[2]} words, this host version {ours[0]} with {ours[1]} of "
                f"{ours[2]}; build its bitstream anew"
            )
        if ident.version != ID_VERSION:
            raise WrongChipError(
                f"The board has version {ident.version} of the register map, this host speaks "
                f"version {ID_VERSION}; build its bitstream anew"
            )
        if self._chip_hash is not None and ident.chip_hash != self._chip_hash:
            raise WrongChipError(
                f"The board was built for another configuration (hash {ident.chip_hash:016x}, not "
                f"{self._chip_hash:016x}); compile for that chip, or build its bitstream anew"
            )

    def _connect(self) -> None:
        until = time.monotonic() + _PATIENCE
        while not self._link.is_open:
            self._pump()
            if time.monotonic() < until or self._link.is_open:
                continue
            if self._link.frames:
                raise ForeignDeviceError(
                    "A board answers but opens no session; another program may be talking to it"
                )
            if self._received:
                raise ForeignDeviceError(
                    f"What answers sends no frames of ours ({self._received} bytes of something "
                    "else); it is another device, or runs at another baud rate"
                )
            raise BoardSilentError(
                f"Nothing answered within {_PATIENCE:g} s; see whether the board is powered and "
                "programmed, and whether this is its port and its baud rate"
            )

    # Words.

    def write(self, words: NDArray[np.uint64]) -> None:
        """Send words (uint64 [n]); a board that does not take them leaves them queued.

        Raises
        ------
        LinkError
            If the board or the port is lost.
        """
        self._check_usable()
        self._link.send(np.ascontiguousarray(words, dtype="<u8").tobytes())
        self._awake()
        moved, taken = self._since, self._link.flow.acknowledged
        while True:
            self._pump(wait=self._link.flow.unsent > _BACKLOG)
            if self._link.flow.unsent <= _BACKLOG:
                return
            now = time.monotonic()
            if self._link.flow.acknowledged != taken:
                moved, taken = now, self._link.flow.acknowledged
            elif now - moved > self._patience and self._alive(now):
                return
            self._stay_sure(now)

    def read(self, at_least: int) -> NDArray[np.uint64]:
        """Take all words that have come, once there are ``at_least`` or patience ends.

        Raises
        ------
        LinkError
            If the board or the port is lost.
        """
        self._check_usable()
        self._awake()
        moved, there = self._since, -1
        while True:
            self._pump()
            now = time.monotonic()
            found = self._link.waiting + WORD_BYTES * self._link.flow.acknowledged
            if self._link.waiting >= at_least * WORD_BYTES:
                break
            if found != there:
                moved, there = now, found
            elif now - moved > self._patience and self._alive(now):
                break
            self._stay_sure(now)
        return np.frombuffer(self._link.received(), "<u8").astype(np.uint64)

    def _check_usable(self) -> None:
        if self._closed:
            raise LinkError("The port is closed; connect again")

    def _awake(self) -> None:
        """The board had no reason to speak since the last call: count its silence from now."""
        self._since = self._polled_at = self._probed_at = time.monotonic()

    def _alive(self, now: float) -> bool:
        """Whether the board has answered in this call, and not long ago. A call that ended without
        that would not tell that it is gone, and the next one would count its silence anew."""
        return self._link.heard_at >= max(self._since, now - _PROBE_AFTER)

    def _stay_sure(self, now: float) -> None:
        """Ask a silent board for a sign of life; give it up in the end."""
        silent = now - max(self._link.heard_at, self._since)
        if silent > _PATIENCE:
            raise BoardSilentError(
                f"The board has not answered for {_PATIENCE:g} s; see whether it is still powered "
                "and connected"
            )
        if silent > _PROBE_AFTER and now - self._probed_at > _PROBE_AFTER / 2:
            self._link.probe()
            self._probed_at = now
        elif silent > _POLL_AFTER and now - self._polled_at > _POLL_AFTER:
            self._link.flow.poll()
            self._polled_at = now

    def _pump(self, wait: bool = True) -> None:
        """Receive what has come and keep the line busy."""
        now = time.monotonic()
        sent = False
        while self._line_free < now + max(_AHEAD, 2 * ENCODED_BYTES * self._byte_time):
            data = self._link.transmit(now)
            if not data:
                break
            self._transport.write(data)
            self._line_free = max(self._line_free, now) + len(data) * self._byte_time
            sent = True
        data = self._transport.read(wait and not sent)
        if data:
            self._received += len(data)
            self._link.receive(data, time.monotonic())
        if self._link.restarted:
            raise BoardRestartedError(
                "The board does not know this session any more: it was reset, or another host "
                "has taken it over; connect again"
            )

    def close(self) -> None:
        """Let the port go; closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._transport.close()
