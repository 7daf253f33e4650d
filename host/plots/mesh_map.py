# SPDX-License-Identifier: Apache-2.0
"""Heat map of a mesh: how much each link is used, as a picture and as text."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...arch.noc import Channel, MeshShape, Port
from .figures import canvas, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_mesh_map", "mesh_axes", "mesh_text"]

_HALF = 0.27
"""Half a tile's side, where tiles are 1 apart."""

_SIDE = 0.09
"""A link's distance from the line between two tiles."""

_SHADES = " .:-=+*#%@"
"""As text: from not used to used in every cycle."""


def _ends(channel: Channel) -> tuple[float, float, float, float]:
    """Where the arrow of a link begins and ends."""
    x, y, port = channel
    near, far = _HALF + 0.02, 1 - _HALF - 0.04
    match port:
        case Port.EAST:
            return x + near, y - _SIDE, x + far, y - _SIDE
        case Port.WEST:
            return x - near, y + _SIDE, x - far, y + _SIDE
        case Port.SOUTH:
            return x + _SIDE, y + near, x + _SIDE, y + far
        case Port.NORTH:
            return x - _SIDE, y - near, x - _SIDE, y - far
    return x, y, x, y


def mesh_axes(
    axes: "Axes", shape: MeshShape, use: Mapping[Channel, float], *, full: float = 1.0
) -> Any:
    """Draw tiles and links into axes; links are coloured by their use, tiles by what they get.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    shape : MeshShape
    use : mapping of Channel to float
        Flits a cycle over a link, 0 to 1; or any other count, with ``full`` what is most.
    full : float
        What the darkest colour stands for.

    Returns
    -------
    matplotlib.cm.ScalarMappable
        For a colour bar.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    colours: Any = ScalarMappable(norm=Normalize(0.0, full or 1.0), cmap="YlOrRd")
    for index in range(shape.tiles):
        x, y = shape.position(index)
        share = use.get(Channel(x, y, Port.LOCAL), 0.0)
        corner = (x - _HALF, y - _HALF)
        face = colours.to_rgba(share)
        axes.add_patch(Rectangle(corner, 2 * _HALF, 2 * _HALF, facecolor=face, edgecolor="0.4"))
        dark = share > 0.6 * full
        axes.text(
            x, y, f"{x},{y}", ha="center", va="center", fontsize=7, color="w" if dark else "k"
        )
    small = max(0.5, 4 / max(shape.width, shape.height))
    for channel, share in sorted(use.items()):
        if channel.port is Port.LOCAL:
            continue
        x0, y0, x1, y1 = _ends(channel)
        axes.annotate(
            "",
            xy=(x1, y1),
            xytext=(x0, y0),
            arrowprops={
                "arrowstyle": "-|>",
                "color": colours.to_rgba(share),
                "linewidth": 2.5 * small,
                "mutation_scale": 9 * small,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    for y in shape.hosts:
        axes.text(-1.0, y, "host", ha="center", va="center", fontsize=7)
    axes.set_xlim(-1.3 if shape.hosts else -0.5, shape.width - 0.5)
    axes.set_ylim(shape.height - 0.5, -0.5)  # y grows to the south
    axes.set_aspect("equal")
    axes.axis("off")
    return colours


def draw_mesh_map(
    shape: MeshShape,
    use: Mapping[Channel, float],
    path: Path,
    *,
    title: str = "Use of links",
    unit: str = "flits a cycle",
    full: float | None = 1.0,
    width: int = 700,
) -> None:
    """Write the map as a picture.

    Parameters
    ----------
    shape : MeshShape
    use : mapping of Channel to float
        See :func:`mesh_axes`.
    path : Path
        Ends in .png or .svg.
    title, unit : str
        Above the map; beside its colours.
    full : float, optional
        What the darkest colour stands for; None: the most there is.
    width : int
        Pixels.

    Raises
    ------
    InputError
        If the file cannot be written.
    ToolError
        If matplotlib is not installed.
    """
    high = max(300, round(width * (shape.height + 0.5) / (shape.width + 1.5)))
    most = full if full is not None else max(use.values(), default=1.0)
    with canvas(width, min(high, 3 * width)) as figure:
        axes = figure.add_subplot()
        colours = mesh_axes(axes, shape, use, full=most)
        axes.set_title(title)
        figure.colorbar(colours, ax=axes, label=unit, shrink=0.7)
        save(figure, path)


def mesh_text(
    shape: MeshShape, use: Mapping[Channel, float], *, full: float = 1.0, digits: bool = True
) -> str:
    """The map for a terminal: a box a tile, between two tiles the use of both links in percent.

    A row of tiles shows ``[what the local port gives]``, between them the link east over the link
    west; between rows stand the links south (left) and north (right). Meshes wider than 8 tiles,
    and all without ``digits``, have a shade for each link in place of its percent.

    Parameters
    ----------
    shape : MeshShape
    use : mapping of Channel to float
    full : float
        What 100 percent stand for.
    digits : bool
    """
    wide = digits and shape.width <= 8

    def show(x: int, y: int, port: Port) -> str:
        share = use.get(Channel(x, y, port))
        if share is None:
            return "   " if wide else " "
        part = min(1.0, share / full) if full else 0.0
        if wide:
            return f"{round(100 * part):3d}"
        return _SHADES[min(len(_SHADES) - 1, round(part * (len(_SHADES) - 1)))]

    blank = " " * len(show(0, 0, Port.LOCAL))
    lines = []
    for y in range(shape.height):
        host = y in shape.hosts
        lead = f"{show(0, y, Port.WEST)}< " if host else f"{blank}  "
        top, bottom = f"{blank}  ", lead
        for x in range(shape.width):
            top += f"[{show(x, y, Port.LOCAL)}]"
            bottom += f"[{blank}]" if wide else "[ ]"
            if x + 1 < shape.width:
                top += f" {show(x, y, Port.EAST)}> "
                bottom += f" {show(x + 1, y, Port.WEST)}< "
        lines += [top.rstrip(), bottom.rstrip()]
        if y + 1 < shape.height:
            between = f"{blank}  "
            for x in range(shape.width):
                pair = f"{show(x, y, Port.SOUTH)}v{show(x, y + 1, Port.NORTH)}^"
                cell = len(blank) + 2
                gap = len(blank) + 3 if x + 1 < shape.width else 0
                between += pair.strip().ljust(cell + gap)[: cell + gap] if gap else pair.strip()
            lines.append(between.rstrip())
    return "\n".join(lines)
