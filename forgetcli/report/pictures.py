"""The pictures of a comparison: what they show, how to read them, and their description in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from forgetcli.comparison import GROUPS, TOP_N, Comparison, Contrast, Subject
from forgetcli.report.drawing import BAND, INK, KEPT, ORIGINAL, RETRAINED, SOFT, UNLEARNED, Panel
from forgetcli.report.sheet import GROUP_NAMES, KIND_NAMES, MEASURE_NAMES, MILLI, MODEL_NAMES
from forgetcli.report.text import count, figure
from forgetcli.verdict import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from forgetcli.report.findings import Findings
    from forgetcli.scores import Scores
    from forgetcli.verdict import Attack, Memory

COLOUR_OF = {"unlearned": UNLEARNED, "retrained": RETRAINED, "original": ORIGINAL}
MARKER_OF = {"unlearned": "D", "retrained": "o", "original": "s"}
LINE_OF_KIND = {"forgotten": (UNLEARNED, "-"), "kept": (KEPT, "--"), "never_seen": (RETRAINED, ":")}

ZOOM = 2.5
"""The panel of the retrains' band shows so many half widths of it on either side, and the unlearned model."""

LATE = 3
"""The end of the training that is shown larger begins after one sweep in so many."""

BLIND_GUESS = 0.5


@dataclass(frozen=True)
class Picture:
    """name:        for files and elements.
    caption:     how to read it.
    description: what is to be seen, for those who do not see it.
    """

    name: str
    title: str
    caption: str
    description: str
    panels: tuple[Panel, ...]


def pictures(findings: Findings) -> Iterator[Picture]:
    """Those that there are figures for."""
    audit, comparison = findings.audit, findings.comparison
    if audit is not None and audit.memory is not None and audit.memory.unlearned is not None:
        yield memory_picture(audit.memory)
    if audit is not None and audit.membership is not None:
        yield attack_picture(audit.membership.blind, audit.membership.informed)
    if audit is not None and audit.scores is not None:
        yield scores_picture(audit.scores)
    yield agreement_picture(comparison)
    if any(len(_known(model)) > 1 for model in comparison.models):
        yield convergence_picture(comparison)


def memory_picture(memory: Memory) -> Picture:
    """What is left, beside the retrains' band."""
    assert memory.unlearned is not None
    own = percent(memory.unlearned)
    if memory.band is None:
        each = ", ".join(map(percent, memory.each_retrained))
        beside = f"the retrains, each against the others, have {each}" if each else "a single retrain shows no band"
    else:
        low, high = map(percent, memory.band)
        beside = f"the retrains' band goes from {low} to {high}"
    panels = [Panel(partial(_draw_memory, memory=memory, zoomed=False), 0.8)]
    if memory.band is not None:
        panels.append(Panel(partial(_draw_memory, memory=memory, zoomed=True), 0.8))
    return Picture(
        "memory",
        "Memory of the forgotten pairs",
        "How much of what the original model knew of the forgotten pairs is left in the predictions. The shaded band "
        "is where models that never saw the pairs lie: forgotten is what lies inside."
        + (" The second panel is the same around the band." if memory.band is not None else ""),
        f"The original model has 100 % of the memory, the unlearned model has {own} left, and {beside}.",
        tuple(panels),
    )


def attack_picture(blind: Attack, informed: Attack) -> Picture:
    """How well attackers do."""

    def told(name: str, attack: Attack) -> str:
        return (
            f"{name}: AUC {attack.unlearned:.3f} against the unlearned model, {attack.retrained.mean:.3f} against the "
            "retrains" + (f", {attack.original:.3f} against the original." if attack.original is not None else ".")
        )

    names = "An attacker with the model alone", "One who also holds the original"
    return Picture(
        "attack",
        "Membership inference",
        "How often an attacker takes the forgotten one of two pairs for the one that was in the data. The bar holds "
        "95 % of a bootstrap over users. What counts is the distance from the retrains, which never saw the pairs, and "
        "not from guessing.",
        " ".join(told(name, attack) for name, attack in zip(names, (blind, informed), strict=True)),
        (
            Panel(partial(_draw_attack, attack=blind, title=names[0]), 0.8),
            Panel(partial(_draw_attack, attack=informed, title=names[1]), 0.8),
        ),
    )


def scores_picture(scores: Scores) -> Picture:
    """Forgotten, kept and never-seen pairs, before and after."""
    medians = [
        f"{MODEL_NAMES[model]}: "
        + ", ".join(f"{KIND_NAMES[kind]} {each.quartiles[1]:.3f}" for kind, each in scores.models[model].items())
        for model in MODEL_NAMES
    ]
    top = max(max(each.shares) for kinds in scores.models.values() for each in kinds.values())
    return Picture(
        "scores",
        "How forgotten, kept and never-seen pairs score",
        "Before, forgotten pairs score like those that are kept. After, they should score as they do with the "
        "retrained models, which never saw them.",
        f"Median {MEASURE_NAMES[scores.measure]}; " + "; ".join(medians) + ".",
        tuple(Panel(partial(_draw_scores, scores=scores, model=model, top=top)) for model in MODEL_NAMES),
    )


def agreement_picture(comparison: Comparison) -> Picture:
    """Recommendations by group of users."""
    groups = [name for name in GROUPS if name in comparison.rankings]
    told = []
    for name in groups:
        overlap = comparison.rankings[name].overlap
        among = "" if overlap.retrained is None else f", between retrains {overlap.retrained.mean:.3f}"
        told.append(f"{GROUP_NAMES[name]} {overlap.unlearned.mean:.3f}{among}")
    measures: tuple[tuple[str, str, Callable[[str], Contrast], int], ...] = (
        (f"Share of the top {TOP_N}", "alike →", lambda name: comparison.rankings[name].overlap, 1),
        ("Rank-biased overlap", "alike →", lambda name: comparison.rankings[name].rbo, 1),
        ("Divergence of scores", "millibits; ← alike", lambda name: comparison.rankings[name].divergence, MILLI),
    )
    return Picture(
        "agreement",
        "Agreement of recommendations, by group of users",
        "How far each model recommends to users what a retrain recommends to them; a retrain, what another retrain "
        "does. Bars are one standard deviation over pairs of models.",
        f"Share of the top {TOP_N} in common between the unlearned model and a retrain: {'; '.join(told)}.",
        tuple(
            Panel(
                partial(_draw_agreement, groups=groups, contrast=contrast, scale=scale, title=title, label=label), 0.85
            )
            for title, label, contrast, scale in measures
        ),
    )


def convergence_picture(comparison: Comparison) -> Picture:
    """The objective by sweep."""
    ends = [
        f"{model.role} after {count(len(model.steps), 'step')} {figure(objective)}"
        for model in comparison.models
        for objective in [model.objectives[-1] if model.objectives else None]
        if objective is not None
    ]
    return Picture(
        "convergence",
        "Convergence",
        "The training objective after each sweep, on the data of that time: the original's includes the forgotten "
        "records. The second panel is the end, larger, of the models that were trained on what remains.",
        f"Objective at the end: {'; '.join(ends)}.",
        (
            Panel(partial(_draw_course, comparison=comparison, late=False)),
            Panel(partial(_draw_course, comparison=comparison, late=True)),
        ),
    )


def _draw_memory(axes: Axes, memory: Memory, zoomed: bool) -> None:
    assert memory.unlearned is not None
    places = {"original": 2, "unlearned": 1, "retrained": 0}
    shown = {"original": [1.0], "unlearned": [memory.unlearned], "retrained": list(memory.each_retrained)}
    if zoomed:
        del places["original"], shown["original"]
    for role, values in shown.items():
        axes.plot(
            [100 * value for value in values],
            [places[role]] * len(values),
            MARKER_OF[role],
            color=COLOUR_OF[role],
            fillstyle="none" if role == "retrained" else "full",
        )
    if memory.band is not None:
        low, high = (100 * end for end in memory.band)
        axes.axvspan(low, high, color=BAND, linewidth=0)
        if zoomed:
            middle, reach = (low + high) / 2, ZOOM * (high - low) / 2
            furthest = max(reach, 1.2 * abs(100 * memory.unlearned - middle), 0.05)
            axes.set_xlim(middle - furthest, middle + furthest)
    axes.set_title("Around the retrains' band" if zoomed else "Memory left")
    axes.set_xlabel("% of the original's memory")
    axes.set_yticks(list(places.values()), [role.replace("retrained", "retrains") for role in places])
    axes.set_ylim(-0.6, max(places.values()) + 0.6)
    axes.grid(False, axis="y")


def _draw_attack(axes: Axes, attack: Attack, title: str) -> None:
    rows = ["retrains", "unlearned", *(["original"] if attack.original is not None else [])]
    low, high = attack.interval
    axes.plot(list(attack.each_retrained), [0] * len(attack.each_retrained), "o", color=RETRAINED, fillstyle="none")
    axes.plot([low, high], [1, 1], color=UNLEARNED, linewidth=2)
    axes.plot([attack.unlearned], [1], "D", color=UNLEARNED)
    if attack.original is not None:
        axes.plot([attack.original], [2], "s", color=ORIGINAL)
    axes.axvline(BLIND_GUESS, color=SOFT, linewidth=1, linestyle=":")
    axes.annotate(
        "guessing", (BLIND_GUESS, 2.55), xytext=(3, 0), textcoords="offset points", fontsize=8, va="top", color=SOFT
    )
    axes.set_title(title)
    axes.set_xlabel("AUC")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(-0.6, 2.6)
    axes.grid(False, axis="y")


def _draw_scores(axes: Axes, scores: Scores, model: str, top: float) -> None:
    for kind, each in scores.models[model].items():
        colour, line = LINE_OF_KIND[kind]
        axes.stairs(
            each.shares,
            scores.edges,
            color=colour,
            linestyle=line,
            linewidth=2,
            baseline=None,
            label=KIND_NAMES[kind],
        )
        if kind == "forgotten":
            axes.stairs(each.shares, scores.edges, color=colour, alpha=0.15, fill=True)
    axes.set_title(MODEL_NAMES[model].capitalize())
    axes.set_xlabel(MEASURE_NAMES[scores.measure])
    axes.set_ylabel("share of pairs")
    axes.set_xlim(scores.edges[0], scores.edges[-1])
    axes.set_ylim(0, 1.05 * top)
    axes.legend(loc="upper right", handlelength=2.4)


def _draw_agreement(
    axes: Axes, groups: Sequence[str], contrast: Callable[[str], Contrast], scale: int, title: str, label: str
) -> None:
    for row, group in enumerate(reversed(groups)):
        found = contrast(group)
        parts = (("original", found.original), ("retrained", found.retrained), ("unlearned", found.unlearned))
        for lift, (role, spread) in zip((0.22, 0.0, -0.22), parts, strict=True):
            if spread is None:
                continue
            axes.errorbar(
                [spread.mean * scale],
                [row + lift],
                xerr=[(spread.deviation or 0.0) * scale],
                fmt=MARKER_OF[role],
                color=COLOUR_OF[role],
                fillstyle="none" if role == "retrained" else "full",
                label=role if row == 0 else None,
            )
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.set_yticks(range(len(groups)), [GROUP_NAMES[name] for name in reversed(groups)])
    axes.set_ylim(-0.5, len(groups) - 0.5)
    axes.margins(x=0.15)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(False, axis="y")
    if not axes.figure.legends:  # one for all panels that are drawn together
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _draw_course(axes: Axes, comparison: Comparison, late: bool) -> None:
    first = max((len(model.steps) for model in comparison.models if model.role == "retrained"), default=0) // LATE
    named: set[str] = set()
    for model in comparison.models:
        known = [(x, y) for x, y in _known(model) if not late or x >= first]
        if not known or (late and model.role == "original"):
            continue
        axes.plot(
            [x for x, _ in known],
            [y for _, y in known],
            linestyle={"retrained": "-", "original": "--", "unlearned": "-"}[model.role],
            linewidth=1.5,
            color=COLOUR_OF[model.role],
            marker=MARKER_OF[model.role] if model.role == "unlearned" else None,
            label=None if model.role in named else model.role,
            zorder=3 if model.role == "unlearned" else 2,
        )
        named.add(model.role)
    if late and comparison.objective.original is not None:
        before = max((len(model.steps) for model in comparison.models if model.role == "original"), default=0)
        axes.plot(
            [before],
            [comparison.objective.original],
            MARKER_OF["original"],
            color=ORIGINAL,
            fillstyle="none",
            label="original, on what remains",
        )
    axes.set_title("The end, larger" if late else "Objective by sweep")
    axes.set_xlabel("step in the model's life")
    axes.locator_params(axis="x", integer=True)
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}")
    axes.legend(loc="upper right", fontsize=9, labelcolor=INK)


def _known(model: Subject) -> list[tuple[int, float]]:
    return [(place, value) for place, value in enumerate(model.objectives, start=1) if value is not None]
