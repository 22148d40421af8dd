"""What files need of the operating system where POSIX and Windows differ.

POSIX lets a file that is open be replaced and removed, and a lock on it end with its process, so the lock can be on the
file itself. Windows keeps an open file where it is: it is closed before it takes another's place, the lock is on a file
beside it, and what nobody has open is known by that it can be removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

IS_POSIX = fcntl is not None

PRIVATE = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0) | getattr(os, "O_BINARY", 0)
"""Flags of `os.open`: not for child processes, and bytes as they are."""

AT_ONCE = getattr(os, "O_NONBLOCK", 0)
"""A pipe would wait for a writer."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0)

IDLE_SECONDS = 60.0
"""On Windows a temporary that was written to less long ago may be one that its writer has just closed to rename it."""


def try_lock(descriptor: int) -> bool:
    """Locks an open file if no other process has, and says whether it did. Raises OSError where there are no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except BlockingIOError:
        return False
    except PermissionError:
        if IS_POSIX:
            raise
        return False
    return True


def lock_place(path: str) -> str:
    """The file whose lock stands for that of `path`: itself on POSIX, an empty one beside it on Windows."""
    directory, name = os.path.split(path)
    return path if IS_POSIX else os.path.join(directory, f".{name}.forgetcli-lock")


def release(descriptor: int, place: str) -> None:
    """Gives up the lock of `lock_place`, and removes the file that was only for it."""
    os.close(descriptor)
    if not IS_POSIX:
        with suppress(OSError):  # whoever waits for it has it open
            os.unlink(place)


def is_abandoned(descriptor: int) -> bool:
    """Whether nobody writes an open temporary any more; on POSIX it is locked then, so that nobody begins to."""
    if IS_POSIX:
        return try_lock(descriptor)
    return time.time() - os.fstat(descriptor).st_mtime > IDLE_SECONDS


def flush(path: str) -> None:
    """Has the disk confirm a file's content. Raises OSError."""
    descriptor = os.open(path, (os.O_RDONLY if IS_POSIX else os.O_RDWR) | PRIVATE)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_directory(path: str) -> None:
    """Has the disk confirm a directory's names. Raises OSError. Windows has no such request: NTFS keeps a journal."""
    if IS_POSIX:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | PRIVATE)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def holding(directory: str) -> Iterator[bool]:
    """While its body runs, this process has the directory locked; the body is told whether it could be. On Windows,
    where directories have no locks, one counts as somebody's as long as `IDLE_SECONDS` have not passed."""
    if not IS_POSIX:
        yield time.time() - os.stat(directory).st_mtime > IDLE_SECONDS
        return
    descriptor = os.open(directory, os.O_RDONLY | NO_LINK | PRIVATE)
    try:
        yield try_lock(descriptor)
    finally:
        os.close(descriptor)


def peak_memory() -> int:
    """The most memory in bytes that the process has held at once."""
    try:
        import resource
    except ImportError:
        return _peak_working_set()
    with suppress(OSError, StopIteration), open("/proc/self/status", encoding="ascii") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024  # the next figure may be that of the parent, before this program was loaded
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if os.uname().sysname == "Darwin" else most * 1024


def _peak_working_set() -> int:
    """PeakWorkingSetSize of the structure PROCESS_MEMORY_COUNTERS; 0 where Windows does not tell."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("size", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            *((name, ctypes.c_size_t) for name in ("peak", "now", "a", "b", "c", "d", "page_file", "peak_page_file")),
        )

    counters = Counters(size=ctypes.sizeof(Counters))
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(kernel.GetCurrentProcess())
    told = kernel.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size)
    return int(counters.peak) if told else 0
