"""Models leave for other programs, with the same predictions, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from forgetcli import Interactions, Model, TrainConfig, train
from forgetcli.directories import atomic_directory
from forgetcli.errors import FileSystemError, UsageError
from forgetcli.interop import ExportOptions, Stated, export_model, import_model
from forgetcli.interop import exporting as exporting_module
from forgetcli.recommending import recommend
from tests.interop.make_fixtures import FIXTURES, ratings, spark_session
from tests.interop.test_import import data, distinct_ids
from tests.program import check_error, forget, forget_well
from tests.samples import CONFIGS, interactions

FOLD = ExportOptions(fold_biases=True)
PREDICTION = 1e-5
"""Of ratings up to 5, in float32, summed in another order."""


def predictions(model: Model) -> Any:
    users, items = np.divmod(np.arange(len(model.users) * len(model.items)), len(model.items))
    return model.factors.predict(users, items).reshape(len(model.users), len(model.items))


@pytest.fixture(scope="module", params=["biased", "plain", "bare", "implicit", "baseless", "weighted"])
def model(request: pytest.FixtureRequest) -> Model:
    return train(interactions(), CONFIGS[request.param])


def has_offsets(model: Model) -> bool:
    return model.config.objective == "explicit" and (model.config.biases or model.config.global_mean)


@pytest.mark.parametrize("name", ["m.npz", "arrays"])
def test_plain_arrays_come_back_as_they_were(model: Model, name: str, tmp_path: Path) -> None:
    export_model(model, tmp_path / name, "npy")
    back = import_model(tmp_path / name, "npy", interactions()).model
    assert back.config == model.config
    for side in ("user", "item"):
        np.testing.assert_array_equal(getattr(back.factors, side).factors, getattr(model.factors, side).factors)
        np.testing.assert_array_equal(getattr(back.factors, side).bias, getattr(model.factors, side).bias)


@pytest.mark.parametrize("form", ["implicit", "spark"])
def test_offsets_are_never_dropped_in_silence(model: Model, form: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.npz" if form == "implicit" else tmp_path / "out"
    if has_offsets(model):
        with pytest.raises(UsageError, match="predictions of this model need its mean and biases"):
            export_model(model, path, form)
        assert not path.exists()
    else:
        assert export_model(model, path, form).columns == model.config.factors


def test_folded_factors_predict_by_inner_products_alone(model: Model, tmp_path: Path) -> None:
    exported = export_model(model, tmp_path / "m.npz", "npy", FOLD)
    arrays = np.load(tmp_path / "m.npz")
    assert exported.columns == model.config.factors + (2 if has_offsets(model) else 0)
    np.testing.assert_allclose(arrays["user_factors"] @ arrays["item_factors"].T, predictions(model), atol=PREDICTION)


@pytest.mark.parametrize("lists", ["fixed", "variable"])
def test_parquet_has_ids_factors_and_offsets(model: Model, lists: Any, tmp_path: Path) -> None:
    export_model(model, tmp_path / "out", "parquet", ExportOptions(lists=lists))
    tables = {side: pq.read_table(tmp_path / "out" / f"{side}s.parquet") for side in ("user", "item")}
    factors = {side: np.array(table["factors"].to_pylist()) for side, table in tables.items()}
    expected = factors["user"] @ factors["item"].T
    if "bias" in tables["user"].column_names:
        expected = expected + tables["user"]["bias"].to_numpy()[:, None] + tables["item"]["bias"].to_numpy()
    expected = expected + float((tables["user"].schema.metadata or {}).get(b"global_mean", b"0"))
    np.testing.assert_allclose(expected, predictions(model), atol=PREDICTION)
    np.testing.assert_array_equal(tables["item"]["id"].to_numpy(), model.items.ids)
    kind = tables["item"].schema.field("factors").type
    assert str(kind).startswith("fixed_size_list" if lists == "fixed" else "list")


def test_cosines_of_augmented_factors_rank_as_predictions_do(model: Model, tmp_path: Path) -> None:
    options = ExportOptions(fold_biases=True, augment=True)
    export_model(model, tmp_path / "out", "parquet", options)
    users, items = (
        np.array(pq.read_table(tmp_path / "out" / f"{side}s.parquet")["factors"].to_pylist())
        for side in ("user", "item")
    )
    norms = np.linalg.norm(items, axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-6)
    cosines = users @ items.T / norms / np.linalg.norm(users, axis=1)[:, None]
    np.testing.assert_array_equal(np.argsort(-cosines, axis=1)[:, :5], np.argsort(-predictions(model), axis=1)[:, :5])


def test_augmenting_does_not_drop_offsets_either(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a cosine holds factors alone"):
        export_model(train(interactions(), CONFIGS["biased"]), tmp_path / "o", "parquet", ExportOptions(augment=True))


def test_implicits_file_has_its_keys_and_types(tmp_path: Path) -> None:
    imported = import_model(FIXTURES / "implicit_cg.npz", "implicit", data(), **distinct_ids()).model
    assert export_model(imported, tmp_path / "back.npz", "implicit").cautions == ()
    theirs, ours = np.load(FIXTURES / "implicit_cg.npz"), np.load(tmp_path / "back.npz", allow_pickle=False)
    assert set(ours.files) - {"user_ids", "item_ids"} == set(theirs.files) - {"random_state"}
    for key in set(ours.files) & set(theirs.files) - {"use_cg", "num_threads"}:
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
        assert ours[key].dtype.kind == theirs[key].dtype.kind
    again = import_model(tmp_path / "back.npz", "implicit", data()).model
    np.testing.assert_array_equal(again.factors.item.factors, imported.factors.item.factors)


def test_an_objective_that_implicit_cannot_express_is_said(tmp_path: Path) -> None:
    exported = export_model(train(interactions(), CONFIGS["implicit"]), tmp_path / "m.npz", "implicit")
    assert "cannot express the objective" in exported.cautions[0]
    assert export_model(train(interactions(), CONFIGS["baseless"]), tmp_path / "m.npz", "implicit").cautions == ()


def test_sparks_directory_comes_back(tmp_path: Path) -> None:
    source = FIXTURES / "spark_implicit"
    model = import_model(source, "spark", data(), estimator=FIXTURES / "spark_implicit_als").model
    export_model(model, tmp_path / "out", "spark")
    stated = Stated(objective="implicit", reg=0.1, alpha=2.0, sweeps=6)
    back = import_model(tmp_path / "out", "spark", data(), stated=stated).model
    np.testing.assert_array_equal(back.factors.user.factors, model.factors.user.factors)
    assert back.config == model.config
    theirs = pq.read_schema(next((source / "userFactors").glob("*.parquet")))
    ours = pq.read_schema(next((tmp_path / "out" / "userFactors").glob("*.parquet")))
    assert ours.equals(theirs.remove_metadata())


@pytest.mark.parametrize(("ids", "message"), [(["a", "b"], "are text"), ([1, 2**40], "beyond 32 bits")])
def test_spark_has_no_such_ids(ids: list[Any], message: str, tmp_path: Path) -> None:
    config = TrainConfig(factors=2, sweeps=1, biases=False, global_mean=False)
    model = train(Interactions.from_arrays(ids, [1, 2], [3.0, 4.0]), config)
    with pytest.raises(UsageError, match=message):
        export_model(model, tmp_path / "out", "spark")
    assert os.listdir(tmp_path) == []


def test_text_ids_go_along(tmp_path: Path) -> None:
    users, items, values = ratings()
    texts = Interactions.from_arrays([f"u{each}é" for each in users], [str(each) + "x" for each in items], values)
    model = train(texts, TrainConfig(factors=2, sweeps=1))
    export_model(model, tmp_path / "m.npz", "npy")
    back = import_model(tmp_path / "m.npz", "npy", texts).model
    np.testing.assert_array_equal(back.factors.user.factors, model.factors.user.factors)
    export_model(model, tmp_path / "out", "parquet")
    assert pq.read_table(tmp_path / "out" / "users.parquet")["id"][0].as_py() == model.users.label(0)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = train(interactions(), CONFIGS["bare"])
    for name in ("a", "b"):
        export_model(model, tmp_path / name, "spark")
        export_model(model, tmp_path / f"{name}.npz", "implicit")
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b")]
    assert [one.read_bytes() for one in files[0]] == [other.read_bytes() for other in files[1]]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_an_error_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = train(interactions(), CONFIGS["biased"])
    export_model(model, tmp_path / "out", "parquet")
    before = (tmp_path / "out" / "users.parquet").read_bytes()
    calls = []

    def failing(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting_module, "write_factor_table", failing)
    with pytest.raises(FileSystemError, match="the disk is full"):
        export_model(model, tmp_path / "out", "parquet", ExportOptions(overwrite=True))
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "users.parquet").read_bytes() == before


def test_a_directory_is_replaced_only_when_asked_and_only_an_export(tmp_path: Path) -> None:
    model = train(interactions(), CONFIGS["bare"])
    export_model(model, tmp_path / "out", "npy")
    with pytest.raises(UsageError, match="is there already"):
        export_model(model, tmp_path / "out", "npy")
    export_model(model, tmp_path / "out", "npy", ExportOptions(overwrite=True))
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds other files"):
        export_model(model, tmp_path / "out", "npy", ExportOptions(overwrite=True))
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_a_killed_process_leaves_only_what_the_next_one_removes(tmp_path: Path) -> None:
    (tmp_path / ".out.0011223344556677.forgetcli-tmp" / "metadata").mkdir(parents=True)
    with atomic_directory(tmp_path / "out", overwrite=False, known=frozenset()) as place:
        (place / "file").touch()
    assert os.listdir(tmp_path) == ["out"]


def test_export_as_a_command(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "model.npz", tmp_path)
    run = forget_well("export", "model.npz", "--format", "parquet", "-o", "vectors", "--json", cwd=tmp_path)
    assert run.document["columns"] == 8
    assert not run.document["folded"]
    refused = forget("export", "model.npz", "--format", "spark", "-o", "als", cwd=tmp_path)
    check_error(refused, 2, "--fold-biases")
    forget_well("export", "model.npz", "--format", "spark", "-o", "als", "--fold-biases", cwd=tmp_path)
    assert json.loads((tmp_path / "als" / "metadata" / "part-00000").read_text())["rank"] == 10
    check_error(forget("export", "model.npz", "--format", "implicit", "-o", "als", cwd=tmp_path), 2, "end in .npz")
    check_error(forget("export", "model.npz", "--format", "spark", "-o", "a.npz", cwd=tmp_path), 2, "name of a file")


@pytest.mark.filterwarnings("ignore")
def test_implicit_itself_recommends_the_same(tmp_path: Path) -> None:
    cpu = pytest.importorskip("implicit.cpu.als", reason="implicit is not installed")
    model = train(interactions(), TrainConfig(factors=5, sweeps=4))
    export_model(model, tmp_path / "m.npz", "implicit", FOLD)
    theirs = cpu.AlternatingLeastSquares.load(str(tmp_path / "m.npz"))
    rows = np.arange(len(model.users))
    items, scores = theirs.recommend(rows, None, N=5, filter_already_liked_items=False)
    ours = recommend(model, rows, n=5, exclude_seen=False)
    np.testing.assert_array_equal(items, ours.items)
    np.testing.assert_allclose(scores, ours.scores, rtol=PREDICTION)


@pytest.mark.filterwarnings("ignore")
def test_spark_itself_predicts_the_same(tmp_path: Path) -> None:
    recommendation = pytest.importorskip("pyspark.ml.recommendation", reason="pyspark is not installed")
    if shutil.which("java") is None:
        pytest.skip("pyspark needs a Java run-time")
    model = train(data(), TrainConfig(factors=3, sweeps=4))
    export_model(model, tmp_path / "out", "spark", FOLD)
    with spark_session() as (_, frame):
        theirs = recommendation.ALSModel.load(str(tmp_path / "out")).transform(frame).collect()
    users = model.users.find(np.array([row["user"] for row in theirs]))
    items = model.items.find(np.array([row["item"] for row in theirs]))
    got = [row["prediction"] for row in theirs]
    np.testing.assert_allclose(got, model.factors.predict(users, items), atol=PREDICTION)
