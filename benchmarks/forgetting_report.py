"""What `forgetting.py` found, as values, as Markdown, and as a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetcli.verdict import BAND_DEVIATIONS, outside_by_chance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEGIN, END = "<!-- measured by benchmarks/forgetting.py: begin -->", "<!-- end -->"

WORST_BY = 0.005
"""A held-out error may be so much worse than the worst retrain's, as a fraction."""

INK, GRID, WARM, STEP, BAND = "#7d8590", "#7d859055", "#d9822b", "#2f81f7", "#3fb95055"
"""Of a contrast of at least 3 to white paper and to a dark page alike."""

NOT_PICTURED = ("2 %", "5 %")
"""Requests between others of their kind, which the tables have."""

HIGHEST, LOWEST = 0.4, -0.1
"""The picture's range of memory; what lies beyond is drawn at its edge."""


@dataclass(frozen=True)
class Run:
    """memory: see `forgetcli.verdict.Memory`. cost: the seconds it took, in retrains."""

    memory: float
    cost: float


@dataclass(frozen=True)
class Cell:
    """One request to one model.

    records, left_out: the forgotten records, and those of them that cannot be measured: user or item is gone.
    mean, deviation:   of the retrains' own memory.
    twin:              the memory of a retrain from the model's own seed; NaN where it was not made.
    warm:              by the number of warm sweeps.
    response:          the response step; path, vectors, exact_sweeps: how it went.
    held_out:          of the response step's model, in `metric`; worst_retrain: the worst of the retrains'.
    """

    setting: str
    request: str
    records: int
    left_out: int
    retrains: int
    mean: float
    deviation: float
    twin: float
    warm: dict[int, Run]
    response: Run
    path: str
    vectors: int
    exact_sweeps: int
    retrain_seconds: float
    metric: str
    held_out: float
    worst_retrain: float

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Cell:
        """The reverse of `dataclasses.asdict` and JSON."""
        warm = {int(number): Run(**run) for number, run in values["warm"].items()}
        return cls(**{"twin": math.nan} | values | {"warm": warm, "response": Run(**values["response"])})

    def deviations(self, run: Run) -> float:
        """How far from the retrains' mean, in their standard deviations."""
        return (run.memory - self.mean) / self.deviation

    def in_band(self, run: Run) -> bool:
        """Whether a run's memory is within the retrains' mean ± BAND_DEVIATIONS standard deviations."""
        return abs(self.deviations(run)) <= BAND_DEVIATIONS

    def predicts_well(self) -> bool:
        """Whether held-out pairs are predicted no worse than by the worst retrain, up to WORST_BY."""
        if self.metric == "rmse":
            return self.held_out <= self.worst_retrain * (1 + WORST_BY)
        return self.held_out >= self.worst_retrain * (1 - WORST_BY)


def markdown(cells: Sequence[Cell]) -> str:
    """The summary, and for each setting what is left and what it costs."""
    parts = [summary(cells)]
    for setting, group in groupby(cells, key=lambda cell: cell.setting):
        listed = list(group)
        parts += [f"### {setting}", memory_table(listed), cost_table(listed)]
    return "\n\n".join(parts) + "\n"


def summary(cells: Sequence[Cell]) -> str:
    """A line for each way to forget: how often within the band, and its cost."""
    numbers = list(cells[0].warm)
    chance = outside_by_chance(min(cell.retrains for cell in cells))
    rows = [
        (f"{number} warm sweep{'s' * (number > 1)}", [(cell, cell.warm[number]) for cell in cells])
        for number in numbers
    ]
    rows.append(("response step", [(cell, cell.response) for cell in cells]))
    head = f"| | within the band, of {len(cells)} | from the mean, median | cost |"
    body = [
        f"| {name} | {sum(cell.in_band(run) for cell, run in runs)} "
        f"| {median(abs(cell.deviations(run)) for cell, run in runs):.1f} sd "
        f"| {span([run.cost for _, run in runs])} |"
        for name, runs in rows
    ]
    note = (
        f"Costs in retrains: median (lowest to highest). Of models that never saw the records {100 * chance:.0f} % lie "
        "outside the band by chance,\nsince it is that of few retrains."
    )
    return "\n".join([head, "|---|--:|--:|--:|", *body, "", note])


def memory_table(cells: Sequence[Cell]) -> str:
    """What is left: in bold what is within the band."""
    numbers = list(cells[0].warm)
    warm = [f"{number} warm" for number in numbers]
    head = ["memory of", "records", "retrains", *warm, "own seed", "response", "sd"]
    rows = [
        [
            cell.request,
            records(cell),
            f"{cell.mean:.3f} ± {cell.deviation:.3f}",
            *(marked(cell, cell.warm[number]) for number in numbers),
            "–" if math.isnan(cell.twin) else signed(cell.twin),
            marked(cell, cell.response),
            f"{cell.deviations(cell.response):+.1f}",
        ]
        for cell in cells
    ]
    return table(head, rows)


def cost_table(cells: Sequence[Cell]) -> str:
    """How the response step went."""
    metric = cells[0].metric
    head = ["response", "path", "vectors", "exact sweeps", "cost", "retrain", metric, "worst retrain"]
    rows = [
        [
            cell.request,
            cell.path,
            str(cell.vectors),
            str(cell.exact_sweeps),
            f"{cell.response.cost:.2f}",
            f"{cell.retrain_seconds:.2f} s",
            f"{cell.held_out:.4f}" + ("" if cell.predicts_well() else " (worse)"),
            f"{cell.worst_retrain:.4f}",
        ]
        for cell in cells
    ]
    return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are aligned to the right."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def records(cell: Cell) -> str:
    return f"{cell.records:,}" + (f" ({cell.left_out:,} not measured)" if cell.left_out else "")


def marked(cell: Cell, run: Run) -> str:
    text = signed(run.memory)
    return f"**{text}**" if cell.in_band(run) else text


def signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{median(values):.2f}" + (f" ({low:.2f} to {high:.2f})" if f"{low:.2f}" != f"{high:.2f}" else "")


def fill_in(path: Path, text: str) -> None:
    """Puts the text between the marks of a file that has them; otherwise the text, with marks, is the file."""
    old = path.read_text(encoding="utf-8") if path.exists() else f"{BEGIN}\n{END}\n"
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} lacks the marks between which the tables belong: {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def has_matplotlib() -> bool:
    return find_spec("matplotlib") is not None


def draw(cells: Sequence[Cell], path: Path) -> None:
    """A grid of memory against cost: a setting a row, a request a column."""
    import matplotlib as mpl

    mpl.use("svg" if path.suffix == ".svg" else "agg")
    from matplotlib import pyplot as plt

    shown = [cell for cell in cells if cell.request not in NOT_PICTURED] or list(cells)
    settings, requests = (list(dict.fromkeys(getattr(cell, name) for cell in shown)) for name in ("setting", "request"))
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "forgetting",
        "font.size": 9,
        "font.family": "sans-serif",
    }
    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    with plt.rc_context(style | dict.fromkeys(inks, INK)):
        size = (1.4 * len(requests) + 1.0, 1.1 * len(settings) + 0.9)
        figure, grid = plt.subplots(
            len(settings), len(requests), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
        )
        for axes in grid.flat:
            axes.set_visible(False)
        for cell in shown:
            _draw_cell(grid[settings.index(cell.setting)][requests.index(cell.request)], cell)
        for axes, request in zip(grid[0], requests, strict=True):
            axes.set_title(request, fontsize=9)
        for axes, setting in zip(grid[:, 0], settings, strict=True):
            name, *options = setting.split(", ")
            axes.set_ylabel(f"{name}\n{options[0]}\n{', '.join(options[1:])}", fontsize=7.5)
        figure.supxlabel("cost of forgetting, in retrains, by the clock", fontsize=9)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(figure)
    if path.suffix == ".svg":
        _describe(path, summary(cells))


def _draw_cell(axes: Axes, cell: Cell) -> None:
    reach = BAND_DEVIATIONS * cell.deviation
    axes.set_visible(True)
    axes.patch.set_visible(False)
    band = max(cell.mean - reach, LOWEST), min(cell.mean + reach, HIGHEST)
    axes.axhspan(*band, color=BAND, linewidth=0, label="memory of models that never saw the records: mean ± 2 sd")
    runs = cell.warm.values()
    axes.plot(
        [run.cost for run in runs],
        [_inside(run.memory) for run in runs],
        color=WARM, marker=".", markersize=4, linewidth=1, label=f"{min(cell.warm)} to {max(cell.warm)} warm sweeps",
    )  # fmt: skip
    step = cell.response
    dot: dict[str, Any] = {"color": STEP, "marker": "D", "markersize": 4.5, "linewidth": 0}
    axes.plot([step.cost], [_inside(step.memory)], **dot, label="response step")
    axes.set(xlim=(0, 2.05), ylim=(LOWEST, HIGHEST), xticks=(0, 1, 2), yticks=(0, 0.2, 0.4))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, labelsize=8)
    axes.set_axisbelow(True)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.5)


def _inside(memory: float) -> float:
    return min(max(memory, LOWEST), HIGHEST)


def _describe(path: Path, what: str) -> None:
    """Gives the drawing a title for those who cannot see it: the summary."""
    head, tag, rest = path.read_text(encoding="utf-8").partition("<svg ")
    opening, _, body = rest.partition(">")
    title = f"What is left of forgotten records, against the cost of forgetting. {what}".replace("&", "&amp;")
    lines = "\n".join(line.rstrip() for line in body.splitlines())
    path.write_text(
        f'{head}{tag}role="img" aria-labelledby="title" {opening}>\n <title id="title">{title}</title>{lines}\n',
        encoding="utf-8",
    )
