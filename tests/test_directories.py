"""Directories that are replaced: what they let others do stays, and an interruption leaves one of the two."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import pytest

from forgetcli.directories import atomic_directory
from forgetcli.errors import FileSystemError

KNOWN = frozenset({"a", "b", "inner"})


def export(path: Path, *names: str) -> None:
    with atomic_directory(path, overwrite=True, known=KNOWN) as directory:
        for name in names:
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text("new")


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_what_others_may_not_read_stays_so(tmp_path: Path) -> None:
    target = tmp_path / "export"
    export(target, "a", "inner/b")
    target.chmod(0o700)
    (target / "a").chmod(0o640)
    (target / "inner" / "b").chmod(0o600)
    with atomic_directory(target, overwrite=True, known=KNOWN) as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "a").write_text("newer")
        (directory / "inner").mkdir()
        (directory / "inner" / "b").write_text("newer")
    modes = [path.stat().st_mode & 0o777 for path in (target, target / "a", target / "inner" / "b")]
    assert modes == [0o700, 0o640, 0o600]
    assert (target / "a").read_text() == "newer"


@pytest.mark.parametrize("interrupted", [1, 2])
def test_an_interruption_while_names_change_leaves_the_old_one_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: int
) -> None:
    target = tmp_path / "export"
    export(target, "a")
    rename, calls = os.rename, count(1)

    def rename_unless_interrupted(source: Path, destination: Path) -> None:
        if next(calls) == interrupted:
            raise KeyboardInterrupt
        rename(source, destination)

    monkeypatch.setattr(os, "rename", rename_unless_interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(target, "b")
    assert (os.listdir(tmp_path), os.listdir(target)) == (["export"], ["a"])


def test_of_two_exports_at_once_one_is_there_whole_and_the_old_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "export"
    export(target, "a")
    rename = os.rename

    def overtaken(source: Path, destination: Path) -> None:
        if source == target:
            rename(source, destination)
            monkeypatch.setattr(os, "rename", rename)
            target.mkdir()
            (target / "b").write_text("another's")
        else:
            rename(source, destination)

    monkeypatch.setattr(os, "rename", overtaken)
    with pytest.raises(FileSystemError, match="cannot write"):
        export(target, "b")
    assert os.listdir(tmp_path) == ["export"]
    assert (target / "b").read_text() == "another's"
