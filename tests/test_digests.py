"""Digests of files while they are read and written."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetcli import Model, TrainConfig, load, read_records, save, train
from forgetcli.digests import Digest, HashingReader, HashingWriter, digest_of, hashing_along
from forgetcli.errors import DataError, FileSystemError, ModelFileError
from tests.samples import interactions


def expected(content: bytes) -> Digest:
    return Digest(len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture(scope="module")
def model() -> Model:
    return train(interactions(), TrainConfig(factors=3, sweeps=1))


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 5])
def test_the_digest_of_a_file_is_that_of_its_bytes(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    assert digest_of(tmp_path / "file") == expected(content)


def test_only_a_file_has_a_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none"):
        with pytest.raises(FileSystemError, match=path.name):
            digest_of(path)


def test_a_reader_hashes_also_what_was_not_read() -> None:
    content = os.urandom((2 << 20) + 7)
    reader = HashingReader(io.BytesIO(content))
    assert reader.read(5) + reader.read(0) + reader.read(1 << 20) == content[: 5 + (1 << 20)]
    assert reader.finish() == expected(content)


def test_a_writer_hashes_in_order_what_it_writes() -> None:
    pieces = [os.urandom(size) for size in (1, 1 << 20, 0, 3, 300_000)]
    file = io.BytesIO()
    with HashingWriter(file) as writer:
        for piece in pieces:
            writer.write(memoryview(piece))
    assert file.getvalue() == b"".join(pieces)
    assert writer.digest == expected(b"".join(pieces))


def test_saving_and_loading_tell_the_digest_of_the_file(model: Model, tmp_path: Path) -> None:
    written: list[Digest] = []
    read: list[Digest] = []
    save(model, tmp_path / "model.npz", on_digest=written.append)
    load(tmp_path / "model.npz", on_digest=read.append)
    assert written == read == [expected((tmp_path / "model.npz").read_bytes())]
    save(model, tmp_path / "plain.npz")
    assert (tmp_path / "plain.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()


def test_no_digest_is_told_of_what_was_not_read_or_written_whole(model: Model, tmp_path: Path) -> None:
    told: list[Digest] = []
    save(model, tmp_path / "model.npz")
    content = bytearray((tmp_path / "model.npz").read_bytes())
    content[content.index(model.factors.user.factors.tobytes())] ^= 1
    (tmp_path / "model.npz").write_bytes(content)
    with pytest.raises(ModelFileError):
        load(tmp_path / "model.npz", on_digest=told.append)
    with pytest.raises(FileSystemError):
        save(model, tmp_path / "no" / "model.npz", on_digest=told.append)
    (tmp_path / "list.csv").write_text("user,item\n1,2\n,\n")
    with pytest.raises(DataError):
        read_records(tmp_path / "list.csv", on_digest=told.append)
    assert told == []


def test_the_file_is_hashed_although_the_body_moves_in_it(tmp_path: Path) -> None:
    told: list[Digest] = []
    content = os.urandom((2 << 20) + 9)
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file, hashing_along(file, told.append):
        assert file.read(10) == content[:10]
        file.seek(1 << 20)
        assert file.read() == content[1 << 20 :]
    assert told == [expected(content)]


def test_every_kind_of_forget_list_is_hashed_as_it_is_on_the_disk(tmp_path: Path) -> None:
    text = b"user,item\n1,2\n3,\n"
    (tmp_path / "a.csv").write_bytes(text)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text))
    pq.write_table(pa.table({"user": [1], "item": [2]}), tmp_path / "c.parquet")
    paths = [tmp_path / name for name in ("a.csv", "b.csv.gz", "c.parquet")]
    told: list[Digest] = []
    request = read_records(paths, on_digest=told.append)
    assert told == [expected(path.read_bytes()) for path in paths]
    assert (len(request.pair_users), len(request.users)) == (3, 2)
