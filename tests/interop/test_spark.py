"""Spark's ALS models: in, out, and what stays outside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetcli import Interactions, als, forget
from forgetcli.errors import DataError, FileSystemError, ForgetError, UsageError
from forgetcli.interop import Stated, import_model
from forgetcli.objective import Objective
from forgetcli.records import ForgetRequest
from tests.interop.make_fixtures import FIXTURES, RANK, SWEEPS, ratings, spark_session
from tests.interop.test_import import FLOAT32, apart, data


def fixture(name: str) -> dict[str, Any]:
    return {"source": FIXTURES / f"spark_{name}", "form": "spark", "estimator": FIXTURES / f"spark_{name}_als"}


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the explicit model to break."""
    shutil.copytree(FIXTURES / "spark_explicit", tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["explicit", "implicit"])
def test_sparks_last_half_sweep_is_ours(name: str) -> None:
    imported = import_model(interactions=data(), **fixture(name))
    assert imported.agreement.users < FLOAT32
    assert imported.agreement.items > 100 * FLOAT32  # a half-sweep behind: the check can tell
    config = imported.model.config
    assert (config.objective, config.factors, config.sweeps) == (name, RANK, SWEEPS)
    assert (config.reg_scaling, config.biases, config.solved_last) == ("count", False, "users")
    if name == "implicit":
        assert (config.alpha, config.confidence_base, config.unobserved_weight) == (2.0, 1.0, 1.0)
    else:
        assert not config.global_mean


def test_the_objective_can_be_stated_instead() -> None:
    source = FIXTURES / "spark_implicit"
    stated = Stated(objective="implicit", reg=0.1, alpha=2.0)
    assert import_model(source, "spark", data(), stated=stated).agreement.users < FLOAT32
    with pytest.raises(UsageError, match="`alpha`"):
        import_model(source, "spark", data(), stated=Stated(objective="implicit", reg=0.1))


@pytest.mark.parametrize("method", ["response", "sweeps"])
def test_a_user_of_sparks_is_forgotten(method: Any) -> None:
    model = import_model(interactions=data(), **fixture("explicit")).model
    result = forget(model, ForgetRequest.of(users=[3]), method=method)
    assert result.erased_users == 1
    assert result.after is not None
    assert result.before is not None
    assert result.after.objective < result.before.objective
    remaining = result.model.interactions
    assert remaining is not None
    users = als.half_sweep(
        remaining.by_user, result.model.factors.item, Objective.of(result.model.config, remaining)
    ).side
    assert apart(result.model.factors.user, users) < 1e-3  # as a model of Spark's ends: with the users


def test_ratings_of_zero_say_nothing_to_sparks_implicit_model() -> None:
    users, items, values = ratings()
    more = Interactions.from_arrays(np.append(users, [3]), np.append(items, [104]), np.append(values, [0]))
    assert len(more) == len(data()) + 1
    imported = import_model(interactions=more, **fixture("implicit"))
    assert imported.left_out == 1
    assert imported.agreement.users < FLOAT32


def test_negative_ratings_of_an_implicit_model_are_refused() -> None:
    users, items, values = ratings()
    with pytest.raises(DataError, match="takes them for dislikes"):
        import_model(interactions=Interactions.from_arrays(users, items, values - 3), **fixture("implicit"))


def test_nonnegative_factors_are_refused_with_and_without_the_estimator() -> None:
    with pytest.raises(DataError, match="nonnegative=True"):
        import_model(interactions=data(), **fixture("nonneg"))
    with pytest.raises(DataError, match="nonnegative=True"):
        import_model(FIXTURES / "spark_nonneg", "spark", data(), stated=Stated(objective="explicit", reg=0.05))


def test_another_models_estimator_is_refused() -> None:
    with pytest.raises(DataError, match="the model was trained by"):
        import_model(FIXTURES / "spark_explicit", "spark", data(), estimator=FIXTURES / "spark_implicit_als")


def test_what_is_no_als_model_is_refused(copied: Path) -> None:
    with pytest.raises(DataError, match=r"no ALSModel: its class is org\.apache"):
        import_model(FIXTURES / "spark_explicit_als", "spark", data())
    (metadata,) = (copied / "metadata").glob("part-*")
    for text in ("", "[1]", "{", json.dumps({"class": "org.apache.spark.ml.recommendation.ALSModel", "rank": 9})):
        metadata.write_text(text)
        with pytest.raises(ForgetError):
            import_model(copied, "spark", data(), stated=Stated(objective="explicit", reg=0.05))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"id": [3], "factors": [[1.0] * 4]}), "no column 'features'"),
        (pa.table({"id": [3], "features": ["1,2"]}), "factors are lists"),
        (pa.table({"id": [3.5], "features": [[1.0] * 4]}), "ids are integers or text"),
        (pa.table({"id": [3, None], "features": [[1.0] * 4] * 2}), "without an id"),
        (pa.table({"id": [3, 4], "features": [[1.0] * 4, [1.0] * 3]}), "different lengths"),
        (pa.table({"id": [3], "features": [[1.0, None, 1.0, 1.0]]}), "missing values"),
        (pa.table({"id": [3], "features": [[float("inf")] * 4]}), "not finite"),
        (pa.table({"id": [3, 3], "features": [[1.0] * 4] * 2}), "more than once"),
    ],
)
def test_broken_tables_are_refused(copied: Path, table: pa.Table, message: str) -> None:
    (file,) = (copied / "userFactors").glob("*.parquet")
    pq.write_table(table, file)
    with pytest.raises(DataError, match=message):
        import_model(copied, "spark", data(), stated=Stated(objective="explicit", reg=0.05))


@pytest.mark.filterwarnings("ignore")
def test_spark_itself_goes_on_as_we_do(tmp_path: Path) -> None:
    recommendation = pytest.importorskip("pyspark.ml.recommendation", reason="pyspark is not installed")
    if shutil.which("java") is None:
        pytest.skip("pyspark needs a Java run-time")
    options = {"rank": RANK, "seed": 3, "regParam": 0.05, "numUserBlocks": 1, "numItemBlocks": 1}
    with spark_session() as (_, frame):
        for sweeps in (2, 3):
            recommendation.ALS(maxIter=sweeps, **options).fit(frame).save(str(tmp_path / str(sweeps)))
    stated = Stated(objective="explicit", reg=0.05)
    two, three = (import_model(tmp_path / name, "spark", data(), stated=stated).model for name in ("2", "3"))
    objective = Objective.of(two.config, data())
    items = als.half_sweep(data().by_item, two.factors.user, objective).side
    users = als.half_sweep(data().by_user, items, objective).side
    assert apart(items, three.factors.item) < FLOAT32
    assert apart(users, three.factors.user) < FLOAT32


def test_a_model_in_a_store_has_to_be_copied_here_first() -> None:
    with pytest.raises(FileSystemError, match="s3://bucket/als: it has to be a local file"):
        import_model("s3://bucket/als", "spark", data())
