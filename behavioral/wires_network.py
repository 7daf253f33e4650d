# SPDX-License-Identifier: Apache-2.0
"""Exact solution of any crossbar as a graph, with shorted cells and open connections.

Nodal analysis (Joksas and Mehonic, SoftwareX 12, 2020, 100617) by sparse LU. What is joined by
0 ohm becomes one node, what is cut by infinite ohm is left out; a network that has no one answer
then is refused, with the place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from ..arch.errors import ConfigError
from .wires_model import Direction, WireModel

__all__ = ["solve"]

_Matrix = NDArray[np.float64]
_Nodes = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Graph:
    """Branches ``a[k] -- b[k]`` of ``siemens[k]``.

    Nodes are the crossings of the row wires, then those of the column wires, both row by row,
    then the drivers, then the sense amplifiers' grounds.
    """

    shape: tuple[int, int]
    drivers: int
    senses: int
    forward: bool
    a: _Nodes
    b: _Nodes
    siemens: _Matrix

    @property
    def inner(self) -> int:
        """Number of nodes whose voltage is not given."""
        return 2 * self.shape[0] * self.shape[1]

    @property
    def size(self) -> int:
        """Number of nodes."""
        return self.inner + self.drivers + self.senses

    def name(self, node: int) -> str:
        """Say where a node is."""
        driven, sensed = ("row", "column") if self.forward else ("column", "row")
        if node >= self.inner + self.drivers:
            return f"the sense amplifier of {sensed} {node - self.inner - self.drivers}"
        if node >= self.inner:
            return f"the driver of {driven} {node - self.inner}"
        wire, crossing = divmod(node, self.inner // 2)
        row, col = divmod(crossing, self.shape[1])
        return f"the {('row', 'column')[wire]} wire at row {row}, column {col}"


def solve(g: _Matrix, wires: WireModel, direction: Direction) -> tuple[_Matrix, _Matrix]:
    """Solve for one volt on each driver in turn.

    Parameters
    ----------
    g : float64 array [rows, cols]
        Cells with their access in siemens, 0 to ``inf``.
    wires : WireModel
    direction : "forward" or "transposed"

    Returns
    -------
    transfer : float64 array [drivers, senses]
    driver : float64 array [drivers, drivers]
        Currents out of the drivers per volt.

    Raises
    ------
    ConfigError
        If a node is connected to nothing, or 0 ohm joins drivers or sense amplifiers.
    """
    graph = _graph(g, wires, direction)
    joined = _merge(graph)
    _check_floating(graph, joined)
    conducts = np.isfinite(graph.siemens) & (joined[graph.a] != joined[graph.b])
    a, b, siemens = joined[graph.a][conducts], joined[graph.b][conducts], graph.siemens[conducts]
    count = int(joined.max()) + 1
    laplacian = csc_array(
        coo_array(
            (
                np.concatenate([siemens, siemens, -siemens, -siemens]),
                (np.concatenate([a, b, a, b]), np.concatenate([a, b, b, a])),
            ),
            shape=(count, count),
        )
    )
    ends = joined[graph.inner :]
    free = np.setdiff1d(np.arange(count), ends)
    drivers = ends[: graph.drivers]
    currents = laplacian[ends][:, drivers].toarray()
    if len(free):
        factors = splu(
            csc_array(laplacian[free][:, free]),
            permc_spec="MMD_AT_PLUS_A",
            options={"SymmetricMode": True},
        )
        volts = factors.solve(-laplacian[free][:, drivers].toarray())
        currents = currents + laplacian[ends][:, free] @ volts
    driver, transfer = currents[: graph.drivers].T, -currents[graph.drivers :].T
    return np.ascontiguousarray(transfer), np.ascontiguousarray(driver)


def _graph(g: _Matrix, wires: WireModel, direction: Direction) -> _Graph:
    rows, cols = g.shape
    on_row = np.arange(g.size).reshape(g.shape)
    on_col = on_row + g.size
    forward = direction == "forward"
    left, right, bottom, top = on_row[:, 0], on_row[:, -1], on_col[-1], on_col[0]
    driven, far, sensed = (left, right, bottom) if forward else (bottom, top, left)
    near, across = (wires.r_row, wires.r_col) if forward else (wires.r_col, wires.r_row)
    drivers = 2 * g.size + np.arange(len(driven))
    senses = 2 * g.size + len(driven) + np.arange(len(sensed))
    branches = [
        (on_row[:, :-1], on_row[:, 1:], _siemens(wires.r_row)),
        (on_col[:-1], on_col[1:], _siemens(wires.r_col)),
        (drivers, driven, _siemens(near + wires.r_driver)),
        (sensed, senses, _siemens(across + wires.r_sense)),
    ]
    if wires.drive == "double":
        branches.append((drivers, far, _siemens(near + wires.r_driver)))
    return _Graph(
        shape=(rows, cols),
        drivers=len(drivers),
        senses=len(senses),
        forward=forward,
        a=np.concatenate([on_row.ravel(), *(a.ravel() for a, _, _ in branches)]),
        b=np.concatenate([on_col.ravel(), *(b.ravel() for _, b, _ in branches)]),
        siemens=np.concatenate([g.ravel(), *(np.full(a.size, s) for a, _, s in branches)]),
    )


def _siemens(ohm: float) -> float:
    return 1.0 / ohm if ohm else np.inf


def _components(graph: _Graph, chosen: NDArray[np.bool_]) -> _Nodes:
    """Number of the component of each node, over the chosen branches."""
    edges = (np.ones(int(chosen.sum())), (graph.a[chosen], graph.b[chosen]))
    adjacency = coo_array(edges, shape=(graph.size, graph.size)).tocsr()
    return np.asarray(connected_components(adjacency, directed=False)[1], dtype=np.intp)


def _merge(graph: _Graph) -> _Nodes:
    """Number of the electrical node of each node, those joined by 0 ohm being one."""
    joined = _components(graph, np.isinf(graph.siemens))
    ends = joined[graph.inner :]
    first = {int(label): index for index, label in reversed(list(enumerate(ends)))}
    for index, label in enumerate(ends):
        if first[int(label)] != index:
            raise ConfigError(
                f"The wire network is singular: 0 ohm joins"
                f" {graph.name(graph.inner + first[int(label)])} and"
                f" {graph.name(graph.inner + index)}; give the wires or r_driver and r_sense a"
                " resistance, or the cells between them a finite conductance"
            )
    return joined


def _check_floating(graph: _Graph, joined: _Nodes) -> None:
    """Refuse nodes that nothing holds at a voltage."""
    parts = _components(graph, graph.siemens > 0)
    floating = np.flatnonzero(~np.isin(parts, parts[graph.inner :]))
    if len(floating):
        where = graph.name(int(floating[0]))
        others = len(np.unique(joined[floating])) - 1
        more = f" and {others} more node{'s' if others > 1 else ''} are" if others else " is"
        raise ConfigError(
            f"The wire network is singular: {where}{more} floating, connected to no driver or"
            " sense amplifier; make an infinite resistance finite or the cell there conduct"
        )
