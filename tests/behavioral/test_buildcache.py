# SPDX-License-Identifier: Apache-2.0
"""The build cache: once, whole, and safe when several build at a time."""

import threading

import pytest

from ohmtwin.arch.errors import ToolError
from ohmtwin.behavioral.buildcache import build_once, cache_dir


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_folder(tmp_path, monkeypatch):
    assert cache_dir() == tmp_path / "ohmtwin"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "ohmtwin"


def test_builds_once():
    calls = []

    def builder(folder):
        calls.append(folder)
        (folder / "out").write_text("x")

    first = build_once(["a", b"b"], builder)
    assert build_once(["a", "b"], builder) == first
    assert (first / "out").read_text() == "x"
    assert len(calls) == 1


def test_every_part_of_the_key_counts():
    entries = {build_once(key, lambda folder: None) for key in (["ab", "c"], ["a", "bc"], ["abc"])}
    assert len(entries) == 3


def test_failed_build_leaves_nothing():
    def failing(folder):
        (folder / "half").write_text("x")
        raise ToolError("broken")

    with pytest.raises(ToolError, match="broken"):
        build_once(["k"], failing)
    assert list(cache_dir().iterdir()) == []
    assert build_once(["k"], lambda folder: None).is_dir()


def test_parallel_builders_agree():
    barrier = threading.Barrier(4)
    entries = []

    def builder(folder):
        barrier.wait(timeout=30)  # all four are building at the same time
        (folder / "out").write_text("x")

    threads = [
        threading.Thread(target=lambda: entries.append(build_once(["k"], builder)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries) == 4
    assert len(set(entries)) == 1
    assert [p.name for p in cache_dir().iterdir()] == [entries[0].name]


def test_folder_that_cannot_be_made(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    with pytest.raises(ToolError, match=r"cannot be made.*set XDG_CACHE_HOME"):
        cache_dir()
