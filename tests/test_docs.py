# SPDX-License-Identifier: Apache-2.0
"""What README and docs name is there: links, files, commands, options, make targets, code."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ohmtwin as ot
from ohmtwin.host.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def page_id(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    folders = "arch|bench|behavioral|docs|examples|fpga|host|rtl|tb|tests"
    for name in re.findall(rf"(?<![\w/.])((?:{folders})/[\w./]*\w)", text):
        if not name.startswith("build/"):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_exist_with_their_options(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        commands = re.findall(r"(?:`|^    |\$ |')ohmtwin ([a-z]+(?: [a-z]+)?)\b", line)
        for command in commands:
            # The second word is a command of a group, or an argument.
            for words in (command.split(), command.split()[:1]):
                result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
                if result.exit_code == 0:
                    break
            assert result.exit_code == 0, f"{page.name}: there is no command {command}"
            for option in re.findall(r"(?<![\w-])--[a-z]+", line) if len(commands) == 1 else []:
                assert option in result.output, f"{page.name}: {command} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^    )make ([a-z]+)\b", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"no target {target}"


@pytest.mark.parametrize("page", ["README.md", "docs/bringup.md"])
def test_the_python_of_a_page_runs(page: str, tmp_path: Path) -> None:
    """The example itself, with pictures of zeros for the demo's data, and no board on the cable."""
    import numpy as np

    code = re.search(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert code is not None
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 64), np.float32), y=np.zeros(3, int))
    assert "build/demo/digits.npz" in code[1]
    text = code[1].replace("build/demo/digits.npz", str(tmp_path / "d.npz"))
    text = text.replace("examples/models", str(ROOT / "examples" / "models"))
    text = text.replace("serial:/dev/ttyUSB0", "fast")
    names: dict[str, object] = {}
    exec(compile(text, page, "exec"), names)
    assert isinstance(names["net"], ot.CompiledNetwork)
    tensors = names["tensors"]
    assert isinstance(tensors, dict)
    assert tensors["fc2"].shape == (3, 10)
