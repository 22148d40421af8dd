"""The index of a Parquet file, without which Arrow ends the process when a filter rules row groups out."""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from forgetcli.errors import DataError
from forgetcli.tables import read_interactions
from forgetcli.tables.footer import _Compact, check_footer, read_footer
from forgetcli.tables.remote import Remote
from tests.tables.tables_made import as_rows, write, write_parquet

FOUND = Path(__file__).parents[1] / "safety" / "found"

MARK = 0x1122334455667788
"""The largest id, whose bytes are easily found in the index."""

MILLISECONDS = 86_400_000
"""A day's."""

WORD = "a word of its own"


def with_index(content: bytes, old: bytes, new: bytes) -> bytes:
    """The Parquet file with some bytes of its index changed to others wherever they are."""
    length = struct.unpack("<I", content[-8:-4])[0]
    pages, index = content[: -8 - length], content[-8 - length : -8]
    assert old in index
    index = index.replace(old, new)
    return pages + index + struct.pack("<I", len(index)) + b"PAR1"


def number(value: int) -> bytes:
    return struct.pack("<q", value)


def made_up(tmp_path: Path) -> dict[str, bytes]:
    """Files whose index cannot be relied on, each made from a sound one."""
    numbers = {"user": [1, 2, 3], "item": [MARK, 5, 6], "rating": [1.0, 2.0, 3.0]}
    sound = write_parquet(tmp_path / "sound", numbers, store_schema=False).read_bytes()
    words = {"user": [1, 2], "item": [WORD, WORD], "rating": [1.0, 2.0]}
    texts = write_parquet(tmp_path / "texts", words, store_schema=False, compression="none").read_bytes()
    as_text, as_integer = b"\x15\x0c\x19", b"\x15\x04\x19"  # where a column chunk begins
    return {
        "a statistic that is too short": with_index(sound, b"\x08" + number(MARK), b"\x01\x00"),
        "a statistic that is empty": with_index(sound, b"\x08" + number(MARK), b"\x00"),
        "statistics of another type": with_index(
            with_index(texts, as_text, as_integer), WORD.encode(), (number(MARK) * 3)[: len(WORD)]
        ),
        "levels of another number": (FOUND / "parquet-index-that-aborts").read_bytes(),
    }


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """s3:// leads to local files, whose paths then are read as those of a store are."""
    home = fs.LocalFileSystem()
    monkeypatch.setattr(Remote, "open", lambda place, first=False: (home, place.uri.removeprefix("s3:/")))


@pytest.mark.usefixtures("at_home")
def test_an_index_that_cannot_be_relied_on_is_refused_at_home_and_in_a_store(tmp_path: Path) -> None:
    for what, content in made_up(tmp_path).items():
        path = write(tmp_path / "a.parquet", content)
        for place in (path, f"s3:/{path}"):
            with pytest.raises(DataError, match=r"a\.parquet is damaged"):
                read_interactions(place, where="item >= 1" if "type" not in what else "item >= 'a'")


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("pages", ["1.0", "2.0"])
def test_a_sound_index_of_every_kind_of_column_is_taken(tmp_path: Path, pages: str) -> None:
    integral = (
        *(pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()),
        *(pa.float32(), pa.float64(), pa.decimal128(7, 2), pa.date32(), pa.date64()),
        *(pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.time64("us"), pa.null()),
    )
    columns = {
        str(kind): pa.array([None if kind == pa.null() else MILLISECONDS if kind == pa.date64() else 1, None] * 3, kind)
        for kind in integral
    }
    columns |= {"truth": pa.array([True, None] * 3), "half": pa.array([1.0, None] * 3, pa.float16())}
    columns |= {"words": pa.array(["a", None] * 3).dictionary_encode(), "bytes": pa.array([b"a", b"\xff"] * 3)}
    columns |= {"nested": pa.array([{"user": 1}] * 6), "list": pa.array([[1], None] * 3)}
    path = tmp_path / "a.parquet"
    for options in ({}, {"use_dictionary": False, "compression": "none", "write_page_index": True}):
        write_parquet(path, columns, row_group_size=2, data_page_version=pages, **options)
        for place in (
            path,
            write_parquet(tmp_path / "old", columns, use_deprecated_int96_timestamps=True, version="1.0"),
        ):
            with pa.OSFile(str(place)) as file:
                footer = read_footer(file)
                check_footer(footer, file.size(), list(columns))
                assert pq.ParquetFile(pa.BufferReader(footer)).metadata.num_rows == 6
    data = {"user": [1, 2, 3, 4], "item": [5, 6, 7, 8], "rating": [1.0, 2.0, 3.0, 4.0]}
    write_parquet(path, data, row_group_size=1)
    for place in (path, f"s3:/{path}"):
        assert as_rows(read_interactions(place, where="item in (5, 8)")) == [("1", "5", 1.0), ("4", "8", 4.0)]


def test_an_index_longer_than_what_is_read_at_once_is_read_whole(tmp_path: Path) -> None:
    columns = {"user": [1] * 400, "item": range(400), "a" * 300: [1] * 400}
    path = write_parquet(tmp_path / "a.parquet", columns, row_group_size=1)
    with pa.OSFile(str(path)) as file:
        assert len(read_footer(file)) > 1 << 16
    assert as_rows(read_interactions(path, where="item = 399")) == [("1", "399", 1.0)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x15",
        b"\x15" + b"\xff" * 12,
        b"\x15\x80\x80\x80\x80\x20\x00",  # an integer of 32 bits beyond them
        b"\x15\x02\x05\x02\x04\x00",  # the same field twice
        b"\x05\x98\x80\x08\x04\x00",  # a field whose number Arrow would cut to 12
        b"\x1c" * 20,
        b"\x18\x7fabc\x00",
        b"\x1d\x00",
    ],
)
def test_what_is_no_compact_struct_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        _Compact(content).struct()
