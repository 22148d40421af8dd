"""Models of Apache Spark's ALS (spark.ml): the directory that `ALSModel.save` writes.

Its objective, read in its source (mllib/src/main/scala/org/apache/spark/ml/recommendation/ALS.scala, computeFactors):
squared error without mean and biases, or Hu, Koren & Volinsky's with a confidence of 1 + α|r| and 1 for pairs that were
not observed; λ times the row's number of ratings in both, of ratings above 0 in the implicit one. There a rating of 0
adds nothing to any sum, and one below 0 has a preference of 0, which has no place here. It solves items, then users,
exactly, so that a model's users are at their solutions.

The model's own metadata do not say λ, α or the objective; those of the estimator (`ALS.save`) do, and the two share a
`uid`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from forgetcli.errors import DataError, UsageError
from forgetcli.files import StrPath, file_system_errors
from forgetcli.ids import Ids, Utf8Ids
from forgetcli.interop.arrays import checked_matrix, json_object
from forgetcli.interop.foreign import ForeignModel, Stated, sides
from forgetcli.model import Array
from forgetcli.tables import read_factor_table

_PACKAGE = "org.apache.spark.ml.recommendation"
_MAX_METADATA = 1 << 20
_NONNEGATIVE = (
    "the model was trained with nonnegative=True: its rows solve a constrained problem, and forgetting would solve the "
    "unconstrained one"
)


def read_spark(
    path: StrPath, users: Ids | None, items: Ids | None, stated: Stated, estimator: StrPath | None
) -> ForeignModel:
    """The model in the directory.

    estimator: the directory that the ALS estimator was saved in, which says the objective; without it `stated` does.

    Raises DataError for another of Spark's models, an estimator of another model, and nonnegative factors.
    """
    if users is not None or items is not None:
        raise DataError("Spark's factors carry their ids", hint="leave `user_ids` and `item_ids` out")
    directory = Path(path)
    model = _metadata(path)
    if model.get("class") != f"{_PACKAGE}.ALSModel":
        raise DataError(
            f"{directory} is no ALSModel: its class is {str(model.get('class'))[:80]}",
            hint="of a PipelineModel, name the directory of its ALS stage: stages/..._ALS_...",
        )
    options = _stated_options(stated) if estimator is None else _trained_options(estimator, model)
    user_ids, user_factors = _factors(directory / "userFactors")
    item_ids, item_factors = _factors(directory / "itemFactors")
    if model.get("rank") != item_factors.shape[1]:
        raise DataError(
            f"{directory} says that its rank is {model.get('rank')}, but has {item_factors.shape[1]} factors"
        )
    if estimator is None and _looks_nonnegative(user_factors, item_factors):
        raise DataError(_NONNEGATIVE, hint="all factors are at least 0, and some are exactly 0")
    binary = options.pop("binary", False)
    return ForeignModel(
        user_ids,
        item_ids,
        *sides(user_factors, item_factors),
        global_mean=None,
        options=options,
        binary=binary,
        zeros_count=options.get("objective") != "implicit",
    )


def _stated_options(stated: Stated) -> dict[str, Any]:
    return _implied(stated.objective) | ({} if stated.objective is None else {"objective": stated.objective})


def _implied(objective: str | None) -> dict[str, Any]:
    implicit = {"confidence_base": 1.0, "unobserved_weight": 1.0} if objective == "implicit" else {}
    return {"reg_scaling": "count", "solved_last": "users", **implicit}


def _trained_options(estimator: StrPath, model: dict[str, Any]) -> dict[str, Any]:
    """What the estimator's parameters say of the objective."""
    found = _metadata(estimator)
    if found.get("class") != f"{_PACKAGE}.ALS":
        raise DataError(f"{estimator} is no ALS estimator: its class is {str(found.get('class'))[:80]}")
    if found.get("uid") != model.get("uid"):
        raise DataError(
            f"{estimator} is the estimator {found.get('uid')}, and the model was trained by {model.get('uid')}",
            hint="state the objective with `objective`, `reg` and `alpha` instead",
        )
    try:
        parameters = {**found["defaultParamMap"], **found["paramMap"]}
        if parameters["nonnegative"]:
            raise DataError(_NONNEGATIVE)
        objective = "implicit" if parameters["implicitPrefs"] else "explicit"
        options = {
            "objective": objective,
            **_implied(objective),
            "reg": float(parameters["regParam"]),
            "sweeps": int(parameters["maxIter"]),
            "binary": not parameters["ratingCol"],
        }
        return options | ({"alpha": float(parameters["alpha"])} if objective == "implicit" else {})
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{estimator} does not have the parameters of an ALS estimator") from error


def _metadata(path: StrPath) -> dict[str, Any]:
    directory = Path(path)
    with file_system_errors(path, "read"):  # as it was given: a Path would make s3:/ of s3://
        files = sorted(file for file in (directory / "metadata").iterdir() if file.name.startswith("part-"))
        text = b""
        for file in files:
            with file.open("rb") as stream:
                text += stream.read(_MAX_METADATA)
    return json_object(text, f"{directory / 'metadata'}")


def _factors(directory: Path) -> tuple[Ids, Array]:
    ids, values = read_factor_table(directory, "id", "features")
    return ids, checked_matrix(values, str(directory))


def _looks_nonnegative(*matrices: Array) -> bool:
    """Whether a constraint seems to have held: no value below 0, and some exactly 0 in rows that are not all 0."""
    if min(float(matrix.min()) for matrix in matrices) < 0:
        return False
    return any(bool((matrix[matrix.any(axis=1)] == 0).any()) for matrix in matrices) and matrices[0].shape[1] > 1


def spark_ids(ids: Ids, side: str) -> None:
    """Raises UsageError unless the ids are integers of 32 bits, the only ones that Spark's factors have."""
    if isinstance(ids, Utf8Ids):
        raise UsageError(
            f"the model's {side} ids are text, and Spark's factors have integer ids",
            hint="export to parquet, or train on ids that StringIndexer made",
        )
    limits = np.iinfo(np.int32)
    if len(ids) and (ids[0] < limits.min or ids[-1] > limits.max):
        raise UsageError(f"the model has {side} ids beyond 32 bits, which Spark's factors cannot have")


def spark_metadata(rank: int) -> dict[str, Any]:
    """What `ALSModel.load` wants to know; the same for the same model, so without a time or a random name."""
    columns = {"itemCol": "item", "userCol": "user"}
    return {
        "class": f"{_PACKAGE}.ALSModel",
        "timestamp": 0,
        "sparkVersion": "3.0.0",
        "uid": "ALS_forgetcli",
        "paramMap": columns,
        "defaultParamMap": {**columns, "coldStartStrategy": "nan", "predictionCol": "prediction", "blockSize": 4096},
        "rank": rank,
    }
