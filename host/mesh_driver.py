# SPDX-License-Identifier: Apache-2.0
"""Runs programs on the tiles of a simulated mesh and streams samples through them.

Nothing here waits for ever: a message that nobody sends, a tile that stops, a program that never
ends each become an error that names the tile and what it waits for.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError
from ..arch.messages import Header, Kind, message
from ..arch.noc import Channel, MeshShape, Node, Port
from ..arch.noc_interface import check_lists, check_route, configuration
from ..arch.registers import (
    Control,
    Status,
    TileRegister,
)
from ..behavioral.machine import Counters
from ..behavioral.program import TileProgram
from .compiler.mesh_plan import MeshPlan, TilePlan
from .driver import (
    Guard,
    ProtocolError,
    SilentLinkError,
    TileFaultError,
    TileTimeoutError,
    check_chip,
    read_counters,
)
from .mesh_results import RunStamps, collect
from .mesh_simulation import LinkCounts, MeshSimulation
from .mesh_state import TileState, tile_state
from .mesh_timing import MeshCounters, link_flits

__all__ = ["MeshDriver", "MeshStuckError"]

_CONTROL = int(TileRegister.CONTROL)

_QUIET = 10_000
"""Cycles without a flit after which tiles are looked at: more than feeding any message takes."""

_SETTLED = 512
"""Cycles without a flit, and no program running, after which nothing more will come."""

_HANG_LOOKS = 5_000
"""Looks at a tile that executes instructions while no flit moves, until it counts as hung."""

_STEPS = 100
"""Times that the progress of a run is told."""


class MeshStuckError(TileTimeoutError):
    """Tiles wait for each other, or for a message that nobody sends."""


class MeshDriver:
    """Runs one program on each tile of a mesh that has work.

    Checks that the tiles are the chip that the programs were compiled for, loads programs, routes
    and lists, and starts the programs; they then wait for their first messages.

    Parameters
    ----------
    simulation : MeshSimulation
        Used by this driver alone, and closed with it.
    plan : MeshPlan
    programs : sequence of TileProgram
        One for each of ``plan.tiles``.
    hang : int
        Looks at tiles, one every 10,000 cycles without a flit, after which a program that goes on
        without sending anything counts as hung.

    Raises
    ------
    LinkError
        One of its subclasses says what is wrong.
    ConfigError
        If a route or a list of the plan is none that the chip can take.
    """

    def __init__(
        self,
        simulation: MeshSimulation,
        plan: MeshPlan,
        programs: Sequence[TileProgram],
        *,
        hang: int = _HANG_LOOKS,
    ) -> None:
        self._simulation = simulation
        self._plan = plan
        self._programs = tuple(programs)
        self._hang = hang
        self._samples = 0
        self._wanted = 0
        self._guarded = Guard("The mesh")
        self._runs = 0
        self._cycles = 0
        self._flits: dict[str, tuple[int, int]] = {}
        self.last_run: RunStamps | None = None
        self._guarded(self._start)

    # Loading.

    def _start(self) -> None:
        words = [self._load_words(at) for at in range(len(self._plan.tiles))]
        self._feeds = [
            self._simulation.add_feed(
                feed.channel,
                [self._number(tile) for tile in self._plan.fed(feed)],
                feed.legs,
                row=self._plan.host_row,
            )
            for feed in self._plan.host_in
        ]
        for at, program in enumerate(self._programs):
            check_chip(program.chip, partial(self.read_registers, at), self._name(at))
        for at, tile in enumerate(self._plan.tiles):
            self._simulation.control(self._number(tile), words[at])
        for at in range(len(words)):
            # The answer comes when all before it has been obeyed.
            status = self.read_registers(at, TileRegister.STATUS, 1)[0]
            if status & Status.LINK_FAULT:
                raise ProtocolError(f"{self._name(at)} did not understand its program")
        run = message(Kind.WRITE_REG, [int(Control.CLEAR) | int(Control.RUN)], _CONTROL)
        for tile in self._plan.tiles:
            self._simulation.control(self._number(tile), run)
        # Cycles until the first SYNC, which belong to no run.
        self._settle()
        self._setup = [
            self.read_registers(at, TileRegister.CYCLES, 1)[0] for at in range(len(words))
        ]

    def _load_words(self, at: int) -> NDArray[np.uint64]:
        """All that a tile is told before it runs."""
        tile, program = self._plan.tiles[at], self._programs[at]
        chip, where = program.chip, Node(tile.x, tile.y)
        for route in tile.routes:
            check_route(self._simulation.chip, route, where)
        check_lists(chip, where, tile.routes, tile.input_list, tile.output_list)
        words = message(Kind.WRITE_REG, [int(Control.STOP)], _CONTROL)
        for kind, payload in (
            (Kind.WRITE_PROGRAM, program.encoded),
            (Kind.WRITE_PARAMS, program.params),
            (Kind.WRITE_TABLE, program.table_words),
            (Kind.WRITE_CORRECTIONS, program.corrections),
            (Kind.WRITE_DATA, program.data),
            (Kind.WRITE_FLAGS, program.flag_words),
        ):
            words += message(kind, payload.tolist())
        words += configuration(tile.routes, tile.input_list, tile.output_list)
        return np.array(words, np.uint64)

    # Samples.

    def run(
        self,
        samples: int,
        feeds: Sequence[NDArray[np.uint64]],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[NDArray[np.uint64]]:
        """Run samples in order, as many under way as the mesh holds.

        Parameters
        ----------
        samples : int
        feeds : sequence of uint64 [n, words]
            For each of ``plan.host_in``, the words of those samples that it sends.
        progress : callable, optional
            Told samples done, about, and samples in all.

        Returns
        -------
        list of uint64 [n, output_words]
            For each of ``plan.tiles``, its output words for the samples that it takes; 0 where they
            are not for the host.

        Raises
        ------
        InputError
            If the words do not fit the plan.
        LinkError
            One of its subclasses says what is wrong.
        """
        self._check_feeds(samples, feeds)
        return self._guarded(lambda: self._run(samples, feeds, progress))

    def _check_feeds(self, samples: int, feeds: Sequence[NDArray[np.uint64]]) -> None:
        for feed, words in zip(self._plan.host_in, feeds, strict=True):
            shape = (len(feed.indices(samples, self._samples)), sum(feed.messages))
            if words.dtype != np.uint64 or words.shape != shape:
                raise InputError(
                    f"Words of feed {feed.number} must be uint64 {list(shape)}, "
                    f"not {words.dtype} {list(words.shape)}"
                )

    def _run(
        self,
        samples: int,
        feeds: Sequence[NDArray[np.uint64]],
        progress: Callable[[int, int], None] | None,
    ) -> list[NDArray[np.uint64]]:
        first, before = self._samples, self._wanted
        counts = self.link_counts()
        self._check_messages()  # that came after the run before
        own = [feed.indices(samples, first) for feed in self._plan.host_in]
        for sample in range(samples):
            for feed, number, indices, words in zip(
                self._plan.host_in, self._feeds, own, feeds, strict=True
            ):
                if sample in indices:
                    self._simulation.send(number, words[indices.index(sample)], list(feed.messages))
        results = sum(
            len(result.takes[sample // tile.copies % len(result.takes)])
            for result in self._plan.host_out
            for tile in [self._plan.tiles[result.tile]]
            for sample in range(first, first + samples)
            if sample % tile.copies == tile.copy
        )
        self._wanted += results
        for step in range(1, _STEPS + 1):
            self._await(before + results * step // _STEPS)
            if progress is not None:
                progress(samples * step // _STEPS, samples)
        self._check_messages()
        self._samples += samples
        outputs, came = collect(self._simulation, self._plan, self._programs, samples, first)
        sent = {
            feed.number: self._simulation.take_sent(number)
            for feed, number in zip(self._plan.host_in, self._feeds, strict=True)
        }
        self.last_run = RunStamps(samples, sent, came)
        self._settle()
        after = self.link_counts()
        for name, (data, control) in self._passed(counts, after).items():
            old = self._flits.get(name, (0, 0))
            self._flits[name] = (old[0] + data, old[1] + control)
        self._runs += 1
        self._cycles += self.last_run.cycles
        return outputs

    def _check_messages(self) -> None:
        """Refuse messages that no sample accounts for: all results after them would be shifted."""
        if self._simulation.messages > self._wanted:
            raise ProtocolError(
                f"The mesh sent {self._simulation.messages} messages where {self._wanted} were "
                "due; programs and plan do not fit each other"
            )
        for at in range(len(self._plan.tiles)):
            self._check_faults(at, self.state(at))

    # Waiting.

    def _await(self, messages: int) -> None:
        """Run until so many messages have come."""
        for _ in range(self._hang):
            moved = self._simulation.moved
            if self._simulation.run(messages=messages, max_idle=_QUIET):
                return
            states = [self.state(at) for at in range(len(self._plan.tiles))]
            for at, state in enumerate(states):
                self._check_faults(at, state)
            if not any(state.computes for state in states):
                raise MeshStuckError(self._why_stuck(states))
            if self._simulation.moved != moved:
                # It has gone on for a while before it stopped.
                continue
        raise self._hung(states)

    def _hung(self, states: Sequence[TileState]) -> TileTimeoutError:
        """The error for programs that go on without an end."""
        running = [at for at, state in enumerate(states) if state.computes]
        where = "; ".join(f"{self._name(at)} at {self._where(at)}" for at in running)
        missing = self._wanted - self._simulation.messages
        return TileTimeoutError(
            f"Programs run but send nothing, now {where}; {missing} messages are missing"
        )

    def _check_faults(self, at: int, state: TileState) -> None:
        if state.fault:
            raise TileFaultError(
                f"{self._name(at)} stopped at {self._where(at)}, which it does not know"
            )
        if state.broken:
            raise ProtocolError(f"{self._name(at)}: {state.broken}")

    def _why_stuck(self, states: Sequence[TileState]) -> str:
        """A sentence that names the tiles that wait, and for what."""
        waits = []
        for at, state in enumerate(states):
            if not state.running:
                waits.append(f"{self._name(at)} has ended at {self._where(at)}")
            else:
                waits += [f"{self._name(at)} waits {reason}" for reason in state.waits]
        if self._simulation.unsent:
            waits.append(
                f"the host has {self._simulation.unsent} messages for channels whose slots are full"
            )
        missing = self._wanted - self._simulation.messages
        return (
            f"The mesh stands still with {missing} messages for the host missing: "
            + "; ".join(waits)
            + ". A message that is waited for is sent by nobody, or tiles wait for each other"
        )

    def _where(self, at: int) -> str:
        instructions = self._programs[at].instructions
        pc = self.read_registers(at, TileRegister.PC, 1)[0]
        if pc < len(instructions):
            return f"instruction {pc} ({instructions[pc]})"
        return f"instruction {pc}, past the end of the program of {len(instructions)}"

    def _name(self, at: int) -> str:
        tile = self._plan.tiles[at]
        return f"Tile ({tile.x}, {tile.y})"

    def _number(self, tile: TilePlan) -> int:
        return tile.y * self._simulation.chip.mesh[0] + tile.x

    # What the mesh shows of itself.

    @property
    def shape(self) -> MeshShape:
        """The mesh."""
        columns, rows = self._simulation.chip.mesh
        return MeshShape(
            width=columns,
            height=rows,
            hosts=(self._plan.host_row,),
            depth=self._simulation.chip.buffer_flits,
        )

    @property
    def digest(self) -> int:
        """Of the simulation, if it keeps one."""
        return self._simulation.digest

    def state(self, at: int) -> TileState:
        """What a tile of the plan and its interface wait for now, and their counters."""
        return tile_state(self._simulation.tile_state(self._number(self._plan.tiles[at])))

    def link_counts(self) -> LinkCounts:
        """Counters of all links since the reset."""
        return self._simulation.link_counts()

    def counters(self) -> list[Counters]:
        """Performance counters of each tile of the plan, once all wait for their next sample.

        Raises
        ------
        LinkError
            One of its subclasses says what is wrong.
        """
        return self._guarded(self._counters)

    def _counters(self) -> list[Counters]:
        self._settle()
        return [
            read_counters(program.chip, partial(self.read_registers, at))
            for at, program in enumerate(self._programs)
        ]

    def _settle(self) -> None:
        """Run until nothing is under way: all results have come, but a tile may still be on its way
        to its SYNC, and an acknowledgement to the producer."""
        for _ in range(self._hang * _QUIET // _SETTLED):
            moved = self._simulation.moved
            self._simulation.step(_SETTLED)
            states = [self.state(at) for at in range(len(self._plan.tiles))]
            for at, state in enumerate(states):
                self._check_faults(at, state)
            if self._simulation.moved == moved and not any(state.computes for state in states):
                return
        raise self._hung(states)

    def mesh_counters(self) -> MeshCounters:
        """Counts of all runs so far."""
        return MeshCounters(
            self._runs,
            self._samples,
            self._cycles,
            self._flits,
            tuple(
                counters.cycles - setup
                for counters, setup in zip(self.counters(), self._setup, strict=True)
            ),
        )

    def _passed(self, before: LinkCounts, after: LinkCounts) -> dict[str, tuple[int, int]]:
        """Flits by link between two counts."""
        outputs = after.flits - before.flits
        tiles = after.tile_flits - before.tile_flits
        hosts = after.host_flits - before.host_flits

        def pair(flits: NDArray[np.int64]) -> tuple[int, int]:
            return int(flits[0]), int(flits[1])

        entries = {
            Node(x, y): pair(tiles[y, x]) for y in range(len(tiles)) for x in range(len(tiles[0]))
        }
        entries |= {Node(0, self._plan.host_row, True): pair(hosts[0])}
        return link_flits(
            {
                Channel(x, y, port): pair(outputs[y, x, port])
                for y in range(len(outputs))
                for x in range(len(outputs[0]))
                for port in Port
            },
            entries,
        )

    def read_registers(self, at: int, address: int, count: int) -> list[int]:
        """Read ``count`` registers of a tile of the plan from ``address`` on.

        Raises
        ------
        SilentLinkError
            If the answer does not come.
        """
        tile = self._number(self._plan.tiles[at])
        values: list[int] = []
        # One packet each, which cannot overtake itself.
        most = max(1, self._simulation.chip.packet_words - 1)
        while len(values) < count:
            part = min(most, count - len(values))
            self._simulation.control(
                tile, [Header(Kind.READ_REG, part, address + len(values)).encode()]
            )
            if not self._simulation.run(replies=part + 1, max_idle=_QUIET):
                raise SilentLinkError(
                    f"{self._name(at)} did not answer the read of {count} registers from "
                    f"{address} on"
                )
            words = self._simulation.take_replies(tile).tolist()
            if Header(Kind.REPLY, part, address + len(values)).encode() != words[0]:
                raise ProtocolError(
                    f"{self._name(at)} sent {words[0]:#018x} where a reply should begin"
                )
            values += words[1:]
        return values

    def close(self) -> None:
        """End the simulation; closing twice is harmless."""
        self._simulation.close()
