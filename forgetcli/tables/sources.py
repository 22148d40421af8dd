"""Where tables come from: files, directories and standard input, found, opened and unpacked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias

import pyarrow as pa

from forgetcli.digests import HashingReader, OnDigest
from forgetcli.errors import DataError, FileSystemError, UsageError
from forgetcli.files import file_system_errors
from forgetcli.printable import printable
from forgetcli.tables.frames import ArrowTable, frame_name, is_frame
from forgetcli.tables.partitions import Partitions, partitions_of
from forgetcli.tables.remote import Remote, RemoteFile, files_under, is_of_content, remote, remote_errors

Place: TypeAlias = str | Path | ArrowTable
Sources: TypeAlias = Place | Sequence[Place]
"""One or several of: a table in memory (see `ArrowTable`), a file, a directory of Parquet or of Arrow files, either of
these at s3://, gs:// or hdfs://, "-" for standard input."""

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
PARQUET_MAGIC = b"PAR1"
ARROW_SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows")
ARROW_MAGIC, ARROW_STREAM_MAGIC, FEATHER_1_MAGIC = b"ARROW1", b"\xff\xff\xff\xff", b"FEA1"
COMPRESSIONS = {".gz": ("gzip", b"\x1f\x8b"), ".zst": ("zstd", b"\x28\xb5\x2f\xfd"), ".bz2": ("bz2", b"BZh")}
"""Of each ending: Arrow's name of the compression and the bytes that such files start with."""
ZIP_MAGIC = b"PK\x03\x04"

MOST_UNPACKED, MOST_UNPACKED_A_BYTE = 1 << 30, 100
"""Bytes in a packed text: so many, and so many more for each that it takes packed. Interactions pack to a third or a
twentieth; what unpacks to thousands of times its size was made for it."""

LONGEST_MAGIC = 6

MOST_AT_ONCE = 1 << 26
"""Bytes asked of a stream at a time: room is made for as many, whether or not they come."""


@dataclass(frozen=True)
class Source:
    """One file to read.

    path: of the file; None for standard input, a remote file, and a table in memory.
    name: for messages.
    partitions: columns that have one value in all of the file, which the names of the directories say in which it was
                found ("country=DE").
    """

    path: Path | None
    name: str
    partitions: Partitions = field(default_factory=dict)
    remote: RemoteFile | None = None
    frame: object | None = None

    @property
    def suffix(self) -> str:
        """The last ending of the name, in lower case and without that of a compression: ".csv" of "a.CSV.gz"."""
        suffixes = self._suffixes()
        if suffixes and suffixes[-1] in COMPRESSIONS:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @property
    def packing(self) -> str:
        """The ending of a compression, or that of the format, in lower case."""
        return next(reversed(self._suffixes()), "")

    def _suffixes(self) -> list[str]:
        path = self.path if self.remote is None else PurePosixPath(self.remote.path)
        return [] if path is None else [suffix.lower() for suffix in path.suffixes]


class ByteStream(Protocol):
    """What a text table is read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True)
class OpenedSource:
    """An open file: for "parquet" and "arrow" an Arrow file that can seek, for "arrow stream" one that need not, for
    "text" a stream of unpacked bytes, for "frame" the table itself."""

    kind: Literal["parquet", "arrow", "arrow stream", "text", "frame"]
    file: Any


def find_sources(sources: Sources) -> list[Source]:
    """The files meant, in the order given; the Parquet files of a directory, or its Arrow files where it has none, are
    found at any depth, in the order of their paths, without hidden ones and those that start with `_` (Spark's
    markers).

    Raises FileSystemError for what is not there or not readable, DataError for a directory without such files, and
    UsageError for standard input named twice or no input at all.
    """
    given = [sources] if isinstance(sources, (str, Path)) or is_frame(sources) else _listed(sources)
    if not given:
        raise UsageError("no input was named", hint="name a file, a directory of Parquet files, or - for stdin")
    if sum(isinstance(source, str) and source == "-" for source in given) > 1:
        raise UsageError("standard input (-) can be read only once")
    return [file for source in given for file in _files_of(source)]


def _listed(sources: object) -> list[Place]:
    """Raises UsageError for what is no list of places."""
    if hasattr(sources, "collect"):  # lazy frames of Polars and their like
        raise UsageError(f"{frame_name(sources)} has no rows yet", hint="call its collect()")
    listed: list[Place] = []
    for each in sources if isinstance(sources, Iterable) else [sources]:
        if isinstance(each, (str, Path)) or is_frame(each):
            listed.append(each)
        else:
            raise UsageError(
                f"{frame_name(each)} is no table", hint="give a path, a data frame, or what has __arrow_c_stream__"
            )
    return listed


def _files_of(source: Place) -> list[Source]:
    if not isinstance(source, (str, Path)):
        return [Source(None, frame_name(source), frame=source)]
    if str(source) == "-":
        return [Source(None, "standard input")]
    if (place := remote(source)) is not None:
        return _remote_files(place)
    path = Path(source)
    with file_errors(printable(str(path))):
        if not path.is_dir():
            return [Source(path, printable(str(path)))]
        files = tables_among(_files_below(path))
    if not files:
        raise no_tables(printable(str(path)))
    partitions = partitions_of(files)
    return [Source(path / file, printable(str(path / file)), partitions[file]) for file in files]


def _files_below(directory: Path) -> list[str]:
    """The paths from the directory on of all files below it, "/" between their parts; links are followed, but not round
    in a circle. A link that leads nowhere is among them: whoever opens it is told. Nothing is passed over in silence.

    Raises FileSystemError for a directory that cannot be listed.
    """
    found: list[str] = []
    above: dict[str, frozenset[tuple[int, int]]] = {}
    for place, directories, names in os.walk(directory, onerror=_raise, followlinks=True):
        status = os.stat(place)
        own, parents = (status.st_dev, status.st_ino), above.get(place, frozenset())
        if own in parents:
            directories.clear()
            continue
        above |= {os.path.join(place, name): parents | {own} for name in directories}
        files = (Path(place, name) for name in names)
        found += [file.relative_to(directory).as_posix() for file in files if file.is_file() or not file.exists()]
    return found


def _raise(error: OSError) -> None:
    with file_system_errors(printable(str(error.filename)), "read"):
        raise error


def _remote_files(place: Remote) -> list[Source]:
    system, path, below = files_under(place)
    if below is None:
        return [Source(None, place.name, remote=RemoteFile(place, system, path))]
    files = tables_among(below)
    name = place.name.rstrip("/")
    if not files:
        raise no_tables(name)
    partitions = partitions_of(files)
    return [
        Source(None, printable(f"{name}/{file}"), partitions[file], RemoteFile(place, system, f"{path}/{file}"))
        for file in files
    ]


def tables_among(files: Sequence[str]) -> list[str]:
    """Those of a directory's files, at any depth, that are read as its table, in order.

    files: the paths from the directory on, with "/" between their parts.
    """
    seen = [file for file in files if not any(part.startswith((".", "_")) for part in file.split("/"))]
    for suffixes in (PARQUET_SUFFIXES, ARROW_SUFFIXES):
        found = [file for file in seen if file.lower().endswith(suffixes)]
        if found:
            return sorted(found, key=lambda file: file.split("/"))
    return []


def no_tables(directory: str) -> DataError:
    """The error for a directory with no files to read as a table."""
    return DataError(
        f"the directory {directory} holds no Parquet and no Arrow files",
        hint="name CSV files one by one, for example with a shell pattern",
    )


@contextmanager
def opened(source: Source, on_digest: OnDigest | None = None) -> Iterator[OpenedSource]:
    """The source open for reading, its format told by its name and its first bytes.

    Parquet and Arrow files that come through a pipe are read into memory whole, since their index is at the end; so
    are those of which a digest is wanted, which then is that of the very bytes that were used.

    on_digest: is told the source's digest when the body ends without an error.

    Raises FileSystemError where the file cannot be opened or read, DataError where its content is not what the name
    promises, or empty.
    """
    if source.frame is not None:
        yield OpenedSource("frame", source.frame)
        return
    with _errors_of(source), _raw(source) as given, _hashed(given, on_digest) as raw:
        magic = raw.read(LONGEST_MAGIC)
        if not magic:
            raise DataError(f"{source.name} is empty")
        if magic.startswith((PARQUET_MAGIC, ARROW_MAGIC)):
            kind: Literal["parquet", "arrow"] = "parquet" if magic.startswith(PARQUET_MAGIC) else "arrow"
            if source.remote is not None and on_digest is None:
                given.seek(0)
                yield OpenedSource(kind, given)
                return
            path = source.path if on_digest is None else None
            with open_file(path) if path and path.is_file() else pa.BufferReader(magic + raw.read()) as file:
                yield OpenedSource(kind, file)
            return
        if source.suffix in PARQUET_SUFFIXES:
            raise DataError(f"{source.name} is not a Parquet file")
        if magic.startswith(ARROW_STREAM_MAGIC):
            yield OpenedSource("arrow stream", pa.PythonFile(_Rewound(magic, raw), mode="r"))
            return
        if magic.startswith(FEATHER_1_MAGIC):
            raise DataError(f"{source.name} is a Feather file of version 1", hint="write it again as version 2")
        if source.suffix in ARROW_SUFFIXES:
            raise DataError(f"{source.name} is not an Arrow file")
        if magic.startswith(ZIP_MAGIC):
            raise DataError(
                f"{source.name} is a zip archive or a spreadsheet", hint="unpack it, or save the sheet as CSV"
            )
        yield OpenedSource("text", _unpacked(source, _Rewound(magic, raw), magic))


def open_file(path: Path) -> pa.NativeFile:
    """A local file as Arrow reads it, whatever the bytes of its name: PyArrow encodes only names that are Unicode."""
    return pa.OSFile(os.fsencode(path))


def _errors_of(source: Source) -> AbstractContextManager[None]:
    return remote_file_errors(source.remote.place) if source.remote is not None else file_errors(source.name)


@contextmanager
def remote_file_errors(place: Remote) -> Iterator[None]:
    """The same as `file_errors` for a remote file."""
    with remote_errors(place, "read"), _content_errors(place.name, is_of_content):
        yield


@contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Turns what the file system and Arrow say of a file into this program's errors, with the file's name."""
    with file_system_errors(name, "read"), _content_errors(name, lambda error: error.errno is None):
        yield


@contextmanager
def _content_errors(name: str, of_content: Callable[[OSError], bool]) -> Iterator[None]:
    """Turns what Arrow says of a file's content into DataError.

    of_content: tells an OSError that is Arrow's word for unpacking and decoding that fail from one of the file system.
    """
    try:
        yield
    except OSError as error:
        if not of_content(error):
            raise
        raise _damaged(name, error) from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        # Whatever it is that Arrow stumbled over in a file, the file is not sound.
        if isinstance(error, (MemoryError, pa.ArrowCancelled)) or "worker thread" in str(error):
            raise
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> DataError:
    said = next(iter(str(error).splitlines()), "it ends too early")
    return DataError(f"{name} is damaged or not what its name says: {printable(said[:200])}")


@contextmanager
def _raw(source: Source) -> Iterator[BinaryIO]:
    if source.remote is not None:
        with source.remote.open() as file:
            yield file
    elif source.path is not None:
        with source.path.open("rb") as file:
            yield file
    elif sys.stdin is None:
        raise FileSystemError("standard input is closed")
    else:
        yield sys.stdin.buffer


@contextmanager
def _hashed(raw: BinaryIO, on_digest: OnDigest | None) -> Iterator[BinaryIO | HashingReader]:
    if on_digest is None:
        yield raw
    else:
        hashing = HashingReader(raw)
        yield hashing
        on_digest(hashing.finish())


class _Rewound:
    """A stream whose first bytes were read already, from its start again; pipes cannot seek.

    It has what Arrow asks of a Python file.

    size: bytes that were read from it.
    """

    closed = False

    def __init__(self, start: bytes, rest: BinaryIO | HashingReader) -> None:
        self._start = start
        self._rest = rest
        self.size = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, which a broken file may have asked for and not have; none at the end."""
        start, self._start = self._start[:size], self._start[size:]
        pieces, missing = [start], size - len(start)
        while missing > 0 and (piece := self._rest.read(min(missing, MOST_AT_ONCE))):
            pieces.append(piece)
            missing -= len(piece)
        self.size += size - missing
        return b"".join(pieces)

    def close(self) -> None:
        """Nothing: the file belongs to whoever opened it."""


def _unpacked(source: Source, stream: _Rewound, magic: bytes) -> ByteStream:
    promised = COMPRESSIONS.get(source.packing)
    if promised is not None and not magic.startswith(promised[1]):
        raise DataError(f"{source.name} is not {promised[0]} data")
    for name, start in COMPRESSIONS.values():
        if magic.startswith(start):
            return _Unpacked(source.name, stream, pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), name))
    return stream


class _Unpacked:
    """What a packed stream holds, as long as it is in proportion to the stream."""

    def __init__(self, name: str, packed: _Rewound, unpacked: pa.NativeFile) -> None:
        self._name, self._packed, self._unpacked = name, packed, unpacked
        self._size = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end. Raises DataError where there are too many for what was packed."""
        # Not `read`: where that fails, PyArrow keeps the bytes it made room for, as long as the process lives.
        piece: bytes = self._unpacked.read_buffer(size).to_pybytes()
        self._size += len(piece)
        if self._size > MOST_UNPACKED + MOST_UNPACKED_A_BYTE * self._packed.size:
            raise DataError(
                f"{self._name} unpacks to more than {MOST_UNPACKED_A_BYTE} times its size",
                hint="unpack it first, if it is sound",
            )
        return piece
