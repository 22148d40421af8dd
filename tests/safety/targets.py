"""What untrusted bytes are fed to, as far as they get: each target may refuse them with this program's errors only.

Beside these, no file may be written but the target, and no kernel may read or write outside its arrays, which the
sanitizers see where the extension is built with them (tests/safety/README.md).
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forgetcli import _native, checkpoint, unlearn
from forgetcli.als import train
from forgetcli.cli import main
from forgetcli.config import TrainConfig
from forgetcli.errors import ForgetError
from forgetcli.interactions import Interactions
from forgetcli.receipt import read_receipt
from forgetcli.recommending import recommend
from forgetcli.records import ForgetRequest
from forgetcli.tables import read_ids, read_interactions, read_item_names, read_records
from tests.safety import mutations

Target = Callable[[bytes, Path], None]

MOST_SWEEPS = 20
"""A model that claims more is not trained on: that would take as long as it says."""

MOST_ROWS = 200


def model(content: bytes, directory: Path) -> None:
    """Loads a model and, if that is allowed, inspects it, forgets with it, ranks with it, and saves it."""
    path = directory / "model.npz"
    path.write_bytes(content)
    try:
        found = checkpoint.load(path)
    except ForgetError:
        return
    assert checkpoint.inspect(path).n_users == len(found.users)
    checkpoint.save(found, directory / "again.npz")
    assert checkpoint.load(directory / "again.npz").config == found.config
    if len(found.users) > MOST_ROWS or len(found.items) > MOST_ROWS or len(found.history) > MOST_SWEEPS:
        return
    with suppress(ForgetError):
        if len(found.items) and len(found.users):
            recommend(found, np.arange(len(found.users)), n=min(3, len(found.items)), threads=1)
        if found.interactions is not None and len(found.users):
            request = ForgetRequest.of(users=[found.users.label(0)])
            unlearn.forget(found, request, method="response", threads=1)
            unlearn.forget(found, request, method="sweeps", sweeps=1, threads=1)


def text(content: bytes, directory: Path) -> None:
    """Reads delimited text as training data, as a forget-list, as a list of users and as names of items."""
    _table(content, directory / "table.csv")


def parquet(content: bytes, directory: Path) -> None:
    """Reads a Parquet file in the same ways."""
    _table(content, directory / "table.parquet")


def _table(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    readers: list[Callable[[], Any]] = [
        lambda: _check_data(read_interactions(path, threads=1).interactions),
        lambda: _check_data(read_interactions(path, bad_rows="drop", duplicates="sum", threads=1).interactions),
        lambda: read_records(path),
        lambda: read_ids(path, "user"),
        lambda: read_item_names(path),
    ]
    for read in readers:
        with suppress(ForgetError):
            read()


def _check_data(data: Interactions) -> None:
    data.validate()
    data.users.validate()
    data.items.validate()


def receipt(content: bytes, directory: Path) -> None:
    """Reads a receipt."""
    path = directory / "receipt.json"
    path.write_bytes(content)
    with suppress(ForgetError):
        read_receipt(path)


REFUSALS = (ValueError, IndexError, TypeError)
"""What a native entry point may raise."""


def native(content: bytes, _: Path) -> None:
    """Calls the native entry points with arrays cut from the bytes, which no Python code has checked before."""
    cut = _Cutter(content)
    with suppress(*REFUSALS):
        ENTRY_POINTS[cut.byte() % len(ENTRY_POINTS)](cut)


class _Cutter:
    """Arrays made of bytes: small numbers mostly, so that many of them fit together."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def byte(self) -> int:
        first, self._rest = (self._rest[0] if self._rest else 0), self._rest[1:]
        return first

    def raw(self, dtype: str, length: int | None = None) -> NDArray[Any]:
        """(length,) numbers of any value."""
        size = (self.byte() % 32 if length is None else length) * np.dtype(dtype).itemsize
        piece, self._rest = self._rest[:size], self._rest[size:]
        return np.frombuffer(piece.ljust(size, b"\0"), dtype).copy()

    def small(self, dtype: str, length: int | None = None) -> NDArray[Any]:
        """(length,) numbers from -2 to 13, and a very large one now and then."""
        values = self.raw("u1", length).astype(np.int64)
        odd = values >= 250
        values = values % 16 - 2
        values[odd] = (2**62, -(2**62), 2**31, -(2**31), 2**63 - 1)[len(values) % 5]
        return values.astype(dtype)

    def offsets(self) -> NDArray[np.int64]:
        """(n + 1,) that start at 0 and mostly rise."""
        steps = self.small("i8")
        return np.concatenate([[0], np.cumsum(np.where(steps == -2, steps, np.abs(steps)))]).astype(np.int64)

    def text(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        offsets = self.offsets()
        return self.raw("u1", max(0, min(int(offsets[-1]), 400)) + (self.byte() == 1)), offsets

    def csr(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        indptr = self.offsets()
        nnz = max(0, min(int(indptr[-1]), 400))
        return indptr, self.small("i4", nnz), self.raw("f4", nnz + (self.byte() == 1))

    def matrix(self, dtype: str, columns: int) -> NDArray[Any]:
        rows = self.byte() % 16
        return self.raw(dtype, rows * columns).reshape(rows, columns)


def _rows(cut: _Cutter, call: Callable[..., Any], **options: Any) -> None:
    indptr, indices, values = cut.csr()
    dtype, rank, biased = ("f4", "f8")[cut.byte() % 2], cut.byte() % 20, cut.byte() % 2 == 1
    shared: dict[str, Any] = {
        "indptr": indptr,
        "indices": indices,
        "values": values,
        "other": (other := cut.matrix(dtype, rank)),
        "other_bias": cut.raw(dtype, len(other) + (cut.byte() == 1)) if biased else None,
        "gram": None if biased else cut.raw(dtype, rank * rank).reshape(rank, rank),
        "with_bias": biased,
        "confidence": (1.0, 2.0),
        "target": (0.0, 1.0),
        "background": 1.0,
        "reg": 0.1,
        "reg_by_count": cut.byte() % 2 == 1,
        "rows": cut.small("i8") if cut.byte() % 2 else None,
        "threads": 1 + cut.byte() % 2,
    }
    if options:
        listed = len(indptr) - 1 if shared["rows"] is None else len(shared["rows"])
        shared |= {"factors": cut.raw(dtype, listed * rank).reshape(listed, rank), "bias": cut.raw(dtype, listed)}
    call(**shared)


def _iteration(cut: _Cutter, dtype: str, rank: int, biased: bool) -> dict[str, Any]:
    return {
        "vectors": cut.raw(dtype, rank * rank).reshape(rank, rank),
        "mean": cut.raw(dtype, rank + biased),
        "border": cut.raw(dtype, rank),
        "dense": cut.raw(dtype, rank + (cut.byte() == 1)),
        "tolerance": 0.01,
        "max_iterations": cut.byte() % 5,
    }


def _solve(cut: _Cutter, call: Callable[..., Any], kind: str) -> None:
    indptr, indices, values = cut.csr()
    dtype, rank, biased = ("f4", "f8")[cut.byte() % 2], cut.byte() % 20, cut.byte() % 2 == 1
    other, n = cut.matrix(dtype, rank), len(indptr) - 1 + (cut.byte() == 1)
    told: dict[str, Any] = {
        "indptr": indptr,
        "indices": indices,
        "values": values,
        "other": other,
        "with_bias": biased,
        "confidence": (1.0, 2.0),
        "background": 1.0,
        "reg": 0.1,
        "reg_by_count": cut.byte() % 2 == 1,
        **_iteration(cut, dtype, rank, biased),
        "threads": 1 + cut.byte() % 2,
    }
    if kind != "coupled":
        told["rows"] = cut.small("i8") if cut.byte() % 2 else None
        n = n if told["rows"] is None else len(told["rows"])
    if kind == "given":
        told["rhs"] = cut.raw(dtype, n * (rank + biased)).reshape(n, rank + biased)
    else:
        told["other_bias"] = cut.raw(dtype, len(other)) if biased else None
        told["target"] = (0.0, 1.0)
        told |= {"factors": cut.raw(dtype, n * rank).reshape(n, rank), "bias": cut.raw(dtype, n)}
    if kind == "coupled":
        columns = rank + (cut.byte() == 1)
        told["direction"] = cut.raw(dtype, len(other) * columns).reshape(len(other), columns)
        told["direction_bias"] = cut.raw(dtype, len(other)) if biased else None
        told["direction_gram"] = None if biased else cut.raw(dtype, rank * rank).reshape(rank, rank)
        told["half"] = cut.byte() % 2 == 1
    call(**told)


def _top_n(cut: _Cutter) -> None:
    dtype, rank = ("f4", "f8")[cut.byte() % 2], cut.byte() % 20
    users, items = cut.matrix(dtype, rank), cut.matrix(dtype, rank)
    asked = cut.small("i8")
    seen = cut.csr() if cut.byte() % 2 else None
    _native.top_n(
        user_factors=users,
        item_factors=items,
        item_bias=cut.raw(dtype, len(items)),
        item_norms=cut.raw("f8", len(items)),
        item_order=cut.small("i4", len(items)) if cut.byte() % 2 else np.arange(len(items), dtype=np.int32),
        users=asked,
        user_norms=cut.raw("f8", len(asked)),
        seen_offsets=None if seen is None else seen[0],
        seen_items=None if seen is None else seen[1],
        n=cut.byte() % 20,
        threads=1 + cut.byte() % 2,
    )


def _size(cut: _Cutter) -> int:
    return int(cut.small("i8", 1)[0])


ENTRY_POINTS: tuple[Callable[[_Cutter], Any], ...] = (
    lambda cut: _native.text_take(*cut.text(), cut.small("i8"), 1),
    lambda cut: _native.text_find(*cut.text(), *cut.text(), 2),
    lambda cut: _native.text_distinct(*cut.text(), 2),
    lambda cut: _native.text_validate(*cut.text(), cut.byte() % 2 == 1, 1),
    lambda cut: _native.text_parse_integers(*cut.text(), 1),
    lambda cut: _native.text_from_integers(cut.raw("i8")),
    lambda cut: _native.text_keys(*cut.text(), 1),
    lambda cut: _native.integer_find(cut.small("i8"), cut.raw("i8"), 1),
    lambda cut: _native.csr_from_pairs(
        rows := cut.small("i4"),
        cut.small("i4", len(rows)),
        cut.raw("f4", len(rows)),
        cut.raw("i8", len(rows)) if cut.byte() % 2 else None,
        _size(cut),
        _size(cut),
        ("last", "sum", "mean", "max")[cut.byte() % 4],
        1,
    ),
    lambda cut: _native.csr_transpose(*cut.csr(), _size(cut), 2),
    lambda cut: _native.csr_validate(*cut.csr(), _size(cut), 2),
    lambda cut: _native.csr_find(*cut.csr()[:2], wanted := cut.small("i8"), cut.small("i8", len(wanted)), 1),
    lambda cut: _native.csr_column_counts(cut.small("i4"), _size(cut), 1),
    lambda cut: _native.csr_entries_of_columns(cut.small("i4"), cut.raw("u1").astype(np.bool_), 1),
    lambda cut: _native.csr_remove(
        *cut.csr(), cut.small("i8"), np.cumsum(cut.raw("u1") % 2, dtype=np.int32) if cut.byte() % 2 else None, 1
    ),
    lambda cut: _native.csr_holdout(
        *cut.csr()[:2], cut.raw("i8").view(np.uint64), cut.raw("i8").view(np.uint64), 1, cut.byte() / 255
    ),
    lambda cut: _rows(cut, _native.solve_rows),
    lambda cut: _rows(cut, _native.row_gradients, with_factors=True),
    lambda cut: _solve(cut, _native.solve_coupled, "coupled"),
    lambda cut: _solve(cut, _native.newton_rows, "newton"),
    lambda cut: _solve(cut, _native.solve_normal, "given"),
    lambda cut: _top_n(cut),
    lambda cut: _native.gram(cut.matrix("f4", cut.byte() % 20), 1),
    lambda cut: _native.inner_product(
        factors=cut.matrix("f4", 5), bias=cut.raw("f4", cut.byte() % 16), stacked=cut.matrix("f4", 4 + cut.byte() % 4)
    ),
    lambda cut: _native.empty(cut.matrix("f8", cut.byte() % 20), _size(cut)),
)


# What mutations begin with.


def seed_models() -> list[bytes]:
    """Small models of each kind of objective, id and dtype."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((9, 7)) < 0.5)
    values = rng.integers(1, 6, len(users)).astype(np.float32)
    names = [f"u{user}" for user in users], [f"thing {item}" for item in items]
    made = []
    for ids in ((users, items), names):
        for options in (
            {"objective": "explicit", "factors": 3, "sweeps": 2},
            {"objective": "implicit", "factors": 2, "sweeps": 2, "dtype": "float64"},
        ):
            data = Interactions.from_arrays(*ids, values)
            stream = io.BytesIO()
            checkpoint.save_to(_trained(data, options), stream)
            made.append(stream.getvalue())
    return made


def _trained(data: Interactions, options: dict[str, Any]) -> Any:
    return train(data, TrainConfig.for_objective(**options), threads=1)


def seed_tables() -> list[bytes]:
    """Small delimited texts."""
    rows = "".join(f"u{u},{i},{(u * i) % 5 + 1},2024-01-0{i}\n" for u in range(6) for i in range(1, 5))
    plain = "".join(f"{u},{i},{(u * i) % 5 + 1}\n" for u in range(6) for i in range(1, 5))
    return [
        f"user,item,rating,timestamp\n{rows}".encode(),
        f"userId,movieId,rating\n{plain}".encode(),
        f"user\titem\n{plain}".replace(",", "\t").encode(),
        b'user,item,title\n"a ""b""",1,"x\ny"\r\nc,2,z\r\n',
        b"user,item\n1,\n,2\n3,4\n",
    ]


def seed_parquets() -> list[bytes]:
    """Small Parquet files."""
    made = []
    for users in (pa.array(range(40)), pa.array([f"u{i}" for i in range(40)]).dictionary_encode()):
        for compression in ("none", "snappy"):
            table = pa.table({"user": users, "item": pa.array(range(40)), "rating": pa.array([1.5, 2, 3, 4] * 10)})
            stream = io.BytesIO()
            pq.write_table(table, stream, compression=compression, row_group_size=16)
            made.append(stream.getvalue())
    return made


def seed_native() -> list[bytes]:
    """Bytes for each entry point."""
    rng = random.Random(0)
    return [bytes([number]) + rng.randbytes(200) for number in range(len(ENTRY_POINTS))]


def mutate_native(rng: random.Random, content: bytes) -> bytes:
    """Other bytes for the same entry point or another."""
    if rng.random() < 0.5:
        return bytes([rng.randrange(len(ENTRY_POINTS))]) + rng.randbytes(rng.choice((20, 100, 400)))
    return mutations.mutated_bytes(rng, content)


def mutator(name: str, seeds: list[bytes]) -> Callable[[random.Random], bytes]:
    """Makes inputs for the target of that name."""
    if name == "model":
        arrays = [mutations.arrays_of(seed) for seed in seeds]

        def model_of(rng: random.Random) -> bytes:
            place = rng.randrange(len(seeds))
            return mutations.mutated_model(rng, seeds[place], arrays[place])

        return model_of
    change = {"text": mutations.mutated_text, "native": mutate_native}.get(name, mutations.mutated_bytes)
    return lambda rng: change(rng, rng.choice(seeds))


def seeds_of(name: str) -> list[bytes]:
    """Valid inputs of the target of that name."""
    return {
        "model": seed_models,
        "text": seed_tables,
        "parquet": seed_parquets,
        "native": seed_native,
        "receipt": seed_receipts,
    }[name]()


def seed_receipts() -> list[bytes]:
    """A receipt as the program writes it."""
    with TemporaryDirectory() as directory:
        model_path, path = Path(directory) / "model.npz", Path(directory) / "receipt.json"
        model_path.write_bytes(seed_models()[0])
        assert main(["forget", str(model_path), "--user", "1", "--receipt", str(path), "--quiet"]) == 0
        return [path.read_bytes()]


TARGETS: dict[str, Target] = {
    "model": model,
    "text": text,
    "parquet": parquet,
    "native": native,
    "receipt": receipt,
}
