"""The tables of a comparison, whatever they are drawn as: names and figures, already written for people."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from forgetcli.comparison import CELLS, GROUPS, ROWS, TOP_N, Contrast, Reading, Spread
from forgetcli.report.text import count
from forgetcli.verdict import percent

if TYPE_CHECKING:
    from forgetcli.comparison import Comparison
    from forgetcli.runs import Cost, Seconds
    from forgetcli.scores import Scores
    from forgetcli.verdict import Attack, Audit

GROUP_NAMES = dict(zip(GROUPS, ("everyone", "who asked", "sharing items"), strict=True))
CELL_NAMES = dict(
    zip(CELLS, ("forgotten", "kept", "kept, asked", "kept, sharing", "random"), strict=True),
)
ROW_NAMES = dict(zip(ROWS, ("all users", "who asked", "sharing items", "all items"), strict=True))
KIND_NAMES = {"forgotten": "forgotten", "kept": "kept", "never_seen": "never seen"}
MODEL_NAMES = {"original": "original, before", "unlearned": "unlearned, after", "retrained": "retrained"}
MEASURE_NAMES = {"distance": "distance of the prediction from the rating", "prediction": "prediction"}

SIGNIFICANT_DIGITS = 3
MOST_PLACES = 4
"""Behind the point: what is smaller is as good as zero, and three columns of figures have to fit beside a name."""
AUC_PLACES = METRIC_PLACES = 4
NOT_KNOWN = "–"
MILLI = 1000

Value = TypeVar("Value")


@dataclass(frozen=True)
class Row:
    """A name and its figures; without figures it is the heading of the indented rows that follow."""

    name: str
    cells: tuple[str, ...] = ()
    indented: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table.

    title:    what it is about, over the names.
    headings: of the figures' columns.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


def what_is_left(audit: Audit) -> Sheet:
    """Memory, and both attackers' success."""
    rows = []
    if audit.memory is not None:
        memory = audit.memory
        spread = None if memory.retrained is None else Spread(*_times(memory.retrained, 100))
        rows.append(
            Row(
                f"memory of {count(memory.pairs, 'pair')}",
                (
                    NOT_KNOWN if memory.unlearned is None else percent(memory.unlearned),
                    NOT_KNOWN if spread is None else f"{_plain(spread, 1)} %",
                    "100 %",
                ),
            )
        )
        if memory.band is not None:
            low, high = map(percent, memory.band)
            rows.append(Row("the retrains' band", ("", f"{low} to {high}", ""), indented=True))
    if audit.membership is not None:
        rows += _attack_rows("an attacker's AUC", audit.membership.blind)
        rows += _attack_rows("with the original", audit.membership.informed)
    return Sheet("what is left", ("unlearned", "retrained", "original"), tuple(rows))


def distances(comparison: Comparison, *, largest: bool = False) -> Sheet:
    """How far predictions and factors are apart. largest: also the largest differences of predictions."""
    predictions = {
        f"{each.pairs:,} {CELL_NAMES[name]}": each for name, each in _in_order(comparison.predictions, CELLS)
    }
    rows = contrast_rows("predictions, RMS", {name: each.rms for name, each in predictions.items()})
    if largest:
        rows += contrast_rows("predictions, largest", {name: each.maximum for name, each in predictions.items()})
    factors = {ROW_NAMES[name]: each for name, each in _in_order(comparison.factors, ROWS)}
    rows += contrast_rows("factors, aligned, relative", factors)
    return Sheet("how far apart", _contrast_headings(comparison), tuple(rows))


def agreements(comparison: Comparison) -> Sheet:
    """How alike recommendations are."""
    groups = {f"{GROUP_NAMES[name]} ({each.users:,})": each for name, each in _in_order(comparison.rankings, GROUPS)}
    rows = contrast_rows(f"share of the top {TOP_N}", {name: each.overlap for name, each in groups.items()})
    rows += contrast_rows("rank-biased overlap", {name: each.rbo for name, each in groups.items()})
    divergence = {name: each.divergence for name, each in groups.items()}
    rows += contrast_rows("divergence, millibits", divergence, scale=MILLI)
    return Sheet("how alike", _contrast_headings(comparison), tuple(rows))


def levels(comparison: Comparison) -> Sheet:
    """How far each is trained, and how well it predicts."""
    rows = [
        Row("objective on what remains", _reading(comparison.objective)),
        Row("relative gradient there", _reading(comparison.gradient)),
    ]
    for group, metrics in comparison.accuracy.items():
        for name, reading in metrics.items():
            rows.append(Row(f"{name.upper()} held out, {GROUP_NAMES[group]}", _reading(reading, METRIC_PLACES)))
    return Sheet("how they stand", _model_headings(comparison), tuple(rows))


def costs(comparison: Comparison, cost: Cost | None) -> Sheet:
    """Sweeps from the histories, and seconds where they are known."""
    without = comparison.sweeps_without
    steps = count(comparison.response_steps, "response step") if comparison.response_steps else ""
    sweeps = f"{without.unlearned:,.0f}" if without.unlearned or not steps else ""
    took = (" + ".join(filter(None, (steps, sweeps))), spread_text(without.retrained), NOT_KNOWN)
    headings = _model_headings(comparison)
    rows = [
        Row("sweeps in its life", _reading(comparison.sweeps)),
        Row("without the records", took[: len(headings)], indented=True),
    ]
    if cost is not None:
        rows += [
            Row("seconds, the whole command", _seconds(cost.whole)[: len(headings)]),
            Row("training or forgetting", _seconds(cost.sweeping)[: len(headings)], indented=True),
        ]
    return Sheet("what it took", headings, tuple(rows))


def score_quartiles(scores: Scores) -> Sheet:
    """The medians of the distributions, with the quartiles."""
    rows = [
        Row(
            KIND_NAMES[kind],
            tuple(
                f"{middle:.3f} ({low:.3f} to {high:.3f})"
                for low, middle, high in (scores.models[model][kind].quartiles for model in MODEL_NAMES)
            ),
        )
        for kind in KIND_NAMES
        if kind in scores.models["original"]
    ]
    return Sheet(f"median {MEASURE_NAMES[scores.measure]}", tuple(MODEL_NAMES.values()), tuple(rows))


def contrast_rows(heading: str, contrasts: Mapping[str, Contrast], scale: float = 1) -> list[Row]:
    """A heading with a row for each; none without any."""
    if not contrasts:
        return []
    spreads = {
        name: [Spread(*_times(part, scale)) for part in (each.unlearned, each.retrained, each.original) if part]
        for name, each in contrasts.items()
    }
    places = max(_places(spread) for some in spreads.values() for spread in some)
    rows = [Row(name, tuple(_plain(each, places) for each in some), indented=True) for name, some in spreads.items()]
    return [Row(heading), *rows]


def spread_text(spread: Spread) -> str:
    """A mean of three digits or more, and its deviation to the same place."""
    return _plain(spread, _places(spread))


def _attack_rows(name: str, attack: Attack) -> Iterable[Row]:
    original = "" if attack.original is None else f"{attack.original:.{AUC_PLACES}f}"
    found = f"{attack.unlearned:.{AUC_PLACES}f} {_interval(attack.interval)}"
    excess = f"{_signed(attack.excess, AUC_PLACES)} {_interval(attack.excess_interval)}"
    yield Row(name, (found, _plain(attack.retrained, AUC_PLACES), original))
    yield Row("above the retrains", (excess, "", ""), indented=True)


def _interval(interval: tuple[float, float]) -> str:
    low, high = (_signed(value, AUC_PLACES) for value in interval)
    return f"[{low}, {high}]"


def _signed(value: float, places: int) -> str:
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", "−")


def _reading(reading: Reading, places: int | None = None) -> tuple[str, ...]:
    spreads = [Spread(reading.unlearned, None, 1), reading.retrained]
    if reading.original is not None:
        spreads.append(Spread(reading.original, None, 1))
    places = max(map(_places, spreads)) if places is None else places
    return tuple(_plain(spread, places) for spread in spreads)


def _seconds(seconds: Seconds) -> tuple[str, ...]:
    def one(value: float | None) -> str:
        return NOT_KNOWN if value is None else spread_text(Spread(value, None, 1))

    retrained = NOT_KNOWN if seconds.retrained is None else spread_text(seconds.retrained)
    return one(seconds.unlearned), retrained, one(seconds.original)


def _plain(spread: Spread, places: int) -> str:
    if not math.isfinite(spread.mean):
        return NOT_KNOWN
    deviation = f" ± {spread.deviation:,.{places}f}" if spread.deviation else ""
    return f"{spread.mean:,.{places}f}{deviation}".replace("-", "−")


def _places(spread: Spread) -> int:
    """For a mean of SIGNIFICANT_DIGITS and a deviation of one, at least."""
    mean, deviation = spread.mean, spread.deviation or 0.0
    if not math.isfinite(mean):
        return 0
    places = 0 if float(mean).is_integer() and not deviation else _behind_the_point(mean or deviation)
    return min(max(places, _behind_the_point(deviation, 1) if deviation else 0), MOST_PLACES)


def _behind_the_point(value: float, digits: int = SIGNIFICANT_DIGITS) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def _times(spread: Spread, scale: float) -> tuple[float, float | None, int]:
    return spread.mean * scale, None if spread.deviation is None else spread.deviation * scale, spread.count


def _model_headings(comparison: Comparison) -> tuple[str, ...]:
    return ("unlearned", "retrained", *(["original"] if comparison.objective.original is not None else []))


def _contrast_headings(comparison: Comparison) -> tuple[str, ...]:
    """Of the columns for which there are models."""
    among = ["retrain – retrain"] if comparison.retrains > 1 else []
    old = ["original – retrain"] if comparison.objective.original is not None else []
    return ("unlearned – retrain", *among, *old)


def _in_order(values: Mapping[str, Value], names: Sequence[str]) -> list[tuple[str, Value]]:
    return [(name, values[name]) for name in names if name in values]
