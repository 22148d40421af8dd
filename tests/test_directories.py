"""Directories that are replaced: what they let others do stays, and an interruption leaves one of the two."""

from __future__ import annotations

import errno
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from forgetcli import system
from forgetcli.directories import atomic_directory
from forgetcli.errors import FileSystemError, UsageError

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


@pytest.mark.parametrize("other", ["came", "went"])
def test_of_two_exports_at_once_the_later_one_is_there_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    target = tmp_path / "export"
    export(target, "a")
    rename = os.rename

    def overtaken(source: Path, destination: Path) -> None:
        if source == target:
            monkeypatch.setattr(os, "rename", rename)
            if other == "went":
                shutil.rmtree(target)
            rename(source, destination)
            target.mkdir()
            (target / "a").write_text("another's")
        else:
            rename(source, destination)

    monkeypatch.setattr(os, "rename", overtaken)
    export(target, "b")
    assert (os.listdir(tmp_path), os.listdir(target)) == (["export"], ["b"])


def test_a_place_that_stays_taken_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(source: Path, destination: Path) -> None:
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(os, "rename", taken)
    with pytest.raises(FileSystemError, match="cannot write"):
        export(tmp_path / "export", "b")
    assert os.listdir(tmp_path) == []


def test_what_appears_meanwhile_is_not_replaced_unless_that_was_allowed(tmp_path: Path) -> None:
    target = tmp_path / "export"

    def overtaken(*, overwrite: bool, name: str) -> None:
        with atomic_directory(target, overwrite=overwrite, known=KNOWN) as directory:
            (directory / "a").write_text("new")
            target.mkdir(exist_ok=True)
            (target / name).write_text("another's")

    with pytest.raises(UsageError, match="is there already"):
        overtaken(overwrite=False, name="b")
    with pytest.raises(UsageError, match="other files than an export does"):
        overtaken(overwrite=True, name="somebody's")
    assert (os.listdir(tmp_path), sorted(os.listdir(target))) == (["export"], ["b", "somebody's"])


@pytest.mark.skipif(os.name != "posix", reason="directories are locked on POSIX")
def test_a_temporary_that_was_taken_for_an_orphan_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding, first = system.holding, []

    def after_another(directory: str) -> Any:
        if not first:
            first.append(directory)
            os.rmdir(directory)
        return holding(directory)

    monkeypatch.setattr(system, "holding", after_another)
    export(tmp_path / "export", "a")
    assert first
    assert os.listdir(tmp_path) == ["export"]
