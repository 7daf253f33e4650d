# SPDX-License-Identifier: Apache-2.0
"""`ohmtwin doctor` finds what is there and tells how to get what is not."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from ohmtwin.host import doctor
from ohmtwin.host.cli import app


def hide(monkeypatch: pytest.MonkeyPatch, *commands: str) -> None:
    """Make programs look as if they were not installed."""
    which: Callable[[str], str | None] = doctor.shutil.which
    monkeypatch.setattr(doctor.shutil, "which", lambda c: None if c in commands else which(c))


def test_everything_found_has_a_version() -> None:
    findings = {f.name: f for f in doctor.examine()}
    assert findings["Python"].found.startswith("3.")
    assert findings["NumPy"].found[0].isdigit()
    assert all(f.install for f in findings.values())
    assert [f.name for f in findings.values() if f.needed and f.missing] == []


def test_what_is_missing_comes_with_a_command_for_debian_and_macos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, "g++", "clang++", "c++")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    line = next(x for x in result.stdout.splitlines() if x.startswith("C++ compiler is missing"))
    assert "apt-get install g++" in line
    assert "xcode-select --install" in line
    assert "The main job cannot run yet." in result.stdout


def test_an_optional_tool_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "iverilog", "ccache")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["ok"] is True
    icarus = next(f for f in found["findings"] if f["name"] == "Icarus Verilog")
    assert icarus["found"] == ""
    assert icarus["needed"] is False


def test_a_missing_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.version

    def version(name: str) -> str:
        if name == "amaranth":
            raise doctor.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", version)
    amaranth = next(f for f in doctor.examine() if f.name == "Amaranth")
    assert amaranth.missing
    assert "ohmtwin[rtl]" in amaranth.install


def test_pictures_are_optional_and_come_with_their_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "_package", lambda name: "" if name == "matplotlib" else "1.0")
    result = CliRunner().invoke(app, ["doctor"])
    line = next(x for x in result.stdout.splitlines() if x.startswith("matplotlib is missing"))
    assert "optional" in line
    assert "pip install 'ohmtwin[plots]'" in line
    assert "The main job can run." in result.stdout


def test_a_program_that_fails_or_hangs_is_not_found() -> None:
    assert doctor._first_line("false") == ""
    assert doctor._first_line("no-such-program-anywhere") == ""
