"""Broken files made from valid ones: with their structure in mind, so that what is broken lies deep."""

from __future__ import annotations

import io
import json
import random
import struct
import warnings
import zipfile
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli.npz import write_npz

Arrays = dict[str, NDArray[Any]]

INTERESTING = (0, 1, -1, 2, 127, 128, 255, 256, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-300, 3e38, -3e38, 1e19, 1e300, np.inf, -np.inf, np.nan)
TEXTS = ("", "{}", "[]", "null", "x" * 300, '{"a": NaN}', "[" * 2000, '{"factors": 1e400}', "\x1b[2J", "\U0010ffff")
DTYPES = ("<f4", "<f8", "<i4", "<i8", "|u1", "<u8", "|i1", "<U1", "|b1", ">i8", "<f2", "<c8", "|S4")


@lru_cache(maxsize=100)
def _arrays_of(content: bytes) -> Arrays:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def mutated_archive(rng: random.Random, content: bytes) -> bytes:
    """An .npz file like this one, but for one to four changes: to what its arrays say, with every checksum right, to
    the archive's own fields, or to any bytes."""
    kind = rng.random()
    if kind < 0.6:
        try:
            changed = dict(_arrays_of(content))
        except Exception:  # of NumPy, for what was broken before
            return mutated_bytes(rng, content)
        for _ in range(rng.randint(1, 4) if changed else 0):
            change_an_array(rng, changed)
        return _written(rng, changed)
    if kind < 0.8:
        return _with_changed_fields(rng, content)
    return mutated_bytes(rng, content)


def mutated_bytes(rng: random.Random, content: bytes) -> bytes:
    """The bytes, with some changed, inserted, repeated or cut away."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 4, 8, 64, 1000)))
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at:end] = rng.randbytes(end - at)
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 20))
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = data[at:end]
            case _:
                data[at : at + 8] = struct.pack("<q", rng.choice(INTERESTING))
    return bytes(data)


def mutated_text(rng: random.Random, content: bytes) -> bytes:
    """A delimited text like this one, with fields, rows, quotes and line ends put where they do not belong."""
    rows = content.split(b"\n")
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(len(rows))
        fields = rows[at].split(b",")
        place = rng.randrange(len(fields))
        match rng.randrange(7):
            case 0:
                fields[place] = rng.choice(ODD_FIELDS)
            case 1:
                fields.insert(place, rng.choice(ODD_FIELDS))
            case 2 if len(fields) > 1:
                del fields[place]
            case 3:
                rows.insert(at, rows[rng.randrange(len(rows))])
            case 4:
                fields[place] = b'"' * rng.randint(1, 3) + fields[place]
            case 5:
                fields[place] += rng.choice((b"\r", b"\r\n", b"\n", b"\t", b";", b"\0", b"\x1f", b"::"))
            case _:
                return mutated_bytes(rng, b"\n".join(rows))
        rows[at] = b",".join(fields)
    return b"\n".join(rows)


ODD_FIELDS = (
    b"", b" ", b"-1", b"0", b"-0", b"007", b"1e308", b"1e-320", b"nan", b"-inf", b"NULL", b"9223372036854775807",
    b"9223372036854775808", b"-9223372036854775808", b"1.0", b'"', b'""', b'"a""b"', b'"a\nb"', b"\xff", b"\xc3\xa9",
    b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"=1+1", b"\x1b[31m", b"x" * 5000, b"2024-01-01", b"12:00", b"true",
)  # fmt: skip


def change_an_array(rng: random.Random, arrays: Arrays) -> None:
    key = rng.choice(sorted(arrays))
    array = arrays[key]
    match rng.randrange(10):
        case 0:
            del arrays[key]
            arrays[rng.choice((key, "extra", "user_ids", "user_id_bytes"))] = array
        case 1:
            arrays[key] = arrays[rng.choice(sorted(arrays))]
        case 2:
            arrays[key] = array.reshape(-1)[: rng.randrange(array.size + 1)]
        case 3:
            arrays[key] = np.concatenate([array.reshape(-1)] * 2)
        case 4:
            arrays[key] = array.reshape(rng.choice(((-1,), (-1, 1), (1, -1))))
        case 5:
            raw = array.tobytes()
            dtype = np.dtype(rng.choice(DTYPES))
            arrays[key] = np.frombuffer(raw[: len(raw) // dtype.itemsize * dtype.itemsize], dtype)
        case _ if array.dtype.kind == "U" and not array.ndim:
            arrays[key] = np.array(mutated_json(rng, str(array)))
        case _:
            arrays[key] = _with_changed_values(rng, array)


def _with_changed_values(rng: random.Random, array: NDArray[Any]) -> NDArray[Any]:
    changed = array.copy().reshape(-1)
    if not changed.size or changed.dtype.kind not in "iuf":
        return array
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(changed.size)
        with np.errstate(all="ignore"):
            if changed.dtype.kind == "f":
                changed[at] = np.float64(rng.choice(REALS)).astype(changed.dtype)
            elif rng.random() < 0.5:
                changed[at] = np.array(rng.choice(INTERESTING)).astype(changed.dtype)
            else:
                near = int(changed[rng.randrange(changed.size)]) + rng.choice((-1, 0, 1))
                changed[at] = np.array(near % 2**64, np.uint64).astype(changed.dtype)
    return changed.reshape(array.shape)


def mutated_json(rng: random.Random, text: str) -> str:
    """A JSON text like this one, with values changed, taken away or put where they do not belong, or no JSON at all."""
    if rng.random() < 0.1:
        return rng.choice(TEXTS)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _spoilt(rng, text)
    for _ in range(rng.randint(1, 3)):
        value = _changed_value(rng, value)
    text = json.dumps(value)
    for name, number in LITERALS.items():
        text = text.replace(f'"{name}"', number)
    return text if rng.random() < 0.8 else _spoilt(rng, text)


LITERALS = {
    "infinite": "1e400",
    "minus infinite": "-Infinity",
    "not one": "NaN",
    "long": "9" * 400,
    "longer": "9" * 5000,
}
"""Numbers that JSON texts may have and Python does not write."""

VALUES = (
    None, True, False, 0, -1, 1, 0.5, 1e300, 1e-320, 2**31, 2**63, 2**64, "", "1", "a\0b", "\x1b[2J", "x" * 300,
    "\ud800", [], {}, [[]], {"": None}, [1, 2, 3, 4, 5, 6], "count", "none", "users", "items", "explicit", "implicit",
    *LITERALS,
)  # fmt: skip


def _changed_value(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {key: each for key, each in value.items() if key != name}
            case 1:
                return {**value, str(rng.choice(VALUES)): value[name]}
            case _:
                return {**value, name: _changed_value(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        match rng.randrange(4):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[:at] + value[at:] * 2
            case _:
                return [*value[:at], _changed_value(rng, value[at]), *value[at + 1 :]]
    return rng.choice(VALUES)


def _spoilt(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    piece = rng.choice((*TEXTS, "1", "-", "e999", "NaN", '"', ",", "}", ": ", "null", "true", "9" * 20, "implicit"))
    return text[:at] + piece + text[at + rng.randrange(4) :]


def _written(rng: random.Random, arrays: Arrays) -> bytes:
    """The arrays as a file, by this program's writer or by NumPy's."""
    stream = io.BytesIO()
    if rng.random() < 0.7 and all(array.dtype.newbyteorder("<") == array.dtype for array in arrays.values()):
        write_npz(stream, arrays)
    else:
        (np.savez if rng.random() < 0.9 else np.savez_compressed)(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _with_changed_fields(rng: random.Random, content: bytes) -> bytes:
    """With a number in one of the archive's headers changed, or with members added by `zipfile`."""
    if rng.random() < 0.3:
        stream = io.BytesIO(content)
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream, "a") as archive:
            name = rng.choice(("format.npy", "../../evil.npy", "/evil.npy", "extra.npy", "user_ids.npy", "x" * 100))
            archive.writestr(zipfile.ZipInfo(name), rng.choice((b"", b"\x93NUMPY\1\0", content[:100])))
        return stream.getvalue()
    data = bytearray(content)
    marks = [
        at for mark in (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\x93NUMPY") for at in _all(data, mark)
    ]
    at = rng.choice(marks) + rng.randrange(60)
    form = rng.choice(("<H", "<I", "<Q"))
    size = struct.calcsize(form)
    number = rng.choice(INTERESTING) % (1 << 8 * size)
    data[at : at + size] = struct.pack(form, number)
    if rng.random() < 0.5:
        _mend_checksums(data)
    return bytes(data)


def _all(data: bytearray, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0:
        found.append(at)
        at = data.find(mark, at + 1)
    return found


def _mend_checksums(data: bytearray) -> None:
    """Makes the directory's checksums right again, as far as its entries can be followed."""
    for at in _all(data, b"PK\1\2"):
        if len(data) < at + 74:
            continue
        name_length = struct.unpack_from("<H", data, at + 28)[0]
        extra = at + 46 + name_length
        if len(data) < extra + 28 or data[extra : extra + 2] != b"\1\0":
            continue
        size, _, local = struct.unpack_from("<3Q", data, extra + 4)
        if local + 30 > len(data):
            continue
        begin = local + 30 + sum(struct.unpack_from("<2H", data, local + 26))
        if begin + size <= len(data):
            struct.pack_into("<I", data, at + 16, zlib.crc32(data[begin : begin + size]))
