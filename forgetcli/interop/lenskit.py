"""Models of LensKit, in the neutral form that a few lines on the user's side write (docs/import-export.md).

Its objective, read in its source (lenskit/als/_implicit.py, version 2025.8): ImplicitMFScorer is Hu, Koren & Volinsky's
with a confidence of 1 + w, or 1 + w r with use_ratings, and λ the same for every row. It solves users, then items,
exactly.

BiasedMFScorer (lenskit/als/_explicit.py) is refused. Its biases are damped means that are computed before ALS, and the
factors solve an explicit objective, λ times the row's count, of what the biases leave. With those residuals for data
that is an objective of this program, and docs/import-export.md shows how to import it so. But the biases, and through
them every residual of the user and the item, have seen the records too, and only LensKit can compute them anew: who
asks this program to forget would not get a model that forgot.
"""

from __future__ import annotations

from forgetcli.errors import DataError
from forgetcli.files import StrPath
from forgetcli.ids import Ids
from forgetcli.interop.arrays import open_archive
from forgetcli.interop.foreign import ForeignModel
from forgetcli.interop.plain import read_neutral


def read_lenskit(path: StrPath, users: Ids | None, items: Ids | None) -> ForeignModel:
    """The model in the file. Raises DataError for one whose objective cannot be expressed, with the reason."""
    with open_archive(path) as archive:
        trainer, parameters = archive.trainer("lenskit", ("ImplicitMFScorer", "BiasedMFScorer"))
        if trainer == "BiasedMFScorer":
            raise DataError(
                f"{archive.name} is a BiasedMFScorer: its biases are damped means fixed before the factors are learnt, "
                "and forgetting here would leave the records in them",
                hint="train with forget train, which learns biases and factors together; or import the factors alone, "
                "with residuals as data: docs/import-export.md has the lines",
            )
        reg = parameters.get("regularization")
        if isinstance(reg, dict):
            if reg.get("user") != reg.get("item"):
                raise DataError(f"{archive.name} was trained with another regularization for users than for items")
            reg = reg.get("user")
        try:
            options = {
                "objective": "implicit",
                "reg": float(reg),  # type: ignore[arg-type]
                "reg_scaling": "none",
                "alpha": float(parameters["weight"]),
                "confidence_base": 1.0,
                "unobserved_weight": 1.0,
                "sweeps": int(parameters["epochs"]),
                "solved_last": "items",
            }
            binary = not parameters["use_ratings"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{archive.name}: params has not what an ImplicitMFScorer's configuration has") from error
        return read_neutral(archive, users, items, options=options, binary=binary)
