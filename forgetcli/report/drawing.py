"""Panels drawn as SVG by matplotlib, in colours that follow the page they stand on.

What is drawn has stand-in colours, which become CSS variables: so one drawing serves a light page, a dark one and
paper. The same panel gives the same bytes.
"""

from __future__ import annotations

import html
import io
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from forgetcli.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("ink", "soft", "line", "unlearned", "retrained", "original", "band", "kept")
"""Of text, of axes, of grids; of the models; of the retrains' band; of kept pairs."""

STAND_INS = tuple(f"#0a0b{number:02x}" for number in range(1, len(COLOURS) + 1))
INK, SOFT, LINE, UNLEARNED, RETRAINED, ORIGINAL, BAND, KEPT = STAND_INS
"""Stand-ins: colours that nothing else would take."""

LIGHT = ("#1f2328", "#59636e", "#d1d9e0", "#0550ae", "#656d76", "#a84300", "#dfe3e8", "#116329")
DARK = ("#e6edf3", "#9aa5b1", "#3d444d", "#6cb0ff", "#9da7b3", "#f69d50", "#32383f", "#56d364")
"""By COLOURS. Text and models have a contrast of at least 4.5 to the page; hues and lightness differ also for the
colour-blind, and no meaning rests on colour alone."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

INCHES = 4.4, 2.9
"""Of a panel. Its text is a tenth of an inch or more, legible where a panel fills a telephone's width."""

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.markersize": 7,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
}


@dataclass(frozen=True)
class Panel:
    """One pair of axes. draw: draws on them, title and labels included. height: in those of a usual panel."""

    draw: Callable[[Axes], None]
    height: float = 1.0


def check_available() -> None:
    """Raises UsageError where matplotlib is not installed; does not import it."""
    if find_spec("matplotlib") is None:
        raise UsageError(
            "--report draws pictures, and matplotlib is not installed", hint="pip install 'forgetcli[report]'"
        )


def inline_svg(panel: Panel, name: str) -> str:
    """The panel as an <svg> element for a page that defines the variables of `style`.

    name: unlike any other on the page; it keeps the elements' names apart.
    """
    return _svg([panel], name)


def lone_svg(panels: Sequence[Panel], name: str, description: str, *, columns: int | None = None) -> bytes:
    """The panels side by side as a file of its own, with colours for light and dark.

    columns: so many in a row; None is all.
    """
    drawn = _svg(panels, name, columns)
    head, tag, rest = drawn.partition(">")
    described = f'{head} xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"{tag}'
    return f"{described}<title>{html.escape(description)}</title><style>{style('svg')}</style>{rest}\n".encode()


def style(selector: str) -> str:
    """The CSS that gives the colours their values, in light and in dark."""

    def values(colours: Sequence[str]) -> str:
        return "".join(f"--{name}:{value};" for name, value in zip(COLOURS, colours, strict=True))

    dark = f"@media screen and (prefers-color-scheme:dark){{{selector}{{{values(DARK)}}}}}"
    return f"{selector}{{{values(LIGHT)}--font:{FONT}}}{dark}"


def _svg(panels: Sequence[Panel], name: str, columns: int | None = None) -> str:
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its font cache
    import matplotlib
    from matplotlib.figure import Figure

    width, height = INCHES
    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(
            figsize=(width * columns, height * rows * max(panel.height for panel in panels)), layout="constrained"
        )
        for number, panel in enumerate(panels, start=1):
            panel.draw(figure.add_subplot(rows, columns, number))
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _adapted(file.getvalue(), name)


def _adapted(svg: str, name: str) -> str:
    """matplotlib's document as an element: names that are its own, colours that are variables, no fixed size."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*?viewBox=\"([^\"]+)\"[^>]*>", r'<svg viewBox="\1">', svg, count=1)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", svg)
    svg = svg.replace("'DejaVu Sans'", "var(--font)")
    for colour, stand_in in zip(COLOURS, STAND_INS, strict=True):
        svg = svg.replace(stand_in, f"var(--{colour})")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()
