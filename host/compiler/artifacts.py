# SPDX-License-Identifier: Apache-2.0
"""The folder that ``ohmtwin compile -o`` writes: programs to read and to load, and the report.

- ``tile0000.asm``: the listing, which the assembler takes back
- ``tile0000.npz``: instructions, parameters, tables, data, cell levels, and what host words mean
- ``mapping.json``, ``mapping.md``: which layer lies where, and where its cycles go
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...arch.errors import InputError
from ...behavioral.program import TileProgram
from .compiled import CompiledNetwork
from .report import markdown

__all__ = ["check_target", "read_report", "write_artifacts"]

_REPORT = "mapping.json"


def check_target(folder: Path) -> None:
    """Refuse, before any work, a folder that must not be replaced or cannot be made.

    Raises
    ------
    InputError
        If it is a file, holds something else than an earlier result, or its parent is missing.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"-o {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _REPORT).is_file():
        raise InputError(
            f"-o {folder} holds files that are no result of ohmtwin compile; name a new folder"
        )
    if not folder.absolute().parent.is_dir():
        raise InputError(
            f"-o {folder} cannot be made: there is no folder {folder.absolute().parent}; make it"
        )


def write_artifacts(
    folder: Path, compiled: CompiledNetwork, report: Mapping[str, Any]
) -> list[Path]:
    """Write all files; the folder is either whole or as it was before.

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If the file system refuses.
    """
    check_target(folder)
    parent = folder.absolute().parent
    try:
        made = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise InputError(f"-o {folder} cannot be written: {error.strerror}") from None
    try:
        for number, part in enumerate(compiled.parts):
            head = f"# {part.network.name}\n# chip {part.chip.name}, tile {number}\n"
            text = head + "\n".join(part.listing()) + "\n"
            (made / f"tile{number:04}.asm").write_text(text)
            np.savez_compressed(made / f"tile{number:04}.npz", **_arrays(part.program))
        (made / _REPORT).write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
        (made / "mapping.md").write_text(markdown(report))
        made.chmod(0o755)
        old = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}.old."))
        if folder.is_dir():
            folder.replace(old / "before")
        made.replace(folder)
        shutil.rmtree(old)
    except OSError as error:
        raise InputError(f"-o {folder} cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return sorted(folder.iterdir())


def _arrays(program: TileProgram) -> dict[str, Any]:
    """A program as arrays; ``outputs`` is JSON."""
    outputs = [{"tensor": s.tensor, "dtype": s.dtype, "words": s.words} for s in program.outputs]
    shape = (len(program.arrays), program.chip.rows, program.chip.cols)
    index = [np.zeros(0, np.int64), *(segment.index for segment in program.outputs)]
    return {
        "chip": np.array(program.chip.model_dump_json()),
        "instructions": program.encoded,
        "params": program.params,
        "tables": program.tables,
        "data": program.data,
        "cores": np.array([spec.core for spec in program.arrays], np.int64),
        "core_arrays": np.array([spec.array for spec in program.arrays], np.int64),
        "levels": np.array([spec.levels for spec in program.arrays], np.uint8).reshape(shape),
        **({"flags": program.flag_words} if program.flag_words.size else {}),
        "input_order": program.input.order,
        "input_fill": np.broadcast_to(program.input.fill, program.input.order.shape).astype(
            np.uint8
        ),
        "outputs": np.array(json.dumps(outputs)),
        "output_index": np.concatenate(index),
        "shapes": np.array(json.dumps({k: list(v) for k, v in program.shapes.items()})),
    }


def read_report(folder: Path) -> dict[str, Any]:
    """The report of a folder.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    path = folder / _REPORT
    if not path.is_file():
        raise InputError(
            f"{folder} is no result of ohmtwin compile: it has no {_REPORT}; make one with "
            "ohmtwin compile MODEL -o DIR"
        )
    try:
        report = json.loads(path.read_text())
        markdown(report)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}); compile the model again"
        ) from None
    if not isinstance(report, dict):
        raise InputError(f"{path} is damaged; compile the model again")
    return report
