# SPDX-License-Identifier: Apache-2.0
"""Output files that are either whole or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..arch.errors import InputError

__all__ = ["check_output", "replacing", "write_bytes", "write_text"]


def check_output(path: Path, option: str) -> Path:
    """Refuse, before any work, an output file that could not be written at the end.

    Raises
    ------
    InputError
        If the folder is missing or not writable, or the path is a folder.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder; name a file in it")
    if not folder.is_dir():
        raise InputError(f"{option} {path} cannot be written: there is no folder {folder}; make it")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option} {path} cannot be written: folder {folder} is read-only")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file of another name in the same folder, which takes the place of ``path`` at the end.

    If the body fails, ``path`` is as it was and nothing else is left.

    Raises
    ------
    InputError
        If the file system refuses.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp gives the file to its owner alone
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file at once: under another name in the same folder, then renamed.

    Raises
    ------
    InputError
        If the file system refuses.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as :func:`write_bytes` does."""
    write_bytes(path, text.encode())
