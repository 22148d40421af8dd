"""Tables in object stores: read from and written to a local S3 server, whole or not at all."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import fs

from forgetcli.errors import DataError, FileSystemError, UsageError
from forgetcli.ids import Vocabulary
from forgetcli.tables import (
    ColumnOptions,
    RecommendationWriter,
    check_output,
    open_output,
    place_name,
    read_interactions,
    read_records,
    table_format,
)
from forgetcli.tables import remote as remote_module
from forgetcli.tables.remote import GCS_FIRST_RETRIES, GCS_RETRIES, RENAMING, Remote, remote, remote_errors
from forgetcli.tables.sources import remote_file_errors
from tests.program import check_error, forget, forget_well
from tests.tables.tables_made import as_rows, write, write_parquet

HOST = "127.0.0.1"
BUCKET = "music"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A local S3 server, in memory, with one bucket."""
    if any(find_spec(name) is None for name in ("moto", "flask", "flask_cors")):
        pytest.skip("needs a local S3 server: pip install 'moto[s3]' flask flask-cors")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _make_bucket(f"http://{HOST}:{port}/{BUCKET}", server)
            yield f"http://{HOST}:{port}"
        finally:
            server.terminate()


def _make_bucket(url: str, server: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=60).close()
            return
        except OSError:
            assert server.poll() is None, "the S3 server did not start"
            assert time.monotonic() - began < 300, "the S3 server does not answer"
            time.sleep(0.1)


@pytest.fixture
def s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> fs.FileSystem:
    """The environment of a user of that server, and a client."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    settings = {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1")


def upload(system: fs.FileSystem, path: str, content: bytes) -> None:
    with system.open_output_stream(path) as stream:
        stream.write(content)


def listed(system: fs.FileSystem, directory: str = BUCKET) -> list[str]:
    return [info.path for info in system.get_file_info(fs.FileSelector(directory, recursive=True)) if info.is_file]


def test_every_kind_of_file_is_read_from_s3(s3: fs.FileSystem, tmp_path: Path) -> None:
    table = {"user": [1, 1, 2], "item": [5, 6, 5], "rating": [1.0, 2.0, 3.0]}
    upload(s3, f"{BUCKET}/a.parquet", write_parquet(tmp_path / "a", table, row_group_size=2).read_bytes())
    upload(s3, f"{BUCKET}/a.csv", b"user,item,rating\n1,5,1\n1,6,2\n2,5,3\n")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.table(table).schema) as writer:
        writer.write_table(pa.table(table))
    upload(s3, f"{BUCKET}/a.feather", sink.getvalue().to_pybytes())
    expected = [("1", "5", 1.0), ("1", "6", 2.0), ("2", "5", 3.0)]
    for name in ("a.parquet", "a.csv", "a.feather"):
        assert as_rows(read_interactions(f"s3://{BUCKET}/{name}")) == expected, name
        assert as_rows(read_interactions(f"s3://{BUCKET}/{name}", where="rating >= 2")) == expected[1:], name
    assert len(read_records(f"s3://{BUCKET}/a.csv").pair_users) == 3


def test_a_directory_of_partitions_is_read_from_s3(s3: fs.FileSystem, tmp_path: Path) -> None:
    for country, user in (("DE", 1), ("AT", 2)):
        content = write_parquet(tmp_path / "a", {"user": [user], "item": [1]}).read_bytes()
        upload(s3, f"{BUCKET}/hive/country={country}/p.parquet", content)
    upload(s3, f"{BUCKET}/hive/_SUCCESS", b"")
    for name in ("hive", "hive/"):
        read = read_interactions(f"s3://{BUCKET}/{name}", where="country = 'AT'")
        assert (as_rows(read), read.files) == ([("2", "1", 1.0)], 2)
    upload(s3, f"{BUCKET}/text/a.csv", b"user,item\n")
    with pytest.raises(DataError, match=f"the directory s3://{BUCKET}/text holds no Parquet"):
        read_interactions(f"s3://{BUCKET}/text")
    with pytest.raises(DataError, match=rf"s3://{BUCKET}/text/a.csv has no user column"):
        read_interactions(f"s3://{BUCKET}/text/a.csv", ColumnOptions(columns=("x", "item")))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (f"s3://{BUCKET}/none.parquet", "there is no such object"),
        ("s3://no-such-bucket/a.parquet", "there is no such bucket"),
        (f"s3://{BUCKET}/none/none/", "there is no such object"),
    ],
)
@pytest.mark.usefixtures("s3")
def test_what_is_not_there_is_told_apart(uri: str, said: str) -> None:
    with pytest.raises(FileSystemError, match=f"cannot read {uri}: {said}"):
        read_interactions(uri)


def test_what_is_damaged_at_s3_is_bad_data_and_not_a_fault_of_the_store(s3: fs.FileSystem, tmp_path: Path) -> None:
    upload(s3, f"{BUCKET}/bad.parquet", b"PAR1 and nothing else PAR1")
    with pytest.raises(DataError, match=f"s3://{BUCKET}/bad.parquet is damaged"):
        read_interactions(f"s3://{BUCKET}/bad.parquet")
    flipped = bytearray(
        write_parquet(tmp_path / "a", {"user": [1], "item": [1]}, write_page_checksum=True).read_bytes()
    )
    flipped[flipped.index(b"\x01\0\0\0\0\0\0\0")] = 2
    upload(s3, f"{BUCKET}/bad.parquet", bytes(flipped))
    with pytest.raises(DataError, match=f"s3://{BUCKET}/bad.parquet is damaged"):
        read_interactions(f"s3://{BUCKET}/bad.parquet")
    upload(s3, f"{BUCKET}/bad.csv", b"user,item\n1,1,1\n")
    with pytest.raises(DataError, match=f"s3://{BUCKET}/bad.csv, line 2"):
        read_interactions(f"s3://{BUCKET}/bad.csv")


def test_a_store_that_cannot_be_reached_is_told_in_seconds(s3: fs.FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_module, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{free_port()}")
    with pytest.raises(FileSystemError, match="it cannot be reached") as raised:
        read_interactions(f"s3://{BUCKET}/a.parquet")
    assert raised.value.hint is not None
    assert "AWS_ENDPOINT_URL" in raised.value.hint


@pytest.mark.parametrize(
    ("scheme", "words", "said", "hint"),
    [
        (
            "s3",
            "AWS Error ACCESS_DENIED during HeadObject operation: No response body.",
            "no credentials",
            "AWS_PROFILE",
        ),
        ("s3", "AWS Error NETWORK_CONNECTION ... curlCode: 28, Timeout was reached", "in time", "AWS_ENDPOINT_URL"),
        ("s3", "AWS Error UNKNOWN (HTTP status 301): PERMANENT_REDIRECT", "another region", "AWS_DEFAULT_REGION"),
        ("gs", "UNAVAILABLE: ... Could not create a OAuth2 access token", "no credentials", "GOOGLE_APPLICATION"),
        ("hdfs", "Unable to load libjvm\ndlopen(/usr/lib) failed", "client library cannot be loaded", "HADOOP_HOME"),
        ("hdfs", "HDFS connection failed", "cannot be reached", "name node"),
        ("s3", "something s3://me:secret@bucket/key else", "something s3://bucket/key else", None),
    ],
)
def test_what_a_client_says_is_made_understandable(scheme: str, words: str, said: str, hint: str | None) -> None:
    place = Remote(scheme, f"{scheme}://me:secret@bucket/key")
    wanted = f"cannot read {scheme}://bucket/key: .*{said}"
    with pytest.raises(FileSystemError, match=wanted) as raised, remote_errors(place, "read"):
        raise OSError(words)
    assert hint is None or (raised.value.hint is not None and hint in raised.value.hint)
    assert "secret" not in raised.value.message


@pytest.mark.parametrize(
    ("uri", "hint"), [("s3a://b/k", "write s3://"), ("https://x.org/a.csv", "curl URL"), ("ssh://b/k", "s3://, gs://")]
)
def test_an_unknown_kind_of_place_is_refused_with_what_to_do(uri: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_interactions(uri)
    assert raised.value.hint is not None
    assert hint in raised.value.hint


def test_only_uris_are_remote_and_their_secrets_stay_hidden(tmp_path: Path) -> None:
    for local in ("a.csv", "-", "dir/a://b", str(tmp_path), tmp_path):
        assert remote(local) is None
    place = remote("GCS://me:key@bucket/dir/a.csv?endpoint_override=localhost")
    assert place is not None
    assert (place.scheme, place.name) == ("gs", "gs://bucket/dir/a.csv")
    assert place_name("s3://me:key@bucket/a.csv?region=x") == "s3://bucket/a.csv"
    assert place_name("s3://me:se/cr/et@bucket/a@b.csv") == "s3://b.csv"  # rather too little than a part of a secret
    assert place_name("hdfs://host:9000/a@b.csv") == "hdfs://host:9000/a@b.csv"
    assert table_format("s3://bucket/recs.parquet?region=eu.west") == "parquet"


def write_some(uri: str, users: int, fail: type[BaseException] | None = None) -> None:
    rows = np.arange(users)
    numbers = Vocabulary(rows)
    with open_output(uri) as file, RecommendationWriter(file, table_format(uri), numbers, numbers) as writer:
        writer.write(rows, rows[:, None], rows[:, None].astype(np.float64))
        if fail is not None:
            raise fail


@pytest.mark.parametrize("name", ["recs.csv", "recs.parquet"])
def test_an_output_is_one_whole_object_or_none(s3: fs.FileSystem, name: str) -> None:
    uri = f"s3://{BUCKET}/out-{name}/{name}"
    for failure in (KeyboardInterrupt, ValueError):
        with pytest.raises(failure):
            write_some(uri, 10, fail=failure)
        assert listed(s3, f"{BUCKET}/out-{name}") == [] if s3.get_file_info(f"{BUCKET}/out-{name}").type else True
    write_some(uri, 400_000 if name.endswith("csv") else 10)  # more than S3 takes in one part
    assert listed(s3, f"{BUCKET}/out-{name}") == [f"{BUCKET}/out-{name}/{name}"]
    assert read_interactions(uri, ColumnOptions(rating="score")).rows == (400_000 if name.endswith("csv") else 10)
    with pytest.raises(ValueError):  # noqa: PT011
        write_some(uri, 3, fail=ValueError)
    assert read_interactions(uri, ColumnOptions(rating="score")).rows > 3


@pytest.mark.usefixtures("s3")
def test_an_output_that_cannot_be_written_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    check_output(f"s3://{BUCKET}/new/recs.csv")
    with pytest.raises(FileSystemError, match=r"cannot write s3://no-such-bucket/recs\.csv: there is no such bucket"):
        check_output("s3://no-such-bucket/recs.csv")
    with pytest.raises(UsageError, match="names no file"):
        check_output(f"s3://{BUCKET}/")
    with pytest.raises(FileSystemError, match=r"cannot write s3://no-such-bucket/recs\.csv: there is no such bucket"):
        write_some("s3://no-such-bucket/recs.csv", 3)
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/directory")
    with pytest.raises(FileSystemError, match="temporary file for the upload in /no/such/directory") as raised:
        write_some(f"s3://{BUCKET}/recs.csv", 3)
    assert raised.value.hint == "set TMPDIR to a directory with room"


class Full:
    """A file system on which writing fails at the end, as on a full cluster."""

    def __init__(self, system: fs.FileSystem) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def open_output_stream(self, path: str) -> Any:
        stream = self._system.open_output_stream(path)
        stream.write(b"a part")
        stream.close()
        return self

    def write(self, _: object) -> None:
        raise OSError("no space")


def test_where_files_can_be_seen_being_written_they_are_renamed_when_complete(tmp_path: Path) -> None:
    assert "hdfs" in RENAMING
    target = tmp_path / "recs.csv"
    local = fs.LocalFileSystem()
    for content in (b"first", b"second", b""):
        with tempfile.TemporaryFile() as spool:
            spool.write(content)
            spool.flush()
            remote_module._put(local, str(target), spool.fileno(), renaming=True)
            with pytest.raises(OSError, match="no space"):
                remote_module._put(Full(local), str(target), spool.fileno(), renaming=True)
        assert target.read_bytes() == content
        assert os.listdir(tmp_path) == ["recs.csv"]


def test_the_program_trains_forgets_and_recommends_with_s3_but_keeps_models_at_home(
    s3: fs.FileSystem, tmp_path: Path
) -> None:
    rows = "".join(f"{user},{item},{(user * item) % 5}\n" for user in range(9) for item in range(user % 3, 9, 2))
    upload(s3, f"{BUCKET}/r.csv", f"user,item,rating\n{rows}".encode())
    upload(s3, f"{BUCKET}/gone.csv", b"user\n3\n")
    forget_well("train", f"s3://{BUCKET}/r.csv", "--factors", "2", "--sweeps", "1", cwd=tmp_path)
    forget_well("forget", "model.npz", "--records", f"s3://{BUCKET}/gone.csv", cwd=tmp_path)
    output = f"s3://{BUCKET}/recs.jsonl"
    told = forget_well("recommend", "model.npz", "--all-users", "-n", "1", "-o", output, cwd=tmp_path)
    assert (told.out, told.err) == ("", "")
    with s3.open_input_stream(f"{BUCKET}/recs.jsonl") as stream:
        assert stream.read().count(b"\n") == 8
    check_error(
        forget("recommend", "model.npz", "--all-users", "-o", "s3://none/recs.csv", cwd=tmp_path),
        5, "cannot write s3://none/recs.csv: there is no such bucket",
    )  # fmt: skip
    for command in (("info", f"s3://{BUCKET}/m.npz"), ("train", f"s3://{BUCKET}/r.csv", "-o", f"s3://{BUCKET}/m.npz")):
        check_error(forget(*command, cwd=tmp_path), 5, "it has to be a local file", "aws s3 cp")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError("CRC checksum verification failed"), DataError),
        (pa.ArrowIndexError("index out of bounds"), DataError),
        (OSError("When reading: AWS Error UNKNOWN (HTTP status 418)"), FileSystemError),
        (OSError("google::cloud::Status(INTERNAL: something)"), FileSystemError),
        (OSError(5, "HDFS read failed"), FileSystemError),
        (pa.ArrowMemoryError("malloc of size 1 failed"), MemoryError),
    ],
)
def test_what_a_store_says_is_told_from_what_arrow_says_of_a_file(error: Exception, kind: type[Exception]) -> None:
    place = Remote("s3", "s3://bucket/a.csv")
    said = None if kind is MemoryError else r"s3://bucket/a\.csv"
    with pytest.raises(kind, match=said), remote_file_errors(place):
        raise error


def test_google_is_asked_first_with_less_patience_than_is_read_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Client:
        @staticmethod
        def from_uri(uri: str) -> tuple[fs.FileSystem, str]:
            asked.append(uri.partition("?")[2])
            return fs.LocalFileSystem(), str(path)

    path = write(tmp_path / "a.csv", "user,item\n1,1\n")
    monkeypatch.setattr(fs, "FileSystem", Client)
    assert len(read_records("gs://bucket/a.csv").pair_users) == 1
    read_records("gs://bucket/a.csv?retry_limit_seconds=99")
    first, then, *named = asked
    assert (first, then) == (GCS_FIRST_RETRIES, GCS_RETRIES)
    assert set(named) == {"retry_limit_seconds=99"}
