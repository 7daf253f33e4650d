# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a network stand in a mesh, and which words travel from whom to whom.

A program takes ``input_words`` words a sample and gives ``output_words``. A :class:`TilePlan`
cuts both into messages of at most ``slot_words`` words: each input message comes by a receive
channel, each output message leaves on a route. Programs know nothing of it.

Sample ``k`` of a run, counted over all runs since the mesh was started, belongs to the tiles with
``k % copies == copy``: parts that are slow stand in the mesh several times and take turns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...arch.errors import InputError
from ...arch.noc_interface import Leg, Route
from ...behavioral.program import InputLayout

__all__ = [
    "HostFeed",
    "HostResult",
    "MeshPlan",
    "Message",
    "TilePlan",
]


@dataclass(frozen=True)
class Message:
    """Words ``start .. start + words - 1`` of a sample, of a tile's input or output.

    ``number`` is the channel that they come by or the route that they leave on.
    """

    number: int
    start: int
    words: int


@dataclass(frozen=True, eq=False)
class TilePlan:
    """A tile that has work.

    Parameters
    ----------
    x, y : int
    tile : int
        Which of :attr:`.compiled.CompiledNetwork.parts` runs there; each runs on one tile.
    part : int
        Which of :attr:`.partition.Partition.parts` that is; copies share it.
    copy, copies : int
        The tile takes samples ``copy``, ``copy + copies``, ``copy + 2 * copies`` ...
    routes : tuple of Route
        As ``arch/noc_interface.py`` has them; legs to the host are last. A route that goes to the
        host alone has channel 0: the host tells messages apart by sender and route.
    takes : tuple of tuple of Message
        For each sample of a turn, its input messages in the order in which they are fed.
    gives : tuple of tuple of Message
        For each sample of a turn, its output messages in order. ``takes`` and ``gives`` may have
        turns of different lengths.
    """

    x: int
    y: int
    tile: int
    part: int
    copy: int
    copies: int
    routes: tuple[Route, ...]
    takes: tuple[tuple[Message, ...], ...]
    gives: tuple[tuple[Message, ...], ...]

    @property
    def input_list(self) -> tuple[tuple[int, int], ...]:
        """(channel, words) of a turn: what the interface's input list holds."""
        return tuple((m.number, m.words) for sample in self.takes for m in sample)

    @property
    def output_list(self) -> tuple[tuple[int, int], ...]:
        """(route, words) of a turn: what the interface's output list holds."""
        return tuple((m.number, m.words) for sample in self.gives for m in sample)

    def route(self, number: int) -> Route:
        """The route of that number."""
        return next(route for route in self.routes if route.number == number)

    def share(self, samples: int, first: int = 0) -> int:
        """How many of samples ``first .. first + samples - 1`` the tile takes."""
        return len(self.indices(samples, first))

    def indices(self, samples: int, first: int = 0) -> range:
        """Which of ``samples`` samples the tile takes; the first of them is sample ``first``."""
        return range((self.copy - first) % self.copies, samples, self.copies)


@dataclass(frozen=True, eq=False)
class HostFeed:
    """Messages that the host sends for a sample; the host is a producer like any other.

    Parameters
    ----------
    number : int
        0 and up; samples of a feed go in order, two slots a channel, as on any route.
    legs : tuple of Leg
        From the host port.
    channel : int
        Receive channel at every consumer.
    consumers : int
        Tiles that acknowledge each message.
    tiles : tuple of int
        The consumers, numbers of :attr:`MeshPlan.tiles`.
    tensor : str
        The input tensor of the network that is sent.
    layout : InputLayout
        Its elements in the words of a sample.
    messages : tuple of int
        Words of each message of a sample.
    copy, copies : int
        The feed sends samples ``copy``, ``copy + copies`` ...
    """

    number: int
    legs: tuple[Leg, ...]
    channel: int
    consumers: int
    tiles: tuple[int, ...]
    tensor: str
    layout: InputLayout
    messages: tuple[int, ...]
    copy: int = 0
    copies: int = 1

    def indices(self, samples: int, first: int = 0) -> range:
        """Which of ``samples`` samples the feed sends; the first of them is sample ``first``."""
        return range((self.copy - first) % self.copies, samples, self.copies)

    def words(self, codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
        """The words that samples are sent as.

        Parameters
        ----------
        codes : uint8 [n, \\*shape]
            Of :attr:`tensor`, for the samples that the feed sends.

        Returns
        -------
        uint64 [n, words], cut into :attr:`messages` one after another.

        Raises
        ------
        InputError
            If the codes do not fit.
        """
        return self.layout.pack(codes)


@dataclass(frozen=True, eq=False)
class HostResult:
    """What the host gets from a tile.

    Parameters
    ----------
    tile : int
        Number in :attr:`MeshPlan.tiles`.
    takes : tuple of tuple of Message
        For each sample of a turn (that of the tile's ``gives``), the messages that come to the
        host, in the order in which they leave: ``number`` is the tile's route.
    tensors : tuple of str
        Tensors of the tile's program of which the host gets all words. What of the tile's output
        words the host does not get belongs to none of them.
    """

    tile: int
    takes: tuple[tuple[Message, ...], ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MeshPlan:
    """A network on a mesh.

    Parameters
    ----------
    shape : tuple of int
        Columns and rows.
    tiles : tuple of TilePlan
        Those with work, in the order of :attr:`.compiled.CompiledNetwork.parts`.
    host_in : tuple of HostFeed
    host_out : tuple of HostResult
    host_row : int
        The row at whose west end the host is.
    cycles : tuple of int
        Estimated cycles a sample of each tile, by which stages were balanced.
    """

    shape: tuple[int, int]
    tiles: tuple[TilePlan, ...]
    host_in: tuple[HostFeed, ...]
    host_out: tuple[HostResult, ...]
    host_row: int = 0
    cycles: tuple[int, ...] = ()
    _at: Mapping[tuple[int, int], TilePlan] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_at", {(t.x, t.y): t for t in self.tiles})

    def at(self, x: int, y: int) -> TilePlan | None:
        """The tile at (x, y), if it has work."""
        return self._at.get((x, y))

    def consumers(self, tile: TilePlan, route: Route) -> Iterator[TilePlan]:
        """The tiles that a route of a tile goes to, without the host.

        Raises
        ------
        InputError
            If one of its legs stops where no tile has work.
        """
        yield from self.reached((tile.x, tile.y), route.legs)

    def fed(self, feed: HostFeed) -> Iterator[TilePlan]:
        """The tiles that a feed of the host goes to."""
        yield from self.reached((0, self.host_row), feed.legs)

    def reached(self, source: tuple[int, int], legs: Sequence[Leg]) -> Iterator[TilePlan]:
        for leg in legs:
            if leg.host:
                continue
            stops = [
                (leg.dst_x, at) if leg.dst_y != source[1] else (at, leg.dst_y)
                for at in range(16)
                if leg.absorb >> at & 1
            ]
            for stop in (*stops, (leg.dst_x, leg.dst_y)):
                found = self.at(*stop)
                if found is None:
                    raise InputError(f"A route leads to tile {stop}, which has no work")
                yield found
