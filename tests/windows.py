"""Stands in for Windows, as far as files go: run as a program, it has what Windows lacks taken away and then runs the
program's command line.

There is no `fcntl` and no `resource`, `msvcrt` locks bytes for everyone, a file that this process has open can be
neither removed nor replaced nor renamed, and one that another process has by `os.open` cannot be removed. What it
cannot stand in for is Windows itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import types
from collections.abc import Callable
from typing import Any

MISSING_FLAGS = ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_TMPFILE")
MISSING_FUNCTIONS = ("fchmod", "fchown", "pread", "sysconf", "sched_getaffinity", "geteuid", "setxattr", "getxattr")


def become_windows() -> None:
    """Takes away what Windows does not have. Before forgetcli is imported."""
    libraries_first()
    for name in ("fcntl", "resource"):
        sys.modules[name] = None  # type: ignore[assignment]
    sys.modules["msvcrt"] = msvcrt()
    for name in (*MISSING_FLAGS, *MISSING_FUNCTIONS):
        if hasattr(os, name):
            delattr(os, name)
    opened = os.open
    for name in ("replace", "rename"):
        setattr(os, name, kept_while_open(getattr(os, name)))
    for name in ("unlink", "remove"):
        setattr(os, name, kept_while_open(kept_for_others(getattr(os, name), opened)))
    os.open = shared(opened)
    shutil._use_fd_functions = False  # type: ignore[attr-defined]


def libraries_first() -> None:
    """What is not ours may have been made for this system."""
    import multiprocessing
    import subprocess
    import tempfile

    import numpy
    import pyarrow
    import pyarrow.parquet
    import scipy.linalg

    assert all((multiprocessing, subprocess, tempfile, numpy, pyarrow, pyarrow.parquet, scipy.linalg))


def msvcrt() -> types.ModuleType:
    """A module with `locking`: a lock on a byte, which ends when the file is closed."""
    module = types.ModuleType("msvcrt")

    def locking(descriptor: int, mode: int, size: int) -> None:
        assert (mode, size) == (2, 1)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    module.locking = locking  # type: ignore[attr-defined]
    module.LK_NBLCK = 2  # type: ignore[attr-defined]
    return module


def shared(opened: Callable[..., int]) -> Callable[..., int]:
    """`os.open` of what is not a directory; the file is marked as open by a shared record lock."""

    def opening(path: Any, *arguments: Any, **options: Any) -> int:
        while True:
            if os.path.isdir(path):
                raise PermissionError(13, "Windows opens no directories", path)
            descriptor = opened(path, *arguments, **options)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
            except (BlockingIOError, FileNotFoundError):  # it is just being removed
                pass
            except OSError:  # it is no file, or open for writing alone
                return descriptor
            os.close(descriptor)

    return opening


def kept_for_others(remove: Callable[..., None], opened: Callable[..., int]) -> Callable[..., None]:
    """The same for files that no process has by `shared`."""

    def refusing(path: Any, **options: Any) -> None:
        if os.path.islink(path) or not os.path.isfile(path) or options:
            return remove(path, **options)
        descriptor = opened(path, os.O_RDWR)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(path)
        except BlockingIOError as error:
            raise PermissionError(13, "the file is being used", path) from error
        finally:
            os.close(descriptor)

    return refusing


def kept_while_open(function: Callable[..., None]) -> Callable[..., None]:
    """The same for files that this process does not have open."""

    def refusing(*paths: Any, **options: Any) -> None:
        open_files = set()
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                open_files.add(os.readlink(f"/proc/self/fd/{descriptor}"))
            except OSError:
                continue
        for path in paths:
            if os.path.realpath(path) in open_files:
                raise PermissionError(13, "the file is being used", path)
        function(*paths, **options)

    return refusing


if __name__ == "__main__":
    become_windows()
    from forgetcli import system
    from forgetcli.cli import main

    assert not system.IS_POSIX
    if sys.argv[1] == "-c":
        exec(sys.argv[2])
    else:
        sys.exit(main(sys.argv[1:]))
