# SPDX-License-Identifier: Apache-2.0
"""Which layer lies where, how full its arrays are, and where its cycles go: as data and as text."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...behavioral import golden
from ..graph import lower_softmax
from .compiled import CompiledNetwork
from .mapping import LayerMap
from .mesh_report import describe_mesh, mesh_lines
from .partition import piece_codes
from .profile import CAUSES, LayerProfile, Profile, profile_tile
from .rotation_report import Plain, describe_rotation, rotation_lines
from .values import tensor_codes

__all__ = ["describe", "explain_lines", "markdown", "sample_codes", "summary"]

_LIMITS = {
    "adc": "products: its arrays convert while the tile waits; more ADCs a core (lanes), more rows "
    "a read or the layer's arrays twice would help",
    "load": "loads: filling row registers; fewer row parts, or channels in multiples of eight, "
    "would help",
    "vector": "the vector unit: requantizing and element-wise work; more ADCs a core widen it",
    "host": "the host: words through the FIFOs",
    "control": "the controller: instructions between the work",
}


def sample_codes(compiled: CompiledNetwork, steps: int | None) -> dict[str, NDArray[np.uint8]]:
    """One sample of evenly spread codes, always the same: what cycles are predicted for."""
    random = np.random.default_rng(0)
    lead = (1,) if steps is None else (1, steps)
    return {
        entry.tensor: random.integers(0, 256, (*lead, *entry.shape)).astype(np.uint8)
        for entry in compiled.network.fed
    }


def _profiles(
    compiled: CompiledNetwork, codes: Mapping[str, NDArray[np.uint8]]
) -> Iterator[Profile]:
    """Of each tile."""
    if compiled.partition is None:
        yield profile_tile(compiled, codes)
        return
    lowered = lower_softmax(compiled.network)
    values: dict[str, NDArray[Any]] = dict(
        tensor_codes(lowered, codes, golden.run_network(lowered, codes))
    )
    makers = {layer.output: layer for part in compiled.partition.parts for layer in part.layers}
    for piece in compiled.partition.pieces:
        values[piece.layer.output] = piece_codes(piece, values, makers)
    known: dict[int, Profile] = {}
    for part in compiled.parts:
        # Copies of a part in a mesh share their network.
        if id(part.network) not in known:
            given = {e.tensor: values[e.tensor] for e in part.network.inputs}
            known[id(part.network)] = profile_tile(part, given)
        yield known[id(part.network)]


def describe(
    compiled: CompiledNetwork,
    codes: Mapping[str, NDArray[np.uint8]],
    plain: Plain | None = None,
) -> dict[str, Any]:
    """The mapping report as data fit for JSON.

    Parameters
    ----------
    compiled : CompiledNetwork
    codes : mapping of str to uint8 [1, (steps,) \\*shape]
        The sample that cycles are predicted for.
    plain : Plain, optional
        What weight rotation is compared with.
    """
    chip = compiled.chip
    layers = []
    tiles = []
    for number, (part, profile) in enumerate(
        zip(compiled.parts, _profiles(compiled, codes), strict=True)
    ):
        program = part.program
        tiles.append(
            {
                "tile": number,
                "arrays": part.mapping.arrays,
                "instructions": len(program.instructions),
                "data_words": part.data_words,
                "param_words": len(program.params),
                "tables": len({t.tobytes() for t in program.tables if t.any()}),
                "input_words": program.input_words,
                "output_words": program.output_words,
                "cycles": profile.total,
            }
        )
        if compiled.mesh is not None and compiled.mesh.tiles[number].copy:
            continue  # its layers are those of the first copy
        maps = {m.layer.name: m for m in part.mapping.layers}
        for name, found in profile.layers.items():
            if name in maps:
                layers.append(_linear(part, number, maps[name], found))
            elif found.total:
                layers.append({"name": name, "tile": number, "arrays": 0, **_cycles(found)})
    mesh = describe_mesh(compiled, [tile["cycles"] for tile in tiles])
    cycles = sum(layer["cycles"] for layer in layers)
    plain_pace = None
    if plain is not None and plain.compiled is not None:
        other = describe(plain.compiled, codes)
        plain_pace = _pace(other["cycles"], other["mesh"])
    return {
        "network": compiled.network.name,
        "chip": chip.model_dump(mode="json"),
        "tiles": tiles,
        "arrays": compiled.mapping.arrays,
        "utilisation": round(compiled.mapping.utilisation, 4),
        "cycles": cycles,
        "layers": layers,
        "weights": _weights(compiled, layers),
        "mesh": mesh,
        "rotation": describe_rotation(compiled, _pace(cycles, mesh), plain, plain_pace),
    }


def _pace(cycles: int, mesh: Mapping[str, Any] | None) -> int:
    """Cycles from one sample to the next: tiles of a mesh work on several at once."""
    return cycles if mesh is None else int(mesh["pace"])


def summary(report: Mapping[str, Any]) -> str:
    """The report in a sentence."""
    mesh = report.get("mesh")
    every = "" if mesh is None else f", a sample every {mesh['pace']:,}"
    return (
        f"{report['network']} on {len(report['tiles'])} tile(s) of {report['chip']['name']}: "
        f"{report['arrays']} arrays, {report['utilisation']:.0%} of their cells in use, "
        f"{report['cycles']:,} cycles a sample{every} (predicted)"
    )


def _weights(
    compiled: CompiledNetwork, layers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The arrays of each layer as a whole, and how often a sample uses a weight that lies there."""
    cut = () if compiled.partition is None else compiled.partition.pieces
    pieces = {piece.layer.name: piece for piece in cut}
    found: dict[str, dict[str, Any]] = {}
    first: dict[str, range | None] = {}
    for m in compiled.mapping.layers:
        piece = pieces.get(m.layer.name)
        origin = m.layer if piece is None else piece.origin
        grid = len(m.row_parts), len(m.col_parts)
        tiles = [layer["tile"] for layer in layers if layer["name"] == m.layer.name]
        positions = next(la["positions"] for la in layers if la["name"] == m.layer.name)
        whole = range(m.layer.outputs)
        if origin.name in found:
            if piece is not None and first.get(origin.name) == (piece.outputs or whole):
                found[origin.name]["grid"][0] += grid[0]
            elif piece is None or not piece.is_share:
                found[origin.name]["grid"][1] += grid[1]
            found[origin.name]["arrays"] += len(set(m.arrays))
            found[origin.name]["tiles"] += tiles
            continue
        copies = 1
        if compiled.mesh is not None and tiles:
            copies = compiled.mesh.tiles[tiles[0]].copies
        if piece is not None and piece.inputs is not None:
            first[origin.name] = piece.outputs or whole
        found[origin.name] = {
            "name": origin.name,
            "rows": getattr(origin, "inputs", m.rows) if origin.name in first else m.rows,
            "outputs": getattr(origin, "outputs", m.layer.outputs),
            "grid": list(grid),
            "arrays": len(set(m.arrays)),
            "copies": copies,
            "reuse": positions,
            "tiles": tiles,
        }
    return list(found.values())


def _cycles(found: LayerProfile) -> dict[str, Any]:
    return {
        "cycles": found.total,
        "by_cause": {cause: found.cycles[cause] for cause in CAUSES},
        "limit": found.limit,
    }


def _linear(part: CompiledNetwork, number: int, m: LayerMap, found: LayerProfile) -> dict[str, Any]:
    chip = part.chip
    parts = len(m.row_parts), len(m.col_parts)
    products = max(1, found.products)
    most = [chip.reads_of(len(block.rows)) for block in m.blocks]
    return {
        "name": m.layer.name,
        "tile": number,
        "kind": m.layer.kind,
        "arrays": len(set(m.arrays)),
        "cores": sorted(set(m.cores)),
        "grid": list(parts),
        "rows": m.rows,
        "outputs": m.layer.outputs,
        "utilisation": round(m.utilisation(chip), 4),
        "positions": found.products // len(m.blocks),
        "reads_per_product": round(found.reads / products, 2),
        "most_reads_per_product": max(most),
        **_cycles(found),
        "small": _small(m, parts),
    }


def _small(m: LayerMap, parts: Sequence[int]) -> str:
    """Why the arrays of a layer cannot be full, if they cannot."""
    if getattr(m.layer, "groups", 1) > 1:
        return "groups lie on the diagonal: an array holds as many as its rows or columns take"
    if parts[0] == 1 or parts[1] == 1:
        return "the layer's matrix is smaller than an array in at least one direction"
    return ""


def _encoding(chip: Mapping[str, Any]) -> str:
    """How cells hold weights, where it is not as on most chips; older reports do not say."""
    bits, encoding = chip.get("weight_bits", 8), chip.get("weight_encoding", "offset")
    if (bits, encoding) == (8, "offset"):
        return ""
    return f" ({bits}-bit weights, {encoding})"


def markdown(report: Mapping[str, Any]) -> str:
    """The report as text."""
    chip = report["chip"]
    causes = Counter[str]()
    lines = [
        f"# {report['network']} on {chip['name']}",
        "",
        f"{len(report['tiles'])} tile(s), {report['arrays']} arrays of {chip['rows']}x"
        f"{chip['cols']} {chip['cell_bits']}-bit cells{_encoding(chip)}, "
        f"{report['utilisation']:.0%} of their cells hold a weight. {report['cycles']:,} cycles a "
        "sample, predicted for evenly spread codes.",
        "",
        "| layer | tile | arrays | grid | rows x outputs | utilisation | positions | reads a "
        "product | cycles | limit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for layer in report["layers"]:
        causes[layer["limit"]] += layer["cycles"]
        if layer["arrays"]:
            grid = "x".join(str(n) for n in layer["grid"])
            where = (
                f"{layer['arrays']} | {grid} | {layer['rows']} x {layer['outputs']} | "
                f"{layer['utilisation']:.0%} | {layer['positions']} | {layer['reads_per_product']}"
            )
        else:
            where = "- | - | - | - | - | -"
        lines.append(
            f"| {layer['name']} | {layer['tile']} | {where} | {layer['cycles']:,} | "
            f"{layer['limit']} |"
        )
    lines += ["", "## Weights", ""]
    lines += ["| layer | rows x outputs | grid | arrays | copies | uses of a weight a sample |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {w['name']} | {w['rows']} x {w['outputs']} | {w['grid'][0]}x{w['grid'][1]} | "
        f"{w['arrays']} | {w['copies']} | {w['reuse']} |"
        for w in report["weights"]
    ]
    lines += ["", *mesh_lines(report), *rotation_lines(report.get("rotation"))]
    arrays = chip["cores"] * chip.get("arrays_per_core", 1)
    lines += ["## Tiles", ""]
    lines += ["| tile | arrays | instructions | data words | parameters | tables | cycles |"]
    lines += ["|---|---|---|---|---|---|---|"]
    lines += [
        f"| {t['tile']} | {t['arrays']} of {arrays} | {t['instructions']} of "
        f"{chip['program_words']} | {t['data_words']} of {chip['data_words']} | "
        f"{t['param_words']} of {chip['param_words']} | {t['tables']} of {chip['tables']} | "
        f"{t['cycles']:,} |"
        for t in report["tiles"]
    ]
    lines += ["", "## What limits", ""]
    lines += explain_lines(report)
    return "\n".join(lines) + "\n"


def explain_lines(report: Mapping[str, Any]) -> list[str]:
    """A sentence for each layer, the slowest first."""
    total = max(1, report["cycles"])
    lines = []
    for layer in sorted(report["layers"], key=lambda one: -one["cycles"]):
        share = layer["by_cause"][layer["limit"]] / max(1, layer["cycles"])
        lines.append(
            f"- **{layer['name']}**, {layer['cycles'] / total:.1%} of all cycles: {share:.0%} of "
            f"them go to {_LIMITS[layer['limit']]}."
        )
    for layer in report["layers"]:
        if layer["arrays"] and layer["utilisation"] < 0.6 and layer["small"]:
            lines.append(
                f"- **{layer['name']}** fills {layer['utilisation']:.0%} of its arrays: "
                f"{layer['small']}."
            )
    return lines
