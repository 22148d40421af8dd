"""The functions of `import forgetcli` take data from wherever it is, and do what the program does."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse

import forgetcli as fc
from forgetcli import als, api, unlearn
from forgetcli.checkpoint import load
from tests.made import as_dict, assert_same, interactions_of
from tests.program import SMALL, forget_well

TABLE = pa.table(
    {
        "user": [1, 1, 2, 2, 3, 3, 4],
        "item": [10, 20, 10, 30, 20, 30, 10],
        "rating": pa.array([5, 3, 4, 1, 2, 5, 3], pa.float32()),
    }
)
CONFIG = fc.TrainConfig(factors=2, sweeps=2)
MATRIX = np.array([[5, 3, 0], [4, 0, 1], [0, 2, 5], [3, 0, 0]], np.float32)


def same(a: fc.Model, b: fc.Model) -> bool:
    return a.factors.user.factors.tobytes() == b.factors.user.factors.tobytes() and a.config == b.config


def test_training_on_a_path_a_table_and_interactions_is_the_same(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "r.parquet")
    read = fc.read_interactions(TABLE)
    reference = als.train(read.interactions, CONFIG)
    for data in (
        tmp_path / "r.parquet",
        str(tmp_path / "r.parquet"),
        [tmp_path / "r.parquet"],
        TABLE,
        read,
        read.interactions,
    ):
        assert same(fc.train(data, CONFIG), reference)
    filtered = fc.train(TABLE, CONFIG, where="rating > 1", columns=fc.ColumnOptions(user="user"))
    assert filtered.interactions is not None
    assert len(filtered.interactions) == 6


def test_the_program_and_the_package_give_the_same_bytes(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "r.parquet")
    forget_well("train", "r.parquet", *SMALL, cwd=tmp_path)
    fc.save(fc.train(tmp_path / "r.parquet", fc.TrainConfig(factors=8, sweeps=3)), tmp_path / "ours.npz")
    assert (tmp_path / "model.npz").read_bytes() == (tmp_path / "ours.npz").read_bytes()
    told = forget_well("recommend", "model.npz", "--user", "4", "-n", "2", cwd=tmp_path).rows
    ours: Any = fc.recommendations(load(tmp_path / "model.npz"), [4], n=2)
    assert [(str(row["user"]), str(row["item"]), str(row["rank"])) for row in ours.to_pylist()] == [
        (row["user"], row["item"], row["rank"]) for row in told
    ]


def test_without_a_configuration_the_data_decides() -> None:
    assert fc.train(TABLE).config == fc.TrainConfig.for_objective("explicit")
    assert fc.train(TABLE.drop(["rating"])).config.objective == "implicit"
    constant = TABLE.set_column(2, "rating", pa.array([2.0] * 7))
    assert fc.train(constant).config.objective == "implicit"
    assert fc.train(constant, fc.TrainConfig()).config.objective == "explicit"
    negative = TABLE.set_column(2, "rating", pa.array([-2.0] * 7))
    assert fc.train(negative).config.objective == "explicit"  # there is no confidence below 0
    counted = fc.read_interactions(
        [TABLE.drop(["rating"])] * 2 + [TABLE.drop(["rating"]).slice(0, 3)], duplicates="sum"
    )
    assert fc.train(counted).config.objective == "implicit"  # counts of rows are no ratings


def test_requests_are_taken_from_tables_too() -> None:
    model = fc.train(TABLE, CONFIG)
    request = fc.ForgetRequest.of(pairs=[(1, 20)], users=[4])
    listed = pa.table({"user": [1, 4, 2], "item": [20, None, 10], "state": ["ok", "ok", "no"]})
    by_value, by_table = fc.forget(model, request), fc.forget(model, listed, where="state = 'ok'")
    assert by_table.counts == by_value.counts
    assert same(by_table.model, by_value.model)
    assert same(fc.retrain(model, listed, where="state = 'ok'")[0], fc.retrain(model, request)[0])
    assert same(fc.retrain(model)[0], model)
    bare = fc.Model(model.config, model.factors, model.users, model.items, model.history, None)
    assert same(fc.forget(bare, request, interactions=TABLE).model, by_value.model)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "dok", "lil", "bsr"])
@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_a_sparse_matrix_is_what_it_stores(form: str, make: Any) -> None:
    users, items = [1, 2, 3, 4], [10, 20, 30]
    matrix = make(MATRIX).asformat(form)
    expected = fc.read_interactions(TABLE).interactions
    assert_same(fc.Interactions.from_sparse(matrix, users, items), expected)
    by_position = fc.as_interactions(matrix)
    assert as_dict(by_position) == {
        (str(u), str(i)): float(MATRIX[u, i]) for u, i in zip(*np.nonzero(MATRIX), strict=True)
    }
    assert same(fc.train(matrix, CONFIG), fc.train(by_position, CONFIG))
    assert (matrix.toarray() == MATRIX).all()


def test_ids_of_a_sparse_matrix_may_be_in_any_order_and_empty_rows_vanish() -> None:
    matrix = scipy.sparse.coo_array(([1.0, 2.0, 3.0], ([0, 0, 2], [1, 1, 0])), shape=(3, 2))
    read = fc.Interactions.from_sparse(matrix, ["z", "y", "a"], np.array([7, 5]))
    assert as_dict(read) == {("a", "7"): 3.0, ("z", "5"): 3.0}  # SciPy adds up what is stored twice
    assert as_dict(fc.Interactions.from_sparse(matrix, duplicates="max")) == {("0", "1"): 2.0, ("2", "0"): 3.0}
    stored_zero = scipy.sparse.csr_array((np.zeros(1), [0], [0, 1]), shape=(1, 1))
    assert as_dict(fc.Interactions.from_sparse(stored_zero)) == {("0", "0"): 0.0}


@pytest.mark.parametrize(
    ("matrix", "ids", "said"),
    [
        (MATRIX, {"users": [1, 2]}, "there are 2 ids of users, for 4 of the matrix"),
        (MATRIX, {"items": [1, 2, 2]}, "there are 3 ids of items, repeated ones among them"),
        (MATRIX * 1j, {}, "the values must be numbers"),
        (np.full((1, 1), np.inf), {}, "finite"),
    ],
)
def test_a_matrix_that_cannot_be_used_is_refused(matrix: Any, ids: Any, said: str) -> None:
    with pytest.raises(fc.DataError, match=said):
        fc.Interactions.from_sparse(scipy.sparse.csr_array(matrix), **ids)


def test_ids_are_taken_from_columns_of_other_libraries() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for values in ([3, 1], ["b", "a"]):
        expected = fc.ForgetRequest.of(users=values).users
        for column in (pandas.Series(values), polars.Series(values), pa.array(values), pa.chunked_array([values])):
            assert list(fc.ForgetRequest.of(users=column).users) == list(expected)


def test_recommendations_are_a_table_and_can_be_written(tmp_path: Path) -> None:
    model = fc.train(TABLE, CONFIG)
    names = fc.read_item_names(pa.table({"item": [10, 20], "title": ["Ten", "Twenty"]}))
    table: Any = fc.recommendations(model, n=1, item_names=names)
    assert table.column_names == ["user", "item", "rank", "score", "title"]
    assert table["user"].to_pylist() == [1, 2, 3, 4]
    assert table.to_pylist()[1]["title"] == "Twenty"
    assert fc.recommendations(model, [99]).num_rows == 0  # type: ignore[attr-defined]
    fc.write_recommendations(model, tmp_path / "recs.parquet", [4, 99, 2], n=1, item_names=names)
    assert pq.read_table(tmp_path / "recs.parquet")["user"].to_pylist() == [4, 2]
    with pytest.raises(fc.UsageError, match="cannot tell the format"):
        fc.write_recommendations(model, tmp_path / "recs.txt")


@pytest.mark.parametrize(
    ("ours", "core"), [(api.train, als.train), (api.forget, unlearn.forget), (api.retrain, unlearn.retrain)]
)
def test_whatever_the_core_can_be_asked_can_be_asked_here(ours: Any, core: Any) -> None:
    mine, its = (inspect.signature(function).parameters for function in (ours, core))
    own = {"data", "columns", "where", "duplicates"}
    assert set(its) - {"interactions"} <= set(mine)
    assert set(mine) - own <= set(its)
    for name, parameter in its.items():
        if name in mine and parameter.default is not inspect.Parameter.empty:
            assert mine[name].default == parameter.default, name


def test_the_objective_for_who_does_not_name_one() -> None:
    rows = [(1, 1, 2.0), (1, 2, 2.0)]
    assert interactions_of(rows).suited_objective == "implicit"
    assert interactions_of([*rows, (2, 1, 3.0)]).suited_objective == "explicit"
    assert interactions_of([(1, 1, 0.0)]).suited_objective == "explicit"
