"""Where tables come from: files, directories and standard input, found, opened and unpacked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias

import pyarrow as pa

from forgetcli.digests import HashingReader, OnDigest
from forgetcli.errors import DataError, FileSystemError, UsageError
from forgetcli.files import file_system_errors
from forgetcli.printable import printable
from forgetcli.tables.partitions import Partitions, partitions_of

Sources: TypeAlias = str | Path | Sequence[str | Path]
"""One or several of: a file, a directory of Parquet or of Arrow files, "-" for standard input."""

PARQUET_SUFFIXES = (".parquet", ".parq", ".pq")
PARQUET_MAGIC = b"PAR1"
ARROW_SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows")
ARROW_MAGIC, ARROW_STREAM_MAGIC, FEATHER_1_MAGIC = b"ARROW1", b"\xff\xff\xff\xff", b"FEA1"
COMPRESSIONS = {".gz": ("gzip", b"\x1f\x8b"), ".zst": ("zstd", b"\x28\xb5\x2f\xfd"), ".bz2": ("bz2", b"BZh")}
"""Of each ending: Arrow's name of the compression and the bytes that such files start with."""
ZIP_MAGIC = b"PK\x03\x04"
LONGEST_MAGIC = 6


@dataclass(frozen=True)
class Source:
    """One file to read.

    path: of the file, or None for standard input.
    name: for messages.
    partitions: columns that have one value in all of the file, which the names of the directories say in which it was
                found ("country=DE").
    """

    path: Path | None
    name: str
    partitions: Partitions = field(default_factory=dict)

    @property
    def suffix(self) -> str:
        """The last ending of the name, in lower case and without that of a compression: ".csv" of "a.CSV.gz"."""
        suffixes = [] if self.path is None else [suffix.lower() for suffix in self.path.suffixes]
        if suffixes and suffixes[-1] in COMPRESSIONS:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""


class ByteStream(Protocol):
    """What a text table is read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(frozen=True)
class OpenedSource:
    """An open file: for "parquet" and "arrow" an Arrow file that can seek, for "arrow stream" one that need not, for
    "text" a stream of unpacked bytes."""

    kind: Literal["parquet", "arrow", "arrow stream", "text"]
    file: Any


def find_sources(sources: Sources) -> list[Source]:
    """The files meant, in the order given; the Parquet files of a directory, or its Arrow files where it has none, are
    found at any depth, in the order of their paths, without hidden ones and those that start with `_` (Spark's
    markers).

    Raises FileSystemError for what is not there or not readable, DataError for a directory without such files, and
    UsageError for standard input named twice or no input at all.
    """
    given = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not given:
        raise UsageError("no input was named", hint="name a file, a directory of Parquet files, or - for stdin")
    if sum(str(source) == "-" for source in given) > 1:
        raise UsageError("standard input (-) can be read only once")
    return [file for source in given for file in _files_of(source)]


def _files_of(source: str | Path) -> list[Source]:
    if str(source) == "-":
        return [Source(None, "standard input")]
    path = Path(source)
    with file_errors(printable(str(path))):
        if not path.is_dir():
            return [Source(path, printable(str(path)))]
        files = tables_among([str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()])
    if not files:
        raise no_tables(printable(str(path)))
    partitions = partitions_of(files)
    return [Source(path / file, printable(str(path / file)), partitions[file]) for file in files]


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
    with file_errors(source.name), _raw(source) as given, _hashed(given, on_digest) as raw:
        magic = raw.read(LONGEST_MAGIC)
        if not magic:
            raise DataError(f"{source.name} is empty")
        if magic.startswith((PARQUET_MAGIC, ARROW_MAGIC)):
            seekable = source.path is not None and source.path.is_file() and on_digest is None
            with pa.OSFile(str(source.path)) if seekable else pa.BufferReader(magic + raw.read()) as file:
                yield OpenedSource("parquet" if magic.startswith(PARQUET_MAGIC) else "arrow", file)
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


@contextmanager
def file_errors(name: str) -> Iterator[None]:
    """Turns what the file system and Arrow say of a file into this program's errors, with the file's name."""
    with file_system_errors(name, "read"):
        try:
            yield
        except OSError as error:
            if error.errno is not None:
                raise
            raise _damaged(name, error) from error  # Arrow's word for unpacking and decoding that fail
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
    if source.path is not None:
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
    """

    closed = False

    def __init__(self, start: bytes, rest: BinaryIO | HashingReader) -> None:
        self._start = start
        self._rest = rest

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        start, self._start = self._start[:size], self._start[size:]
        return start + self._rest.read(size - len(start))

    def close(self) -> None:
        """Nothing: the file belongs to whoever opened it."""


def _unpacked(source: Source, stream: _Rewound, magic: bytes) -> ByteStream:
    promised = COMPRESSIONS.get(source.path.suffix.lower()) if source.path is not None else None
    if promised is not None and not magic.startswith(promised[1]):
        raise DataError(f"{source.name} is not {promised[0]} data")
    for name, start in COMPRESSIONS.values():
        if magic.startswith(start):
            return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), name)  # type: ignore[no-any-return]
    return stream
