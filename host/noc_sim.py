# SPDX-License-Identifier: Apache-2.0
"""Traffic through Verilated meshes: latency against offered load, saturation, use of links.

The generator and the checks are in C++ (``rtl/sv/noc_sim.cpp``): sources are open-loop queues, each
tile makes a packet in a cycle with a fixed chance; a run warms up, measures, and drains until all
that was made while measuring is out (Dally and Towles 2004, chapter 23). Every flit that comes out
is compared with what was sent.
"""

import ctypes
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError, ToolError
from ..arch.noc import PORTS, Channel, MeshShape, Node, Port, neighbor, zero_load_latency
from .noc_build import MAX_DEFLECTION_FLITS, RouterKind, build_network
from .toolchain import Progress

__all__ = [
    "COUNTERS",
    "LOADS",
    "MAX_FLITS",
    "PATTERNS",
    "Network",
    "Point",
    "Run",
    "Sweep",
    "ZeroLoad",
    "check_flits",
    "check_pattern",
    "sweep",
]

PATTERNS = ("uniform", "transpose", "hotspot", "neighbor", "layer")
"""Where packets go. uniform: any other tile, all alike; transpose: from (x, y) to (y, x);
hotspot: as uniform, but a tenth of all to the tile in the middle; neighbor: the next tile to the
east, round the edge; layer: any tile of the next column, round the edge, as from layer to layer of
a network that has a column each."""

_ONE = len(PATTERNS)

COUNTERS = ("flits", "blocked", "shared", "contended")
"""Of an output, in cycles: transfers; offers not taken; a class waited for the other; an input
waited for another."""

LOADS = tuple(np.arange(0.05, 1.001, 0.05).round(2).tolist())
"""Flits a node a cycle that a sweep tries."""

MAX_FLITS = 256
"""Of a packet: what ``length`` of a header can tell."""

_ALL = 1 << 16
_CARRIED = 0.98
"""A load is carried if so much of it comes out while measuring."""


class _Config(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("host_rows", ctypes.c_uint32),
        ("pattern", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
        ("load", ctypes.c_uint32),
        ("flits", ctypes.c_uint32),
        ("random_length", ctypes.c_uint32),
        ("control", ctypes.c_uint32),
        ("multicast", ctypes.c_uint32),
        ("absorbed_flits", ctypes.c_uint32),
        ("to_host", ctypes.c_uint32),
        ("stall", ctypes.c_uint32),
        ("pause", ctypes.c_uint32),
        ("warm_up", ctypes.c_uint64),
        ("measure", ctypes.c_uint64),
        ("drain", ctypes.c_uint64),
        ("packets", ctypes.c_uint64),
        ("one_src", ctypes.c_int32),
        ("one_dst", ctypes.c_int32),
    )


class _Result(ctypes.Structure):
    _fields_ = (
        ("cycles", ctypes.c_uint64),
        ("made", ctypes.c_uint64),
        ("offered_flits", ctypes.c_uint64),
        ("taken_flits", ctypes.c_uint64),
        ("senders", ctypes.c_uint64),
        ("measured", ctypes.c_uint64),
        ("missing", ctypes.c_uint64),
        ("latency_sum", ctypes.c_uint64),
        ("latency_max", ctypes.c_uint64),
        ("copies", ctypes.c_uint64),
        ("error", ctypes.c_char * 256),
    )


@dataclass(frozen=True)
class Run:
    """What came of a run.

    Parameters
    ----------
    cycles, made, copies, missing : int
        Clock cycles; packets made; packets that came out, copies of a multicast counted each;
        packets that did not come out before the end.
    accepted : float
        Flits a sending node a cycle that came out while measuring.
    carried : bool
        Of the flits made while measuring, the mesh gave at least 0.98 in the same time.
    latency, latency_max : float, int
        Cycles from when a packet was made until its tail was out.
    links : int64 [tiles, 5, 4]
        By tile, port and counter (:data:`COUNTERS`).
    """

    cycles: int
    made: int
    copies: int
    missing: int
    accepted: float
    carried: bool
    latency: float
    latency_max: int
    links: NDArray[np.int64]


def check_pattern(pattern: str, shape: MeshShape) -> None:
    """Refuse a pattern that there is not, or that the mesh cannot have.

    Raises
    ------
    InputError
    """
    if pattern not in PATTERNS:
        raise InputError(f"There is no pattern '{pattern}'; choose from {', '.join(PATTERNS)}")
    if pattern == "transpose" and shape.width != shape.height:
        raise InputError(f"Pattern transpose needs a square mesh, not {shape}")
    if shape.tiles == 1:
        raise InputError("Traffic needs a mesh of two tiles or more, not 1x1")


def check_flits(router: RouterKind, flits: int) -> None:
    """Refuse packets that are too short or too long for a kind of router.

    Raises
    ------
    InputError
    """
    most = MAX_DEFLECTION_FLITS if router == "deflection" else MAX_FLITS
    if not 1 <= flits <= most:
        raise InputError(f"A packet has 1 to {most} flits with {router} routers, not {flits}")


class Network:
    """A mesh of Verilated routers; each run begins with an empty one.

    Parameters
    ----------
    shape : MeshShape
    router : "buffered" or "deflection"
    progress : callable, optional
        Told of the build.

    Raises
    ------
    ToolError
        If it cannot be built.
    """

    def __init__(
        self,
        shape: MeshShape,
        router: RouterKind = "buffered",
        progress: Progress | None = None,
    ) -> None:
        self.shape = shape
        self.router: RouterKind = router
        library = ctypes.CDLL(str(build_network(router, shape, progress)))
        self._run = library.noc_run
        self._run.restype = ctypes.c_int

    def run(
        self,
        pattern: str = "uniform",
        *,
        load: float = 0.0,
        flits: int = 5,
        seed: int = 1,
        random_length: bool = False,
        control: float = 0.0,
        multicast: float = 0.0,
        to_host: float = 0.0,
        stall: float = 0.0,
        pause: float = 0.0,
        warm_up: int = 0,
        measure: int = 1 << 40,
        drain: int = 1 << 40,
        packets: int = 0,
    ) -> Run:
        """Send packets and check each flit that comes out.

        Parameters
        ----------
        pattern : str
            One of :data:`PATTERNS`.
        load : float
            Flits that each tile makes in a cycle.
        flits : int
            Of a packet, its header counted; with ``random_length`` at most.
        control, multicast, to_host : float
            Share of packets of the control class; with random copies on their way; to or from a
            host port.
        stall, pause : float
            Chance that a class is not taken, and that a free source offers nothing, in a cycle.
        warm_up, measure, drain : int
            Cycles; the last is the most that the run waits for packets to come out.
        packets : int
            Stop making packets after so many, and end when all are out; 0: no limit.

        Raises
        ------
        ToolError
            If the network loses, changes, repeats, reorders or misroutes anything: a bug.
        """
        check_flits(self.router, flits)
        return self._call(
            pattern=PATTERNS.index(pattern),
            seed=seed,
            load=round(min(1.0, load / flits) * _ALL),
            flits=flits,
            random_length=random_length,
            control=round(control * _ALL),
            multicast=round(multicast * _ALL),
            to_host=round(to_host * _ALL),
            stall=round(stall * _ALL),
            pause=round(pause * _ALL),
            warm_up=warm_up,
            measure=measure,
            drain=drain,
            packets=packets,
        )

    def one_packet(self, src: Node, dst: Node, flits: int) -> int:
        """Cycles that a packet takes through an empty mesh.

        From the cycle in which its header is first offered to that in which its tail is taken.
        """
        check_flits(self.router, flits)
        nodes = list(self.shape.nodes())
        run = self._call(
            pattern=_ONE,
            flits=flits,
            one_src=nodes.index(src),
            one_dst=nodes.index(dst),
            measure=1,
            drain=10000,
        )
        return run.latency_max

    def _call(self, **fields: int) -> Run:
        shape = self.shape
        config = _Config(
            width=shape.width,
            height=shape.height,
            host_rows=sum(1 << y for y in shape.hosts),
            absorbed_flits=shape.depth,
            **fields,
        )
        result = _Result()
        counts = (ctypes.c_uint32 * (shape.tiles * PORTS * len(COUNTERS)))()
        if self._run(ctypes.byref(config), ctypes.byref(result), counts):
            raise ToolError(f"The network is wrong: {result.error.decode()}")
        links = np.array(list(counts), np.int64)
        slack = 2 * config.flits * math.sqrt(result.senders)  # of packets on their way
        return Run(
            cycles=result.cycles,
            made=result.made,
            copies=result.copies,
            missing=result.missing,
            accepted=result.taken_flits / max(1, config.measure * result.senders),
            carried=result.taken_flits + slack >= _CARRIED * result.offered_flits,
            latency=result.latency_sum / result.measured if result.measured else math.nan,
            latency_max=result.latency_max,
            links=links.reshape(shape.tiles, PORTS, len(COUNTERS)),
        )

    def link_use(self, run: Run) -> dict[Channel, float]:
        """Flits a cycle over each link that there is."""
        use = {}
        for tile in range(self.shape.tiles):
            x, y = self.shape.position(tile)
            for port in Port:
                if neighbor(self.shape, x, y, port) is not None:
                    use[Channel(x, y, port)] = run.links[tile, port, 0] / max(1, run.cycles)
        return use


@dataclass(frozen=True)
class ZeroLoad:
    """Latency of an empty mesh, over pairs of tiles.

    Parameters
    ----------
    mean, predicted : float
        Cycles, as measured, and hops times router delay plus length.
    excess : float
        The most that a packet takes longer than that, in cycles a hop.
    pairs : int
    """

    mean: float
    predicted: float
    excess: float
    pairs: int


@dataclass(frozen=True)
class Point:
    """A load and what comes of it: flits a node a cycle, and cycles."""

    load: float
    accepted: float
    latency: float
    latency_max: int
    carried: bool


@dataclass(frozen=True)
class Sweep:
    """Latency against load.

    Parameters
    ----------
    zero : ZeroLoad
    saturation : float
        Flits a node a cycle that come out at the largest load that the mesh carries: where at
        least 0.98 of what is offered comes out in the same time. Loads are tried to 0.01.
    throughput : float
        What comes out when every source always has a packet.
    points : sequence of Point
    use : dict of Channel to float
        Flits a cycle over each link at saturation.
    links : int64 [tiles, 5, 4]
        Counters of that run.
    cycles : int
        Of that run.
    """

    zero: ZeroLoad
    saturation: float
    throughput: float
    points: Sequence[Point]
    use: dict[Channel, float]
    links: NDArray[np.int64]
    cycles: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        tiles, ports, _ = self.links.shape
        points = [asdict(point) for point in self.points]
        for point in points:  # nothing came out: there is no latency
            if math.isnan(point["latency"]):
                point["latency"] = None
        width = 1 + max(channel.x for channel in self.use)
        return {
            "saturation": self.saturation,
            "throughput": self.throughput,
            "zero_load": asdict(self.zero),
            "points": points,
            "cycles_at_saturation": self.cycles,
            "links": [
                {
                    "x": tile % width,
                    "y": tile // width,
                    "port": Port(port).name.lower(),
                    **dict(zip(COUNTERS, self.links[tile, port].tolist(), strict=True)),
                }
                for tile in range(tiles)
                for port in range(ports)
                if Channel(tile % width, tile // width, Port(port)) in self.use
            ],
        }


_MOST_PAIRS = 240
"""All pairs of a 4x4 mesh; of larger ones, so many of theirs."""


def zero_load(network: Network, flits: int, seed: int) -> ZeroLoad:
    """Send single packets through an empty mesh."""
    tiles = [node for node in network.shape.nodes() if not node.host]
    pairs = [(a, b) for a in tiles for b in tiles if a != b]
    if len(pairs) > _MOST_PAIRS:
        pairs = Random(seed).sample(pairs, _MOST_PAIRS)
    found = [network.one_packet(a, b, flits) for a, b in pairs]
    predicted = [zero_load_latency(a, b, flits) for a, b in pairs]
    hops = [abs(a.x - b.x) + abs(a.y - b.y) for a, b in pairs]
    return ZeroLoad(
        mean=float(np.mean(found)),
        predicted=float(np.mean(predicted)),
        excess=max((f - p) / h for f, p, h in zip(found, predicted, hops, strict=True)),
        pairs=len(pairs),
    )


def sweep(
    network: Network,
    pattern: str = "uniform",
    *,
    flits: int = 5,
    seed: int = 1,
    cycles: int = 20000,
    loads: Iterable[float] = LOADS,
    progress: Progress | None = None,
) -> Sweep:
    """Measure latency at rising loads until the mesh is past saturation, and find where that is.

    Parameters
    ----------
    network : Network
    pattern : str
    flits : int
        Of a packet, its header counted.
    seed : int
    cycles : int
        To measure in each run, after a fourth of that to warm up.
    loads : iterable of float
        Flits a node a cycle, rising.
    progress : callable, optional

    Raises
    ------
    InputError
        If the pattern is unknown, or not one for this mesh.
    """
    check_pattern(pattern, network.shape)
    report: Progress = progress or (lambda what, done, steps: None)
    runs: dict[float, Run] = {}

    def at(load: float) -> Point:
        load = round(load, 4)
        report("measuring loads", len(runs), 0)
        runs[load] = run = network.run(
            pattern,
            load=load,
            flits=flits,
            seed=seed,
            warm_up=cycles // 4,
            measure=cycles,
            drain=cycles,
        )
        return Point(load, run.accepted, run.latency, run.latency_max, run.carried)

    points = []
    beyond = 0
    for load in loads:
        points.append(at(load))
        beyond += not points[-1].carried
        if beyond == 2:  # the shape of the curve is seen
            break
    low = max((p.load for p in points if p.carried), default=0.0)
    high = min((p.load for p in points if not p.carried and p.load > low), default=1.0)
    while high - low > 0.011:
        point = at((low + high) / 2)
        points.append(point)
        low, high = (point.load, high) if point.carried else (low, point.load)
    full = at(1.0 if flits > 1 else 0.99)
    saturated = runs.get(low, runs[full.load])
    return Sweep(
        zero=zero_load(network, flits, seed),
        saturation=saturated.accepted,
        throughput=full.accepted,
        points=sorted(points, key=lambda point: point.load),
        use=network.link_use(saturated),
        links=saturated.links,
        cycles=saturated.cycles,
    )
