"""Residual memory on the spot: a model that has just forgotten, beside a few retrains made for the purpose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forgetcli.als import SweepReport, train
from forgetcli.auditing import memory_left
from forgetcli.errors import UsageError
from forgetcli.interactions import Interactions
from forgetcli.model import Model
from forgetcli.records import ForgetRequest
from forgetcli.verdict import FEWEST_RETRAINS, Finding, Memory, decide, outside_by_chance

SEEDS = 2**63
"""There are so many; see `TrainConfig.seed`."""


@dataclass(frozen=True)
class Verification:
    """What a few retrains say of a model that has forgotten.

    retrains:          how many were made.
    finding:           the verdict on the memory.
    sentence:          the verdict in plain words.
    memory:            None where no forgotten pair has its user or its item in every model.
    by_chance:         the fraction of models that never saw the records which would lie outside the band of so few
                       retrains.
    """

    retrains: int
    finding: Finding
    sentence: str
    memory: Memory | None
    by_chance: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, in the order of the fields, with the memory's band."""
        values = dataclasses.asdict(self) | {"finding": self.finding.value}
        if self.memory is not None:
            values["memory"]["band"] = self.memory.band
        return values


def verify(
    unlearned: Model,
    original: Model,
    request: ForgetRequest,
    *,
    seeds: int = FEWEST_RETRAINS,
    data: Interactions | None = None,
    trained_anew: bool = False,
    threads: int = 0,
    on_step: Callable[[str], None] | None = None,
) -> Verification:
    """Retrains on what the request left, and measures the model's memory of the rest against that.

    The retrains have all the sweeps of the model. Fewer would be cheaper and wrong: they know less of everything, so
    that a model which never saw the records seems to remember them. With two thirds of the sweeps that is as much as
    1 %, with a third 6 %, on MovieLens.

    unlearned: with what is left of the data, as `unlearn.forget` returns it.
    original:  the model before.
    seeds:     how many retrains, at least FEWEST_RETRAINS, of seeds that follow the model's own.
    data:      the interactions before, where the original does not carry them.
    trained_anew:
               whether the unlearned model is a retrain itself (`ForgetResult.method` says so): it is measured all the
               same, but one such model in a few lies outside the band of others by its seed alone.
    on_step:   called with a few words on each sweep.

    Raises UsageError for too few seeds, DataError when the forgotten ratings are not known.
    """
    if seeds < FEWEST_RETRAINS:
        raise UsageError(f"`seeds` must be at least {FEWEST_RETRAINS}: fewer do not show their own noise")
    left = unlearned.interactions
    if left is None:
        raise UsageError("a model without its interactions cannot be verified: there is nothing to retrain on")
    retrained = [
        train(
            left,
            dataclasses.replace(unlearned.config, seed=(unlearned.config.seed + number) % SEEDS),
            threads=threads,
            on_progress=_words(number, seeds, on_step),
        )
        for number in range(1, seeds + 1)
    ]
    memory = memory_left(unlearned, retrained, original, request, data=data)
    noun = "ratings" if original.config.objective == "explicit" else "interactions"
    finding, sentence = decide(memory, None, retrains=seeds, still_held=0, noun=noun, trained_anew=trained_anew)
    return Verification(seeds, finding, sentence, memory, outside_by_chance(seeds))


def _words(number: int, of: int, on_step: Callable[[str], None] | None) -> Callable[[SweepReport], None] | None:
    if on_step is None:
        return None
    return lambda report: on_step(f"retrain {number} of {of}, sweep {report.sweep} of {report.sweeps}")
