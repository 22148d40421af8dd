"""Models of the library implicit: `model.save(path)` of its AlternatingLeastSquares.

Its objective, read in its source (implicit/cpu/als.py, implicit/cpu/_als.pyx; version 0.7): Hu, Koren & Volinsky's
with a confidence of α r, without the 1 of the paper; 1 for pairs that were not observed; λ the same for every row.
Values below 0, which it takes for dislikes, have no place here. It solves users, then items, by three conjugate
gradient steps a sweep unless told otherwise, so that its factors are near their solutions and not at them.
"""

from __future__ import annotations

from forgetcli.errors import DataError
from forgetcli.files import StrPath
from forgetcli.ids import Ids
from forgetcli.interop.arrays import open_archive
from forgetcli.interop.foreign import ForeignModel, sides

_OTHERS = {"learning_rate": "BayesianPersonalizedRanking or LogisticMatrixFactorization", "K": "nearest neighbours"}
"""Keys that give away another of implicit's models."""


def read_implicit(path: StrPath, users: Ids | None, items: Ids | None) -> ForeignModel:
    """The model in the file; its rows have the given ids, or are known by position."""
    with open_archive(path) as archive:
        for key, name in _OTHERS.items():
            if key in archive:
                raise DataError(
                    f"{archive.name} is a model of {name}, whose objective is not that of ALS",
                    hint="only AlternatingLeastSquares can be imported",
                )
        options = {
            "objective": "implicit",
            "reg_scaling": "none",
            "confidence_base": 0.0,
            "unobserved_weight": 1.0,
            "reg": archive.number("regularization"),
            "alpha": archive.number("alpha"),
            "sweeps": _whole(archive.number("iterations")),
        }
        return ForeignModel(
            users,
            items,
            *sides(archive.matrix("user_factors"), archive.matrix("item_factors")),
            global_mean=None,
            options={name: value for name, value in options.items() if value is not None},
        )


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
