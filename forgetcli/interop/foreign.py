"""What another trainer left: factors, ids, and as much of its objective as its file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, get_args

from forgetcli.config import Objective, RegScaling, Side, TrainConfig
from forgetcli.errors import DataError, UsageError
from forgetcli.ids import Ids
from forgetcli.model import Array, SideFactors

REQUIRED = {"explicit": ("reg", "reg_scaling"), "implicit": ("reg", "reg_scaling", "alpha", "confidence_base")}
"""Options that no default may stand in for: forgetting descends the objective that the model was trained with."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the user says of a model, where its file does not; None is not said. The names are those of `TrainConfig`,
    and sweeps is how many the trainer did. Where nobody says which side was solved last, it is the one nearer to its
    exact solution."""

    objective: Objective | None = None
    reg: float | None = None
    reg_scaling: RegScaling | None = None
    alpha: float | None = None
    confidence_base: float | None = None
    unobserved_weight: float | None = None
    sweeps: int | None = None
    solved_last: Side | None = None

    def given(self) -> dict[str, Any]:
        """What was said."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}


@dataclass(frozen=True, eq=False)
class ForeignModel:
    """A model as another trainer left it.

    users, items:   the ids of the rows; None where rows are known by their position, from 0.
    user, item:     the factors and biases.
    global_mean:    μ, or None where the trainer does not centre.
    options:        what its file says of the objective, by the names of `TrainConfig`; "sweeps" where it says it.
    binary:         whether it takes every interaction for 1, whatever its value.
    zeros_count:    whether an interaction of value 0 says anything to it.
    biases:         whether it learns them.
    """

    users: Ids | None
    items: Ids | None
    user: SideFactors
    item: SideFactors
    global_mean: float | None
    options: Mapping[str, Any] = field(default_factory=dict)
    binary: bool = False
    zeros_count: bool = True
    biases: bool = False

    def __post_init__(self) -> None:
        for name, side, ids in (("user", self.user, self.users), ("item", self.item, self.items)):
            if ids is not None and len(ids) != len(side):
                raise DataError(f"there are {len(ids):,} {name} ids for {len(side):,} rows of {name} factors")
        ranks = self.user.factors.shape[1], self.item.factors.shape[1]
        if ranks[0] != ranks[1]:
            raise DataError(f"the user factors have {ranks[0]} columns, the item factors {ranks[1]}")


def sides(
    user_factors: Array, item_factors: Array, user_bias: Array | None = None, item_bias: Array | None = None
) -> tuple[SideFactors, SideFactors]:
    """Both sides in one dtype, the wider of the two. Raises DataError for a bias that does not fit its factors."""
    dtype = max(user_factors.dtype, item_factors.dtype, key=lambda each: each.itemsize)

    def side(name: str, factors: Array, bias: Array | None) -> SideFactors:
        factors = factors.astype(dtype, copy=False)
        if bias is None:
            return SideFactors.without_bias(factors)
        if bias.shape != factors.shape[:1]:
            raise DataError(f"there are {len(bias):,} {name} biases for {len(factors):,} rows of {name} factors")
        return SideFactors(factors, bias.astype(dtype))

    return side("user", user_factors, user_bias), side("item", item_factors, item_bias)


def completed_config(model: ForeignModel, stated: Stated) -> TrainConfig:
    """The configuration that the file and the user together describe.

    Raises UsageError where they contradict each other, or leave open what must be known, and DataError for values in
    the file that cannot be.
    """
    options = dict(model.options)
    for name, value in stated.given().items():
        if name in options and options[name] != value:
            raise UsageError(f"`{name}={value}` contradicts the model's file, which says {options[name]}")
        options[name] = value
    objective = options.get("objective")
    if objective is None:
        raise UsageError("the file does not say the objective", hint="give `objective`: explicit or implicit")
    if objective not in get_args(Objective):
        raise UsageError(f"`objective` must be explicit or implicit, not {str(objective)[:40]!r}")
    missing = [f"`{name}`" for name in REQUIRED[objective] if name not in options]
    if missing:
        raise UsageError(
            f"the file does not say all of its {objective} objective: {', '.join(missing)}",
            hint="give what the model was trained with: forgetting descends that objective",
        )
    foreign = {"alpha", "confidence_base", "unobserved_weight"} & set(options) if objective == "explicit" else set()
    if foreign:
        raise UsageError(f"`{min(foreign)}` belongs to implicit models")
    if objective == "implicit" and (model.biases or model.global_mean is not None):
        raise DataError("the model has biases or a mean, which an implicit objective of this program does not know")
    options.setdefault("sweeps", TrainConfig.sweeps)
    try:
        return TrainConfig(
            **options,
            factors=model.item.factors.shape[1],
            biases=model.biases,
            global_mean=objective == "implicit" or model.global_mean is not None,
            dtype=str(model.item.factors.dtype),  # type: ignore[arg-type]
        )
    except UsageError as error:
        if stated.given():
            raise
        raise DataError(f"the model's file describes no objective of this program: {error.message}") from error
