"""Files of other programs that lie about what is in them, or that would run, hang or fill the memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetcli.errors import DataError, ForgetError
from forgetcli.interactions import Interactions
from forgetcli.interop import Stated, import_model, read_row_ids
from forgetcli.interop.arrays import read_array
from forgetcli.receipt import read_receipt
from forgetcli.tables import parquet, read_factor_table, read_interactions, sources
from tests.interop.make_fixtures import FIXTURES, ratings

HEADERS = {
    "an open bracket": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, ",
    "an open text": "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 2), }",
    "brackets in brackets": "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 300 + ")" * 300 + ", }",
    "a call": "{'descr': __import__('os').getpid(), 'fortran_order': False, 'shape': (2, 2), }",
    "a type of types": "{'descr': [('a', '<f4'), 3], 'fortran_order': False, 'shape': (2, 2), }",
    "a shape of text": "{'descr': '<f4', 'fortran_order': False, 'shape': ('a', 2), }",
    "a negative shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -2), }",
    "2^62 rows": "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 2), }",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
}

NUMBERS = ("Infinity", "-Infinity", "NaN", "1e400", "9" * 400, "9" * 5000, "null", "[]", "100001", "1e9")
"""Where a number of sweeps is expected."""


def data() -> Interactions:
    return Interactions.from_arrays(*ratings())


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_an_array_whose_header_is_odd_is_refused(header: str, tmp_path: Path) -> None:
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(16)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npy"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("name", "member"), [("cmfrec_explicit", "niter"), ("lenskit_implicit", "epochs")])
def test_a_number_of_sweeps_that_is_none_is_refused(name: str, member: str, number: str, tmp_path: Path) -> None:
    with np.load(FIXTURES / f"{name}.npz") as file:
        arrays = dict(file)
    params = json.loads(str(arrays["params"])) | {member: "HERE"}
    arrays["params"] = np.array(json.dumps(params).replace('"HERE"', number))
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ForgetError):
        import_model(tmp_path / "a.npz", name.partition("_")[0], data())  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [1e300, 1e9])
def test_a_model_of_implicit_that_says_it_trained_for_ever_is_refused(number: float, tmp_path: Path) -> None:
    """The history has an entry a sweep: it would be made until the memory is full."""
    with np.load(FIXTURES / "implicit_chol.npz") as file:
        arrays = {**file, "iterations": np.array(number)}
    np.savez(tmp_path / "a.npz", **arrays)
    users, items, _ = ratings()
    with pytest.raises(ForgetError, match="sweeps"):
        import_model(tmp_path / "a.npz", "implicit", data(), user_ids=np.unique(users), item_ids=np.unique(items))


@pytest.mark.parametrize("number", NUMBERS[:6])
def test_an_estimator_of_spark_with_such_a_number_is_refused(number: str, tmp_path: Path) -> None:
    estimator = tmp_path / "estimator"
    shutil.copytree(FIXTURES / "spark_explicit_als", estimator)
    for part in (estimator / "metadata").glob("part-*"):
        part.write_text(part.read_text().replace('"maxIter":6', f'"maxIter":{number}'))
    with pytest.raises(DataError):
        import_model(FIXTURES / "spark_explicit", "spark", data(), estimator=estimator)


@pytest.mark.parametrize("objective", ["neither", ["explicit"], {}, 1, None, "\x1b[2J"])
def test_an_objective_that_is_not_known_is_refused(objective: Any, tmp_path: Path) -> None:
    arrays = {"user_factors": np.ones((2, 2)), "item_factors": np.ones((2, 2))}
    options = json.dumps({"objective": objective, "reg": 0.1, "reg_scaling": "count"})
    np.savez(tmp_path / "a.npz", **arrays, options=options)  # type: ignore[arg-type]
    with pytest.raises(ForgetError, match="objective"):
        import_model(tmp_path / "a.npz", "npy", data())


def test_an_archive_that_says_it_unpacks_to_more_than_it_can_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, user_factors=np.ones((100, 4)), item_factors=np.ones((100, 4)))
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("user_factors.npy").file_size
    content = path.read_bytes()
    assert content.count(size.to_bytes(4, "little")) >= 2
    path.write_bytes(content.replace(size.to_bytes(4, "little"), (2**31).to_bytes(4, "little")))
    with pytest.raises(DataError, match="unpacks to 2,147,483,648 bytes"):
        import_model(path, "npy", data(), stated=Stated(objective="explicit"))


def test_an_archive_that_is_packed_as_numpy_does_not_is_refused(tmp_path: Path) -> None:
    """By methods of which a few bytes stand for gigabytes."""
    stream = io.BytesIO()
    np.save(stream, np.ones((100, 4)))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_BZIP2) as archive:
        for side in ("user", "item"):
            archive.writestr(f"{side}_factors.npy", stream.getvalue())
    with pytest.raises(DataError, match="packed in another way"):
        import_model(tmp_path / "a.npz", "npy", data(), stated=Stated(objective="explicit"))


def test_a_parquet_file_with_more_rows_than_its_length_bears_out_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's own writer takes a byte for some hundred rows of one value; another can for a billion."""
    monkeypatch.setattr(parquet, "MOST_ROWS", 1000)
    monkeypatch.setattr(parquet, "MOST_ROWS_A_BYTE", 10)
    n = 10**6
    columns = {name: pa.repeat(pa.scalar(1, pa.int8()), n) for name in ("user", "item")}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=n)
    with pytest.raises(DataError, match=r"a\.parquet says that it has 1,000,000 rows"):
        read_interactions(tmp_path / "a.parquet")


def test_a_packed_text_that_unpacks_out_of_proportion_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"user,item\n" + b"1,2\n" * 10**6
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text))
    assert len(read_interactions(tmp_path / "a.csv.gz").interactions) == 1
    monkeypatch.setattr(sources, "MOST_UNPACKED", 1 << 20)
    with pytest.raises(DataError, match=r"a\.csv\.gz unpacks to more than 100 times its size"):
        read_interactions(tmp_path / "a.csv.gz")


def factors(tmp_path: Path, ids: pa.Array, names: tuple[str, ...] = ("id", "features")) -> Path:
    vectors = pa.array([[1.0, 2.0]] * len(ids), pa.list_(pa.float32()))
    pq.write_table(pa.Table.from_arrays([ids, vectors, ids][: len(names)], list(names)), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def test_factors_with_ids_beyond_64_bits_or_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    ids, vectors = read_factor_table(factors(tmp_path, pa.array([1, 2], pa.uint64())), "id", "features")
    assert (list(ids), vectors.shape) == ([1, 2], (2, 2))
    with pytest.raises(DataError, match="damaged"):
        read_factor_table(factors(tmp_path, pa.array([1, 2**63], pa.uint64())), "id", "features")
    with pytest.raises(DataError, match="2 columns 'id'"):
        read_factor_table(factors(tmp_path, pa.array([1, 2]), ("id", "features", "id")), "id", "features")


def test_ids_of_thousands_of_digits_are_text(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text(f"1\n{'9' * 5000}\n")
    ids = read_row_ids(tmp_path / "ids.txt", "user")
    assert len(ids) == 2
    (tmp_path / "ids.txt").write_text("1\n-9223372036854775808\n")
    assert list(read_row_ids(tmp_path / "ids.txt", "user")) == [1, -(2**63)]


def test_a_receipt_that_is_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    said: list[str] = []

    def read() -> None:
        with pytest.raises(DataError) as caught:
            read_receipt(tmp_path / "pipe")
        said.append(caught.value.message)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(60)
    assert said == [f"{tmp_path / 'pipe'}: not a receipt, but a pipe or a device"]
