# SPDX-License-Identifier: Apache-2.0
"""The physical state of a chip: its arrays over time, and what the host trims them with.

Every target of a compiled network owns one. It holds floats, in the array states; what targets load
are the integer images derived from it, so that equal histories give equal bits at every level.
"""

import copy
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import ConfigError
from ..behavioral.image import ArrayImage
from ..behavioral.state import ArrayState
from ..behavioral.statefile import pack, unpack
from .compiler.network import CompiledNetwork
from .files import write_bytes

__all__ = ["ChipState", "program_hash"]

_KIND = "ohmtwin chip state"


def program_hash(compiled: CompiledNetwork) -> str:
    """SHA-256, as hex, over what a network makes of a chip: cells, parameters and tables."""
    total = hashlib.sha256()
    program = compiled.program
    total.update(program.params.tobytes() + program.tables.tobytes())
    for number, spec in zip(program.array_numbers, program.arrays, strict=True):
        total.update(number.to_bytes(4, "little") + spec.levels.tobytes())
    return total.hexdigest()


class ChipState:
    """The arrays of a compiled network as they are at some moment, by number in the tile.

    Parameters
    ----------
    compiled : CompiledNetwork
        Its arrays as written are where this state begins; they are copied.
    """

    def __init__(self, compiled: CompiledNetwork) -> None:
        self._compiled = compiled
        self.arrays: dict[int, ArrayState] = {
            number: copy.deepcopy(state)
            for number, state in zip(compiled.program.array_numbers, compiled.states, strict=True)
        }
        """By number in the tile: where a core has one array, that of the core."""
        self.gains: dict[int, float] = dict.fromkeys(self.arrays, 1.0)
        """Factor on the sensed currents of each array: the trim of its ADC reference."""
        number_of = compiled.chip.array_number
        self._rows_used = {
            number_of(b.core, b.array): len(b.rows) for m in compiled.mapping.layers for b in m
        }
        self._driven = dict.fromkeys(self.arrays, 0)

    @property
    def compiled(self) -> CompiledNetwork:
        """What the arrays hold."""
        return self._compiled

    def rows_used(self, core: int) -> int:
        """Inputs of an array that have weights, from row 0 up."""
        return self._rows_used[core]

    def row_numbers(self, core: int) -> NDArray[np.intp]:
        """Rows of an array that hold weights; of inputs that have two, both."""
        used, array = self._rows_used[core], self.arrays[core]
        rows = np.arange(used)
        if not self._compiled.chip.cell_code.complement_rows:
            return rows
        return np.concatenate([rows, rows + array.shape[0] // 2])

    def advance(self, seconds: float, temperature: float | None, reads: Mapping[int, int]) -> None:
        """Let time pass for all arrays.

        A read drives at most ``Chip.most_rows`` of the rows in use. Which ones depends on the data,
        so the reads since the last call are spread evenly over the rows in use; what is left over
        is carried to the next call, hence splitting a stretch of reads changes nothing.

        Parameters
        ----------
        seconds, temperature
            As in :meth:`.ArrayState.advance`.
        reads : mapping
            Of each core, the read number of its array.

        Raises
        ------
        ConfigError
            If time is negative or the temperature below 0 K; no array has advanced then.
        """
        for core, state in self.arrays.items():
            rows = self.row_numbers(core)
            at_once = min(self._compiled.chip.most_rows, self._rows_used[core])
            driven = reads[core] * at_once // len(rows)
            counts = np.zeros(state.shape[0], np.int64)
            counts[rows] = max(0, driven - self._driven[core])
            state.advance(seconds, temperature, counts)
            self._driven[core] = driven

    def image(self, core: int) -> ArrayImage:
        """What reads of a core see now."""
        return self.arrays[core].image(self.gains[core])

    # ------------------------------------------------------------ saving

    def _about(self) -> dict[str, object]:
        compiled = self._compiled
        return {
            "chip": f"{compiled.chip.structure_hash:016x}",
            "device": compiled.device.model_dump_json(),
            "seed": compiled.seed,
            "network": program_hash(compiled),
        }

    def save(self, path: Path, reads: Mapping[int, int]) -> None:
        """Write all arrays, trims and read numbers to an npz file, whole or not at all.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for core, state in self.arrays.items():
            arrays |= {f"{core}/{name}": value for name, value in state.to_arrays().items()}
        about = {
            **self._about(),
            "kind": _KIND,
            "gains": {str(core): gain for core, gain in self.gains.items()},
            "reads": {str(core): reads[core] for core in self.arrays},
            "driven": {str(core): count for core, count in self._driven.items()},
        }
        buffer = io.BytesIO()
        packed: Mapping[str, Any] = pack(arrays, about)
        np.savez_compressed(buffer, **packed)
        write_bytes(path, buffer.getvalue())

    def restore(self, path: Path) -> dict[int, int]:
        """Take the state that :meth:`save` wrote.

        Returns
        -------
        dict
            Read number of the array of each core.

        Raises
        ------
        ConfigError
            If the file cannot be read, is damaged, or is of another chip structure, device, seed
            or network; nothing has changed then.
        """
        try:
            # Read whole first: NumPy leaves a damaged file open.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                found, about = unpack({name: file[name] for name in file.files}, str(path))
        except ConfigError:
            raise
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "damaged"
            raise ConfigError(
                f"{path}: the state cannot be read ({reason}); give a file that save_state wrote"
            ) from None
        if about.get("kind") != _KIND:
            raise ConfigError(f"{path}: field 'kind' is missing: this is no state of a chip")
        for name, value in self._about().items():
            if about[name] != value:
                raise ConfigError(
                    f"{path}: field '{name}' differs: the state was saved from another {name}; "
                    f"restore it in the {name} it was saved from"
                )
        states = {}
        for core in self.arrays:
            prefix = f"{core}/"
            parts = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
            states[core] = ArrayState.from_arrays(
                parts, where=f"{path}, core {core}", seed=self._compiled.seed, array=core
            )
        self.arrays = states
        self.gains = {core: float(about["gains"][str(core)]) for core in states}
        self._driven = {core: int(about["driven"][str(core)]) for core in states}
        return {core: int(about["reads"][str(core)]) for core in states}
