"""What a comparison of models found, as values; `comparing` makes them.

Everywhere the unlearned model's difference from the retrains stands beside the retrains' from each other: two retrains
differ as well, by the seed of their starting factors, and only what goes beyond that is the unlearning's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

TOP_N = 10
"""The length of the recommendations that are compared."""

CELLS = ("forgotten", "kept", "kept_asked", "kept_sharing", "random")
"""Of predictions: the forgotten pairs; a sample of the remaining ones, of everyone and of each group of users; random
pairs of a user and an item."""

GROUPS = ("everyone", "asked", "sharing")
"""Of users: everyone; those with a forgotten pair; others who have an item of a forgotten pair among what remains."""

ROWS = ("users", "users_asked", "users_sharing", "items")
"""Of factors: all users, those of each group, all items."""

FACTORS_CAVEAT = (
    "Factors are a poor witness: models that predict alike can differ widely in the factors of rows with few "
    "interactions and in directions of little weight. Read them only beside the retrains' own."
)


@dataclass(frozen=True)
class Spread:
    """One figure's values over several models, or pairs of models.

    deviation: the sample standard deviation; None for a single value. Those of pairs that share a model are not
               independent: it describes, and tests nothing.
    """

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """values: at least one."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return cls(float(np.mean(values)), deviation, len(values))


@dataclass(frozen=True)
class Contrast:
    """A difference between two models.

    unlearned: between the unlearned model and each retrain.
    retrained: between each two retrains, the yardstick; None with a single retrain.
    original:  between the original model and each retrain; None without the original.
    """

    unlearned: Spread
    retrained: Spread | None
    original: Spread | None


@dataclass(frozen=True)
class Reading:
    """A figure of one model: the unlearned one's, the retrains', the original's (None without it)."""

    unlearned: float
    retrained: Spread
    original: float | None

    @property
    def gap(self) -> float:
        """How far the unlearned model is above the retrains' mean, as a fraction of it; 0 when both are 0."""
        difference = self.unlearned - self.retrained.mean
        return difference / abs(self.retrained.mean) if difference else 0.0


@dataclass(frozen=True)
class Subject:
    """One of the models that are compared, as it came.

    role:         "unlearned", "retrained" or "original".
    users, items: how many it has.
    interactions: how many it carries; None for a model without.
    steps:        of its making, in order: "sweep", "response".
    objectives:   after each step, on the data of that time; None where that data held records since forgotten.
    """

    role: str
    seed: int
    users: int
    items: int
    interactions: int | None
    steps: tuple[str, ...]
    objectives: tuple[float | None, ...]


@dataclass(frozen=True)
class PredictionContrast:
    """Differences of predictions, in rating units for explicit models.

    pairs: how many were predicted.
    """

    pairs: int
    rms: Contrast
    maximum: Contrast


@dataclass(frozen=True)
class RankingContrast:
    """Agreement of the recommendations of a group of users, in the mean over them; 1 is equal.

    users:      how many had their recommendations compared: all of the group, or a sample.
    overlap:    the share of the first 10 items in common.
    rbo:        rank-biased overlap of the first 10 items.
    divergence: the Jensen–Shannon divergence, in bits, of the softmax of a user's scores of all items; 0 is equal.
                Over fewer users than the others. Scores of an implicit model lie between about 0 and 1, so that
                their softmax is nearly flat and this is small for any two.
    """

    users: int
    overlap: Contrast
    rbo: Contrast
    divergence: Contrast


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    models:             the unlearned one, the retrains, the original.
    retrains:           how many retrained models there were.
    users, items:       how many all models have in common; everything below is about these.
    forgotten:          forgotten pairs among them; None without a request.
    forgotten_left_out: forgotten pairs whose user or item some model does not have; None without a request.
    still_held:         interactions of the request that the unlearned model still carries: should be 0. None without
                        a request, or for a model without its interactions.
    factors:            relative errors of the rows of users, users_asked, users_sharing and items (see ROWS), after one
                        alignment of all; a group without users is missing, and all when the ranks differ. They are a
                        poor witness, to be read beside the retrains' own.
    predictions:        by kind of pair: forgotten, kept, kept_asked, kept_sharing, random (see CELLS); those that there
                        are none of are missing.
    objective:          on the remaining data.
    gradient:           the relative gradient there: 0 where further training changes nothing.
    rankings:           by group of users: everyone, asked, sharing (see GROUPS); a group without users is missing.
    accuracy:           held-out metrics by name, by group ("everyone", "asked"); empty without a test set.
    sweeps:             how many sweeps each model has had in its life.
    sweeps_without:     how many of them without the records, to the unlearned model and the retrains; None for the
                        original.
    response_steps:     second-order steps that the unlearned model has had since it last had the records.
    cautions:           what these models cannot tell, in sentences.
    """

    models: tuple[Subject, ...]
    retrains: int
    users: int
    items: int
    forgotten: int | None
    forgotten_left_out: int | None
    still_held: int | None
    factors: dict[str, Contrast]
    predictions: dict[str, PredictionContrast]
    objective: Reading
    gradient: Reading
    rankings: dict[str, RankingContrast]
    accuracy: dict[str, dict[str, Reading]]
    sweeps: Reading
    sweeps_without: Reading
    response_steps: int
    cautions: tuple[str, ...]

    def figures(self) -> dict[str, float]:
        """The figures that a limit can be set on, by name; those that could not be had are missing.

        still-held:     see `still_held`.
        objective-gap:  how far the objective is above the retrains' mean, as a fraction of it.
        prediction-rms: between the unlearned model and the retrains on the forgotten pairs, over the same among the
                        retrains; on the kept pairs where there are no forgotten ones.
        overlap-loss:   1 - everyone's overlap of recommendations, over the same among the retrains.
        """
        values = {"objective-gap": self.objective.gap}
        if self.still_held is not None:
            values["still-held"] = float(self.still_held)
        rms = self.predictions.get("forgotten", self.predictions["kept"]).rms
        if rms.retrained is not None and rms.retrained.mean > 0:
            values["prediction-rms"] = rms.unlearned.mean / rms.retrained.mean
        overlap = self.rankings["everyone"].overlap
        if overlap.retrained is not None and overlap.retrained.mean < 1:
            values["overlap-loss"] = (1 - overlap.unlearned.mean) / (1 - overlap.retrained.mean)
        return values

    def to_dict(self) -> dict[str, Any]:
        """As plain values, in the order of the fields."""
        return dataclasses.asdict(self)
