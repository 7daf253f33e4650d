# SPDX-License-Identifier: Apache-2.0
"""What a comparison of levels found: as an object, as JSON and as a table for people."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .mesh_compare import MeshReport

__all__ = [
    "Cause",
    "CounterReport",
    "Divergence",
    "FloatResult",
    "LevelResult",
    "Report",
    "count",
]

Json = dict[str, Any]


def count(value: float) -> str:
    """A count for people: 31.2 M, 1.9 k, 512."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g} {unit}"
    return f"{value:.0f}"


def _seconds(value: float) -> str:
    """As short as fits into 80 columns."""
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


@dataclass(frozen=True)
class Divergence:
    """The first value that differs: earliest sample, step, then first tensor of the network.

    ``index`` counts the tensor's values, ``position`` is the same by axes; ``step`` is that of a
    step model. ``cores`` are the arrays whose sums make up the value, none where digital work
    alone does; core k holds array k. ``bit`` is the lowest one that differs. ``cause`` tells, where
    both levels have been replayed, in which read the difference arises.
    """

    sample: int
    layer: str
    tensor: str
    index: int
    tile: int
    cores: tuple[int, ...]
    expected: int
    got: int
    bit: int
    position: tuple[int, ...] = ()
    step: int | None = None
    cause: "Cause | None" = None

    def to_json(self) -> Json:
        """Its fields; ``array`` is given where one array alone makes up the value."""
        return {
            "sample": self.sample,
            "layer": self.layer,
            "tensor": self.tensor,
            "index": self.index,
            "tile": self.tile,
            "cores": list(self.cores),
            "array": self.cores[0] if len(self.cores) == 1 else None,
            "expected": self.expected,
            "got": self.got,
            "bit": self.bit,
            "position": list(self.position),
            "step": self.step,
            "cause": None if self.cause is None else self.cause.to_json(),
        }

    def __str__(self) -> str:
        arrays = ", ".join(map(str, self.cores))
        at = ", ".join(map(str, self.position or (self.index,)))
        where = f"sample {self.sample}" + ("" if self.step is None else f", step {self.step}")
        text = (
            f"{where}, layer {self.layer}, tensor {self.tensor}[{at}]: "
            f"expected {self.expected}, got {self.got} (lowest differing bit {self.bit})"
        )
        if self.cores:
            many = "s" if len(self.cores) > 1 else ""
            text += f"; summed by array{many} {arrays} of tile {self.tile}"
        return text if self.cause is None else f"{text}; {self.cause}"


@dataclass(frozen=True)
class Cause:
    """Where a difference arises: the first read of an array that is not the same at both levels.

    Parameters
    ----------
    kind : str
        ``"code"``: a conversion differs, ``expected`` and ``got`` are codes of ``column`` and
        ``bit`` is the lowest one that differs. ``"rows"``: another row is driven, ``row`` is the
        lowest and ``expected`` and ``got`` tell whether it is. ``"count"``: one level makes more
        reads, ``expected`` and ``got`` are the numbers of reads of the sample. ``"none"``: all
        reads are equal, so that the difference arises behind them. ``"gone"``: run again, the
        sample does not differ as it did.
    array, read : int
        Core, and number of the read.
    in_sample : int
        Number of the read among those that the array makes for the sample.
    cycle : int, optional
        Of the RTL, at which the macro accepts the read, from when the sample is given.
    waves : str, optional
        File that shows it.
    """

    kind: str
    array: int | None = None
    read: int | None = None
    in_sample: int | None = None
    column: int | None = None
    bit: int | None = None
    row: int | None = None
    expected: int | None = None
    got: int | None = None
    cycle: int | None = None
    waves: str | None = None

    def to_json(self) -> Json:
        """Its fields."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        read = f"in read {self.read} of array {self.array} ({self.in_sample} of the sample)"
        match self.kind:
            case "code":
                text = (
                    f"first {read}: column {self.column} converts to {self.got}, not "
                    f"{self.expected} (bit {self.bit})"
                )
            case "rows":
                drives = "drives" if self.got else "does not drive"
                text = f"first {read}, which {drives} row {self.row}"
            case "count":
                text = (
                    f"array {self.array} makes {self.got} reads for the sample, not {self.expected}"
                )
            case "gone":
                return "run again, the sample does not differ as it did"
            case _:
                text = "every read of every array is the same, so it arises behind the ADCs"
        if self.cycle is not None:
            text += f", cycle {self.cycle} of the sample"
        return text if self.waves is None else f"{text}; see {self.waves}"


@dataclass(frozen=True)
class FloatResult:
    """The reference that is not ours, and how far golden is from its codes.

    ``exact`` tells whether the model is one whose codes must all be equal; ``codes`` is 0 if the
    golden level did not run. ``first`` is the tensor and the sample of the first difference,
    ``tensors`` the number of quantized ONNX tensors that were compared, ``unmatched`` those of the
    model that the network has none of.
    """

    runtime: str
    accuracy: float | None
    seconds: float
    codes: int = 0
    differing: int = 0
    max_lsb: int = 0
    exact: bool = True
    first: tuple[str, int] | None = None
    tensors: int = 0
    unmatched: tuple[str, ...] = ()


@dataclass(frozen=True)
class LevelResult:
    """One level: how it did, and how it compares with the level ``against``.

    ``required`` tells whether the contract demands that both are equal; without it a mismatch is
    information.
    """

    name: str
    accuracy: float | None
    seconds: float
    tensors: int
    values: int
    against: str | None
    required: bool
    mismatches: int
    first_divergence: Divergence | None

    def to_json(self) -> Json:
        """The level's entry, its first difference spelt out."""
        first = self.first_divergence
        return {
            "accuracy": self.accuracy,
            "seconds": self.seconds,
            "tensors": self.tensors,
            "values": self.values,
            "against": self.against,
            "required": self.required,
            "mismatches": self.mismatches,
            "first_divergence": None if first is None else first.to_json(),
        }


@dataclass(frozen=True)
class CounterReport:
    """Performance counters of the most clocked level that ran, and those that fast predicted.

    ``differing`` names each counter whose prediction is wrong: (name, predicted, counted).
    """

    level: str
    cycles: int
    reads: int
    conversions: int
    adc_busy: float
    reads_bound: int
    predicted: bool
    details: dict[str, Any]
    differing: tuple[tuple[str, int, int], ...] = ()

    def to_json(self) -> Json:
        """Flat; the per-core lists stand under their own names."""
        return {
            "level": self.level,
            "cycles": self.cycles,
            "reads": self.reads,
            "conversions": self.conversions,
            "adc_busy": self.adc_busy,
            "reads_bound": self.reads_bound,
            **self.details,
            "predicted_by_fast": self.predicted,
            "prediction_errors": [
                {"counter": name, "predicted": a, "counted": b} for name, a, b in self.differing
            ],
        }


@dataclass(frozen=True)
class Report:
    """All of a comparison; ``str()`` of it is the table."""

    model: str
    chip: str
    device: str
    seed: int
    samples: int
    schedule: str
    rows_per_read: int
    levels: dict[str, LevelResult]
    reference: FloatResult | None = None
    reference_missing: str = ""
    counters: CounterReport | None = None
    more_counters: tuple[CounterReport, ...] = ()
    """Of the other clocked levels."""
    mesh: MeshReport | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def problems(self) -> list[str]:
        """A sentence for each way in which the levels break the contract."""
        found = []
        ref = self.reference
        if ref is not None and ref.exact and ref.differing:
            found.append(
                f"golden differs from {ref.runtime} in {ref.differing:,} of {ref.codes:,} codes, "
                f"by up to {ref.max_lsb}, though this model is computed in integers there"
                + ("" if ref.first is None else "; first in {} of sample {}".format(*ref.first))
            )
        for level in self.levels.values():
            if level.required and level.mismatches:
                found.append(
                    f"{level.name} differs from {level.against} in {level.mismatches:,} of "
                    f"{level.values:,} values, first in {level.first_divergence}"
                )
        for counters in self._all_counters:
            for name, predicted, counted in counters.differing[:1]:
                found.append(
                    f"{len(counters.differing)} counters of {counters.level} differ from what "
                    f"fast predicts, first {name}: predicted {predicted}, counted {counted}"
                )
        return found + (self.mesh.problems if self.mesh is not None else [])

    @property
    def _all_counters(self) -> tuple[CounterReport, ...]:
        return (() if self.counters is None else (self.counters,)) + self.more_counters

    @property
    def agree(self) -> bool:
        """Whether every level agrees as the contract says."""
        return not self.problems

    def to_json(self) -> Json:
        """One entry a level that ran, under its own name, beside ``float`` and ``counters``."""
        ref = self.reference
        return {
            "model": self.model,
            "chip": self.chip,
            "device": self.device,
            "seed": self.seed,
            "samples": self.samples,
            "schedule": self.schedule,
            "rows_per_read": self.rows_per_read,
            "float": {
                "accuracy": None if ref is None else ref.accuracy,
                "seconds": None if ref is None else ref.seconds,
                "runtime": None if ref is None else ref.runtime,
            },
            **{name: level.to_json() for name, level in self.levels.items()},
            "golden_vs_float": None
            if ref is None or "golden" not in self.levels
            else {
                "codes": ref.codes,
                "differing": ref.differing,
                "max_lsb": ref.max_lsb,
                "exact": ref.exact,
                "tensors": ref.tensors,
                "unmatched": list(ref.unmatched),
            },
            "counters": None if self.counters is None else self.counters.to_json(),
            "more_counters": [counters.to_json() for counters in self.more_counters],
            "mesh": None if self.mesh is None else self.mesh.to_json(),
            "notes": list(self.notes),
            "problems": self.problems,
            "agree": self.agree,
        }

    def _levels_table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2))
        table.add_column("level", no_wrap=True)
        for name in ("accuracy", "values compared", "differing"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("with", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        ref = self.reference
        if ref is not None:
            table.add_row(
                "float",
                _percent(ref.accuracy),
                "-",
                "-",
                f"({ref.runtime})",
                _seconds(ref.seconds),
            )
        for level in self.levels.values():
            values, wrong, other, required = self._comparison(level)
            style = "bold red" if required and wrong else ""
            table.add_row(
                level.name,
                _percent(level.accuracy),
                f"{values:,}" if other else "-",
                Text(f"{wrong:,}" if other else "-", style=style),
                other if required or not other else f"{other} *",
                _seconds(level.seconds),
            )
        return table

    def _comparison(self, level: LevelResult) -> tuple[int, int, str, bool]:
        """Values compared, differing, the level compared with and whether they must be equal."""
        ref = self.reference
        if level.against is None and level.name == "golden" and ref is not None:
            return ref.codes, ref.differing, "float", ref.exact
        return level.values, level.mismatches, level.against or "", level.required

    def _legend(self) -> list[str]:
        lines = []
        if self.reference_missing:
            lines.append(f"float did not run: {self.reference_missing}")
        if self.reference is not None and self.reference.unmatched:
            names = self.reference.unmatched
            more = "" if len(names) < 4 else f" and {len(names) - 3} more"
            lines.append(
                f"not compared with float, as the network has no such tensor: "
                f"{', '.join(names[:3])}{more}"
            )
        for level in self.levels.values():
            _, _, other, required = self._comparison(level)
            if other and not required:
                why = (
                    "the model is not all integers there"
                    if other == "float"
                    else f"the difference is what device {self.device} does"
                )
                lines.append(f"* {level.name} need not equal {other}: {why}")
        return lines

    def __rich__(self) -> RenderableType:
        head = (
            f"{self.model}: {self.samples} samples, chip {self.chip}, device {self.device}, "
            f"seed {self.seed}, {self.schedule} rows, {self.rows_per_read} a read"
        )
        parts: list[RenderableType] = [Text(head), Text(), self._levels_table()]
        parts += [Text(line, style="dim") for line in self._legend()]
        parts.append(Text())
        c = self.counters
        if c is not None:
            line = (
                f"cycles {count(c.cycles)}   reads {count(c.reads)} (bound "
                f"{count(c.reads_bound)})   ADC busy {c.adc_busy:.2f}"
            )
            level = self.levels[c.level]
            if c.level != "fast" and level.seconds > 0:
                line += f"   simulated {count(c.cycles / level.seconds)} cycles/s"
            parts.append(Text(line + ("" if c.level != "fast" else "   (predicted by fast)")))
            if c.predicted and c.level != "fast":
                found = {one.level: len(one.differing) for one in self._all_counters}
                told = [f"{wrong} of {level} differ" for level, wrong in found.items() if wrong]
                where = f" ({', '.join(found)})" if len(found) > 1 else ""
                parts.append(
                    Text(f"counters predicted by fast: {', '.join(told) or f'all equal{where}'}")
                )
        parts += [Text(line) for line in (self.mesh.lines() if self.mesh is not None else ())]
        parts += [Text(f"note: {note}") for note in self.notes]
        if self.agree:
            parts.append(Text(self._verdict(), style="green"))
        else:
            parts += [Text(f"DIFFERENT: {problem}", style="bold red") for problem in self.problems]
        return Group(*parts)

    def _verdict(self) -> str:
        equal = [f"{v.name} = {v.against}" for v in self.levels.values() if v.required]
        if not equal:
            exact = self.reference is not None and self.reference.exact and self.reference.codes
            first = "Every code of golden equals float's; nothing else" if exact else "Nothing"
            return f"{first} was compared that must be equal."
        return f"Every value of every tensor is equal: {', '.join(equal)}."

    def __str__(self) -> str:
        console = Console(width=120, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get().rstrip("\n")

    def json_text(self) -> str:
        """:meth:`to_json` as text that ends in a newline."""
        return json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"
