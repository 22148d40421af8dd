"""What a report says and in which order, whatever it is written in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forgetcli.report import sheet
from forgetcli.report.comparison import notes, what_was_compared
from forgetcli.report.sheet import Row, Sheet
from forgetcli.verdict import Finding

if TYPE_CHECKING:
    from forgetcli.report.findings import Findings

TITLE = "What is left of the forgotten records"
WITHOUT_AUDIT = (
    "No verdict: what was to be forgotten and the model from before are not both given (--records and --original). "
    "Below is how the models differ."
)
WORDS = {
    Finding.FORGOTTEN: "Forgotten",
    Finding.REMEMBERS: "Not forgotten",
    Finding.OVERCORRECTED: "Over-corrected",
    Finding.UNDECIDED: "Undecided",
}
NO_VERDICT = "No verdict"

GLOSSARY = (
    (
        "Memory",
        "Training on a record pulls its prediction toward its value. Memory is how far the predictions of the "
        "forgotten pairs still lean that way, from the retrains' mean: 100 % in the original model, 0 % up to noise in "
        "one that never saw the pairs.",
    ),
    (
        "The retrains' band",
        "Two retrains differ by the seed of their starting factors. Each one's memory, measured against the others, "
        "is noise; the band is their mean ± two standard deviations.",
    ),
    (
        "An attacker's AUC",
        "Of a forgotten pair and a matched one that was never there (same user, item of like popularity), how often "
        "the attacker picks the forgotten one: 0.5 is guessing. People choose what they like, so it is above 0.5 "
        "against a retrain too; that is the floor.",
    ),
    (
        "Informed attacker",
        "One who also holds the original model and looks at what changed. Nothing that changes a model prevents that: "
        "the original and its backups must go.",
    ),
    (
        "Share of the top 10, rank-biased overlap",
        "How many recommendations two models have in common, and the same with the first places counting more: 1 is "
        "equal, 0 disjoint.",
    ),
    (
        "Divergence",
        "Jensen–Shannon divergence of a user's scores of all items, as probabilities (softmax): 0 is equal, 1 bit "
        "nothing in common.",
    ),
    (
        "Relative gradient",
        "How far from a stationary point of the objective: 0 where further training would change nothing.",
    ),
)


@dataclass(frozen=True)
class Section:
    """A heading, the pictures by name, then the tables."""

    title: str
    pictures: tuple[str, ...]
    sheets: tuple[Sheet, ...]


def verdict(findings: Findings) -> tuple[str, str]:
    """In a word, and in a sentence."""
    audit = findings.audit
    return (NO_VERDICT, WITHOUT_AUDIT) if audit is None else (WORDS[audit.finding], audit.sentence)


def cautions(findings: Findings) -> list[str]:
    """What the figures cannot tell."""
    return notes(findings.comparison, findings.audit, findings.cost)


def compared(findings: Findings) -> str:
    """What was compared, in a sentence or two."""
    return what_was_compared(findings.comparison)


def sections(findings: Findings) -> Iterator[Section]:
    """The report's body."""
    comparison, audit = findings.comparison, findings.audit
    if findings.limits:
        yield Section("Checks", (), (_checks(findings),))
    if audit is not None:
        tables = [sheet.what_is_left(audit)] if audit.memory or audit.membership else []
        tables += [sheet.score_quartiles(audit.scores)] if audit.scores else []
        yield Section("Forgetting", ("memory", "attack", "scores"), tuple(tables))
    agreement = (sheet.agreements(comparison), sheet.distances(comparison, largest=True))
    yield Section("Consistency", ("agreement",), agreement)
    yield Section("Accuracy" if comparison.accuracy else "Training", (), (sheet.levels(comparison),))
    yield Section("Cost", ("convergence",), (sheet.costs(comparison, findings.cost),))
    yield Section("The models", (), (_models(findings),))


def _checks(findings: Findings) -> Sheet:
    rows = tuple(
        Row(
            name,
            (f"{findings.figures[name]:.4g}", f"{limit:g}", "holds" if findings.figures[name] <= limit else "FAILS"),
        )
        for name, limit in findings.limits.items()
    )
    return Sheet("limits asked for", ("found", "limit", "check"), rows)


def _models(findings: Findings) -> Sheet:
    rows = tuple(
        Row(
            name,
            (
                model.role,
                f"{model.users:,}",
                f"{model.items:,}",
                sheet.NOT_KNOWN if model.interactions is None else f"{model.interactions:,}",
                str(model.seed),
            ),
        )
        for name, model in zip(findings.names, findings.comparison.models, strict=True)
    )
    return Sheet("models", ("role", "users", "items", "interactions", "seed"), rows)
