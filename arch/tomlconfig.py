# SPDX-License-Identifier: Apache-2.0
"""TOML files into pydantic models, with errors that name the file, the line and the way out."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .errors import ConfigError

__all__ = ["build_model", "key_lines", "load_model"]

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]


def load_model(source: Path | str, model: type[M], what: str) -> M:
    """Read a TOML file (or TOML text) into a model.

    Parameters
    ----------
    source : Path or str
        A path; or, as a str that holds a line break or an equals sign, the TOML text itself.
    model : type of BaseModel
    what : str
        What the file describes, for messages: ``"chip"``, ``"device"``.

    Raises
    ------
    ConfigError
        If the file is missing or unreadable, is no TOML, has an unknown or missing key or a value
        that the model refuses. With several errors, the first in the file.
    """
    if isinstance(source, str) and ("\n" in source or "=" in source):
        text, where = source, f"{what} text"
    else:
        path = Path(source)
        where = f"{what} file {path}"
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ConfigError(f"{where} does not exist") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where} cannot be read: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_message(str(error), where, text)) from error
    return build_model(values, model, where, key_lines(text))


def build_model(
    values: Mapping[str, Any],
    model: type[M],
    where: str,
    lines: Mapping[Location, int] | None = None,
) -> M:
    """Check values against a model.

    Parameters
    ----------
    values : mapping
        As a TOML file or keyword arguments give them.
    model : type of BaseModel
    where : str
        Start of every message.
    lines : mapping of key path to line number, optional
        As :func:`key_lines` gives it.

    Raises
    ------
    ConfigError
        As :func:`load_model`.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found: list[tuple[bool, int, str]] = []
        for problem in error.errors(include_url=False):
            line = _line(problem["loc"], lines or {})
            place = f"{where} line {line}" if line else where
            # A misspelt key is also a missing one: what stands in the file comes first.
            missing = problem["type"] == "missing"
            found.append((missing, line, f"{place}: {_problem_message(problem, model)}"))
        raise ConfigError(min(found, key=lambda item: item[:2])[2]) from error


def _syntax_message(message: str, where: str, text: str) -> str:
    at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if at is None:
        return f"{where} is not valid TOML: {message}"
    line = at[1] or str(len(text.splitlines()))
    reason = message[: at.start()]
    return f"{where} line {line}: not valid TOML: {reason[:1].lower()}{reason[1:]}"


def _problem_message(problem: Mapping[str, Any], model: type[BaseModel]) -> str:
    location: Location = problem["loc"]
    key = ".".join(str(part) for part in location)
    kind, value = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known keys are {', '.join(known)}"
        return f"unknown key '{key}'; {hint}"
    if kind == "missing":
        return f"key '{key}' is missing"
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if not location:  # a check over several keys, whose message says which
        return reason
    # A check of our own may have said what it has got.
    got = "" if kind == "value_error" and ", not " in reason else f", not {value!r}"
    return f"'{key}' is wrong: {reason[:1].lower()}{reason[1:]}{got}"


def _fields_at(model: type[BaseModel], location: Location) -> list[str]:
    """Names of the keys allowed in the table at ``location``."""
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue  # a list index, or the tag of a union
        inner = _model_in(field.annotation)
        if inner is not None:
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model in ``Model``, ``Model | None``, ``list[Model]``, ``dict[str, Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)


def _line(location: Location, lines: Mapping[Location, int]) -> int:
    """Line of the deepest key on the way to ``location`` that the file holds, 0 if none."""
    for end in range(len(location), 0, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return 0


# One key: bare, or quoted either way.
_KEY = r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'"""
_PATH = rf"(?:{_KEY})(?:\s*\.\s*(?:{_KEY}))*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_PATH})\s*\]\]?")
_ASSIGN = re.compile(rf"\s*({_PATH})\s*=")
# What can stand in a value: strings of all four kinds, comments, brackets.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""|'
    + r"'''.*?'''|"
    + r'"(?:[^"\\\n]|\\.)*"|'
    + r"'[^'\n]*'|#[^\n]*|[][{}]|\n",
    re.DOTALL,
)


def key_lines(text: str) -> dict[Location, int]:
    """Map each key path of valid TOML text to the line where it stands, counted from 1.

    Tables of an array have their index in the path. Keys of inline tables are not listed; they are
    found by the key that holds them.
    """
    lines: dict[Location, int] = {}
    counts: dict[Location, int] = {}
    table: Location = ()
    for number, line in _logical_lines(text):
        if header := _TABLE.match(line):
            table = _resolve(_parts(header[2]), counts)
            if header[1] == "[[":
                index = counts.get(table, -1) + 1
                counts[table] = index
                lines.setdefault(table, number)
                table = (*table, index)
            lines.setdefault(table, number)
        elif assign := _ASSIGN.match(line):
            lines.setdefault((*table, *_parts(assign[1])), number)
    return lines


def _resolve(path: Location, counts: Mapping[Location, int]) -> Location:
    """Insert the current index after each array of tables that the path passes through."""
    resolved: Location = ()
    for i, part in enumerate(path):
        resolved = (*resolved, part)
        if i < len(path) - 1 and resolved in counts:
            resolved = (*resolved, counts[resolved])
    return resolved


def _parts(path: str) -> Location:
    return tuple(part[1:-1] if part[0] in "\"'" else part for part in re.findall(_KEY, path))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, those joined that a multi-line string or array spans."""
    number, start_number, start, depth = 1, 1, 0, 0
    header = text.lstrip(" \t").startswith("[")
    for token in _TOKEN.finditer(text):
        found = token[0]
        if found == "\n":
            number += 1
            if depth == 0 or header:
                yield start_number, text[start : token.start()]
                start, start_number, depth = token.end(), number, 0
                header = text[start:].lstrip(" \t").startswith("[")
        elif found in "[{":
            depth += 1
        elif found in "]}":
            depth -= 1
        else:
            number += found.count("\n")
    yield start_number, text[start:]
