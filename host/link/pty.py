# SPDX-License-Identifier: Apache-2.0
"""A pseudo-terminal with a far end behind it: a board without a board."""

import errno
import os
import select
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from ...arch.errors import ToolError
from ..closing import Closing
from .faults import FaultInjector
from .line import End

__all__ = ["PtyBoard", "PtyMaster"]


class PtyMaster:
    """The master side of a pseudo-terminal; a program opens the device as a serial port.

    The device stays while nobody has it open, and comes and goes with this object.

    Raises
    ------
    ToolError
        If the system has no pseudo-terminals, or none left.
    """

    def __init__(self) -> None:
        try:
            import tty

            self._master, self._slave = os.openpty()
        except (ImportError, AttributeError, OSError) as error:
            raise ToolError(f"No pseudo-terminal can be made: {error}") from error
        # Held open so that the master does not fail while no host is there; raw, so that the
        # line discipline changes no byte.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._device = os.ttyname(self._slave)

    @property
    def device(self) -> str:
        """Name of the device, as ``/dev/pts/3``."""
        return self._device

    def read(self, wait: float) -> bytes:
        """Bytes that came, b"" if none did for ``wait`` seconds."""
        ready, _, _ = select.select([self._master], [], [], wait)
        if not ready:
            return b""
        try:
            return os.read(self._master, 65536)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EAGAIN):
                return b""
            raise

    def write(self, data: bytes) -> None:
        """Send bytes; those that find no room are lost, as on a line that nobody reads."""
        try:
            while data:
                data = data[os.write(self._master, data) :]
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Pull the cable; closing twice is harmless."""
        if self._master >= 0:
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1


class PtyBoard(Closing):
    """Runs a far end, as :class:`~.board.BoardModel`, behind a pseudo-terminal in a thread.

    Parameters
    ----------
    end : End
        Used by the thread alone until :meth:`close`; ``replace`` puts another in its place.
    there, back : FaultInjector, optional
        Faults on the way to the board, and from it.

    Raises
    ------
    ToolError
        If the system has no pseudo-terminal left.
    """

    def __init__(
        self, end: End, there: FaultInjector | None = None, back: FaultInjector | None = None
    ) -> None:
        self._end = end
        self._there = there
        self._back = back
        self._master = PtyMaster()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, "board")
        self._running = self._pool.submit(self._run)

    @property
    def device(self) -> str:
        """What to open as a serial port."""
        return self._master.device

    @property
    def running(self) -> bool:
        """Whether the far end still runs; it ends by itself only if it fails."""
        return not self._running.done()

    def replace(self, end: End) -> None:
        """Another far end from now on, as if the board was reset; the old one may ask for it."""
        with self._lock:
            self._end = end

    def _run(self) -> None:
        while not self._stop.is_set():
            data = self._master.read(0.001)
            if data and self._there is not None:
                data = self._there.feed(data)
            with self._lock:
                now = time.monotonic()
                if data:
                    self._end.receive(data, now)
                answer = self._end.transmit(now)
            if answer and self._back is not None:
                answer = self._back.feed(answer)
            self._master.write(answer)

    def close(self) -> None:
        """Stop the far end and pull the cable; closing twice is harmless.

        Whatever the far end failed with is raised here.
        """
        self._stop.set()
        self._pool.shutdown()
        self._master.close()
        self._running.result()
