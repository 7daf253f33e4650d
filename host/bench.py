# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin bench``: groups of figures, each with its unit and how it was measured.

A group is what stands before the first dot of its keys. To add a figure, write a function that
returns it in ``bench/figures.py`` and name that function in :data:`GROUPS`.
"""

import json as json_module
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..arch.errors import InputError
from .commands.progress import Bars
from .files import check_output, write_text

__all__ = ["GROUPS", "Source", "measure", "pick_groups", "run_bench"]


@dataclass(frozen=True)
class Source:
    """A function of ``bench/figures.py`` and the keys that it gives.

    It returns ``{key: {"value": float, "unit": str, "how": str}}``, with its keys exactly.
    ``asked`` means that it takes long: it is measured only where its group is named.
    """

    function: str
    keys: tuple[str, ...]
    asked: bool = False

    def run(self) -> Mapping[str, Mapping[str, Any]]:
        """Measure.

        Raises
        ------
        ValueError
            If the function does not give its keys.
        """
        # Imported here, so that a wrong group is told before anything heavy is loaded.
        from ..bench import figures

        function: Callable[[], Mapping[str, Mapping[str, Any]]] = getattr(figures, self.function)
        found = function()
        if set(found) != set(self.keys) or any(
            set(entry) != {"value", "unit", "how"} for entry in found.values()
        ):
            raise ValueError(
                f"bench.figures.{self.function} must give value, unit and how of "
                f"{', '.join(self.keys)}, not {found}"
            )
        return found


GROUPS: tuple[Source, ...] = (
    Source(
        "sim_speed",
        (
            "sim.cycles_per_s",
            "sim.ratio_to_stub",
            "sim.cycles_per_s_8_lanes",
            "sim.ratio_to_stub_8_lanes",
            "sim.cycles_per_s_16_rows",
            "sim.ratio_to_stub_16_rows",
        ),
    ),
    Source("sim_images", ("sim.images_per_s",)),
    Source(
        "sim_mesh",
        ("sim.mesh_tile_cycles_per_s", "sim.mesh_ratio", "sim.mesh_build_s", "sim.mesh_gib"),
    ),
    Source("fast_reads", ("fast.reads_per_s",)),
    Source("all_effects", ("fast.all_effects_ratio",)),
    Source("fast_products", ("fast.products_per_s",)),
    Source("lenet_images", ("fast.lenet_1000_s",)),
    Source("cycle_error", ("fast.cycle_error",)),
    Source(
        "compile_times", ("compile.lenet_s", "compile.ten_million_s", "compile.ten_million_gib")
    ),
    Source("image_derivation", ("image.derive_ms", "image.derive_ms_wires")),
    Source("adc_busy", ("adc_busy.baseline", "adc_busy.zero_skip")),
    Source("zero_skip", ("zero_skip.reads_over_bound",)),
    Source("pipeline_pace", ("pipeline.throughput_ratio", "pipeline.duplication_gain")),
    Source("link_goodput", ("link.goodput_clean", "link.goodput_1e-3")),
    Source("board_build", ("fpga.fmax_mhz_worst", "fpga.build_s"), asked=True),
    Source("board_speed", ("fpga.inferences_per_s", "fpga.over_verilator"), asked=True),
    Source("network_on_chip", ("noc.saturation", "noc.latency_excess")),
    Source("code_unit", ("ecc.single_corrected", "ecc.codewords_per_cycle")),
    Source("code_area", ("ecc.area_fraction",), asked=True),
    Source("writer_size", ("program.area_fraction",), asked=True),
    Source("recovered_accuracy", ("recovered.code", "recovered.code_4_rows", "recovered.budgets")),
    Source(
        "training_accuracy",
        (
            "train.float",
            "train.sgd_ideal",
            "train.rpu",
            "train.dfa",
            "train.rram_plain",
            "train.rram_mended",
            "train.epoch_s",
        ),
    ),
    Source("irdrop", ("irdrop.max_rel_diff", "irdrop.speedup", "irdrop.solve_s")),
)


def _groups(source: Source) -> set[str]:
    return {key.partition(".")[0] for key in source.keys}


def pick_groups(only: str | None) -> list[Source]:
    """The sources of the groups named, separated by commas; for None all that need not be asked
    for.

    Raises
    ------
    InputError
        If a group is unknown or none is named.
    """
    if only is None:
        return [source for source in GROUPS if not source.asked]
    known = sorted(set().union(*map(_groups, GROUPS)))
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    for name in sorted(wanted):
        if name not in known:
            raise InputError(f"--only: there is no group '{name}'; choose from {', '.join(known)}")
    if not wanted:
        raise InputError(f"--only names no group; choose from {', '.join(known)}")
    return [source for source in GROUPS if _groups(source) & wanted]


def measure(sources: Iterable[Source], bars: Bars) -> dict[str, dict[str, Any]]:
    """Run sources one after the other, never at once."""
    found: dict[str, dict[str, Any]] = {}
    chosen = list(sources)
    for index, source in enumerate(chosen):
        bars(", ".join(source.keys), 0, 0)
        found |= {key: dict(entry) for key, entry in source.run().items()}
        bars("measured", index + 1, len(chosen))
    return found


def run_bench(json: Path | None, only: str | None) -> None:
    """Measure, print a table and write the JSON where it is asked for.

    Raises
    ------
    InputError
        If a group is unknown or the file cannot be written.
    ToolError
        If a model cannot be built.
    """
    sources = pick_groups(only)
    if json is not None:
        check_output(json, "--json")
    with Bars() as bars:
        found = measure(sources, bars)
    if json is not None:
        write_text(json, json_module.dumps(found, indent=2, allow_nan=False) + "\n")
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for column in ("figure", "value", "unit"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for key, entry in found.items():
        table.add_row(key, f"{entry['value']:,.4g}", entry["unit"])
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    # What takes long is told in full: each placement, for one.
    for key in (key for source in sources if source.asked for key in source.keys):
        console.print(f"{key}: {found[key]['how']}", markup=False)
    where = "is what --json FILE writes" if json is None else f"stands in {json}"
    console.print(f"How each was measured {where}", markup=False)
