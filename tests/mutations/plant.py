# SPDX-License-Identifier: Apache-2.0
"""Plants a named bug in the source of the package, for the time of a test.

A mutation is a piece of source text and what is put in its place. The text must be there exactly
once: a mutation that the source has outgrown fails loudly, and so does one that changes no code.
"""

import ctypes
import importlib
import inspect
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, ModuleType

import pytest

from ohmtwin.behavioral import cengine

__all__ = ["Mutation", "StaleMutationError", "named", "planted", "planted_in_c"]


class StaleMutationError(AssertionError):
    """The source no longer holds what a mutation replaces."""


@dataclass(frozen=True)
class Mutation:
    """A bug.

    Parameters
    ----------
    name : str
        What the bug does.
    source : str
        Dotted name of a module of the package, or the file name of a C source.
    old, new : str
        Text that stands in the source exactly once, and what takes its place.
    """

    name: str
    source: str
    old: str
    new: str

    def apply(self, text: str) -> str:
        """The source with the bug in it."""
        count = text.count(self.old)
        if count != 1:
            raise StaleMutationError(
                f"Mutation '{self.name}': its text stands {count} times in {self.source}, not "
                f"once; bring the mutation up to date:\n{self.old}"
            )
        return text.replace(self.old, self.new)


def _functions(module: ModuleType) -> dict[str, FunctionType]:
    """All functions and methods that a module defines, by qualified name."""
    found: dict[str, FunctionType] = {}

    def collect(name: str, value: object) -> None:
        if isinstance(value, property):
            value = value.fget
        elif isinstance(value, classmethod | staticmethod):
            value = value.__func__
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            found[name] = value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for key, member in vars(value).items():
                collect(f"{name}.{key}", member)

    for name, value in list(vars(module).items()):
        collect(name, value)
    return found


def _differ(a: CodeType, b: CodeType) -> bool:
    """Whether two compiled functions do something else; where they stand does not matter."""
    if a.co_code != b.co_code or a.co_names != b.co_names:
        return True
    if len(a.co_consts) != len(b.co_consts):
        return True
    for x, y in zip(a.co_consts, b.co_consts, strict=True):
        if isinstance(x, CodeType) and isinstance(y, CodeType):
            if _differ(x, y):
                return True
        elif type(x) is not type(y) or x != y:
            return True
    return False


def named(*mutations: Mutation) -> MappingProxyType[str, Mutation]:
    """Bugs by their names."""
    return MappingProxyType({mutation.name: mutation for mutation in mutations})


@contextmanager
def planted(mutation: Mutation) -> Iterator[None]:
    """The functions of a Python module as the mutated source has them.

    The code of the functions is exchanged, not the functions, so that whoever has imported them or
    their class before runs into the bug too.
    """
    module = importlib.import_module(mutation.source)
    path = Path(str(module.__file__))
    text = mutation.apply(path.read_text())
    twin = types.ModuleType(module.__name__)
    vars(twin).update(__file__=str(path), __package__=module.__package__)
    exec(compile(text, str(path), "exec"), vars(twin))

    original, mutated = _functions(module), _functions(twin)
    if set(original) != set(mutated):
        raise StaleMutationError(f"Mutation '{mutation.name}' adds or removes functions")
    changed = {
        name: function.__code__
        for name, function in original.items()
        if _differ(function.__code__, mutated[name].__code__)
    }
    if not changed:
        raise StaleMutationError(f"Mutation '{mutation.name}' changes no code")
    try:
        for name in changed:
            original[name].__code__ = mutated[name].__code__
        yield
    finally:
        for name, code in changed.items():
            original[name].__code__ = code


@contextmanager
def planted_in_c(mutation: Mutation, folder: Path) -> Iterator[ctypes.CDLL]:
    """The C crossbar with a bug in it: as a library, and as what every ``CCrossbar`` uses."""
    sources = []
    for path in cengine.SOURCES:
        text = path.read_text()
        sources.append(folder / path.name)
        sources[-1].write_text(mutation.apply(text) if path.name == mutation.source else text)
    if mutation.source not in {path.name for path in sources}:
        raise StaleMutationError(f"There is no C source {mutation.source}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cengine, "SOURCES", tuple(sources))
        lib = cengine.declare(ctypes.CDLL(str(cengine.build())))
        patch.setattr(cengine, "library", lambda: lib)
        yield lib
