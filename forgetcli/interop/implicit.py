"""Models of the library implicit: `model.save(path)` of its AlternatingLeastSquares.

Its objective, read in its source (implicit/cpu/als.py, implicit/cpu/_als.pyx; version 0.7): Hu, Koren & Volinsky's
with a confidence of α r, without the 1 of the paper; 1 for pairs that were not observed; λ the same for every row.
Values below 0, which it takes for dislikes, have no place here. It solves users, then items, by three conjugate
gradient steps a sweep unless told otherwise, so that its factors are near their solutions and not at them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forgetcli.config import TrainConfig
from forgetcli.errors import DataError
from forgetcli.files import StrPath
from forgetcli.ids import Ids
from forgetcli.interop.arrays import open_archive
from forgetcli.interop.foreign import ForeignModel, sides
from forgetcli.model import Array

_OTHERS = {"learning_rate": "BayesianPersonalizedRanking or LogisticMatrixFactorization", "K": "nearest neighbours"}
"""Keys that give away another of implicit's models."""


def read_implicit(path: StrPath, users: Ids | None, items: Ids | None) -> ForeignModel:
    """The model in the file; its rows have the given ids, those that an export wrote there, or are known by
    position."""
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
            "solved_last": "items",
            "reg": archive.number("regularization"),
            "alpha": archive.number("alpha"),
            "sweeps": _whole(archive.number("iterations")),
        }
        return ForeignModel(
            archive.ids("user_ids") if users is None else users,
            archive.ids("item_ids") if items is None else items,
            *sides(archive.matrix("user_factors"), archive.matrix("item_factors")),
            global_mean=None,
            options={name: value for name, value in options.items() if value is not None},
        )


def is_implicits_own(config: TrainConfig) -> bool:
    """Whether its objective can be that of the configuration."""
    alike = config.objective == "implicit" and config.reg_scaling == "none" and config.confidence_base == 0
    return alike and config.unobserved_weight > 0


def implicit_arrays(config: TrainConfig, user_factors: Array, item_factors: Array) -> dict[str, NDArray[Any]]:
    """The arrays that its `load` reads. An objective that it can express is given in its terms: of weight 1 for pairs
    that were not observed."""
    scale = config.unobserved_weight or 1.0
    values: dict[str, Any] = {
        "user_factors": user_factors,
        "item_factors": item_factors,
        "regularization": config.reg / scale,
        "factors": item_factors.shape[1],
        "num_threads": 0,
        "iterations": config.sweeps,
        "use_native": True,
        "use_cg": False,
        "cg_steps": 3,
        "calculate_training_loss": False,
        "dtype": config.dtype,
        "alpha": config.alpha / scale,
    }
    return {name: np.asarray(value) for name, value in values.items()}


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
