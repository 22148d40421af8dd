"""A model's predictions as inner products alone, for programs that know nothing else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgetcli.errors import UsageError
from forgetcli.ids import Ids
from forgetcli.model import Array, Model


@dataclass(frozen=True, eq=False)
class Serving:
    """What goes out: no interactions, no history.

    user_factors, item_factors: (n, k'), row by row for the ids.
    user_bias, item_bias:       (n,), or None where predictions do without.
    global_mean:                or None where predictions do without.
    """

    user_ids: Ids
    item_ids: Ids
    user_factors: Array
    item_factors: Array
    user_bias: Array | None = None
    item_bias: Array | None = None
    global_mean: float | None = None

    @property
    def has_offsets(self) -> bool:
        """Whether a prediction is more than an inner product."""
        return self.user_bias is not None or self.item_bias is not None or self.global_mean is not None

    @classmethod
    def of(cls, model: Model) -> Serving:
        """All of a model that predictions need."""
        factors, explicit = model.factors, model.config.objective == "explicit"
        biases = explicit and model.config.biases
        return cls(
            model.users.ids,
            model.items.ids,
            factors.user.factors,
            factors.item.factors,
            factors.user.bias if biases else None,
            factors.item.bias if biases else None,
            factors.global_mean if explicit and model.config.global_mean else None,
        )

    def folded(self) -> Serving:
        """The same predictions as inner products: [u, b_u + μ, 1] · [v, 1, b_v]."""
        if not self.has_offsets:
            return self
        mean = self.global_mean or 0.0
        return Serving(
            self.user_ids,
            self.item_ids,
            _beside(self.user_factors, _or_zeros(self.user_bias, self.user_factors) + mean, 1.0),
            _beside(self.item_factors, 1.0, _or_zeros(self.item_bias, self.item_factors)),
        )

    def augmented(self) -> Serving:
        """The same ranking of items by cosine as by inner product: [u, 0], and [v, √(φ² − |v|²)] with φ the largest
        |v| (Bachrach et al. 2014, "Speeding up the Xbox recommender system", §3)."""
        squares = np.einsum("nk,nk->n", self.item_factors, self.item_factors, dtype=np.float64)
        filling = np.sqrt(np.maximum(squares.max() - squares, 0.0))
        return dataclasses.replace(
            self, user_factors=_beside(self.user_factors, 0.0), item_factors=_beside(self.item_factors, filling)
        )


def inner_products(model: Model, form: str, *, fold_biases: bool) -> Serving:
    """The model for a format that holds factors alone. Raises UsageError where that would drop something."""
    serving = Serving.of(model)
    if fold_biases:
        return serving.folded()
    if serving.has_offsets:
        raise UsageError(
            f"predictions of this model need its mean and biases, and {form} holds factors alone",
            hint="`fold_biases` puts them into two more factors, with the same predictions",
        )
    return serving


def _or_zeros(bias: Array | None, factors: Array) -> NDArray[np.float64]:
    return np.zeros(len(factors)) if bias is None else bias.astype(np.float64)


def _beside(factors: Array, *columns: NDArray[np.float64] | float) -> Array:
    wide = np.empty((len(factors), factors.shape[1] + len(columns)), factors.dtype)
    wide[:, : factors.shape[1]] = factors
    for place, column in enumerate(columns, factors.shape[1]):
        wide[:, place] = column
    return wide
