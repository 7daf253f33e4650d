# SPDX-License-Identifier: Apache-2.0
"""Every tensor of every level of a comparison, in one .npz file a level.

Tensors come in batch by batch, while an archive holds whole arrays: each tensor grows in a file of
its own, mapped into memory, and is moved to its level's archive at the end. Nothing is ever held
whole. The archives are not compressed, so that ``numpy.load(..., mmap_mode)`` of an extracted
member and plain ``numpy.load`` are both quick.
"""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..arch.errors import InputError

__all__ = ["TensorFiles", "check_folder"]

_Mapped = np.memmap[Any, np.dtype[Any]]


def check_folder(path: Path, option: str) -> Path:
    """Refuse, before any work, a folder that could not be made or written to.

    Raises
    ------
    InputError
        If it is a file, its parent is missing, or it cannot be written to.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{option} {path} is a file; name a folder")
    folder = path if path.is_dir() else path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{option} {path} cannot be made: there is no folder {folder}; make it")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option} {path} cannot be written: folder {folder} is read-only")
    return path


class TensorFiles:
    """Writes ``<folder>/<level>.npz`` for each level, its keys the names of tensors.

    A context manager: the archives stand when it ends well; nothing is left if it does not.

    Parameters
    ----------
    folder : Path
        Made if need be.
    samples : int
        How many there will be in all.

    Raises
    ------
    InputError
        If the folder cannot be made, or the disk is too small.
    """

    def __init__(self, folder: Path, samples: int) -> None:
        self._folder = folder
        self._samples = samples
        self._open: dict[str, dict[str, _Mapped]] = {}
        self._needed = 0
        try:
            folder.mkdir(exist_ok=True)
            self._parts = Path(tempfile.mkdtemp(dir=folder, prefix=".parts."))
        except OSError as error:
            raise InputError(f"{folder} cannot be written: {error.strerror}") from None

    def add(self, level: str, start: int, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Put samples ``start`` and on of some tensors [n, ...] into a level's file.

        Raises
        ------
        InputError
            If the disk is too small for all samples.
        """
        files = self._open.setdefault(level, {})
        for name, array in tensors.items():
            if name not in files:
                files[name] = self._new(level, len(files), array)
            files[name][start : start + len(array)] = array

    def _new(self, level: str, number: int, array: NDArray[Any]) -> _Mapped:
        shape = (self._samples, *array.shape[1:])
        self._needed += int(np.prod(shape, dtype=np.int64)) * array.itemsize
        free = shutil.disk_usage(self._parts).free
        if self._needed > free:
            raise InputError(
                f"The tensors of {self._samples} samples take more than {self._needed >> 20} MiB, "
                f"{self._folder} has {free >> 20} MiB free; trace fewer samples"
            )
        path = self._parts / f"{level}.{number}.npy"
        mapped: _Mapped = np.lib.format.open_memmap(path, "w+", array.dtype, shape)
        return mapped

    def _finish(self) -> None:
        for level, files in self._open.items():
            names = list(files)
            for array in files.values():
                array.flush()
            files.clear()
            target = self._folder / f"{level}.npz"
            partial = self._parts / f"{level}.npz"
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for number, name in enumerate(names):
                    path = self._parts / f"{level}.{number}.npy"
                    archive.write(path, f"{name}.npy")
                    path.unlink()
            partial.replace(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as problem:
            raise InputError(f"{self._folder} cannot be written: {problem.strerror}") from None
        finally:
            self._open.clear()
            shutil.rmtree(self._parts, ignore_errors=True)
