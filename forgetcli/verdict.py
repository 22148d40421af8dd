"""What an audit found, as values, and what that comes to in plain words; `auditing` makes them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit

from forgetcli.comparison import Spread
from forgetcli.scores import Scores

FEWEST_RETRAINS = 3
"""With fewer there is no standard deviation of one retrain against the mean of others that could be trusted."""

BAND_DEVIATIONS = 2.0
"""Half the width of the retrains' band: where about 95 % of further retrains lie, once there are many."""

ROUGH_BAND = 0.1
"""A band that more than this fraction of further retrains would miss is called rough: that of fewer than nine."""

WIDEST_BAND = 0.25
"""Of two standard deviations: above it a model with a quarter of its memory left would pass, so nothing is decided."""


class Finding(Enum):
    """What the audit came to."""

    FORGOTTEN = "forgotten"
    """As far as can be seen, the model is like one that never saw the records."""
    REMEMBERS = "remembers"
    """It knows more of them than such a model."""
    OVERCORRECTED = "over-corrected"
    """It shuns them more than such a model does, which betrays them as well."""
    UNDECIDED = "undecided"
    """These models cannot tell."""


@dataclass(frozen=True)
class Memory:
    """How much of the forgotten pairs is left in the predictions: 1 in the original model, 0 in one that never saw
    them, up to noise.

    With F the forgotten pairs, r their values (1 for implicit models), p̄ the mean prediction over the retrains and
    e = r - p̄, it is ⟨p - p̄, e⟩ / ⟨p_original - p̄, e⟩ over F. The direction is e and not p_original - p̄, which would
    share the retrains' noise with what is measured.

    pairs:                 of F, those that count.
    left_out:              of F, those whose user or item some model does not have.
    folded_in:             of `pairs`, those whose user or item is in no model but was folded back in.
    unlearned:             the unlearned model's; None where the original shows no memory to begin with.
    retrained:             the noise: each retrain's against the mean of the others; None with fewer than
                           three.
    each_retrained:        the same of each one; empty with a single one.
    rms_to_retrains:       of the unlearned model's predictions of F from p̄.
    rms_between_retrains:  of the first retrain's from the mean of the others; None with a single one. A yardstick for
                           the seed's part in predictions.
    """

    pairs: int
    left_out: int
    folded_in: int
    unlearned: float | None
    retrained: Spread | None
    each_retrained: tuple[float, ...]
    rms_to_retrains: float
    rms_between_retrains: float | None

    @property
    def band(self) -> tuple[float, float] | None:
        """Where a model that never saw the pairs is expected: the retrains' mean ± BAND_DEVIATIONS standard
        deviations. Few retrains know their own deviation badly: see `outside_by_chance`."""
        if self.retrained is None or self.retrained.deviation is None:
            return None
        reach = BAND_DEVIATIONS * self.retrained.deviation
        return self.retrained.mean - reach, self.retrained.mean + reach


def outside_by_chance(retrains: int) -> float:
    """The fraction of further retrains, models that never saw the pairs, that lie outside the band of so many: 0.23
    with three, 0.12 with six, 0.05 in the end.

    A further value, less the mean of n, over their standard deviation and √(1 + 1/n) has Student's t distribution of
    n - 1 degrees of freedom. retrains: at least 2.
    """
    return float(2 * stdtr(retrains - 1, -BAND_DEVIATIONS / np.sqrt(1 + 1 / retrains)))


@dataclass(frozen=True)
class Attack:
    """An attempt to tell forgotten pairs from matched ones that were never there (see `membership`).

    unlearned:       the AUC against the unlearned model: 0.5 is blind, 1 always right.
    interval:        where it lies with 95 %, by a bootstrap over users.
    retrained:       the same attack on each retrain: the floor, which is above 0.5 since people choose what they like.
    each_retrained:  of each one.
    original:        against the original model; None for the attacker who holds it.
    excess:          `unlearned` above the retrains' mean.
    excess_interval: where that lies with 95 %, by the same bootstrap.
    """

    unlearned: float
    interval: tuple[float, float]
    retrained: Spread
    each_retrained: tuple[float, ...]
    original: float | None
    excess: float
    excess_interval: tuple[float, float]

    @property
    def succeeds(self) -> bool:
        """Whether the attack is better than against models that never saw the pairs, beyond two doubts: which users
        there are (the excess's interval is above 0), and which seed the model has (the excess is above what 95 % of
        further retrains would have, by Student's t). False with a single retrain, whose seed's part is not known."""
        retrains, deviation = self.retrained.count, self.retrained.deviation
        if deviation is None:
            return False
        reach = float(stdtrit(retrains - 1, 0.975)) * deviation * np.sqrt(1 + 1 / retrains)
        return bool(self.excess_interval[0] > 0 and self.excess > reach)


@dataclass(frozen=True)
class Membership:
    """Two attackers' success.

    pairs:     forgotten pairs attacked, each with a match: all of them or a sample.
    unmatched: forgotten pairs without a match.
    blind:     the attacker has the released model alone.
    informed:  it also holds the original model and looks at what changed. No removal prevents that: even a perfect
               retrain changes most where something was removed. It is no part of the verdict, since it finds more the
               less else changes: retrains of other seeds hide the change in their noise, and an unlearned model that
               is nearer to the original does not. What it says is that the original must not linger.
    """

    pairs: int
    unmatched: int
    blind: Attack
    informed: Attack


@dataclass(frozen=True)
class Audit:
    """The audit's outcome.

    finding:           the verdict.
    sentence:          the verdict in plain words.
    retrains:          how many retrained models it rests on.
    still_held:        interactions of the request that the unlearned model still carries; None without its data.
    memory:            None where no forgotten pair has its user or its item in every model.
    membership:        None as well where no pair could be matched.
    scores:            how the pairs that were attacked score beside others; None without them.
    cautions:          what these models cannot tell, in sentences.
    """

    finding: Finding
    sentence: str
    retrains: int
    still_held: int | None
    memory: Memory | None
    membership: Membership | None
    scores: Scores | None
    cautions: tuple[str, ...]

    def figures(self) -> dict[str, float]:
        """The figures that a limit can be set on, by name; those that could not be had are missing.

        memory:          what is left, as a fraction of the original's.
        memory-excess:   its distance from the retrains' mean, on either side: to over-correct betrays as well.
        attack-auc, attack-excess:     of the attacker with the released model alone.
        informed-auc, informed-excess: of the one who also holds the original.
        still-held:      see `still_held`.
        """
        values: dict[str, float] = {}
        if self.memory is not None and self.memory.unlearned is not None:
            values["memory"] = self.memory.unlearned
            if self.memory.retrained is not None:
                values["memory-excess"] = abs(self.memory.unlearned - self.memory.retrained.mean)
        if self.membership is not None:
            for name, attack in (("attack", self.membership.blind), ("informed", self.membership.informed)):
                values |= {f"{name}-auc": attack.unlearned, f"{name}-excess": attack.excess}
        if self.still_held is not None:
            values["still-held"] = float(self.still_held)
        return values

    def to_dict(self) -> dict[str, Any]:
        """As plain values, in the order of the fields, with the memory's band."""
        values = dataclasses.asdict(self) | {"finding": self.finding.value}
        if self.memory is not None:
            values["memory"]["band"] = self.memory.band
        return values


def decide(
    memory: Memory | None,
    membership: Membership | None,
    *,
    retrains: int,
    still_held: int | None,
    noun: str,
    trained_anew: bool = False,
) -> tuple[Finding, str]:
    """The verdict, and in plain words.

    noun:         what was forgotten, in the plural.
    trained_anew: whether the model is known to be a retrain itself: then its distance from others is its seed's.
    """
    if still_held:
        return Finding.REMEMBERS, f"The model still carries {still_held:,} of the {noun} that were to go."
    if trained_anew:
        return Finding.FORGOTTEN, _sentence_of_retrain(memory, retrains, noun)
    if memory is None:
        return Finding.UNDECIDED, (
            f"None of the forgotten {noun} has its user or its item in every model: what is left of them cannot be "
            "measured on them."
        )
    what = f"the {memory.pairs:,} forgotten {noun}"
    if memory.unlearned is None:
        return Finding.UNDECIDED, f"The original model shows no memory of {what}: there is nothing to measure."
    left, band, themselves = percent(memory.unlearned), memory.band, f"{retrains} retrains show among themselves"
    if band is None or memory.retrained is None:
        return Finding.UNDECIDED, (
            f"{left} of the memory of {what} seems to be left, but {retrains} retrained model"
            f"{' does' if retrains == 1 else 's do'} not show how much of that is noise: it takes at least "
            f"{FEWEST_RETRAINS}, of different seeds."
        )
    shown = _from_to(band)
    if memory.unlearned > band[1]:
        return Finding.REMEMBERS, f"{left} of the memory of {what} is left, more than {themselves}: {shown}."
    if membership is not None and membership.blind.succeeds:
        return Finding.REMEMBERS, (
            f"An attacker tells {what} from pairs that were never there better than against {retrains} retrains: "
            f"AUC {membership.blind.unlearned:.4f} against {membership.blind.retrained.mean:.4f}."
        )
    if (band[1] - band[0]) / 2 > WIDEST_BAND:
        return Finding.UNDECIDED, (
            f"What {themselves} of {what}, {shown}, is too uncertain to tell: more retrains are needed, or more pairs."
        )
    if memory.unlearned < band[0]:
        return Finding.OVERCORRECTED, (
            f"The model shuns {what} more than one that never saw them: {left} of their memory is left, "
            f"and {themselves} {shown}."
        )
    return Finding.FORGOTTEN, (
        f"Nothing of {what} can be found beyond what {themselves}: {left} of their memory, where the retrains' band "
        f"is {shown}."
    )


def _sentence_of_retrain(memory: Memory | None, retrains: int, noun: str) -> str:
    sentence = f"The model was trained anew and has never seen the {noun} that were to go"
    if memory is None or memory.unlearned is None or memory.band is None:
        return f"{sentence}."
    return (
        f"{sentence}: what looks like {percent(memory.unlearned)} of their memory is its seed's, where {retrains} "
        f"retrains of other seeds show {_from_to(memory.band)}."
    )


def _from_to(band: tuple[float, float]) -> str:
    return " to ".join(map(percent, band))


def percent(fraction: float) -> str:
    """With one decimal, a true minus and no minus before zero."""
    rounded = round(100 * fraction, 1) + 0.0
    return f"{rounded:.1f} %".replace("-", "−")
