"""The container: what is written is an ordinary .npz; what is read is believed only as far as the file bears it out."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetcli.errors import FileSystemError, ModelFileError
from forgetcli.npz import open_npz, write_npz

ARRAYS: dict[str, NDArray[Any]] = {
    "text": np.array("über {}"),
    "number": np.array(7, np.int64),
    "ids": np.array([-(2**63), 0, 2**63 - 1], np.int64),
    "nothing": np.empty(0, np.float32),
    "no_rows": np.empty((0, 5), np.float64),
    "factors": np.arange(12, dtype=np.float32).reshape(4, 3),
    "bytes": np.arange(200, dtype=np.uint8),
}


def written(arrays: dict[str, NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    write_npz(file, arrays)
    return file.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zip_of(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore", UserWarning)  # of members with one name
        archive.comment = comment
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def read_all(path: Path) -> None:
    with open_npz(path) as archive:
        for key in archive.members:
            archive.read(key)


def refusal(path: Path, content: bytes) -> str:
    """The message with which the content is refused, without the path in front."""
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as raised:
        read_all(path)
    start = f"{path}: "
    assert raised.value.message.startswith(start)
    return raised.value.message.removeprefix(start)


def test_numpy_and_zipfile_read_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    path.write_bytes(written(ARRAYS))
    with np.load(path, allow_pickle=False) as loaded:
        assert list(loaded) == list(ARRAYS)
        for key, array in ARRAYS.items():
            assert loaded[key].dtype == array.dtype
            np.testing.assert_array_equal(loaded[key], array)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("writer", ["forgetcli", "numpy"])
def test_arrays_come_back_as_they_were_and_aligned(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "arrays.npz"
    if writer == "numpy":
        np.savez(path, **ARRAYS)  # type: ignore[arg-type]
    else:
        path.write_bytes(written(ARRAYS))
    with open_npz(path) as archive:
        assert list(archive.members) == list(ARRAYS)
        assert archive.size == path.stat().st_size
        assert archive.read_text("text", 7) == "über {}"
        for key in ARRAYS.keys() - {"text"}:
            array = archive.read(key)
            assert (array.dtype, array.shape) == (ARRAYS[key].dtype, ARRAYS[key].shape)
            assert array.size == 0 or array.ctypes.data % 64 == 0
            np.testing.assert_array_equal(array, ARRAYS[key])


def test_array_data_can_be_mapped_from_the_file_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    path.write_bytes(written(ARRAYS))
    with open_npz(path) as archive:
        members = archive.members
    for member in members.values():
        assert member.start % 64 == 0
    mapped = np.memmap(path, np.float32, "r", members["factors"].start, (4, 3))
    np.testing.assert_array_equal(mapped, ARRAYS["factors"])


def test_the_bytes_depend_on_values_only_and_not_on_layout_in_memory() -> None:
    by_columns = {key: np.asfortranarray(array) if array.ndim == 2 else array for key, array in ARRAYS.items()}
    assert written(by_columns) == written(ARRAYS)


def test_the_file_need_not_be_seekable() -> None:
    class Pipe(io.BytesIO):
        def seek(self, *_: object) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    write_npz(pipe, ARRAYS)
    assert pipe.getvalue() == written(ARRAYS)


@pytest.mark.parametrize("array", [np.array([None]), np.array([1], ">i8")], ids=["objects", "big-endian"])
def test_what_could_not_be_read_again_is_not_written(array: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        written({"array": array})


@pytest.mark.parametrize("by_position", [True, False], ids=["by position", "by seeking"])
def test_several_threads_may_read_one_archive(
    by_position: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_position:
        monkeypatch.delattr(os, "preadv", raising=False)
    elif not hasattr(os, "preadv"):
        pytest.skip("this system does not read by position")
    arrays = {f"array_{'abcd'[i]}": np.full(1_500_000, i, np.int64) for i in range(4)}
    path = tmp_path / "arrays.npz"
    path.write_bytes(written(arrays))
    with open_npz(path) as archive, ThreadPoolExecutor(4) as pool:
        for key, array in zip(arrays, pool.map(archive.read, arrays), strict=True):
            np.testing.assert_array_equal(array, arrays[key])


def test_what_is_read_in_portions_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As network file systems may hand it out."""
    path = tmp_path / "arrays.npz"
    path.write_bytes(written(ARRAYS))
    if hasattr(os, "preadv"):
        whole = os.preadv
        monkeypatch.setattr(os, "preadv", lambda file, pieces, at: whole(file, [pieces[0][:5]], at))
    with open_npz(path) as archive:
        for key, array in ARRAYS.items():
            assert archive.read(key).tobytes() == array.tobytes()


def test_a_text_longer_than_asked_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    path.write_bytes(written(ARRAYS))
    with pytest.raises(ModelFileError, match="text has more than 6 characters"), open_npz(path) as archive:
        archive.read_text("text", 6)
    with pytest.raises(ModelFileError, match="ids should be one text"), open_npz(path) as archive:
        archive.read_text("ids", 6)


def header_of(shape: str, dtype: str = "<f4", order: str = "False") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (b"", "array is not a NumPy array"),
        (b"\x93NUMPY\1\0", "array is not a NumPy array"),
        (b"not an array at all", "array is not a NumPy array"),
        (b"\x93NUMPY\2\0" + bytes(100), "array is not a NumPy array"),
        (b"\x93NUMPY\1\0\xff\xff{}", "array is not a NumPy array"),
        (b"\x93NUMPY\1\0\2\0{}", "array is not a plain NumPy array"),
        (header_of("(__import__('os').system('true'),)"), "array is not a plain NumPy array"),
        (header_of("(1, 1, 1)") + bytes(4), "array is not a plain NumPy array"),
        (header_of("(-1,)"), "array is not a plain NumPy array"),
        (header_of("(4611686018427387904,)"), "array is not a plain NumPy array"),
        (header_of("(999999999999,)"), "array says that it is (999999999999,) of <f4, but it has 0 bytes"),
        (header_of("(999999999999, 999999999999)") + bytes(4), "array says that it is (999999999999, 999999999999)"),
        (header_of("()", "<U9999999999"), "array says that it is () of <U9999999999, but it has 0 bytes"),
        (header_of("(2,)") + bytes(4), "array says that it is (2,) of <f4, but it has 4 bytes"),
        (header_of("(2,)") + bytes(12), "array says that it is (2,) of <f4, but it has 12 bytes"),
        (header_of("(2, 2)", order="True") + bytes(16), "array is stored by columns"),
        (header_of("(1,)", ">f4") + bytes(4), "array is of type '>f4'"),
        (header_of("(1,)", "<f2") + bytes(2), "array is of type '<f2'"),
        (header_of("(1,)", "|b1") + bytes(1), "array is of type '|b1'"),
        (
            npy(np.array([{"a": 1}], object)),
            "array is of type '|O': a model has little-endian numbers, bytes and texts, and never pickled objects",
        ),
        (npy(np.zeros(2, [("a", "<f4"), ("b", "<i4")])), "array is not a plain NumPy array"),
    ],
)
def test_a_member_that_is_not_a_plain_array_is_refused(tmp_path: Path, member: bytes, message: str) -> None:
    assert refusal(tmp_path / "file", zip_of([("array.npy", member)])).startswith(message)


@pytest.mark.parametrize(
    "name",
    [
        "array",
        "array.npz",
        "Array.npy",
        ".npy",
        "../array.npy",
        "/etc/array.npy",
        "a/b.npy",
        "a\\b.npy",
        "ä.npy",
        "array.npy\n",
        "\x1b[2Jarray.npy",
        "a" * 70 + ".npy",
    ],
)
def test_a_member_with_any_but_a_plain_name_is_refused_and_cannot_drive_a_terminal(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path / "file", zip_of([(name, npy(np.zeros(1)))]))
    assert message.startswith("not a forgetcli model: it has a member called '")
    assert message.isprintable()
    assert len(message) < 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"P", "not a forgetcli model"),
        (b"PAR1" + bytes(100) + b"PAR1", "not a forgetcli model, but a Parquet file"),
        (npy(np.zeros(3)), "not a forgetcli model, but a single NumPy array"),
        (b"user,item,rating\n1,2,3\n", "not a forgetcli model"),
        (written(ARRAYS)[:-1], "the file is cut off, or something was appended to it"),
        (written(ARRAYS) + b"\n", "the file is cut off, or something was appended to it"),
        (b"#!/bin/sh\n" + written(ARRAYS), "the archive is damaged: its directory is not where it should be"),
        (
            zip_of([("array.npy", npy(np.zeros(3)))], comment=b"PK"),
            "the file is cut off, or something was appended to it",
        ),
        (
            zip_of([("array.npy", npy(np.zeros(3)))], zipfile.ZIP_DEFLATED),
            "its members are compressed, and a model's are not",
        ),
        (zip_of([("array.npy", npy(np.zeros(3)))] * 2), "the archive is damaged: two members are called array"),
        (
            zip_of([(f"a{i}.npy", b"") for i in range(2000)]),
            "not a forgetcli model: a zip archive of far more members than a model has",
        ),
    ],
    ids=range(12),
)
def test_a_file_that_is_not_such_an_archive_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert refusal(tmp_path / "file", content) == message


def patched(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def test_members_that_share_bytes_are_refused(tmp_path: Path) -> None:
    content = zip_of([("one.npy", npy(np.zeros(3))), ("two.npy", npy(np.zeros(3)))])
    second = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)
    assert refusal(tmp_path / "file", patched(content, second + 42, struct.pack("<I", 0))) == (
        "the archive is damaged: two members overlap"
    )


def test_a_member_whose_own_header_pushes_it_into_the_next_one_is_refused(tmp_path: Path) -> None:
    first = npy(np.zeros(3))
    content = zip_of([("one.npy", first), ("two.npy", npy(np.zeros(3)))])
    extra = struct.pack("<H", 40)  # of the local header: the elements begin so much later than the directory lets see
    assert refusal(tmp_path / "file", patched(content, 28, extra)) == "the archive is damaged: two members overlap"


def test_a_member_that_reaches_into_the_next_one_or_the_directory_is_refused(tmp_path: Path) -> None:
    content = zip_of([("one.npy", npy(np.zeros(3)))])
    entry = content.index(b"PK\1\2")
    for extra in (1, 2**31 - 1):
        size = struct.pack("<I", len(npy(np.zeros(3))) + extra)
        assert refusal(tmp_path / "file", patched(content, entry + 20, size * 2)).startswith("the archive is damaged:")


def test_a_member_whose_two_headers_disagree_on_its_name_is_refused(tmp_path: Path) -> None:
    content = zip_of([("one.npy", npy(np.zeros(3)))])
    assert refusal(tmp_path / "file", content.replace(b"one.npy", b"two.npy", 1)) == (
        "the archive is damaged: one has another name in the directory"
    )


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = zip_of([("one.npy", npy(np.zeros(3)))])
    assert "one is encrypted" in refusal(tmp_path / "file", patched(content, content.index(b"PK\1\2") + 8, b"\1"))


def test_a_flipped_bit_in_an_array_is_refused_by_the_arrays_name(tmp_path: Path) -> None:
    content = written(ARRAYS)
    at = content.index(ARRAYS["factors"].tobytes())
    assert refusal(tmp_path / "file", patched(content, at, b"\1")) == ("factors is damaged: its checksum does not hold")


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(written({"large": np.zeros(3_000_000, np.uint8)}))
    with open_npz(path) as archive:
        os.truncate(path, 1_000_000)
        with pytest.raises(ModelFileError, match="the file ends inside large"):
            archive.read("large")


def test_a_file_that_is_not_there_and_a_directory_are_errors_of_the_file_system(tmp_path: Path) -> None:
    with pytest.raises(FileSystemError, match=r"cannot read .*: no such file or directory"), open_npz(tmp_path / "no"):
        pass
    with pytest.raises(FileSystemError, match=r"cannot read .*: is a directory"), open_npz(tmp_path):
        pass


def test_a_device_is_refused_rather_than_waited_for() -> None:
    with pytest.raises(ModelFileError, match="a pipe or a device cannot be read as a model"), open_npz("/dev/zero"):
        pass
