# SPDX-License-Identifier: Apache-2.0
"""``ohmtwin verify``: from names and paths to a report."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ...arch.errors import InputError
from ...arch.noc import parse_mesh
from ..compiler.network import compile_network
from ..dataset import load_dataset
from ..faultfile import load_faults
from ..files import check_output, write_text
from ..importer.network import load_network
from ..tensorfiles import check_folder
from ..verify import check_levels, check_samples, check_target, verify
from .progress import Bars

__all__ = ["mesh_size", "parse_states", "run_verify"]


def parse_states(given: Sequence[str]) -> dict[str, str]:
    """``h=h_out`` and the like: the output that feeds each input that is kept.

    Raises
    ------
    InputError
        If one is of another form, or an input is named twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, sign, output = (part.strip() for part in text.partition("="))
        if not sign or not name or not output:
            raise InputError(f"--state must be INPUT=OUTPUT, as in h=h_out, not {text!r}")
        if name in found:
            raise InputError(f"--state names the input {name!r} twice; give each input once")
        found[name] = output
    return found


def mesh_size(text: str | None) -> tuple[int, int] | None:
    """``2x2``, columns and rows, of an option --mesh.

    Raises
    ------
    ConfigError
        If it is no size of a mesh.
    """
    if text is None:
        return None
    shape = parse_mesh(text)
    return shape.width, shape.height


def run_verify(
    model: Path,
    data: Path,
    samples: int | None,
    chip: str,
    device: str,
    seed: int,
    schedule: str | None,
    levels: str,
    json: Path | None,
    age: float = 0.0,
    temperature: float | None = None,
    *,
    states: Sequence[str] = (),
    trace: Path | None = None,
    target: str | None = None,
    resume: bool = False,
    mesh: str | None = None,
    faults: Path | None = None,
) -> bool:
    """Print the table, write the JSON, and tell whether all agree.

    Raises
    ------
    InputError
        If anything given cannot be used; nothing is written then.
    ToolError
        If a target cannot be built or fails.
    """
    chosen = check_levels([level.strip() for level in levels.split(",") if level.strip()])
    check_target(chosen, target, resume)
    if json is not None:
        check_output(json, "--json")
    if trace is not None:
        check_folder(trace, "--trace")
    kept = parse_states(states)
    network = load_network(model, states=kept)
    dataset = load_dataset(data, network)
    dataset = dataset.head(check_samples(samples, len(dataset)))
    with Bars() as bars:
        bars("programming the arrays", 0, 0)
        compiled = compile_network(
            network,
            chip=chip,
            device=device,
            seed=seed,
            schedule=schedule,
            mesh=mesh_size(mesh),
            fault_maps=None if faults is None else load_faults(faults)[1],
            steps=dataset.x.shape[1] if network.states else None,
        )
        report = verify(
            compiled,
            dataset.inputs,
            dataset.y,
            levels=chosen,
            model=model,
            states=kept,
            progress=bars,
            age=age,
            temperature=temperature,
            target=target,
            resume=resume,
            trace=trace,
        )
    if json is not None:
        write_text(json, report.json_text())
    Console(highlight=False, soft_wrap=True).print(report)
    return report.agree
