"""Is it gone? Residual memory and membership inference, beside models that never saw the records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from forgetcli.common import CommonGround, Pairs, cautions, forgotten_pairs, remaining_data, still_held
from forgetcli.comparison import Spread
from forgetcli.errors import DataError, UsageError
from forgetcli.interactions import Interactions
from forgetcli.membership import MatchedPairs, attack_scores, auc, bootstrap_aucs, kept_pairs, match_pairs
from forgetcli.model import Factors, Model
from forgetcli.records import ForgetRequest
from forgetcli.revival import Scene, revive
from forgetcli.scores import Scores
from forgetcli.verdict import (
    FEWEST_RETRAINS,
    ROUGH_BAND,
    Attack,
    Audit,
    Finding,
    Membership,
    Memory,
    decide,
    outside_by_chance,
)

_OUTER_PERCENTS = 2.5, 97.5
"""Between them lie 95 % of the bootstrap's replicates."""

SEEMS_A_RETRAIN = (
    "By its history the unlearned model was itself trained on what remains, from the first sweep on. If that is so, it "
    "never saw the records, and what lies outside the retrains' band is its seed's."
)
_OUTSIDE = (Finding.REMEMBERS, Finding.OVERCORRECTED)


def audit(
    unlearned: Model,
    retrained: Sequence[Model],
    original: Model,
    request: ForgetRequest,
    *,
    data: Interactions | None = None,
    seed: int = 0,
) -> Audit:
    """Measures what an unlearned model still knows of what it was asked to forget.

    retrained: at least one; FEWEST_RETRAINS or more, of different seeds, for a verdict.
    original:  the model before forgetting.
    data:      the interactions before forgetting, where the original does not carry them; they say which pairs the
               request's whole users and items mean, and the forgotten ratings.
    seed:      of the matched pairs and the bootstrap.

    Raises UsageError without a retrain or for models of different objectives; DataError when neither the unlearned
    model nor a retrain carries its interactions, when the models have nothing in common, or when the forgotten ratings
    are not known.
    """
    scene, values = _measured(unlearned, retrained, original, request, data)
    explicit = original.config.objective == "explicit"
    held = still_held(unlearned, request)
    memory = residual_memory(scene.factors, scene.pairs, values, folded_in=scene.folded_in)
    rng = np.random.default_rng(seed)
    pairs = match_pairs(scene.seen, scene.pairs, values, rng)
    membership = _membership(scene, pairs, rng, explicit)
    finding, sentence = decide(
        memory,
        membership,
        retrains=len(retrained),
        still_held=held,
        noun="ratings" if explicit else "interactions",
    )
    return Audit(
        finding=finding,
        sentence=sentence,
        retrains=len(retrained),
        still_held=held,
        memory=memory,
        membership=membership,
        scores=_scores(scene, pairs, rng, explicit) if membership else None,
        cautions=(
            *cautions(unlearned, retrained, request),
            *([SEEMS_A_RETRAIN] if _seems_a_retrain(unlearned, held) and finding in _OUTSIDE else []),
            *_cautions(scene, len(retrained)),
        ),
    )


def memory_left(
    unlearned: Model,
    retrained: Sequence[Model],
    original: Model,
    request: ForgetRequest,
    *,
    data: Interactions | None = None,
) -> Memory | None:
    """The memory alone, of what `audit` measures; None where no forgotten pair can be measured."""
    scene, values = _measured(unlearned, retrained, original, request, data)
    return residual_memory(scene.factors, scene.pairs, values, folded_in=scene.folded_in)


def residual_memory(
    models: Sequence[Factors], forgotten: Pairs, values: NDArray[np.float64], *, folded_in: int = 0
) -> Memory | None:
    """See `Memory`; None without pairs.

    models:    the unlearned one, the retrains, the original.
    values:    (n,) r of the pairs, in the unit of predictions.
    folded_in: of the pairs, as in `Memory`.
    """
    if len(forgotten) == 0:
        return None
    unlearned, *retrained, original = (factors.predict(forgotten.users, forgotten.items) for factors in models)
    centre = np.mean(retrained, axis=0)
    scale = float((original - centre) @ (values - centre))
    numbers = range(len(retrained)) if len(retrained) > 1 else ()
    others = [np.mean(retrained[:own] + retrained[own + 1 :], axis=0) for own in numbers]
    floor = [float((retrained[own] - mean) @ (values - mean)) for own, mean in enumerate(others)]
    known = [each / scale for each in floor] if scale > 0 else []
    return Memory(
        pairs=len(forgotten),
        left_out=forgotten.left_out,
        folded_in=folded_in,
        unlearned=float((unlearned - centre) @ (values - centre)) / scale if scale > 0 else None,
        retrained=Spread.of(known) if len(known) >= FEWEST_RETRAINS else None,
        each_retrained=tuple(known),
        rms_to_retrains=float(np.sqrt(np.mean(np.square(unlearned - centre)))),
        rms_between_retrains=float(np.sqrt(np.mean(np.square(retrained[0] - others[0])))) if others else None,
    )


def _measured(
    unlearned: Model,
    retrained: Sequence[Model],
    original: Model,
    request: ForgetRequest,
    data: Interactions | None,
) -> tuple[Scene, NDArray[np.float64]]:
    """The models and the forgotten pairs, with the values that were to be predicted."""
    if not retrained:
        raise UsageError("there is no retrained model to compare with")
    models = [unlearned, *retrained, original]
    if len({model.config.objective for model in models}) > 1:
        raise UsageError("explicit and implicit models cannot be compared: their predictions mean different things")
    ground = CommonGround.of(models, remaining_data(unlearned, retrained))
    scene = revive(ground, forgotten_pairs(request, original, data))
    return scene, _values(scene.pairs, original.config.objective == "explicit")


def _membership(scene: Scene, pairs: MatchedPairs, rng: np.random.Generator, explicit: bool) -> Membership | None:
    if len(pairs) == 0:
        return None
    scores = [attack_scores(factors, pairs, explicit=explicit) for factors in scene.factors]
    *released, original = scores
    attacks = [*released, *(original - each for each in released)]
    aucs = np.array([auc(each) for each in attacks])
    replicates = bootstrap_aucs(attacks, pairs.users, rng)
    blind, informed = slice(0, len(released)), slice(len(released), None)
    return Membership(
        pairs=len(pairs),
        unmatched=pairs.unmatched,
        blind=_attack(aucs[blind], replicates[:, blind], auc(original)),
        informed=_attack(aucs[informed], replicates[:, informed], None),
    )


def _scores(scene: Scene, pairs: MatchedPairs, rng: np.random.Generator, explicit: bool) -> Scores:
    kept_users, kept_items, kept_values = kept_pairs(scene.seen, pairs, rng)
    kinds = {
        "forgotten": (pairs.users, pairs.items, pairs.values),
        "kept": (kept_users, kept_items, kept_values),
        "never_seen": (pairs.users, pairs.others, pairs.values),
    }

    def scored(factors: Factors, kind: str) -> NDArray[np.float64]:
        users, items, values = kinds[kind]
        predictions = factors.predict(users, items)
        return np.abs(values - predictions) if explicit else predictions

    unlearned, *retrained, original = scene.factors
    models = {"original": [original], "unlearned": [unlearned], "retrained": retrained}
    return Scores.of(
        "distance" if explicit else "prediction",
        {name: {kind: [scored(each, kind) for each in some] for kind in kinds} for name, some in models.items()},
    )


def _attack(aucs: NDArray[np.float64], replicates: NDArray[np.float64], original: float | None) -> Attack:
    """aucs: of the unlearned model, then of the retrains; replicates: (m, the same)."""
    excess = replicates[:, 0] - replicates[:, 1:].mean(axis=1)
    return Attack(
        unlearned=float(aucs[0]),
        interval=_interval(replicates[:, 0]),
        retrained=Spread.of(aucs[1:].tolist()),
        each_retrained=tuple(aucs[1:].tolist()),
        original=original,
        excess=float(aucs[0] - aucs[1:].mean()),
        excess_interval=_interval(excess),
    )


def _interval(replicates: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(replicates, _OUTER_PERCENTS)
    return float(low), float(high)


def _values(forgotten: Pairs, explicit: bool) -> NDArray[np.float64]:
    """What a model that saw the pairs was asked to predict."""
    if not explicit:
        return np.ones(len(forgotten))
    if forgotten.values is None:
        raise DataError(
            "the forgotten ratings are not known: the original model was saved without its interactions",
            hint="give the data that it was trained on as `data`",
        )
    return forgotten.values


def _seems_a_retrain(model: Model, held: int | None) -> bool:
    """Whether the model has had nothing but sweeps on data without the records, as far as its file says. Forgetting
    leaves the entries from before without an objective; a file can be made to say anything."""
    return held == 0 and all(step.kind == "sweep" and step.objective is not None for step in model.history)


def _cautions(scene: Scene, retrains: int) -> Iterator[str]:
    if scene.folded_in:
        yield (
            f"Of {_pairs(scene.folded_in)} the user or the item is gone from the models. It was folded back in with "
            "just what was forgotten, into each model, to measure what the rest of the model keeps of that."
        )
    if scene.pairs.left_out:
        yield (
            f"Of {_pairs(scene.pairs.left_out)} the user or the item is gone from the models and could not be folded "
            "back in: what is left there is not measured."
        )
    if retrains >= FEWEST_RETRAINS and outside_by_chance(retrains) > ROUGH_BAND:
        yield (
            f"The band of {retrains} retrains is rough: {outside_by_chance(retrains):.0%} of models that never saw the "
            "pairs lie outside it by chance. More retrains sharpen it."
        ).replace("%", " %")


def _pairs(number: int) -> str:
    return f"{number:,} forgotten pair{'s' if number != 1 else ''}"
