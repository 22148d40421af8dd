"""SHA-256 of files while they are read and written, on a processor of its own, so that it costs next to no time."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from forgetcli import system
from forgetcli.errors import FileSystemError
from forgetcli.files import StrPath, file_system_errors

_PIECE = 1 << 20
"""Bytes hashed at once: a call's cost vanishes, and an interruption is answered."""

_MOST_WAITING = 64
"""Pieces that are written and not hashed yet, at most: some of them nobody else holds."""


@dataclass(frozen=True)
class Digest:
    """What tells one content from another.

    size:   in bytes.
    sha256: 64 hexadecimal digits.
    """

    size: int
    sha256: str


OnDigest: TypeAlias = Callable[[Digest], None]
"""Is told the digest of a file when all of it was read, or has reached the disk."""


class HashingReader:
    """Bytes from elsewhere, hashed as they pass."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all that are left; none at the end."""
        read = self._source.read(size)
        self._hash.update(read)
        self._size += len(read)
        return read

    def finish(self) -> Digest:
        """The digest of everything, also of what nobody wanted to read."""
        while self.read(_PIECE):
            pass
        return Digest(self._size, self._hash.hexdigest())


class HashingWriter:
    """Writes to a file, and hashes on another thread what is written. To be used in a `with` statement, at the end of
    which `digest` is there.

    What is written must not change before that: arrays are not copied.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0
        self._pool = ThreadPoolExecutor(1)
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    def write(self, data: bytes | memoryview) -> None:
        """Writes all of the data."""
        self._file.write(data)
        self._size += len(data)
        self._waiting.acquire()
        self._pool.submit(self._update, data)

    def _update(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self._waiting.release()

    def __enter__(self) -> HashingWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)

    @property
    def digest(self) -> Digest:
        """Of everything that was written."""
        return Digest(self._size, self._hash.hexdigest())


@contextmanager
def hashing_along(file: BinaryIO, on_digest: OnDigest | None) -> Iterator[None]:
    """Hashes an open file on another thread while the body reads it; the file's position stays the body's own.

    on_digest: is told when the body has ended without an error; None hashes nothing.

    Raises OSError when the file cannot be read.
    """
    if on_digest is None:
        yield
        return
    stop = threading.Event()
    if not hasattr(os, "pread"):  # Windows: only where the file's position is, which is the body's until it ends
        yield
        on_digest(_hash_by_position(file.fileno(), stop))
        return
    with ThreadPoolExecutor(1) as pool:
        hashed = pool.submit(_hash_by_position, file.fileno(), stop)
        try:
            yield
        except BaseException:
            stop.set()
            raise
        try:
            digest = hashed.result()
        except BaseException:  # Ctrl-C among them
            stop.set()
            raise
    on_digest(digest)


def digest_of(path: StrPath) -> Digest:
    """The digest of a whole file. Raises FileSystemError, also for what is no file: a pipe could be without end."""
    with file_system_errors(path, "read"), open(path, "rb", opener=_open_at_once) as file:
        if not os.path.isfile(path):
            raise FileSystemError(f"cannot read {os.fspath(path)}: not a file")
        return _hash_by_position(file.fileno(), threading.Event())


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | system.AT_ONCE)


def _hash_by_position(descriptor: int, stop: threading.Event) -> Digest:
    digest, size = hashlib.sha256(), 0
    while not stop.is_set() and (piece := _read_at(descriptor, size)):
        digest.update(piece)
        size += len(piece)
    return Digest(size, digest.hexdigest())


def _read_at(descriptor: int, position: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, _PIECE, position)
    os.lseek(descriptor, position, os.SEEK_SET)
    return os.read(descriptor, _PIECE)
