"""The container of a checkpoint: .npy arrays in an uncompressed zip, one pass out, checked on the way in.

`numpy.load(path, allow_pickle=False)` opens what is written here. It is not used for reading because it evaluates
headers, allocates what they ask for, and copies every array; this reader believes nothing that the file's length
does not bear out, and reads straight into the arrays.
"""

from __future__ import annotations

import math
import os
import re
import stat
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forgetcli.errors import ModelFileError
from forgetcli.files import StrPath, file_system_errors
from forgetcli.profiling import stage
from forgetcli.stored_zip import ALIGNMENT, directory, directory_entry, local_header, read_entries

_PIECE = 1 << 20
"""Bytes read or written at once: a piece is still in the cache when its checksum is taken, and Ctrl-C is answered."""

_START = struct.Struct("<6s2BH")
_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[A-Za-z]\d{0,10})', 'fortran_order': (True|False), "
    rb"'shape': \((?:(\d{1,12}),|(\d{1,12}), ?(\d{1,12})|)\), \} *\n"
)
"""What NumPy writes for a plain dtype and up to two axes. Lengths below 10^12 keep every product within 64 bits."""


class Streamed(Protocol):
    """An array that is made while it is written."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As an array's."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""

    def pieces(self) -> Iterator[NDArray[Any]]:
        """Its elements, in order: as often as they are asked for, and the same each time."""


class Writable(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Writes all of the data."""


def write_npz(file: Writable, arrays: Mapping[str, NDArray[Any] | Streamed]) -> None:
    """Writes the arrays, in their order, as members `<key>.npy`; the bytes depend on the arrays alone.

    Array data starts at a multiple of 64 bytes, so that it can be memory-mapped. Nothing is copied but an array that
    is not C-contiguous, and the file need not be seekable.
    """
    entries: list[bytes] = []
    position = 0
    headers = {key: _npy_header(array.dtype, array.shape) for key, array in arrays.items()}
    with ThreadPoolExecutor(1) as ahead:  # a member's checksum comes before it, and is found while others are written
        sums = {key: ahead.submit(_size_and_checksum, headers[key], array) for key, array in arrays.items()}
        try:
            for key, array in arrays.items():
                name, header = f"{key}.npy".encode("ascii"), headers[key]
                with stage("checksums"):
                    size, checksum = sums[key].result()
                entries.append(directory_entry(position, name, size, checksum))
                start = local_header(position, name, size, checksum) + header
                with stage("bytes"):
                    file.write(start)
                    for piece in _pieces(array):
                        file.write(piece)
                position += len(start) + size - len(header)
        finally:
            ahead.shutdown(wait=False, cancel_futures=True)
    file.write(directory(position, entries))


def _size_and_checksum(header: bytes, array: NDArray[Any] | Streamed) -> tuple[int, int]:
    size, checksum = len(header), zlib.crc32(header)
    for piece in _pieces(array):
        size, checksum = size + len(piece), zlib.crc32(piece, checksum)
    return size, checksum


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    if dtype.hasobject or dtype.newbyteorder("<") != dtype:
        raise ValueError(f"an array of {dtype} cannot be written")
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}".encode("ascii")
    filling = b" " * (-(_START.size + len(text) + 1) % ALIGNMENT)
    return _START.pack(_MAGIC, 1, 0, len(text) + len(filling) + 1) + text + filling + b"\n"


def _pieces(array: NDArray[Any] | Streamed) -> Iterator[memoryview]:
    if not isinstance(array, np.ndarray):
        yield from (piece.view(np.uint8).data for piece in array.pieces())
        return
    data = array.reshape(-1).view(np.uint8).data
    yield from (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))


@dataclass(frozen=True)
class Member:
    """One array of an archive, as its header describes it and the file's length bears out.

    dtype:    NumPy's short form with the byte order, such as "<f4".
    shape:    of at most two axes; its product with the item size is exactly `size`.
    header:   of the .npy format, which the checksum covers too.
    start:    of the elements, in bytes from the file's start.
    size:     of the elements, in bytes.
    checksum: CRC-32 of header and elements.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]
    header: bytes
    start: int
    size: int
    checksum: int


@dataclass(frozen=True)
class Archive:
    """An .npz file that `open_npz` holds open for reading, of which several threads may read different members.

    size:    of the file, in bytes.
    members: by key.
    """

    file: BufferedReader
    size: int
    members: Mapping[str, Member]
    _position: threading.Lock = field(default_factory=threading.Lock)

    def read(self, key: str) -> NDArray[Any]:
        """The array, in fresh memory that starts at a multiple of 64 bytes. Raises ModelFileError when its checksum
        does not hold."""
        member = self.members[key]
        return self._read_bytes(member).view(member.dtype).reshape(member.shape)

    def read_text(self, key: str, limit: int) -> str:
        """The text of a 0-d array of characters, at most `limit` of them. Raises ModelFileError."""
        member = self.members[key]
        if member.shape or not member.dtype.startswith("<U"):
            raise ModelFileError(f"{key} should be one text")
        if member.size > 4 * limit:
            raise ModelFileError(f"{key} has more than {limit:,} characters")
        try:
            return self._read_bytes(member).tobytes().decode("utf-32-le").rstrip("\0")
        except UnicodeDecodeError as error:
            raise ModelFileError(f"{key} is not valid Unicode") from error

    def pieces(self, key: str) -> Iterator[NDArray[Any]]:
        """The elements of a member, piece by piece, each in memory that the next one takes. Raises ModelFileError, at
        the end when its checksum does not hold."""
        member = self.members[key]
        buffer = np.empty(min(member.size, _PIECE), np.uint8)
        pieces = (buffer[: min(_PIECE, member.size - at)] for at in range(0, member.size, _PIECE))
        yield from (piece.view(member.dtype) for piece in self._fill(member, pieces))

    def _read_bytes(self, member: Member) -> NDArray[np.uint8]:
        buffer = np.empty(member.size + ALIGNMENT, np.uint8)
        skipped = -buffer.ctypes.data % ALIGNMENT
        buffer = buffer[skipped : skipped + member.size]
        for _ in self._fill(member, (buffer[at : at + _PIECE] for at in range(0, member.size, _PIECE))):
            pass
        return buffer

    def _fill(self, member: Member, pieces: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Reads a member's elements into the pieces, which have its size."""
        checksum, at = zlib.crc32(member.header), member.start
        for piece in pieces:
            if self._read_into(piece.data, at) != len(piece):
                raise ModelFileError(f"the file ends inside {member.key}")
            checksum, at = zlib.crc32(piece.data, checksum), at + len(piece)
            yield piece
        if checksum != member.checksum:
            raise ModelFileError(
                f"{member.key} is damaged: its checksum does not hold",
                hint="copy the file again from where it was whole",
            )

    def _read_into(self, piece: memoryview, at: int) -> int:
        """Reads what the file has from `at` on, and says how much of the piece that filled."""
        if not hasattr(os, "preadv"):  # Windows
            with self._position:
                self.file.seek(at)
                return self.file.readinto(piece)
        filled = 0
        while filled < len(piece) and (read := os.preadv(self.file.fileno(), [piece[filled:]], at + filled)):
            filled += read
        return filled


@contextmanager
def open_npz(path: StrPath) -> Iterator[Archive]:
    """The archive at `path`, with its directory and every array's header read and checked.

    Accepted are stored members with plain names (see `stored_zip`) that hold arrays of little-endian numbers, bytes or
    texts, stored by rows. Raises FileSystemError, and ModelFileError for all else, here and for the body's own errors
    with the path in front.
    """
    with file_system_errors(path, "read"):
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise ModelFileError(
                f"{os.fspath(path)}: a pipe or a device cannot be read as a model",
                hint="copy its content to a file first",
            )
        with open(path, "rb") as file:
            try:
                size = os.fstat(file.fileno()).st_size
                entries = read_entries(file, size)
                yield Archive(
                    file,
                    size,
                    {
                        entry.key: _read_member(file, entry.key, entry.start, entry.size, entry.checksum)
                        for entry in entries
                    },
                )
            except ModelFileError as error:
                raise ModelFileError(f"{os.fspath(path)}: {error.message}", error.hint) from error


def _read_member(file: BufferedReader, key: str, start: int, size: int, checksum: int) -> Member:
    file.seek(start)
    header = _read_npy_header(file, key, size)
    match = _HEADER.fullmatch(header, _START.size)
    if not match:
        raise ModelFileError(f"{key} is not a plain NumPy array")
    dtype, shape = match[1].decode("ascii"), tuple(int(length) for length in match.groups()[2:] if length)
    if not re.fullmatch(r"<f[48]|<i[48]|\|u1|<U\d+", dtype):
        raise ModelFileError(
            f"{key} is of type {dtype!r}: a model has little-endian numbers, bytes and texts, and never pickled objects"
        )
    if match[2] == b"True":
        raise ModelFileError(f"{key} is stored by columns, and a model's arrays by rows")
    elements = size - len(header)
    if math.prod(shape) * _item_size(dtype) != elements:
        raise ModelFileError(f"{key} says that it is {shape} of {dtype}, but it has {elements:,} bytes")
    return Member(key, dtype, shape, header, start + len(header), elements, checksum)


def _read_npy_header(file: BufferedReader, key: str, size: int) -> bytes:
    start = file.read(min(size, _START.size))
    if len(start) == _START.size:
        magic, major, _, length = _START.unpack(start)
        if magic == _MAGIC and major == 1 and _START.size + length <= size:
            return start + file.read(length)
    raise ModelFileError(f"{key} is not a NumPy array")


def _item_size(dtype: str) -> int:
    return 4 * int(dtype[2:]) if dtype.startswith("<U") else int(dtype[2:])
