"""Directories that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from forgetcli import system
from forgetcli.errors import UsageError
from forgetcli.files import TEMPORARY_SUFFIX, StrPath, file_system_errors

MOST_TRIES = 20
"""To take a place that other exports take, too."""


@contextmanager
def atomic_directory(path: StrPath, *, overwrite: bool, known: frozenset[str]) -> Iterator[Path]:
    """An empty directory to write to, which gets the name `path` when the body ends; when the body raises, nothing of
    it is left.

    overwrite: whether a directory that is there already is replaced. It is renamed aside, the new one takes its place,
               and it is removed with all it holds; between the two renamings there is neither.
    known:     the names that a directory to be replaced may hold: what holds anything else is somebody else's.

    What replaces a directory or a file of the same name has its mode, and its owner where this process may set it.
    Every file is on the disk under its name when this returns. A killed process may leave a temporary directory beside
    the target, which the next write to the same target removes. Raises FileSystemError, and UsageError for a target
    that is not to be replaced.
    """
    with file_system_errors(path, "write"):
        target = Path(os.path.realpath(path))
        _require_free(target, os.fspath(path), overwrite, known)
        parent, prefix = target.parent, f".{target.name[:60]}."
        _remove_orphans(parent, prefix)
        with _new_directory(parent, prefix, mode=0o700 if target.exists() else 0o777) as temporary:
            yield temporary
            _keep_attributes(temporary, target)
            _sync(temporary)
            _put_in_place(temporary, target, lambda: _require_free(target, os.fspath(path), overwrite, known))
            system.flush_directory(str(parent))


@contextmanager
def _new_directory(parent: Path, prefix: str, mode: int) -> Iterator[Path]:
    """A temporary directory, locked while the body runs, and removed at its end if it is still there."""
    while True:
        temporary = parent / f"{prefix}{os.urandom(8).hex()}{TEMPORARY_SUFFIX}"
        temporary.mkdir(mode=mode)
        try:
            with ExitStack() as held:
                is_ours = False
                with suppress(FileNotFoundError):
                    is_ours = held.enter_context(system.holding(str(temporary)))
                    # Another export may have taken it for an orphan before it was locked.
                    is_ours = (is_ours or not system.IS_POSIX) and temporary.exists()
                if is_ours:
                    yield temporary
                    return
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_directory_writable(path: StrPath, *, overwrite: bool, known: frozenset[str]) -> None:
    """Raises what `atomic_directory` would raise before its first file; leaves no trace."""
    with suppress(_Probed), atomic_directory(path, overwrite=overwrite, known=known):
        raise _Probed


class _Probed(Exception):
    """Ends the body of `check_directory_writable`."""


def _require_free(target: Path, name: str, overwrite: bool, known: frozenset[str]) -> None:
    try:
        names = set(os.listdir(target))
    except FileNotFoundError:
        return
    if names - known:
        raise UsageError(f"{name} holds other files than an export does, and is left alone", hint="name another place")
    if names and not overwrite:
        raise UsageError(f"{name} is there already", hint="name another place, or replace it with `overwrite`")


def _keep_attributes(temporary: Path, target: Path) -> None:
    """Gives the new files and directories the modes and owners of those that they replace."""
    if not system.IS_POSIX:
        return
    for new in (temporary, *temporary.rglob("*")):
        with suppress(FileNotFoundError):
            old = os.lstat(target / new.relative_to(temporary))
            if stat.S_ISLNK(old.st_mode):
                continue
            with suppress(PermissionError):
                os.chown(new, old.st_uid, old.st_gid)
            new.chmod(stat.S_IMODE(old.st_mode) & 0o777)


def _put_in_place(temporary: Path, target: Path, require_free: Callable[[], None]) -> None:
    for tries_left in reversed(range(MOST_TRIES)):
        try:
            if target.exists():
                require_free()  # as it was before the work
                _exchange(temporary, target)
            else:
                os.rename(temporary, target)
            return
        except OSError as error:  # another export came or went between the look and the renaming
            if error.errno not in (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY) or not tries_left:
                raise


def _exchange(temporary: Path, target: Path) -> None:
    aside = temporary.with_name(f"{temporary.name.removesuffix(TEMPORARY_SUFFIX)}.old{TEMPORARY_SUFFIX}")
    try:
        os.rename(target, aside)
        os.rename(temporary, target)
    except BaseException:  # Ctrl-C between the two among them
        if aside.exists() and not target.exists():
            os.rename(aside, target)
        raise
    finally:
        _remove(aside)  # also where another export has taken the place meanwhile


def _remove(directory: Path) -> None:
    """Removes a directory that another process may be removing, too, as an orphan."""
    while directory.exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)


def _sync(directory: Path) -> None:
    for place, _, names in os.walk(directory):
        for name in names:
            system.flush(os.path.join(place, name))
        system.flush_directory(place)


def _remove_orphans(parent: Path, prefix: str) -> None:
    """What killed processes left of this target. Whoever still writes one holds its lock."""
    for entry in parent.iterdir():
        if entry.name.startswith(prefix) and entry.name.endswith(TEMPORARY_SUFFIX) and entry.is_dir():
            with suppress(OSError), system.holding(str(entry)) as abandoned:
                if abandoned:
                    shutil.rmtree(entry, ignore_errors=True)
