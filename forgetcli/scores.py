"""How models score forgotten pairs, kept ones and pairs never seen: what an attacker looks at, as distributions.

Before forgetting the forgotten pairs score like the kept ones; a model that never saw them scores them like pairs that
were never there, but for what people's taste gives away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BINS = 40
"""Enough to show a shape, and at 10,000 pairs some hundred in each."""

OUTERMOST_PERCENTS = 0.5, 99.5
"""The bins lie between them, so that a few outliers do not press all others together."""

KINDS = ("forgotten", "kept", "never_seen")
"""Of pairs: those forgotten; others of the same users that remain; those matched to the forgotten ones."""

MODELS = ("original", "unlearned", "retrained")
"""Whose scores; the retrains' together."""

Measure = Literal["distance", "prediction"]


@dataclass(frozen=True)
class Distribution:
    """Of the scores of some pairs.

    shares:    (40,) how many of them lie in each bin, as a fraction; the few beyond the bins are missing.
    quartiles: the lower one, the median, the upper one.
    """

    pairs: int
    shares: tuple[float, ...]
    quartiles: tuple[float, float, float]

    @classmethod
    def of(cls, scores: NDArray[np.float64], edges: NDArray[np.float64]) -> Distribution:
        """scores: at least one. edges: (BINS + 1,)."""
        low, middle, high = np.percentile(scores, (25, 50, 75)).tolist()
        shares = np.histogram(scores, edges)[0] / len(scores)
        return cls(len(scores), tuple(shares.tolist()), (low, middle, high))


@dataclass(frozen=True)
class Scores:
    """The distributions of several kinds of pairs in several models, on one scale.

    measure: "distance", for explicit models: of the prediction from the rating, for a pair never seen from that of the
             forgotten pair it is matched to. "prediction", for implicit ones.
    edges:   (41,), of the bins, increasing.
    models:  by model (original, unlearned, retrained), then by kind of pair (forgotten, kept, never_seen); a kind
             without pairs is missing.
    """

    measure: Measure
    edges: tuple[float, ...]
    models: dict[str, dict[str, Distribution]]

    @classmethod
    def of(cls, measure: Measure, scores: Mapping[str, Mapping[str, Sequence[NDArray[np.float64]]]]) -> Scores:
        """scores: by MODELS, then by KINDS, of one model or of several together; some of them not empty."""
        joined = {
            model: {kind: np.concatenate(each) for kind, each in kinds.items() if sum(map(len, each))}
            for model, kinds in scores.items()
        }
        everything = np.concatenate([each for kinds in joined.values() for each in kinds.values()])
        low, high = np.percentile(everything, OUTERMOST_PERCENTS)
        if measure == "distance":
            low = 0.0
        edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
        models = {
            model: {kind: Distribution.of(each, edges) for kind, each in kinds.items()}
            for model, kinds in joined.items()
        }
        return cls(measure, tuple(edges.tolist()), models)
