"""Models of cmfrec, in the neutral form that a few lines on the user's side write (docs/import-export.md).

Its objectives, read in its documentation and source (cmfrec/__init__.py, src/collective.c; version 3.5). CMF: squared
error around the mean with biases of both sides, λ for factors and biases alike, times the row's number of ratings with
scale_lam. CMF_implicit: Hu, Koren & Volinsky's with a confidence of 1 + α r, λ the same for every row. Both solve the
items, then the users; exactly, or by conjugate gradients that the last sweep may go without (finalize_chol).

What they can besides, and this program's objectives do not have, is refused: side information, weights of its parts,
L1 and nonnegative constraints, another λ for each matrix, biases of one side.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from forgetcli.errors import DataError
from forgetcli.files import StrPath
from forgetcli.ids import Ids
from forgetcli.interop.arrays import ForeignArrays, open_archive
from forgetcli.interop.foreign import ForeignModel
from forgetcli.interop.plain import read_neutral

_MUST_BE_OFF = (
    "add_implicit_features",
    "scale_bias_const",
    "NA_as_zero",
    "nonneg",
    "l1_lambda",
    "k_user",
    "k_item",
    "apply_log_transf",
)
"""Parameters that change the objective to one that this program does not have."""


def read_cmfrec(path: StrPath, users: Ids | None, items: Ids | None) -> ForeignModel:
    """The model in the file. Raises DataError for one whose objective cannot be expressed, naming the parameter."""
    with open_archive(path) as archive:
        trainer, parameters = archive.trainer("cmfrec", ("CMF", "CMF_implicit"))
        options = _options(archive, trainer == "CMF_implicit", parameters)
        centred = trainer == "CMF" and _is_on(parameters, "center")
        return read_neutral(
            archive, users, items, options=options, centred=centred, with_biases=_has_biases(trainer, parameters)
        )


def _options(archive: ForeignArrays, implicit: bool, parameters: Mapping[str, Any]) -> dict[str, Any]:
    for name in _MUST_BE_OFF:
        if _is_on(parameters, name):
            raise DataError(f"{archive.name} was trained with {name}, which this program's objectives do not have")
    if archive.number("side_information"):
        raise DataError(
            f"{archive.name} was trained with side information, which this program's objectives do not have"
        )
    if not implicit and parameters.get("method") != "als":
        raise DataError(f"{archive.name} was trained with method={parameters.get('method')!r}, and not by ALS")
    if parameters.get("w_main") != 1:
        raise DataError(
            f"{archive.name} was trained with w_main = {parameters.get('w_main')}, and only 1 is known here"
        )
    options: dict[str, Any] = {
        "objective": "implicit" if implicit else "explicit",
        "reg": _single_lambda(archive, parameters.get("lambda_"), implicit),
        "reg_scaling": "count" if _is_on(parameters, "scale_lam") and not implicit else "none",
        "sweeps": int(_number(archive, parameters, "niter")),
        "solved_last": "users",
    }
    if implicit:
        options |= {"alpha": _number(archive, parameters, "alpha"), "confidence_base": 1.0, "unobserved_weight": 1.0}
    return options


def _single_lambda(archive: ForeignArrays, given: object, implicit: bool) -> float:
    """The λ of all parameters. A list is that of user biases, item biases, A, B, C and D."""
    if isinstance(given, list) and len(given) == 6:
        used = given[2:4] if implicit else given[:4]
        if any(value != used[0] for value in used):
            raise DataError(f"{archive.name} was trained with another lambda_ for each matrix, and there is one here")
        given = used[0]
    return _number(archive, {"lambda_": given}, "lambda_")


def _has_biases(trainer: str, parameters: Mapping[str, Any]) -> bool:
    return trainer == "CMF" and (_is_on(parameters, "user_bias") or _is_on(parameters, "item_bias"))


def _is_on(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    return any(value) if isinstance(value, list) else bool(value)


def _number(archive: ForeignArrays, parameters: Mapping[str, Any], name: str) -> float:
    value = parameters.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise DataError(f"{archive.name}: params has no number {name!r}, or none that is finite")
    return float(value)
