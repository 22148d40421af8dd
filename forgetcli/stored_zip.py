"""Zip files whose members are stored as they are: their headers, written in one way and read with suspicion.

Format: PKWARE's APPNOTE 6.3.10. `zipfile` reads what is written here; it is not used itself because it keeps no array
aligned, writes differently from version to version, and takes a directory of any size for true.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from io import BufferedReader

from forgetcli.errors import ModelFileError

ALIGNMENT = 64
"""The data of a member starts at a multiple of this: a cache line, and the widest vector."""

_MAX_DIRECTORY = 1 << 16
"""Bytes. A model has at most 18 members of about 100 bytes each in its directory."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_ZIP64_EXTRA, _ALIGNMENT_EXTRA = 0x0001, 0xA11E
_VERSION = 45  # of the format, the first with 64-bit sizes
_UNIX = 3 << 8
_FIRST_OF_1980 = 0x21
_READABLE_FILE = 0o644 << 16
_IN_EXTRA, _IN_END64 = 0xFFFFFFFF, 0xFFFF
_KNOWN_FLAGS = 0x0808  # sizes repeated after the data; names in UTF-8


# Writing. Times and attributes are fixed, and every size and place is in its 64-bit form, so that the bytes depend on
# the content alone, and small and large files take one path.


def local_header(position: int, name: bytes, size: int, checksum: int) -> bytes:
    """What comes before a member's data when the header itself is at `position`."""
    sizes = struct.pack("<2H2Q", _ZIP64_EXTRA, 16, size, size)
    # An extra field that says its own alignment (Apache Commons Compress), with zeros up to where the data starts.
    filling = -(position + _LOCAL.size + len(name) + len(sizes) + 6) % ALIGNMENT
    extra = sizes + struct.pack("<3H", _ALIGNMENT_EXTRA, 2 + filling, ALIGNMENT) + bytes(filling)
    return (
        _LOCAL.pack(b"PK\3\4", _VERSION, 0, 0, 0, _FIRST_OF_1980, checksum, _IN_EXTRA, _IN_EXTRA, len(name), len(extra))
        + name
        + extra
    )


def directory_entry(position: int, name: bytes, size: int, checksum: int) -> bytes:
    """The member's entry in the directory at the end of the file."""
    extra = struct.pack("<2H3Q", _ZIP64_EXTRA, 24, size, size, position)
    return (
        _CENTRAL.pack(
            b"PK\1\2",
            _UNIX | _VERSION,
            _VERSION,
            0,
            0,
            0,
            _FIRST_OF_1980,
            checksum,
            _IN_EXTRA,
            _IN_EXTRA,
            len(name),
            len(extra),
            0,
            0,
            0,
            _READABLE_FILE,
            _IN_EXTRA,
        )
        + name
        + extra
    )


def directory(position: int, entries: list[bytes]) -> bytes:
    """The end of the file: the directory, which starts at `position`, and what leads to it."""
    size, count = sum(map(len, entries)), len(entries)
    return (
        b"".join(entries)
        + _END64.pack(b"PK\6\6", _END64.size - 12, _UNIX | _VERSION, _VERSION, 0, 0, count, count, size, position)
        + _LOCATOR.pack(b"PK\6\7", 0, position + size, 1)
        + _END.pack(b"PK\5\6", 0, 0, _IN_END64, _IN_END64, _IN_EXTRA, _IN_EXTRA, 0)
    )


@dataclass(frozen=True)
class Entry:
    """A member, found where the directory says, wholly inside the file and apart from all others.

    key:      its name without `.npy`.
    start:    of its data, in bytes from the file's start.
    size:     of its data.
    checksum: CRC-32 of its data, as the directory says.
    """

    key: str
    start: int
    size: int
    checksum: int


def read_entries(file: BufferedReader, size: int) -> list[Entry]:
    """The members of a file of `size` bytes, in the order of their places.

    They are stored as they are: neither compressed nor encrypted, no two of one name, no two that overlap, none with
    another name than a plain `<key>.npy`. Raises ModelFileError for anything else.
    """
    listed, limit = _read_directory(file, size)
    entries = _parse_directory(listed)
    entries.sort(key=lambda entry: entry.start)
    if _require_apart(entries, [entry.start + _LOCAL.size + entry.size for entry in entries]) > limit:
        raise _damaged("a member reaches beyond its place")
    keys = [entry.key for entry in entries]
    for key in keys:
        if keys.count(key) > 1:
            raise _damaged(f"two members are called {key}")
    placed = [_past_local_header(file, entry, limit) for entry in entries]
    _require_apart(entries, [data.start + data.size for data in placed])
    return placed


def _require_apart(entries: list[Entry], ends: list[int]) -> int:
    """Raises ModelFileError where one of the members, in the order of their headers, begins before another's end, and
    returns the last end."""
    for entry, end in zip(entries[1:], ends, strict=False):
        if entry.start < end:
            raise _damaged("two members overlap")
    return max(ends, default=0)


def _read_directory(file: BufferedReader, size: int) -> tuple[bytes, int]:
    """The bytes of the directory, and where it starts."""
    tail_start = max(0, size - _MAX_DIRECTORY)
    file.seek(tail_start)
    tail = file.read(size - tail_start)
    end = len(tail) - _END.size
    if end < 0 or not tail.startswith(b"PK\5\6", end):
        raise _not_a_zip(file, size)
    *_, length, start, comment = _END.unpack_from(tail, end)
    locator = end - _LOCATOR.size
    end64 = locator - _END64.size
    if end64 >= 0 and tail.startswith(b"PK\6\7", locator) and tail.startswith(b"PK\6\6", end64):
        *_, length, start = _END64.unpack_from(tail, end64)
        end = end64
    if comment or start + length != tail_start + end:
        raise _damaged("its directory is not where it should be")
    if start < tail_start:
        raise ModelFileError("not a forgetcli model: a zip archive of far more members than a model has")
    return tail[start - tail_start : end], start


def _parse_directory(listed: bytes) -> list[Entry]:
    """The members as the directory has them; `start` is that of the local header."""
    entries: list[Entry] = []
    at = 0
    while at < len(listed):
        if at + _CENTRAL.size > len(listed) or not listed.startswith(b"PK\1\2", at):
            raise _damaged("its directory cannot be read")
        (
            _,
            _,
            _,
            flags,
            method,
            _,
            _,
            checksum,
            packed,
            size,
            name_length,
            extra_length,
            comment_length,
            _,
            _,
            _,
            start,
        ) = _CENTRAL.unpack_from(listed, at)
        extra_at = at + _CENTRAL.size + name_length
        name, extra = listed[at + _CENTRAL.size : extra_at], listed[extra_at : extra_at + extra_length]
        at = extra_at + extra_length + comment_length
        if at > len(listed):
            raise _damaged("its directory cannot be read")
        key = _key(name)
        if method:
            raise ModelFileError(
                "its members are compressed, and a model's are not",
                hint="write it again with numpy.savez instead of numpy.savez_compressed",
            )
        size, packed, start = _with_extra(extra, (size, packed, start))
        if flags & ~_KNOWN_FLAGS or size != packed:
            raise _damaged(f"{key} is encrypted, or its sizes contradict each other")
        entries.append(Entry(key, start, size, checksum))
    return entries


def _key(name: bytes) -> str:
    match = re.fullmatch(rb"([a-z][a-z0-9_]{0,63})\.npy", name)
    if not match:
        raise ModelFileError(f"not a forgetcli model: it has a member called {ascii(name.decode('latin-1'))[:100]}")
    return match[1].decode("ascii")


def _with_extra(extra: bytes, values: tuple[int, int, int]) -> list[int]:
    """The values; those that say so are replaced, in turn, by the 64-bit ones of the extra field."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64_EXTRA:
            wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
    replaced = []
    for value in values:
        if value != _IN_EXTRA:
            replaced.append(value)
        elif len(wide) >= 8:
            replaced.append(int.from_bytes(wide[:8], "little"))
            wide = wide[8:]
        else:
            raise _damaged("the size of a member is missing")
    return replaced


def _past_local_header(file: BufferedReader, entry: Entry, limit: int) -> Entry:
    name = f"{entry.key}.npy".encode("ascii")
    file.seek(entry.start)
    header = file.read(_LOCAL.size + len(name))
    if len(header) != _LOCAL.size + len(name) or not header.startswith(b"PK\3\4"):
        raise _damaged(f"{entry.key} is not where the directory says")
    *_, name_length, extra_length = _LOCAL.unpack_from(header)
    if name_length != len(name) or not header.endswith(name):
        raise _damaged(f"{entry.key} has another name in the directory")
    start = entry.start + len(header) + extra_length
    if start + entry.size > limit:
        raise _damaged(f"{entry.key} reaches beyond its place")
    return Entry(entry.key, start, entry.size, entry.checksum)


def _not_a_zip(file: BufferedReader, size: int) -> ModelFileError:
    file.seek(0)
    start = file.read(6)
    if not size:
        return ModelFileError("the file is empty")
    if start.startswith(b"PK\3\4"):
        return ModelFileError(
            "the file is cut off, or something was appended to it", hint="copy it again from where it was whole"
        )
    kinds = {b"PAR1": ", but a Parquet file", b"\x93NUMPY": ", but a single NumPy array"}
    kind = next((kind for magic, kind in kinds.items() if start.startswith(magic)), "")
    return ModelFileError(f"not a forgetcli model{kind}", hint="a model is an .npz file that `forget train` wrote")


def _damaged(what: str) -> ModelFileError:
    return ModelFileError(f"the archive is damaged: {what}", hint="copy it again from where it was whole")
