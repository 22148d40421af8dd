"""Files that are replaced whole or not at all, by one writer at a time."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TypeAlias

from forgetcli import system
from forgetcli.errors import FileSystemError
from forgetcli.profiling import stage

StrPath: TypeAlias = str | os.PathLike[str]

TEMPORARY_SUFFIX = ".forgetcli-tmp"
"""A target `model.npz` is written as `.model.npz.<random>.forgetcli-tmp` beside it."""

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}" + re.escape(TEMPORARY_SUFFIX), re.DOTALL)

_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP, errno.EACCES)
"""What file systems say that cannot flush a directory (network and user-space ones), and directories that may be
written to but not read: nothing is wrong then, and nothing more can be done."""

_LOCK_PAUSES = (0.005, 0.01, 0.02, 0.05)
"""Seconds between tries for a lock, the last one repeated: short enough that 20 waiting processes lose no time that
a person would notice, long enough that waiting costs no processor."""

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_ACL = "system.posix_acl_access"

_REASONS: dict[int, tuple[str, str | None]] = {
    errno.ENOENT: ("no such file or directory", None),
    errno.EACCES: (
        "permission denied",
        "check the permissions of the file and of its directory"
        if system.IS_POSIX
        else "close the program that has the file open, or check the permissions of the file and of its directory",
    ),
    errno.EPERM: ("not permitted", "check the owner and the attributes of the file and of its directory"),
    errno.EROFS: ("the file system is read-only", "write to another directory"),
    errno.ENOSPC: ("the disk is full", "free some space, or write to another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or write to another disk"),
    errno.EFBIG: ("the file would be larger than is allowed", "raise the limit (ulimit -f), or use another disk"),
    errno.EIO: ("the device reports an input/output error", "check the disk before trying again"),
    errno.ENOLCK: ("this file system has no locks", "copy the file to a local disk and work there"),
    errno.EOPNOTSUPP: ("this file system does not support that", "copy the file to a local disk and work there"),
}


@contextmanager
def file_system_errors(path: StrPath, doing: str) -> Iterator[None]:
    """Turns every OSError of its body into a FileSystemError that names the path.

    doing: what was tried, for the message: "read", "write", "lock".
    """
    try:
        yield
    except OSError as error:
        number = error.errno or 0
        if number == errno.ENOENT and _REMOTE.match(os.fspath(path)):
            without_secrets = re.sub("//.*@", "//", os.fspath(path).partition("?")[0], flags=re.DOTALL)
            raise FileSystemError(
                f"cannot {doing} {without_secrets}: it has to be a local file",
                hint="only tables can be remote; copy models here and back, as by aws s3 cp or hdfs dfs -get",
            ) from error
        reason, hint = _REASONS.get(number, (os.strerror(number).lower() if number else str(error), None))
        if number == errno.ENOENT and os.fspath(path) == "-":
            hint = "standard input can only be a table: put this into a file first"
        directory = os.path.dirname(os.path.realpath(path))
        if number == errno.ENOENT and doing == "write" and not os.path.isdir(directory):
            hint = f"create the directory {directory} first"
        raise FileSystemError(f"cannot {doing} {os.fspath(path)}: {reason}", hint) from error


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """A binary file to write to, whose content replaces `path` when the body ends, all of it or nothing.

    When this returns, the new content has reached the disk under its name. When the body raises, or the process is
    killed at any moment, `path` is what it was. On Linux the new file has no name until it is complete, so a killed
    process leaves nothing; elsewhere, and between naming and renaming, it may leave one temporary, which the next
    write to that directory removes, whatever its target.

    A symbolic link stays, and the file it points to is replaced. Mode and access list are those of the replaced
    file; so are owner and group where this process may set them (where it may not set the group, group rights are
    dropped, since they would go to others). Other hard links keep the old content: see `hard_links`. A pipe or a
    device is written to directly.

    Raises FileSystemError, also for an OSError of the body; the body should do nothing but write. When the disk fails
    to confirm the new name after it was given, the message says so: then the new content is in place.
    """
    with file_system_errors(path, "write"):
        target = os.path.realpath(path)
        old = _status(target)
        if old is not None and stat.S_ISDIR(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if old is not None and not stat.S_ISREG(old.st_mode):
            with open(target, "wb") as stream:
                yield stream
        else:
            with _replacing(target, old) as file:
                yield file
            _confirm(path, target)


def settle(path: StrPath) -> None:
    """Sees to it that a file which is in place will be there after a power failure too, as `atomic_write` does at its
    end: for a run that finds its work done, perhaps by one that was killed just before that.

    Raises FileSystemError.
    """
    with file_system_errors(path, "write"):
        target = os.path.realpath(path)
        system.flush(target)
        _confirm(path, target)


def check_writable(path: StrPath) -> None:
    """Raises the FileSystemError that `atomic_write` would raise before its first byte; leaves no trace.

    For asking before hours of work rather than after them.
    """
    with suppress(_Probed), atomic_write(path):
        raise _Probed


def hard_links(path: StrPath) -> int:
    """How many other names the file has. After `atomic_write` they still hold the old content, and with it what was
    to be forgotten; the caller has to say so.

    0 where there is no such file. Raises FileSystemError.
    """
    with file_system_errors(path, "read"):
        status = _status(os.path.realpath(path))
        return 0 if status is None else status.st_nlink - 1


@contextmanager
def lock(
    path: StrPath, timeout: float | None = None, on_wait: Callable[[], None] | None = None
) -> Iterator[Callable[[], None]]:
    """Keeps other processes that use `lock` from the file while the body reads it and replaces it.

    The lock is on the file itself and ends with the process, however that ends; nothing is left behind. Replacing
    the file by `atomic_write` hands the lock on to the next one waiting, so a body does that once, at its end. (On
    Windows it is on an empty file beside it, which a process that is killed leaves there.)

    timeout: seconds to wait for another process, at least 0; None waits for ever.
    on_wait: called once, before the first wait.

    The body gets a function to call before it replaces the file: it raises FileSystemError when a program that does
    not lock has replaced or changed the file meanwhile, whose work would be lost.

    Raises FileSystemError when there is no such file, or it is still locked after the timeout.
    """
    with file_system_errors(path, "lock"):
        descriptor = _locked(path, timeout, on_wait)
    try:
        before = _state(os.fstat(descriptor) if system.IS_POSIX else os.stat(path))

        def require_unchanged() -> None:
            with file_system_errors(path, "write"):
                if _state(os.stat(path)) != before:
                    raise FileSystemError(
                        f"{os.fspath(path)} was replaced or changed by another program meanwhile; nothing was written",
                        hint="run this again, on what is there now",
                    )

        yield require_unchanged
    finally:
        system.release(descriptor, system.lock_place(os.fspath(path)))


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Probed(Exception):
    """Ends the body of `check_writable`'s write."""


@contextmanager
def _replacing(target: str, old: os.stat_result | None) -> Iterator[BinaryIO]:
    directory, name = os.path.split(target)
    _remove_orphans(directory)
    temporary = os.path.join(directory, f"{_temporary_prefix(name)}{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
    try:
        descriptor, is_named = _new_file(directory, temporary, mode=0o666 if old is None else 0o600)
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            if old is not None:
                _keep_attributes(descriptor, target, old)
            with stage("flushing to the disk"):
                os.fsync(descriptor)
            if not is_named:
                _give_name(descriptor, temporary)
            if system.IS_POSIX:  # still locked, so that nobody takes it for an orphan
                os.replace(temporary, target)
        if not system.IS_POSIX:
            os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _new_file(directory: str, temporary: str, mode: int) -> tuple[int, bool]:
    """A new, locked file in the directory, open for writing, and whether it has the temporary's name already."""
    if sys.platform == "linux" and system.IS_POSIX and os.path.exists("/proc/self/fd"):
        # Where the file system has no unnamed files, or refuses for a reason that holds for named ones too.
        with suppress(OSError):
            descriptor = os.open(directory, os.O_TMPFILE | os.O_WRONLY | system.PRIVATE, mode)
            with _closed_on_error(descriptor):
                system.try_lock(descriptor)
            return descriptor, False
    while True:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | system.PRIVATE, mode)
        if not system.IS_POSIX:  # nobody can remove what is open
            return descriptor, True
        try:
            # Another process may have taken the file for an orphan before it was locked.
            if system.try_lock(descriptor) and os.fstat(descriptor).st_nlink:
                return descriptor, True
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            return descriptor, True
        os.close(descriptor)


def _give_name(descriptor: int, temporary: str) -> None:
    # Naming a directory makes Python call linkat, which alone follows the link in /proc.
    os.link(f"/proc/self/fd/{descriptor}", temporary, src_dir_fd=descriptor, follow_symlinks=True)


def _keep_attributes(descriptor: int, target: str, old: os.stat_result) -> None:
    if not system.IS_POSIX:  # the new file has the access list that its directory hands down
        return
    mode = stat.S_IMODE(old.st_mode) & 0o777
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except PermissionError:
            try:
                os.fchown(descriptor, -1, old.st_gid)
            except PermissionError:
                mode &= ~0o070
    if sys.platform == "linux":
        _keep_access_list(descriptor, target)
    os.fchmod(descriptor, mode)


def _keep_access_list(descriptor: int, target: str) -> None:
    """Gives the new file the access list of the old one, or none where that has none: its directory may have handed
    down one that lets others read it. File systems without such lists are left alone."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.removexattr(descriptor, _ACL)
        with suppress(OSError):
            os.setxattr(descriptor, _ACL, os.getxattr(target, _ACL))


def _confirm(path: StrPath, target: str) -> None:
    """Flushes the directory, and with it the target's name. Raises FileSystemError."""
    try:
        system.flush_directory(os.path.dirname(target))
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            reason = _REASONS.get(error.errno or 0, (str(error.strerror).lower(), None))[0]
            raise FileSystemError(
                f"{os.fspath(path)} was replaced, but the disk did not confirm it: {reason}",
                hint="check the disk; after a power failure the old file might be back, and then repeat this",
            ) from error


@contextmanager
def _closed_on_error(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


def _temporary_prefix(name: str) -> str:
    # A file name has at most 255 bytes; what is cut off here makes room for the rest of the temporary's name.
    return f".{os.fsdecode(os.fsencode(name)[:200])}."


def _remove_orphans(directory: str) -> None:
    """Removes what killed processes left in the directory, of any target: it may hold what is to be forgotten.
    Whoever still writes one holds its lock."""
    entries: list[str] = []
    with suppress(PermissionError):  # in a directory that may be written to but not read
        entries = os.listdir(directory)
    for entry in entries:
        if _TEMPORARY.fullmatch(entry):
            # Somebody else's file, or one that has gone meanwhile, is not ours to mend.
            with suppress(OSError):
                _remove_unless_locked(os.path.join(directory, entry))


def _remove_unless_locked(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | system.NO_LINK | system.AT_ONCE | system.PRIVATE)
    try:
        abandoned = system.is_abandoned(descriptor)
        if abandoned and system.IS_POSIX:
            os.unlink(path)
    finally:
        os.close(descriptor)
    if abandoned and not system.IS_POSIX:
        os.unlink(path)


def _locked(path: StrPath, timeout: float | None, on_wait: Callable[[], None] | None) -> int:
    """An open descriptor that holds the lock of the file that `path` names at that moment."""
    waited, tries = 0.0, 0
    while True:
        descriptor, is_ours = _open_and_try_lock(path)
        with _closed_on_error(descriptor):
            mine, current = os.fstat(descriptor), os.stat(path)
            is_current = not system.IS_POSIX or (mine.st_dev, mine.st_ino) == (current.st_dev, current.st_ino)
        if is_ours and is_current:
            return descriptor
        os.close(descriptor)
        if is_current:
            if timeout is not None and waited >= timeout:
                raise _still_locked(path, timeout, mine)
            if tries == 0 and on_wait:
                on_wait()
            pause = _LOCK_PAUSES[min(tries, len(_LOCK_PAUSES) - 1)]
            time.sleep(pause if timeout is None else min(pause, timeout - waited))
            waited, tries = waited + pause, tries + 1


def _open_and_try_lock(path: StrPath) -> tuple[int, bool]:
    """An open descriptor of the file, and whether that has its lock now."""
    if not system.IS_POSIX:
        os.stat(path)  # a file that is not there cannot be locked
        descriptor = os.open(system.lock_place(os.fspath(path)), os.O_CREAT | os.O_RDWR | system.PRIVATE)
        with _closed_on_error(descriptor):
            return descriptor, system.try_lock(descriptor)
    # NFS grants such a lock only on a file that is open for writing.
    for access in (os.O_RDONLY, os.O_RDWR):
        descriptor = os.open(path, access | system.AT_ONCE | system.PRIVATE)
        try:
            return descriptor, system.try_lock(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if access == os.O_RDWR or not (isinstance(error, OSError) and error.errno == errno.EBADF):
                raise
    raise AssertionError("the last try returns or raises")


def _still_locked(path: StrPath, timeout: float, status: os.stat_result) -> FileSystemError:
    holder = _lock_holder(status)
    who = "another process" if holder is None else f"process {holder}"
    return FileSystemError(
        f"cannot lock {os.fspath(path)}: {who} is changing it, still after {timeout:g} s",
        hint="try again when it has finished, or wait longer: `timeout=SECONDS`",
    )


def _lock_holder(status: os.stat_result) -> int | None:
    """The process that has the file locked, where Linux tells."""
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError), open("/proc/locks", encoding="ascii") as locks:
        for line in locks:
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == file and int(fields[4]) > 0:
                return int(fields[4])
    return None


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
