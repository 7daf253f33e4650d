# SPDX-License-Identifier: Apache-2.0
"""What a tile of a simulated mesh shows of itself: its status, what its interface waits for, and
how often it has waited."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .verilator_build import emit_cached

__all__ = ["TileState", "tile_state"]

_STATUS = ("running", "waiting", "fault", "link_fault", "idle")
_WORD = 64
_STATE_AT = _WORD
_COUNTS_AT = 2 * _WORD


@dataclass(frozen=True)
class TileState:
    """A tile and its interface at one moment.

    Parameters
    ----------
    running, waiting, fault, link_fault : bool
        Bits of the tile's STATUS.
    idle : bool
        Nothing is on its way in the interface.
    feed_wait, send_wait : str
        What keeps the feeder, the sender: names of ``FeedWait``, ``SendWait`` in ``rtl/noc``, in
        lower case.
    feed_channel, feed_words : int
        The message that is to be fed next.
    send_route, send_words, send_filled : int
        The message that is sent next, its words, and how many of them have come out of the tile.
    send_missing : int
        Consumers that have still to read the message before it in its slot.
    stray, overrun, bad_address : bool
        A packet or acknowledgement that nobody waited for came; a packet for a full slot; a
        configuration for an address that is not there.
    counts : mapping of str to int
        Counters of the interface since CONTROL.clear (``COUNTERS`` in ``rtl/noc/interface.py``).
    """

    running: bool
    waiting: bool
    fault: bool
    link_fault: bool
    idle: bool
    feed_wait: str
    feed_channel: int
    feed_words: int
    send_wait: str
    send_route: int
    send_words: int
    send_filled: int
    send_missing: int
    stray: bool
    overrun: bool
    bad_address: bool
    counts: Mapping[str, int]

    @property
    def computes(self) -> bool:
        """Whether the program runs and does not wait at a SYNC."""
        return self.running and not self.waiting and not self.fault

    @property
    def broken(self) -> str:
        """What the interface or the tile has refused; empty if nothing."""
        reasons = {
            "a message was dropped, for its kind or address is unknown": self.link_fault,
            "a packet came that nobody waited for": self.stray,
            "a packet came for a slot whose message is unread": self.overrun,
            "the interface was told an address that it does not have": self.bad_address,
        }
        return "; ".join(reason for reason, is_so in reasons.items() if is_so)

    @property
    def waits(self) -> list[str]:
        """What it waits for, as ends of a sentence."""
        found = []
        if self.feed_wait == "slot":
            found.append(f"for a message of {self.feed_words} words on channel {self.feed_channel}")
        elif self.feed_wait == "room":
            found.append(
                f"for room for the {self.feed_words} words that came on channel {self.feed_channel}"
            )
        elif self.feed_wait == "port":
            found.append("for the link to take an acknowledgement")
        if self.send_wait == "acks":
            some = "consumer" if self.send_missing == 1 else "consumers"
            found.append(
                f"for {self.send_missing} {some} of route {self.send_route} to read the message "
                "before"
            )
        elif self.send_wait == "words":
            found.append(
                f"for words {self.send_filled} to {self.send_words - 1} of the message on route "
                f"{self.send_route}"
            )
        elif self.send_wait == "link":
            found.append(f"for the link to take the message on route {self.send_route}")
        return found or ["for its host: its input list is empty"]


def tile_state(words: NDArray[np.uint64]) -> TileState:
    """What the words of :meth:`~.mesh_simulation.MeshSimulation.tile_state` say."""
    bits = sum(int(word) << _WORD * at for at, word in enumerate(words))
    layout = _layout()

    def fields(at: int, places: Mapping[str, Sequence[int]]) -> dict[str, int]:
        return {
            name: bits >> at + start & ((1 << width) - 1) for name, (start, width) in places.items()
        }

    state = fields(_STATE_AT, layout.state)
    flags = {name: bool(bits >> at & 1) for at, name in enumerate(_STATUS)}
    return TileState(
        running=flags["running"],
        waiting=flags["waiting"],
        fault=flags["fault"],
        link_fault=flags["link_fault"],
        idle=flags["idle"],
        feed_wait=layout.feed_wait[state["feed_wait"]],
        feed_channel=state["feed_channel"],
        feed_words=state["feed_words"],
        send_wait=layout.send_wait[state["send_wait"]],
        send_route=state["send_route"],
        send_words=state["send_words"],
        send_filled=state["send_filled"],
        send_missing=state["send_missing"],
        stray=bool(state["stray"]),
        overrun=bool(state["overrun"]),
        bad_address=bool(state["bad_address"]),
        counts=fields(_COUNTS_AT, layout.counts),
    )


class _Layout(NamedTuple):
    """Bits of an interface's state and counters, by name, and what its waits are called."""

    state: dict[str, tuple[int, int]]
    counts: dict[str, tuple[int, int]]
    feed_wait: list[str]
    send_wait: list[str]


@functools.cache
def _layout() -> _Layout:
    """Taken from the RTL once."""

    def make() -> str:
        from ..rtl.noc.feeder import FeedWait
        from ..rtl.noc.interface import COUNTERS, STATE
        from ..rtl.noc.sender import SendWait

        state, counts = (
            {str(key): (field.offset, field.width) for key, field in layout}
            for layout in (STATE, COUNTERS)
        )
        waits = (
            [kind(value).name.lower() for value in range(len(kind))]
            for kind in (FeedWait, SendWait)
        )
        return json.dumps([state, counts, *waits])

    return _Layout(*json.loads(emit_cached(["interface layout"], ("rtl", "arch"), make)))
