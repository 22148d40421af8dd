"""Parquet and Arrow files: valid ones of odd columns, and broken ones."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.safety.mutations import mutated_bytes

NAMES = ("user", "item", "rating", "timestamp", "title", "name", "userId", "", "a\0b", "\x1b[2J", "user ", "x" * 200)

ODD_TEXTS = ("", " ", "1", "007", "-0", "u1", "x" * 3000, "a\0b", "\x1b[2J", "\U0010ffff", "9223372036854775808", None)
ODD_INTEGERS = (0, 1, -1, 2, 41, 2**31, -(2**31), 2**63 - 1, -(2**63), None)
ODD_REALS = (0.0, -0.0, 1.0, 2.5, -1.0, 1e-320, 3e38, 1e308, float("inf"), float("nan"), None)


def seed_parquets() -> list[bytes]:
    """Small Parquet files of integers and of text."""
    return [
        _as_parquet(_plain_table(kind), compression=compression, row_group_size=16)
        for kind in ("integers", "text")
        for compression in ("none", "snappy")
    ]


def seed_arrows() -> list[bytes]:
    """The same as Arrow files and streams."""
    return [_as_arrow(_plain_table(kind), stream=stream) for kind in ("integers", "text") for stream in (False, True)]


def _plain_table(kind: str) -> pa.Table:
    users = pa.array(range(40)) if kind == "integers" else pa.array([f"u{i}" for i in range(40)]).dictionary_encode()
    return pa.table({"user": users, "item": pa.array(range(40)), "rating": pa.array([1.5, 2, 3, 4] * 10)})


def mutated_parquet(rng: random.Random, content: bytes) -> bytes:
    """A valid file of odd columns, one whose index or pages are changed, or one with any bytes changed."""
    if rng.random() < 0.5:
        content = _as_parquet(
            _odd_table(rng),
            compression=rng.choice(("none", "snappy", "zstd", "gzip")),
            row_group_size=rng.choice((1, 3, 100)),
            use_dictionary=rng.random() < 0.5,
            data_page_version=rng.choice(("1.0", "2.0")),
            write_page_checksum=rng.random() < 0.5,
            store_schema=rng.random() < 0.7,
        )
        if rng.random() < 0.6:
            return content
    return _with_a_changed_index(rng, content) if rng.random() < 0.6 else mutated_bytes(rng, content)


def mutated_arrow(rng: random.Random, content: bytes) -> bytes:
    """The same of Arrow files and streams, whose buffers nothing but this program's own checks vouches for."""
    if rng.random() < 0.5:
        content = _as_arrow(_odd_table(rng), stream=rng.random() < 0.5)
        if rng.random() < 0.3:
            return content
    return mutated_bytes(rng, content)


def mutated_factors(rng: random.Random, content: bytes) -> bytes:
    """A table of ids and vectors of odd types and lengths, or this one with its index or any bytes changed."""
    if rng.random() < 0.5:
        n = rng.choice((0, 1, 16, 24))
        kinds = (pa.float32(), pa.float64(), pa.int32(), pa.string())
        k, element = rng.choice((0, 1, 4)), rng.choice(kinds[: rng.choice((1, 2, 4))])
        vectors = [
            rng.choice((None, [], [None])) if rng.random() < 0.02 else _drawn(rng, k, (0.5, 1, "x", None), element)
            for _ in range(n)
        ]
        kind = rng.choice((pa.list_(element), pa.large_list(element), pa.list_(element, k or 4)))  # Arrow writes no 0
        ids = pa.array(range(3, 3 + 7 * n, 7)) if rng.random() < 0.7 else _odd_column(rng, n)
        with suppress(pa.ArrowException):
            table = pa.Table.from_arrays([ids, pa.array([_listed(each) for each in vectors], kind)], ["id", "features"])
            content = _as_parquet(table, compression="snappy", write_page_checksum=rng.random() < 0.5)
        if rng.random() < 0.6:
            return content
    return _with_a_changed_index(rng, content) if rng.random() < 0.6 else mutated_bytes(rng, content)


def _listed(vector: Any) -> Any:
    return vector.to_pylist() if isinstance(vector, pa.Array) else vector


def _with_a_changed_index(rng: random.Random, content: bytes) -> bytes:
    """With bytes changed in the index at the end of a Parquet file, whose length stays right."""
    if len(content) < 12:
        return mutated_bytes(rng, content)
    length = min(struct.unpack("<I", content[-8:-4])[0], len(content) - 12)
    index = content[-8 - length : -8]
    index = mutated_bytes(rng, index) if rng.random() < 0.5 else _with_other_statistics(rng, index)
    return content[: -8 - length] + index + struct.pack("<I", len(index)) + b"PAR1"


def _with_other_statistics(rng: random.Random, index: bytes) -> bytes:
    """With a number of eight bytes cut short or made longer, or a column chunk's type changed."""
    kinds = [at + 1 for at in range(len(index) - 2) if index[at] == 0x15 and index[at + 2] == 0x19]
    if kinds and rng.random() < 0.4:
        at = rng.choice(kinds)
        return index[:at] + bytes([2 * rng.randrange(9)]) + index[at + 1 :]
    places = [at for at in range(len(index) - 8) if index[at] == 8]
    if not places:
        return mutated_bytes(rng, index)
    at, length = rng.choice(places), rng.choice((0, 1, 4, 7, 9, 12))
    return index[:at] + bytes([length]) + (index[at + 1 : at + 9] * 2)[:length] + index[at + 9 :]


def _as_parquet(table: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


def _as_arrow(table: pa.Table, *, stream: bool) -> bytes:
    file = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=16)
    return file.getvalue()


def _odd_table(rng: random.Random) -> pa.Table:
    """A few columns, some of them of one name, of types that fit them or do not."""
    names = ["user", "item", *rng.sample(NAMES, rng.randrange(3))]
    if rng.random() < 0.3:
        rng.shuffle(names)
        names = names[1:] or names
    n = rng.choice((0, 1, 3, 20))
    return pa.Table.from_arrays([_odd_column(rng, n) for _ in names], names=names)


def _odd_column(rng: random.Random, n: int) -> pa.Array:
    return rng.choice(COLUMNS)(rng, n)


def _drawn(rng: random.Random, n: int, values: tuple[Any, ...], kind: pa.DataType) -> pa.Array:
    """n of the values that this type has."""
    chosen = []
    while len(chosen) < n:
        value = rng.choice(values)
        try:
            pa.array([value], kind)
        except (pa.ArrowException, OverflowError):
            continue
        chosen.append(value)
    return pa.array(chosen, kind)


def _of(kind: pa.DataType, values: tuple[Any, ...]) -> Callable[[random.Random, int], pa.Array]:
    return lambda rng, n: _drawn(rng, n, values, kind)


COLUMNS: tuple[Callable[[random.Random, int], pa.Array], ...] = (
    *(_of(kind, ODD_INTEGERS) for kind in (pa.int64(), pa.int32(), pa.uint64(), pa.int8(), pa.uint32())),
    *(_of(kind, ODD_REALS) for kind in (pa.float64(), pa.float32())),
    *(_of(kind, ODD_TEXTS) for kind in (pa.string(), pa.large_string())),
    _of(pa.int64(), (1, 2, 3)),
    _of(pa.string(), ("u1", "u2", "u3")),
    _of(pa.float32(), (1.0, 2.0, 5.0)),
    _of(pa.binary(), (b"\xff", b"a", b"", None)),
    _of(pa.bool_(), (True, False, None)),
    _of(pa.null(), (None,)),
    _of(pa.timestamp("ns"), ODD_INTEGERS),
    _of(pa.date32(), ODD_INTEGERS),
    _of(pa.decimal128(20, 3), (None, 1, 2)),
    _of(pa.list_(pa.int64()), ([], [1], [None], None)),
    _of(pa.struct([("user", pa.int64())]), ({"user": 1}, None)),
    lambda rng, n: _drawn(rng, n, ODD_TEXTS, pa.string()).dictionary_encode(),
    lambda rng, n: _drawn(rng, n, ODD_INTEGERS, pa.int64()).dictionary_encode(),
)
