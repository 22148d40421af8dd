"""The options of a training run, frozen and validated."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Literal

from forgetcli.errors import ModelFileError, UsageError

Objective = Literal["explicit", "implicit"]
RegScaling = Literal["count", "none"]
Dtype = Literal["float32", "float64"]
Side = Literal["users", "items"]
Acceleration = Literal["none", "momentum"]
Solver = Literal["exact", "cg"]

MAX_FACTORS = 4096
"""A rank above this is a slip of the finger: one row's normal matrix would take 64 MiB."""

MAX_SWEEPS = 100_000
"""Nobody trains so long; but a foreign model's file can say so, and each sweep has its entry in the history."""

MAX_CG_STEPS = 2**31 - 1
"""Rows are solved to the last digit long before; the kernels count in 32 bits."""

_SHOWN = 60
"""Characters of a value in a message."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that, with the data, determines a model to the last bit.

    objective:         "explicit" (squared error of ratings) or "implicit" (Hu, Koren & Volinsky 2008).
    factors:           the rank k.
    sweeps:            at most so many sweeps, each users then items.
    reg:               λ, above 0.
    reg_scaling:       "count" multiplies λ by the row's number of interactions (ALS-WR, Zhou et al. 2008), "none"
                       does not.
    biases:            explicit only: learn b_u and b_i.
    global_mean:       explicit only: predictions start from μ, the mean of the values; without it μ is 0.
    alpha:             implicit only: confidence is confidence_base + alpha · value.
    confidence_base:   implicit only; 1 in Hu, Koren & Volinsky's paper.
    unobserved_weight: implicit only: w0, the weight of a pair that was not observed.
    solved_last:       the side that each sweep ends with; it is also the one that has starting factors. Other trainers
                       end with the users.
    solver:            how a half-sweep solves its rows: "exact" (Cholesky), or "cg", some conjugate gradient steps from
                       where each row stands (Takács, Pilászy & Tikk 2011), which is cheaper at large ranks.
    cg_steps:          of "cg", for each row and half-sweep.
    seed:              keys the starting factors.
    dtype:             of the factors and of the arithmetic.
    acceleration:      "momentum" starts each exact sweep beyond where the last one ended; or "none".
    tol:               stop when a sweep lowers the objective by less than this fraction; 0 never stops early.

    Raises UsageError naming the option.
    """

    objective: Objective = "explicit"
    factors: int = 64
    sweeps: int = 15
    reg: float = 0.07
    reg_scaling: RegScaling = "count"
    biases: bool = True
    global_mean: bool = True
    alpha: float = 10.0
    confidence_base: float = 1.0
    unobserved_weight: float = 1.0
    solved_last: Side = "items"
    solver: Solver = "exact"
    cg_steps: int = 3
    seed: int = 0
    dtype: Dtype = "float32"
    acceleration: Acceleration = "none"
    tol: float = 0.0

    @classmethod
    def for_objective(cls, objective: Objective, **options: Any) -> TrainConfig:
        """The defaults that suit the objective, with the given options on top; options that are None count as
        not given."""
        suited: dict[str, Any] = {"objective": objective}
        if objective == "implicit":
            suited |= {"reg": 10.0, "reg_scaling": "none", "biases": False}
        return cls(**suited | {name: value for name, value in options.items() if value is not None})

    def __post_init__(self) -> None:
        _require(self.objective in ("explicit", "implicit"), "objective", "explicit or implicit", self.objective)
        _require(
            _is_int(self.factors) and 1 <= self.factors <= MAX_FACTORS,
            "factors",
            f"a whole number from 1 to {MAX_FACTORS}",
            self.factors,
        )
        _require(
            _is_int(self.sweeps) and 1 <= self.sweeps <= MAX_SWEEPS,
            "sweeps",
            f"a whole number from 1 to {MAX_SWEEPS}",
            self.sweeps,
        )
        _require(_is_finite(self.reg) and self.reg > 0, "reg", "a number above 0", self.reg)
        _require(self.reg_scaling in ("count", "none"), "reg_scaling", "count or none", self.reg_scaling)
        _require(isinstance(self.biases, bool), "biases", "true or false", self.biases)
        _require(
            not (self.biases and self.objective == "implicit"),
            "biases",
            "off for an implicit model: it has none",
            self.biases,
        )
        _require(isinstance(self.global_mean, bool), "global-mean", "true or false", self.global_mean)
        _require(_is_finite(self.alpha) and self.alpha > 0, "alpha", "a number above 0", self.alpha)
        _require(
            _is_finite(self.confidence_base) and self.confidence_base >= 0,
            "confidence-base",
            "a number, at least 0",
            self.confidence_base,
        )
        _require(
            _is_finite(self.unobserved_weight) and self.unobserved_weight >= 0,
            "unobserved_weight",
            "a number, at least 0",
            self.unobserved_weight,
        )
        _require(self.solved_last in ("users", "items"), "solved-last", "users or items", self.solved_last)
        _require(self.solver in ("exact", "cg"), "solver", "exact or cg", self.solver)
        _require(
            _is_int(self.cg_steps) and 1 <= self.cg_steps <= MAX_CG_STEPS,
            "cg_steps",
            f"a whole number from 1 to {MAX_CG_STEPS}",
            self.cg_steps,
        )
        _require(_is_int(self.seed) and 0 <= self.seed < 2**63, "seed", "a whole number from 0 to 2^63 - 1", self.seed)
        _require(self.dtype in ("float32", "float64"), "dtype", "float32 or float64", self.dtype)
        _require(self.acceleration in ("none", "momentum"), "acceleration", "none or momentum", self.acceleration)
        _require(
            self.acceleration == "none" or self.solver == "exact",
            "acceleration",
            "none with an inexact solver",
            self.acceleration,
        )
        _require(_is_finite(self.tol) and 0 <= self.tol < 1, "tol", "a number from 0 to below 1", self.tol)

    @property
    def inexact_steps(self) -> int | None:
        """The steps of the inexact solver; None where rows are solved exactly."""
        return self.cg_steps if self.solver == "cg" else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, in the order of the fields: what the checkpoint's `config` holds."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The reverse of `to_dict`. Raises ModelFileError for a key or value that this program does not know."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            names = ", ".join(map(repr, unknown))[:200]
            raise ModelFileError(
                f"the model's configuration has unknown options: {names}",
                hint="a newer version of forgetcli may have written it",
            )
        try:
            return cls(**values)
        except UsageError as error:
            raise ModelFileError(f"the model's configuration is not valid: {error.message}") from error


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    # A comparison, unlike math.isfinite, also takes integers that no float can hold.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _require(holds: bool, option: str, wanted: str, value: object) -> None:
    if not holds:
        shown = repr(value)  # of a file's value perhaps, which may be of any length
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise UsageError(f"`{option}` must be {wanted}, not {shown}")
