# SPDX-License-Identifier: Apache-2.0
"""What phase-change cells lose in time, and what compensation brings back; see docs/drift.md.

    python drift.py [--folder FOLDER] [--samples N]

Runs the shipped MNIST network at the fast level, on arrays that age from a minute to a year,
without and with compensation, prints the table and writes drift.svg into FOLDER.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from make_data import mnist_split

import ohmtwin as ot

__all__ = ["MODES", "Ageing", "draw", "main", "measure"]

MODEL = Path(__file__).parent / "models" / "mnist_qdq.onnx"

STRETCHES = (
    ("written", 0.0),
    ("1 minute", 60.0),
    ("1 hour", 3600.0),
    ("1 day", 86400.0),
    ("1 month", 2.63e6),
    ("1 year", 3.156e7),
)

MODES = ("none", "global", "reference")


@dataclass(frozen=True)
class Ageing:
    """Accuracies of golden, of rram, and of pcm at each of ``STRETCHES`` for each mode.

    Means over the seeds.
    """

    golden: float
    rram: float
    accuracy: dict[str, list[float]]

    def recovered(self, mode: str, at: str = "1 day") -> float:
        """Share of the accuracy lost to drift that compensation brings back."""
        number = [name for name, _ in STRETCHES].index(at)
        fresh, drifted = self.accuracy["none"][0], self.accuracy["none"][number]
        return (self.accuracy[mode][number] - drifted) / (fresh - drifted)


def measure(samples: int = 1000, seeds: tuple[int, ...] = (1, 2, 3)) -> Ageing:
    """Age arrays of the standard pcm device and run held-out images at every age."""
    network = ot.load_network(MODEL)
    _, (x, y) = mnist_split()
    codes, labels = network.quantize_input(x[:samples].astype(np.float32)), y[:samples]
    output = network.layers[-1].name

    def score(target: ot.Target) -> float:
        return float((target.run(codes)[output].argmax(axis=1) == labels).mean())

    found: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
    rram = []
    for seed in seeds:
        net = ot.compile(network, device="rram", seed=seed, trace=False)
        with ot.connect("golden", net) as target:
            golden = score(target)
        with ot.connect("fast", net) as target:
            rram.append(score(target))
        net = ot.compile(network, device="pcm", seed=seed, trace=False)
        for mode in MODES:
            with ot.connect("fast", net) as target:
                row, now = [], 0.0
                for _, seconds in STRETCHES:
                    target.advance(seconds=seconds - now)
                    now = seconds
                    if mode == "global" or mode == "reference":
                        target.compensate(mode)
                    row.append(score(target))
                found[mode].append(row)
    means = {mode: np.mean(rows, axis=0).tolist() for mode, rows in found.items()}
    return Ageing(golden, float(np.mean(rram)), means)


def draw(result: Ageing) -> str:
    """The accuracies over time as SVG: a line a mode, a dashed one for golden."""
    width, height, left, top, right, bottom = 640, 320, 52, 16, 130, 44
    step = (width - left - right) / (len(STRETCHES) - 1)

    def y(value: float) -> float:
        return top + (1.0 - value) * (height - top - bottom)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for tenth in range(0, 11, 2):
        at = y(tenth / 10)
        parts.append(f'<path d="M{left} {at:.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{tenth * 10} %</text>'
        )
    for number, (name, _) in enumerate(STRETCHES):
        at = left + number * step
        parts.append(f'<text x="{at:.1f}" y="{height - 24}" text-anchor="middle">{name}</text>')
    parts.append(
        f'<text x="{left + 2.5 * step:.1f}" y="{height - 6}" text-anchor="middle">'
        "time since the cells were written</text>"
    )
    parts.append(
        f'<path d="M{left} {y(result.golden):.1f}H{width - right}" stroke="#555" '
        'stroke-dasharray="5 4"/>'
    )
    names = {"none": "no compensation", "global": "one factor", "reference": "a factor an array"}
    colours = {"none": "#c0392b", "global": "#2471a3", "reference": "#1e8449"}
    legend = [("golden", "#555"), *((names[mode], colours[mode]) for mode in MODES)]
    for mode, values in result.accuracy.items():
        points = " ".join(f"{left + i * step:.1f},{y(v):.1f}" for i, v in enumerate(values))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colours[mode]}" stroke-width="2"/>'
        )
    for number, (name, colour) in enumerate(legend):
        at = top + 80 + 18 * number
        parts.append(f'<text x="{width - right + 10}" y="{at}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Drift of PCM and its compensation")
    parser.add_argument("--folder", type=Path, default=Path("build/drift"))
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    result = measure(given.samples)
    print(f"golden {result.golden:.1%}, rram {result.rram:.1%}, and pcm:\n")
    print("| age | " + " | ".join(MODES) + " |\n|---|" + "---|" * len(MODES))
    for number, (name, _) in enumerate(STRETCHES):
        row = " | ".join(f"{result.accuracy[mode][number]:.1%}" for mode in MODES)
        print(f"| {name} | {row} |")
    for mode in MODES[1:]:
        print(f"\nrecovered after 1 day, {mode}: {result.recovered(mode):.1%}")
    path = given.folder / "drift.svg"
    path.write_text(draw(result), encoding="utf-8")
    print(f"\n{path}")


if __name__ == "__main__":
    main()
