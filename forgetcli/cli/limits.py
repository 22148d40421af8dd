"""What becomes of a run that is not given the memory it needs: a message and an exit code, not a crash.

Where memory runs out in Python or in the kernels, that is an error like others. But OpenBLAS, Arrow and the C library
end the process where it stands when they get none in one of their threads, and so does the kernel when the memory of a
container is used up. So on a system that limits the memory, the command runs in a child process, and the parent tells
what became of it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from forgetcli.errors import FileSystemError

LEAST = 256 << 20
"""Bytes. With less address space than this the libraries cannot be loaded, some of which then end the process."""

BLAS_BUFFER = 64 << 20
"""Bytes, of address space: twice what OpenBLAS takes."""

SCIPY = 192 << 20
"""Bytes, of address space: more than SciPy's special functions take."""

_PR_SET_PDEATHSIG = 1
_PASSED_ON = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

_WORDS = (
    "cannot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "resource temporarily unavailable",
    "malloc of size",
    "realloc of size",
    "bad_alloc",
)
"""By which errors of other kinds than MemoryError tell of memory that was not granted."""


def tells_of_no_memory(error: BaseException) -> bool:
    """Whether this error is a library's way to say that memory, or a thread, was not granted."""
    if isinstance(error, MemoryError):
        return True
    # An extension that failed without saying why: it had no memory for the error.
    is_mute = isinstance(error, SystemError) and "without exception set" in str(error)
    return is_mute or any(word in str(error).lower() for word in _WORDS)


def not_enough_memory() -> FileSystemError:
    """The error for that, with the limit that is in force."""
    limit = memory_limit()
    where = "" if limit is None else f": {limit}"
    return FileSystemError(
        f"there is not enough memory{where}", hint="fewer --factors, --dtype float32 or fewer --threads need less"
    )


def memory_limit() -> str | None:
    """The limit on this process's memory, in words; None where there is none."""
    address_space = _address_space()
    if address_space is not None:
        return f"the address space is limited to {_megabytes(address_space)} (ulimit -v)"
    container = _container()
    return None if container is None else f"the control group is limited to {_megabytes(container)}"


def run_within_limits(program: Callable[[], int]) -> int:
    """Runs the program and returns its exit code; in a child process where memory is limited.

    Raises FileSystemError when the limit is too low to begin, or the child was ended for it.
    """
    if sys.platform != "linux" or (limit := memory_limit()) is None:
        return program()
    address_space = _address_space()
    if address_space is not None and address_space < LEAST:
        raise FileSystemError(
            limit, hint=f"forget needs {_megabytes(LEAST)} for the smallest data, and more for others"
        )
    watched = {*_PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    parent = os.getpid()
    told, telling = os.pipe()
    child = os.fork()
    if child == 0:
        _die_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            if address_space is not None:
                _claim_buffer_of_blas()
            return program()
        except Exception as error:
            if not isinstance(error, FileSystemError) and any(map(tells_of_no_memory, _with_contexts(error))):
                os.kill(os.getpid(), signal.SIGKILL)  # too little even to say so, which the process above does then
            raise
        finally:
            os.write(telling, b"!")
    os.close(telling)
    status = _wait_for(child, watched)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with os.fdopen(told, "rb") as pipe:
        ended_by_itself = pipe.read() != b""
    return _exit_code(status, ended_by_itself, limit)


def _with_contexts(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that were being dealt with when it came."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__context__


def _claim_buffer_of_blas() -> None:
    """OpenBLAS wants a buffer a thread at its first product, and ends the process, or asks for ever, when it gets none:
    so there is one thread, and it gets its buffer while there is memory. Raises FileSystemError where there is not."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        import mmap

        import numpy as np

        mmap.mmap(-1, BLAS_BUFFER).close()
        some = np.ones((256, 256), np.float32)
        some @ some
    except (ImportError, OSError, MemoryError) as error:
        raise not_enough_memory() from error


def load_scipy() -> None:
    """Where the address space is limited, loads SciPy's functions while there is memory: it brings an OpenBLAS of its
    own, which asks for ever, too. Raises FileSystemError where there is not enough."""
    if _address_space() is None:
        return
    try:
        import mmap

        mmap.mmap(-1, SCIPY).close()
        importlib.import_module("scipy.special")
    except (ImportError, OSError, MemoryError) as error:
        raise not_enough_memory() from error


def _wait_for(child: int, watched: set[signal.Signals]) -> int:
    while True:
        told = signal.sigwaitinfo(watched)
        if told.si_signo != signal.SIGCHLD and told.si_code <= 0:  # from a process; the terminal tells the child too
            os.kill(child, told.si_signo)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status


def _exit_code(status: int, ended_by_itself: bool, limit: str) -> int:
    """Of the child; ended_by_itself is whether the program came to its end there, with an exit code of its own."""
    code = os.waitstatus_to_exitcode(status)
    if -code in _PASSED_ON:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code < 0 or not ended_by_itself:
        how = "it ended" if code >= 0 else f"it was ended by {signal.Signals(-code).name}"
        raise FileSystemError(
            f"there is not enough memory: {limit}, and {how}",
            hint="fewer --factors, --dtype float32 or fewer --threads need less",
        )
    return code


def _die_with(parent: int) -> None:
    """Has this process killed when its parent is: otherwise it would go on behind the back of who killed that."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _address_space() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft_limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min((limit for limit in soft_limits if limit != resource.RLIM_INFINITY), default=None)


def _container() -> int | None:
    """The limit of this process's control group or one above it, in bytes, where it is below the machine's memory."""
    if not hasattr(os, "sysconf"):  # Windows
        return None
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [limit for file in _limit_files() if (limit := _limit(file)) is not None]
    return min((limit for limit in limits if limit < machine), default=None)


def _limit_files() -> Iterator[str]:
    """Where the limits of this process's memory control group and of those above it stand, in either version."""
    with suppress(OSError), open("/proc/self/cgroup", encoding="utf-8") as groups:
        for line in groups:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controllers == "":
                root, name = "/sys/fs/cgroup", "memory.max"
            elif "memory" in controllers.split(","):
                root, name = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
            else:
                continue
            # In a container the path is often the host's, and its own group is mounted as the root.
            while path.strip("/"):
                yield f"{root}{path}/{name}"
                path = os.path.dirname(path)
            yield f"{root}/{name}"


def _limit(file: str) -> int | None:
    with suppress(OSError, ValueError), open(file, encoding="ascii") as limit:
        return int(limit.read())
    return None


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
