"""A trained model as a value."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from forgetcli import _native
from forgetcli.config import Side, TrainConfig
from forgetcli.csr import made_writeable
from forgetcli.interactions import Interactions, Vocabulary

Array: TypeAlias = NDArray[np.floating[Any]]
"""float32 or float64: the dtype of the model."""

_BLOCK_ELEMENTS = 1 << 17
"""Factors gathered at a time for predictions: they stay in a core's own cache."""

_BLOCK_ROWS = 1 << 12
"""Rows moved at a time within their own memory."""


@dataclass(frozen=True)
class SideFactors:
    """One side's parameters; row i belongs to the i-th id of that side's vocabulary.

    factors: (n, k), float32 or float64.
    bias:    (n,), same dtype; zeros in a model without biases.
    """

    factors: Array
    bias: Array

    def __post_init__(self) -> None:
        if self.factors.ndim != 2 or self.bias.shape != self.factors.shape[:1]:
            raise ValueError(f"factors {self.factors.shape} and bias {self.bias.shape} do not belong together")
        if self.factors.dtype != self.bias.dtype:
            raise ValueError(f"factors are {self.factors.dtype}, their bias {self.bias.dtype}")
        self.factors.flags.writeable = False
        self.bias.flags.writeable = False

    def __len__(self) -> int:
        return len(self.factors)

    @classmethod
    def without_bias(cls, factors: Array) -> SideFactors:
        """The given factors, with biases of zero."""
        return cls(factors, np.zeros(len(factors), factors.dtype))

    def take(self, rows: NDArray[np.integer[Any]], *, in_place: bool = False) -> SideFactors:
        """These rows, in ascending order; itself where they are all of them. in_place: in the memory of this one, where
        that can be written to; it is of no use afterwards."""
        if len(rows) == len(self):
            return self
        if in_place and made_writeable(self.factors):
            factors, bias = self.factors, self.bias[rows]
            vars(self).clear()  # whoever still holds it shall get an error, not what is left of it
            for begin in range(0, len(rows), _BLOCK_ROWS):  # none comes to lie behind where it was
                some = rows[begin : begin + _BLOCK_ROWS]
                factors[begin : begin + len(some)] = factors[some]
            return SideFactors(factors[: len(rows)], bias)
        factors = np.take(self.factors, rows, axis=0, out=_native.empty(self.factors, len(rows)), mode="clip")
        return SideFactors(factors, self.bias[rows])

    def replaced(self, rows: NDArray[np.integer[Any]], by: SideFactors) -> SideFactors:
        """With these rows', in ascending order, replaced; not a copy where that is all of them, or none."""
        if len(rows) in (0, len(self)):
            return by if len(rows) else self
        factors, bias = _recycled(self.factors), self.bias.copy()
        factors[:] = self.factors
        factors[rows], bias[rows] = by.factors, by.bias
        return SideFactors(factors, bias)

    def squares(self) -> NDArray[np.float64]:
        """(n,) each row's |p|² + b², summed in float64."""
        squares = np.einsum("nk,nk->n", self.factors, self.factors, dtype=np.float64)
        return np.asarray(squares + np.square(self.bias, dtype=np.float64))


def still(side: SideFactors) -> SideFactors:
    """The change that is none."""
    factors = _recycled(side.factors)
    factors.fill(0)
    return SideFactors(factors, np.zeros_like(side.bias))


def plus(side: SideFactors, change: SideFactors) -> SideFactors:
    """Element by element."""
    return SideFactors(np.add(side.factors, change.factors, out=_recycled(side.factors)), side.bias + change.bias)


def minus(side: SideFactors, other: SideFactors) -> SideFactors:
    """Element by element."""
    return SideFactors(np.subtract(side.factors, other.factors, out=_recycled(side.factors)), side.bias - other.bias)


def negative(side: SideFactors) -> SideFactors:
    """Element by element."""
    return SideFactors(np.negative(side.factors, out=_recycled(side.factors)), -side.bias)


def scaled(side: SideFactors, by: float) -> SideFactors:
    """Element by element, in the side's own precision."""
    factor = side.factors.dtype.type(by)
    return SideFactors(np.multiply(side.factors, factor, out=_recycled(side.factors)), side.bias * factor)


def _recycled(like: Array) -> Array:
    """Room for a matrix like this one: memory that is fresh costs more than the arithmetic that fills it."""
    return _native.empty(like, len(like))


@dataclass(frozen=True)
class Factors:
    """Everything that training learns. The prediction for user u and item i is
    user.factors[u] @ item.factors[i], plus global_mean + user.bias[u] + item.bias[i] for explicit models.

    global_mean: μ in rating units; 0 for implicit models.
    """

    user: SideFactors
    item: SideFactors
    global_mean: float

    @property
    def rank(self) -> int:
        """k, the number of columns of both sides' factors."""
        return int(self.item.factors.shape[1])

    def transposed(self) -> Factors:
        """Items in the place of users, and users in the place of items."""
        return Factors(self.item, self.user, self.global_mean)

    def predict(self, users: NDArray[np.integer], items: NDArray[np.integer]) -> NDArray[np.float64]:
        """(n,) predictions, in float64, of the pairs (users[j], items[j]), both (n,) row numbers."""
        predictions = np.empty(len(users))
        step = max(1, _BLOCK_ELEMENTS // self.rank)
        for begin in range(0, len(users), step):
            u, i = users[begin : begin + step], items[begin : begin + step]
            products = np.einsum("nk,nk->n", self.user.factors[u], self.item.factors[i], dtype=np.float64)
            predictions[begin : begin + step] = products + self.user.bias[u] + self.item.bias[i] + self.global_mean
        return predictions


@dataclass(frozen=True)
class HistoryEntry:
    """One step of a model's making.

    kind:      "sweep"; "response" for a second-order unlearning step; "import" where another trainer's model was taken
               over, its metric "apart" being how far the side that was solved last is from its solution.
    objective: on the data of that time, after the step; None where that data held records since forgotten.
    metrics:   validation metrics by name, such as {"rmse": 0.86}; empty without validation data.
    """

    kind: str
    objective: float | None
    metrics: dict[str, float]


@dataclass(frozen=True)
class Model:
    """A trained model: the configuration, the factors with their ids, and usually the data they were fitted to.

    interactions: what remains of the training data, or None in a model saved without it; its vocabularies are
                  `users` and `items`.
    """

    config: TrainConfig
    factors: Factors
    users: Vocabulary
    items: Vocabulary
    history: tuple[HistoryEntry, ...]
    interactions: Interactions | None

    def __post_init__(self) -> None:
        if len(self.factors.user) != len(self.users) or len(self.factors.item) != len(self.items):
            raise ValueError("factors and ids differ in number")
        if self.factors.user.factors.shape[1] != self.factors.item.factors.shape[1]:
            raise ValueError("user and item factors differ in rank")

    def transposed(self) -> Model:
        """Items in the place of users, and users in the place of items: a model that ends its sweeps with the users
        becomes one that ends them with the items, and the other way round."""
        last: Side = "items" if self.config.solved_last == "users" else "users"
        return Model(
            dataclasses.replace(self.config, solved_last=last),
            self.factors.transposed(),
            self.items,
            self.users,
            self.history,
            None if self.interactions is None else self.interactions.transposed(),
        )
