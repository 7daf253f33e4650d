# SPDX-License-Identifier: Apache-2.0
"""A running mesh of Verilated tiles, with the host's end of it."""

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..arch.chip import Chip
from ..arch.noc import PORTS
from ..arch.noc_interface import Leg
from ..behavioral.cengine import CCrossbar, Signatures, declare_functions
from .simulation import SimulationError, VerilatedModel

__all__ = ["Arrived", "LinkCounts", "MeshSimulation", "load_mesh_library"]

_IDLE = 1
_ERROR = 2
_RTL_COUNTS = 6
_EDGE_COUNTS = 4


class _Config(ctypes.Structure):
    _fields_ = (
        ("columns", ctypes.c_int),
        ("rows", ctypes.c_int),
        ("hosts", ctypes.c_uint32),
        ("cores", ctypes.c_int),
        ("packet_words", ctypes.c_int),
        ("skip_idle", ctypes.c_int),
        ("confirm", ctypes.c_int),
        ("digest", ctypes.c_int),
    )


_HANDLE = ctypes.c_void_p
_DATA = ctypes.c_void_p
_INT = ctypes.c_int
_SIZE = ctypes.c_size_t
_LONG = ctypes.c_uint64

_SIGNATURES: Signatures = {
    "mesh_new": (_HANDLE, (ctypes.POINTER(_Config), _DATA, _INT)),
    "mesh_free": (None, (_HANDLE,)),
    "mesh_error": (ctypes.c_char_p, (_HANDLE,)),
    "mesh_add_feed": (_INT, (_HANDLE, _INT, _INT, _DATA, _INT, _DATA, _INT)),
    "mesh_send": (None, (_HANDLE, _INT, _DATA, _DATA, _SIZE)),
    "mesh_control": (None, (_HANDLE, _INT, _DATA, _SIZE)),
    "mesh_run": (_INT, (_HANDLE, _SIZE, _SIZE, _INT, _LONG)),
    "mesh_step": (_INT, (_HANDLE, _LONG)),
    "mesh_messages": (_SIZE, (_HANDLE,)),
    "mesh_unsent": (_SIZE, (_HANDLE,)),
    "mesh_replies": (_SIZE, (_HANDLE, _INT)),
    "mesh_take_replies": (_SIZE, (_HANDLE, _INT, _DATA, _SIZE)),
    "mesh_inbox": (_SIZE, (_HANDLE, _INT, _INT, ctypes.POINTER(_SIZE))),
    "mesh_take": (None, (_HANDLE, _INT, _INT, _DATA, _DATA, _DATA)),
    "mesh_sent": (_SIZE, (_HANDLE, _INT)),
    "mesh_take_sent": (_SIZE, (_HANDLE, _INT, _DATA, _SIZE)),
    "mesh_cycles": (_LONG, (_HANDLE,)),
    "mesh_moved": (_LONG, (_HANDLE,)),
    "mesh_link_counts": (_SIZE, (_HANDLE, _DATA, _SIZE)),
    "mesh_tile_state": (_SIZE, (_HANDLE, _INT, _DATA, _SIZE)),
    "mesh_digest": (_LONG, (_HANDLE,)),
    "mesh_evaluations_per_cycle": (_INT, ()),
}


@functools.cache
def load_mesh_library(path: Path) -> ctypes.CDLL:
    """Load a library of :mod:`.mesh_build`, once a process."""
    return declare_functions(ctypes.CDLL(str(path)), _SIGNATURES)


@dataclass(frozen=True, eq=False)
class Arrived:
    """Messages that a tile has sent to the host on one of its routes.

    Parameters
    ----------
    words : uint64 [n]
        Of all messages, one after the other.
    lengths : uint32 [messages]
    stamps : uint64 [messages, 2]
        Cycles in which the first and the last flit of each came.
    """

    words: NDArray[np.uint64]
    lengths: NDArray[np.uint32]
    stamps: NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class LinkCounts:
    """What has passed over the links of a mesh since its reset, in flits and cycles.

    Arrays are by row y, column x and output port (:class:`~ohmtwin.arch.noc.Port`), then by
    message class where there is a last axis of two. Ports that lead nowhere count nothing.

    Parameters
    ----------
    flits : int64 [rows, columns, 5, 2]
    blocked : int64 [rows, columns, 5, 2]
        Cycles in which a flit was on offer and not taken.
    shared : int64 [rows, columns, 5]
        Cycles in which one class waited for the other.
    contended : int64 [rows, columns, 5]
        Cycles in which a packet waited for one from another input.
    tile_flits, tile_blocked : int64 [rows, columns, 2]
        Of the links from tiles into their routers.
    host_flits, host_blocked : int64 [host ports, 2]
        Of the links from the host into the mesh.
    """

    flits: NDArray[np.int64]
    blocked: NDArray[np.int64]
    shared: NDArray[np.int64]
    contended: NDArray[np.int64]
    tile_flits: NDArray[np.int64]
    tile_blocked: NDArray[np.int64]
    host_flits: NDArray[np.int64]
    host_blocked: NDArray[np.int64]


class MeshSimulation(VerilatedModel):
    """A mesh of tiles behind its reset, driven by coarse calls (``rtl/sv/mesh_harness.h``).

    Any number may live at once. A call runs without Python's lock; one simulation belongs to one
    thread at a time. Tile (x, y) has the number ``y * columns + x``.

    Parameters
    ----------
    library : Path
        From :func:`~.mesh_build.build_mesh`.
    chip : Chip
        Its mesh and its network are used.
    arrays : sequence of CCrossbar
        Of tile t: ``arrays[t * chip.arrays]`` and up, by :meth:`.Chip.array_number`; made with the
        CDLL of the same library.
    hosts : sequence of int
        Rows whose first tile has a host port.
    skip_idle : bool
        Leave out routers in which nothing happens; the same, faster.
    confirm : bool
        The network may bring packets out of order (bufferless routers).
    digest : bool
        Keep :attr:`digest`.

    Raises
    ------
    SimulationError
        If the model does not start.
    """

    def __init__(
        self,
        library: Path,
        chip: Chip,
        arrays: Sequence[CCrossbar] = (),
        *,
        hosts: Sequence[int] = (0,),
        skip_idle: bool = True,
        confirm: bool = False,
        digest: bool = False,
    ) -> None:
        self._lib = load_mesh_library(library)
        self._chip = chip
        self._hosts = tuple(hosts)
        # Kept, for the model reads them until it is freed.
        self._arrays = tuple(arrays)
        handles = (ctypes.c_void_p * max(1, len(arrays)))(*(a.handle for a in arrays))
        columns, rows = chip.mesh
        config = _Config(
            columns,
            rows,
            sum(1 << row for row in hosts),
            chip.arrays,
            chip.packet_words,
            skip_idle,
            confirm,
            digest,
        )
        super().__init__(
            self._lib.mesh_new(ctypes.byref(config), handles, len(arrays)),
            self._lib.mesh_error,
            self._lib.mesh_free,
            "The Verilated mesh",
        )

    @property
    def chip(self) -> Chip:
        return self._chip

    # The host's end.

    def add_feed(
        self, channel: int, tiles: Sequence[int], legs: Sequence[Leg], *, row: int = 0
    ) -> int:
        """A route of the host, to a channel of some tiles; its number, for :meth:`send`.

        Raises
        ------
        SimulationError
            If row ``row`` has no host port.
        """
        consumers = (ctypes.c_int * max(1, len(tiles)))(*tiles)
        flat = [value for leg in legs for value in (leg.dst_x, leg.dst_y, leg.absorb)]
        numbers = (ctypes.c_int * max(1, len(flat)))(*flat)
        feed = self._lib.mesh_add_feed(
            self._handle(), row, channel, consumers, len(tiles), numbers, len(legs)
        )
        if feed < 0:
            raise SimulationError(f"Row {row} of the mesh has no host port")
        return int(feed)

    def send(self, feed: int, words: NDArray[np.uint64], lengths: Sequence[int]) -> None:
        """Queue messages: ``words`` (uint64 [n]) cut into ``lengths``.

        They leave in order as slots become free; over all feeds, what was queued first leaves first
        if it can.

        Raises
        ------
        ValueError
            If lengths and words do not fit.
        """
        data = np.ascontiguousarray(words, dtype=np.uint64)
        sizes = np.ascontiguousarray(lengths, dtype=np.uint32)
        if int(sizes.sum()) != data.size or (sizes == 0).any():
            raise ValueError(f"Messages of {list(lengths)[:8]} words do not fit {data.size} words")
        self._lib.mesh_send(self._handle(), feed, data.ctypes.data, sizes.ctypes.data, sizes.size)

    def control(self, tile: int, words: Sequence[int] | NDArray[np.uint64]) -> None:
        """Queue words of messages for a tile and its network interface."""
        data = np.ascontiguousarray(words, dtype=np.uint64)
        self._lib.mesh_control(self._handle(), tile, data.ctypes.data, data.size)

    def run(
        self, *, messages: int = 0, replies: int = 0, drained: bool = False, max_idle: int
    ) -> bool:
        """Run until ``messages`` messages have come to the host, ever, ``replies`` words of replies
        wait to be taken, and, if ``drained``, all that was queued has left the host.

        Returns
        -------
        bool
            False if that is not so, and no flit has moved for ``max_idle`` cycles.

        Raises
        ------
        SimulationError
            If the model fails.
        """
        status = self._lib.mesh_run(self._handle(), messages, replies, drained, max_idle)
        if status == _ERROR:
            self._check()
        return bool(status != _IDLE)

    def step(self, cycles: int) -> None:
        """Run exactly that many cycles."""
        if self._lib.mesh_step(self._handle(), cycles) == _ERROR:
            self._check()

    @property
    def messages(self) -> int:
        """Messages that have come to the host, ever."""
        return int(self._lib.mesh_messages(self._handle()))

    @property
    def unsent(self) -> int:
        """Messages and control packets that have not left the host."""
        return int(self._lib.mesh_unsent(self._handle()))

    def take_replies(self, tile: int) -> NDArray[np.uint64]:
        """Words of replies of a tile that have come: uint64 [n]."""
        words = np.empty(self._lib.mesh_replies(self._handle(), tile), np.uint64)
        self._lib.mesh_take_replies(self._handle(), tile, words.ctypes.data, words.size)
        return words

    def take(self, tile: int, route: int) -> Arrived:
        """What a tile has sent to the host on one of its routes since the last call."""
        size = ctypes.c_size_t()
        count = self._lib.mesh_inbox(self._handle(), tile, route, ctypes.byref(size))
        words = np.empty(size.value, np.uint64)
        lengths = np.empty(count, np.uint32)
        stamps = np.empty((count, 2), np.uint64)
        self._lib.mesh_take(
            self._handle(),
            tile,
            route,
            words.ctypes.data,
            lengths.ctypes.data,
            stamps.ctypes.data,
        )
        return Arrived(words, lengths, stamps)

    def take_sent(self, feed: int) -> NDArray[np.uint64]:
        """Cycles of the first and the last flit of messages of a feed that have left since the last
        call: uint64 [n, 2]."""
        count = self._lib.mesh_sent(self._handle(), feed)
        stamps = np.empty((count, 2), np.uint64)
        self._lib.mesh_take_sent(self._handle(), feed, stamps.ctypes.data, count)
        return stamps

    # What it shows of itself.

    @property
    def cycles(self) -> int:
        """Clock cycles since time 0, reset included."""
        return int(self._lib.mesh_cycles(self._handle()))

    @property
    def moved(self) -> int:
        """Flits that have moved, over all links."""
        return int(self._lib.mesh_moved(self._handle()))

    @property
    def digest(self) -> int:
        """Hash of everything on the links of tiles and hosts in every cycle since the reset."""
        return int(self._lib.mesh_digest(self._handle()))

    @property
    def evaluations_per_cycle(self) -> int:
        """1 if models are evaluated at rising edges only, else 2."""
        return int(self._lib.mesh_evaluations_per_cycle())

    def link_counts(self) -> LinkCounts:
        """Counters of all links."""
        columns, rows = self._chip.mesh
        size = self._lib.mesh_link_counts(self._handle(), None, 0)
        raw = np.empty(size, np.uint64)
        self._lib.mesh_link_counts(self._handle(), raw.ctypes.data, size)
        counts = raw.astype(np.int64)
        cut = rows * columns * PORTS * _RTL_COUNTS
        links = counts[:cut].reshape(rows, columns, PORTS, _RTL_COUNTS)
        edges = counts[cut:].reshape(-1, _EDGE_COUNTS)
        tiles = edges[: rows * columns].reshape(rows, columns, _EDGE_COUNTS)
        hosts = edges[rows * columns :]
        return LinkCounts(
            flits=links[..., 0:2],
            blocked=links[..., 2:4],
            shared=links[..., 4],
            contended=links[..., 5],
            tile_flits=tiles[..., 0:2],
            tile_blocked=tiles[..., 2:4],
            host_flits=hosts[:, 0:2],
            host_blocked=hosts[:, 2:4],
        )

    def tile_state(self, tile: int) -> NDArray[np.uint64]:
        """The words that a tile shows of itself (``rtl/sv/ohmtwin_mesh_tile.sv``)."""
        size = self._lib.mesh_tile_state(self._handle(), tile, None, 0)
        words = np.empty(size, np.uint64)
        self._lib.mesh_tile_state(self._handle(), tile, words.ctypes.data, size)
        return words
