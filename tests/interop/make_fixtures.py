"""Writes `fixtures/`: tiny models of synthetic ratings, each saved by the library it is named after.

    python -m tests.interop.make_fixtures implicit spark cmfrec lenskit

Run where the library is installed; the tests read what was committed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parent / "fixtures"
RANK, SWEEPS = 4, 6


def ratings() -> tuple[Any, Any, Any]:
    """Users and items, int64 ids with gaps, and ratings: 24 × 16, a third of the pairs, of low rank."""
    rng = np.random.default_rng(5)
    n, m = 24, 16
    seen = rng.random((n, m)) < 0.35
    seen[np.arange(n), rng.integers(0, m, n)] = True
    seen[rng.integers(0, n, m), np.arange(m)] = True
    users, items = np.nonzero(seen)
    taste = rng.normal(size=(n, 3)) @ rng.normal(size=(3, m))
    values = np.clip(np.round(2 * (3 + taste[seen] / 2)) / 2, 0.5, 5).astype(np.float32)
    return users * 7 + 3, items * 11 + 5, values


def implicit() -> None:
    """By Cholesky, and by conjugate gradients, the library's default."""
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    users, items, values = ratings()
    rows, columns = (np.unique(ids, return_inverse=True)[1] for ids in (users, items))
    for name, use_cg in (("chol", False), ("cg", True)):
        model = AlternatingLeastSquares(
            factors=RANK,
            regularization=0.3,
            alpha=2.5,
            iterations=SWEEPS,
            use_cg=use_cg,
            random_state=1,
            num_threads=1,
        )
        model.fit(csr_matrix((values, (rows, columns))), show_progress=False)
        model.save(str(FIXTURES / f"implicit_{name}.npz"))


def spark() -> None:
    """Models and the estimators that trained them, as Spark saves both."""
    from pyspark.ml.recommendation import ALS

    with spark_session() as (_, frame):
        for name, options in SPARK_OPTIONS.items():
            estimator = ALS(rank=RANK, maxIter=SWEEPS, seed=3, numUserBlocks=1, numItemBlocks=1, **options)
            estimator.fit(frame).write().overwrite().save(str(FIXTURES / f"spark_{name}"))
            estimator.write().overwrite().save(str(FIXTURES / f"spark_{name}_als"))
    for checksum in FIXTURES.rglob(".*.crc"):
        checksum.unlink()


def cmfrec() -> None:
    """With biases and λ n, without, and implicit."""
    import cmfrec as package
    from pandas import DataFrame

    frame = DataFrame(dict(zip(("UserId", "ItemId", "Rating"), ratings(), strict=True))).astype({"Rating": float})
    shared = {"k": RANK, "niter": SWEEPS, "nthreads": 1, "verbose": False}
    for name, model in (
        ("explicit", package.CMF(lambda_=0.05, scale_lam=True, use_float=False, **shared)),
        ("unscaled", package.CMF(lambda_=1.5, user_bias=False, item_bias=False, center=False, **shared)),
        ("implicit", package.CMF_implicit(lambda_=0.7, alpha=2.0, use_float=False, use_cg=False, **shared)),
    ):
        model.fit(frame.rename(columns={"Rating": "Value"}) if name == "implicit" else frame)
        params = {
            key: value.tolist() if hasattr(value, "tolist") else value for key, value in model.get_params().items()
        }
        np.savez(
            FIXTURES / f"cmfrec_{name}.npz",
            trainer="cmfrec." + type(model).__name__,
            params=json.dumps(params, default=str),
            side_information=model.C_.size + model.D_.size,
            user_factors=model.A_,
            item_factors=model.B_,
            user_bias=model.user_bias_,
            item_bias=model.item_bias_,
            global_mean=model.glob_mean_,
            user_ids=np.array(model.user_mapping_.tolist()),
            item_ids=np.array(model.item_mapping_.tolist()),
        )


def lenskit() -> None:
    """Implicit models of ones and of ratings, and the one with fixed biases that cannot be imported."""
    from lenskit.als import BiasedMFScorer, ImplicitMFScorer
    from lenskit.data import from_interactions_df
    from pandas import DataFrame

    frame = DataFrame(dict(zip(("user_id", "item_id", "rating"), ratings(), strict=True)))
    shared = {"embedding_size": RANK, "epochs": SWEEPS}
    for name, scorer in (
        ("implicit", ImplicitMFScorer(regularization=0.3, weight=5.0, **shared)),
        ("rated", ImplicitMFScorer(regularization=0.3, weight=2.0, use_ratings=True, **shared)),
        ("biased", BiasedMFScorer(**shared)),
    ):
        scorer.train(from_interactions_df(frame))
        np.savez(
            FIXTURES / f"lenskit_{name}.npz",
            trainer="lenskit." + type(scorer).__name__,
            params=scorer.config.model_dump_json(),
            user_factors=scorer.user_embeddings,
            item_factors=scorer.item_embeddings,
            user_ids=np.array(scorer.users.ids().tolist()),
            item_ids=np.array(scorer.items.ids().tolist()),
        )


SPARK_OPTIONS: dict[str, dict[str, Any]] = {
    "explicit": {"regParam": 0.05},
    "implicit": {"implicitPrefs": True, "alpha": 2.0, "regParam": 0.1},
    "nonneg": {"regParam": 0.05, "nonnegative": True},
}


@contextmanager
def spark_session() -> Iterator[tuple[Any, Any]]:
    """A session of one thread, and the ratings as a data frame of it."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.shuffle.partitions", "1").getOrCreate()
    try:
        users, items, values = (column.tolist() for column in ratings())
        rows = list(zip(users, items, values, strict=True))
        yield session, session.createDataFrame(rows, "user int, item int, rating float").coalesce(1)
    finally:
        session.stop()


if __name__ == "__main__":
    for library in sys.argv[1:]:
        {"implicit": implicit, "spark": spark, "cmfrec": cmfrec, "lenskit": lenskit}[library]()
