# SPDX-License-Identifier: Apache-2.0
"""Errors in TOML files name the file, the line and the way out."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ohmtwin.arch.errors import ConfigError
from ohmtwin.arch.tomlconfig import key_lines, load_model


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int = 1


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rows_per_read: int = Field(ge=1)
    mode: Literal["fast", "slow"] = "fast"
    part: Part | None = None
    parts: list[Part] = []

    @model_validator(mode="after")
    def _odd(self) -> "Thing":
        if self.rows_per_read == 13:
            raise ValueError("13 rows bring bad luck; take 12")
        return self


def test_path_and_text(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("rows_per_read = 4\n[part]\nwidth = 2\n")
    for source in (path, str(path), path.read_text()):
        thing = load_model(source, Thing, "thing")
        assert (thing.rows_per_read, thing.part) == (4, Part(width=2))


ERRORS = [
    (
        "\n\nrow_per_read = 4\n",
        r"line 3: unknown key 'row_per_read'; did you mean 'rows_per_read'\?",
    ),
    ("rows_per_read = 4\nzzz = 1\n", r"line 2: unknown key 'zzz'; known keys are rows_per_read, m"),
    ("rows_per_read = 0\n", r"line 1: 'rows_per_read' is wrong: .*or equal to 1, not 0"),
    ("# x\nrows_per_read = 'four'\n", r"line 2: 'rows_per_read' is wrong: .*integer.*not 'four'"),
    ("rows_per_read = 4\nmode = 'slwo'\n", r"line 2: 'mode' is wrong: .*'fast' or 'slow'.*'slwo'"),
    ("mode = 'fast'\n", r"thing text: key 'rows_per_read' is missing"),
    ("rows_per_read = 13\n", r"thing text: 13 rows bring bad luck; take 12$"),
    (
        "rows_per_read = 4\n[part]\n\nwitdh = 3\n",
        r"line 4: unknown key 'part.witdh'; did you mean 'width'\?",
    ),
    (
        "rows_per_read = 4\n[[parts]]\nwidth = 1\n[[parts]]\nwidth = 'x'\n",
        r"line 5: 'parts.1.width' is wrong",
    ),
    ("rows_per_read = 4\npart = {witdh = 3}\n", r"line 2: unknown key 'part.witdh'"),
    ("rows_per_read = 4\nparts = [\n{},\n{x = 1}]\n", r"line 2: unknown key 'parts.1.x'"),
    ("zzz = 1\nrows_per_read = 0\n", r"line 1: unknown key 'zzz'"),
    ("rows_per_read = 0\nzzz = 1\n", r"line 1: 'rows_per_read' is wrong"),
    ("rows_per_read = 4\nmode = \n", r"line 2: not valid TOML: invalid value"),
    ("rows_per_read = [1,\n\n", r"line 2: not valid TOML"),
    ("a = 1\na = 2\n", r"line 2: not valid TOML: cannot overwrite a value"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_errors(text, message):
    with pytest.raises(ConfigError, match=message):
        load_model(text, Thing, "thing")


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("mode = 'fast'\nrow_per_read = 4\n")
    with pytest.raises(ConfigError, match=rf"^thing file {path} line 2: unknown key"):
        load_model(path, Thing, "thing")
    with pytest.raises(ConfigError, match=r"thing file no\.toml does not exist"):
        load_model("no.toml", Thing, "thing")
    with pytest.raises(ConfigError, match=r"cannot be read: .*directory"):
        load_model(Path(tmp_path), Thing, "thing")
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"cannot be read: .*utf-8"):
        load_model(path, Thing, "thing")


def test_lines_of_keys():
    text = '''# c
name = "x"  # [not]
a.b = [1,
  2, # ]
]
s = """
k = 3
"""
[t."q r".z]
x = {y = 1, z = "]"}
 [[p]]
u = 1
[[p]]
u = 2
[p.sub]
w = 3
'''
    assert key_lines(text) == {
        ("name",): 2,
        ("a", "b"): 3,
        ("s",): 6,
        ("t", "q r", "z"): 9,
        ("t", "q r", "z", "x"): 10,
        ("p",): 11,
        ("p", 0): 11,
        ("p", 0, "u"): 12,
        ("p", 1): 13,
        ("p", 1, "u"): 14,
        ("p", 1, "sub"): 15,
        ("p", 1, "sub", "w"): 16,
    }
