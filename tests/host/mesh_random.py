# SPDX-License-Identifier: Apache-2.0
"""Random programs, routes and lists on a mesh that cannot deadlock: stage by stage to the host."""

from collections.abc import Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

from ohmtwin.arch.chip import Chip
from ohmtwin.arch.isa import assemble
from ohmtwin.arch.noc import Node
from ohmtwin.arch.noc_interface import ListEntry, Route, legs_to
from ohmtwin.behavioral.machine import Machine
from ohmtwin.behavioral.machine_times import PassTimes
from ohmtwin.behavioral.mesh import Feed, MeshModel, MeshRun, TileSetup
from ohmtwin.behavioral.program import ArraySpec, InputLayout, OutputSegment, TileProgram
from ohmtwin.host.compiler.mesh_plan import HostFeed, HostResult, MeshPlan, Message, TilePlan

__all__ = ["predict", "random_mesh", "tile_program"]

HOST = Node(0, 0, True)
_SUMS = 2  # in a word

Entries = list[tuple[int, int]]


def _parts(total: int, most: int, rng: Random) -> list[int]:
    found = []
    while total:
        found.append(min(total, rng.randint(max(1, most // 2), most)))
        total -= found[-1]
    return found


def tile_program(chip: Chip, taken: int, given: int, work: int, rng: Random) -> TileProgram:
    """Takes so many words and gives so many, by SEND or as sums, and works in between."""
    lines = []
    # A message enters the input FIFO whole.
    for words in _parts(taken, chip.fifo_words - chip.slot_words, rng):
        lines += [f"SYNC in_words={words}", "SET reg=A1 value=0", f"RECV addr=1 words={words}"]
    for words in _parts(given, chip.fifo_words, rng):
        if work:
            lines += [f"LOOP body=1 count={rng.randint(1, work)}", "NOP"]
        lines += [f"SYNC out_words={words}", "SET reg=A1 value=0"]
        sums = _SUMS * words
        if rng.random() < 0.5 and words % 4 == 0 and sums <= 8 * chip.data_words - 64:
            lines += [
                f"VEC addr=1 bytes={sums}",
                f"REQ vector=1 dest=1 param=2 tap=1 same_param=1 outputs={sums}",
            ]
        else:
            lines.append(f"SEND addr=1 words={words}")
    listing = "\n".join([f"LOOP body={len(lines)} count=0", *lines])
    return TileProgram(
        chip=chip,
        instructions=tuple(assemble(listing)),
        params=np.zeros(chip.outputs_per_beat, np.uint64),
        tables=np.zeros((chip.tables, 256), np.uint8),
        arrays=tuple(
            ArraySpec(core, np.zeros((chip.rows, chip.cols), np.uint8))
            for core in range(chip.cores)
        ),
        input=InputLayout.plain(8 * taken),
        outputs=(OutputSegment("out", "uint8", given, np.arange(8 * given)),),
        data=np.arange(chip.data_words, dtype=np.uint64),
    )


def random_mesh(
    chip: Chip, seed: int, work: int, widest: int = 2, longest: int | None = None
) -> tuple[MeshPlan, list[TileProgram]]:
    """Stages of up to ``widest`` tiles; each tile of a stage sends to all of the next one.

    ``work``: most cycles that a program spends before it sends, about. ``longest``: words of the
    longest message.
    """
    rng = Random(seed)
    most = longest or chip.slot_words
    columns, rows = chip.mesh
    nodes = [Node(x, y) for y in range(rows) for x in range(columns)]
    rng.shuffle(nodes)
    stages = []
    while nodes:
        stages.append([nodes.pop() for _ in range(min(len(nodes), rng.randint(1, widest)))])
    order = [node for stage in stages for node in stage]
    takes: dict[Node, Entries] = {node: [] for node in order}
    gives: dict[Node, Entries] = {node: [] for node in order}
    routes: dict[Node, list[Route]] = {node: [] for node in order}
    used = dict.fromkeys(order, 0)

    def channel(ends: Sequence[Node]) -> int:
        number = max(used[end] for end in ends) + 1
        used.update(dict.fromkeys(ends, number))
        return number

    def send(node: Node, ends: Sequence[Node], messages: list[int]) -> None:
        number = len(routes[node]) + 1
        host = ends == [HOST]
        to = 0 if host else channel(ends)
        routes[node].append(
            Route(
                number=number,
                legs=legs_to(node, ends),
                channel=to,
                consumers=0 if host else len(ends),
            )
        )
        gives[node] += [(number, words) for words in messages]
        for end in () if host else ends:
            takes[end] += [(to, words) for words in messages]

    inputs = _parts(rng.randint(1, 20), most, rng)
    groups = [[node] for node in stages[0]] if rng.random() < 0.5 else [stages[0]]
    feeds = []
    for group in groups:
        to = channel(group)
        feeds.append((legs_to(HOST, group), to, group))
        for node in group:
            takes[node] += [(to, words) for words in inputs]
    for stage, following in zip(stages, [*stages[1:], [HOST]], strict=True):
        for node in stage:
            send(node, following, _parts(rng.randint(1, 20), most, rng))
            if following != [HOST] and rng.random() < 0.3:
                send(node, [HOST], _parts(rng.randint(1, 12), most, rng))

    def messages_of(entries: Entries) -> tuple[tuple[Message, ...], ...]:
        starts = np.cumsum([0, *(words for _, words in entries)]).tolist()
        return (tuple(Message(n, at, w) for (n, w), at in zip(entries, starts, strict=False)),)

    tiles, programs, results = [], [], []
    for k, node in enumerate(order):
        tile = TilePlan(
            x=node.x, y=node.y, tile=k, part=k, copy=0, copies=1, routes=tuple(routes[node]),
            takes=messages_of(takes[node]), gives=messages_of(gives[node]),
        )  # fmt: skip
        tiles.append(tile)
        taken, given = (sum(w for _, w in each[node]) for each in (takes, gives))
        programs.append(tile_program(chip, taken, given, rng.choice([0, work]), rng))
        to_host = {route.number for route in routes[node] if route.consumers == 0}
        mine = tuple(m for m in tile.gives[0] if m.number in to_host)
        results.append(HostResult(k, (mine,), ()))
    host_in = tuple(
        HostFeed(
            number=k, legs=legs, channel=to, consumers=len(group),
            tiles=tuple(order.index(node) for node in group), tensor="x",
            layout=InputLayout.plain(8 * sum(inputs)), messages=tuple(inputs),
        )
        for k, (legs, to, group) in enumerate(feeds)
    )  # fmt: skip
    plan = MeshPlan(shape=chip.mesh, tiles=tuple(tiles), host_in=host_in, host_out=tuple(results))
    return plan, programs


def predict(
    chip: Chip,
    plan: MeshPlan,
    machines: Sequence[Machine],
    samples: int,
    words: NDArray[np.uint64] | None = None,
) -> MeshRun:
    """What the event model says of a run.

    ``words``: what the first tile takes; each next one then takes what the one before it gives. If
    absent, all take zeros.
    """
    times: list[list[PassTimes]] = []
    for machine in machines:
        times.append([])
        if words is None:
            machine.run(np.zeros((samples, machine.program.input_words), np.uint64), times[-1])
        else:
            words = machine.run(words, times[-1])
    setups = [
        TileSetup(
            Node(tile.x, tile.y),
            tile.routes,
            tuple(ListEntry(*entry) for entry in tile.input_list),
            tuple(ListEntry(*entry) for entry in tile.output_list),
        )
        for tile in plan.tiles
    ]
    feeds = [Feed(feed.legs, feed.channel, feed.consumers) for feed in plan.host_in]
    messages = [(f.number, w) for _ in range(samples) for f in plan.host_in for w in f.messages]
    return MeshModel(chip, setups, feeds, host_row=plan.host_row).run(times, messages)
