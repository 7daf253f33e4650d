# SPDX-License-Identifier: Apache-2.0
"""A per-user cache of things that take long to build, safe between processes.

An entry is a folder named by the hash of everything that went into it. A builder works in a private
folder that is renamed into place when complete, so that a reader never sees half a build and
parallel builders of one entry do no harm: the first wins, the others throw theirs away.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..arch.errors import ToolError

__all__ = ["build_once", "cache_dir", "file_parts", "locked"]


def cache_dir() -> Path:
    """Return (and create) ``$XDG_CACHE_HOME/ohmtwin``, by default ``~/.cache/ohmtwin``.

    Raises
    ------
    ToolError
        If the folder cannot be made.
    """
    # The XDG base directory specification, not configuration of ours; relative paths are invalid.
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    path = root / "ohmtwin"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolError(
            f"The cache folder {path} cannot be made ({error.strerror});"
            " set XDG_CACHE_HOME to a folder you can write"
        ) from error
    return path


def file_parts(paths: Iterable[Path]) -> list[bytes]:
    """Return names and contents of source files, to be used as key parts."""
    parts: list[bytes] = []
    for path in paths:
        parts += [path.name.encode(), path.read_bytes()]
    return parts


def build_once(key_parts: Iterable[str | bytes], builder: Callable[[Path], None]) -> Path:
    """Return the folder of a cache entry, building it first if it is missing.

    Parameters
    ----------
    key_parts : iterable of str or bytes
        All that the result depends on: sources, flags, tool versions, processor.
    builder : callable
        Gets an empty folder and fills it. If it raises, no entry is made.

    Returns
    -------
    Path
        A folder that nobody changes any more.
    """
    digest = hashlib.sha256()
    for part in key_parts:
        data = part.encode() if isinstance(part, str) else part
        # With its length, so that ("ab", "c") and ("a", "bc") differ.
        digest.update(len(data).to_bytes(8, "little") + data)
    root = cache_dir()
    entry = root / digest.hexdigest()[:32]
    if entry.is_dir():
        return entry
    work = Path(tempfile.mkdtemp(prefix="building-", dir=root))
    try:
        builder(work)
        work.chmod(0o755)
        try:
            work.rename(entry)
        except OSError:
            # Another process was faster (a rename onto a folder that is not empty fails).
            if not entry.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return entry


def locked(key_parts: Sequence[str | bytes], builder: Callable[[Path], None]) -> Path:
    """:func:`build_once`, with other processes waiting for a build instead of doing it too."""
    digest = hashlib.sha256()
    for part in key_parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    with (cache_dir() / f"lock-{digest.hexdigest()[:16]}").open("w") as file:
        # Released with the file, also if the process dies.
        fcntl.flock(file, fcntl.LOCK_EX)
        return build_once(key_parts, builder)
