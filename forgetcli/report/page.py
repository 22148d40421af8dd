"""A comparison as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING

from forgetcli import __version__
from forgetcli.printable import printable
from forgetcli.report import outline
from forgetcli.report.drawing import inline_svg, style
from forgetcli.report.pictures import Picture, pictures

if TYPE_CHECKING:
    from forgetcli.report.findings import Findings
    from forgetcli.report.sheet import Row, Sheet

CSS = """
:root{color-scheme:light dark;--page:#fff;--box:#f6f8fa;--good:#116329;--bad:#a40e26;--open:#7d4e00}
@media screen and (prefers-color-scheme:dark){
:root{--page:#0d1117;--box:#161b22;--good:#56d364;--bad:#ff7b72;--open:#e3b341}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:70rem;background:var(--page);color:var(--ink);
font:1rem/1.5 var(--font)}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0 1rem}
h2{font-size:1.25rem;margin:2.5rem 0 .75rem;padding-bottom:.25rem;border-bottom:1px solid var(--line)}
p{max-width:46rem}
.verdict{background:var(--box);border-left:.4rem solid var(--mood);border-radius:.25rem;padding:.8rem 1rem;
margin:1rem 0}
.verdict strong{display:block;font-size:1.3rem;color:var(--mood)}
.verdict p{margin:.25rem 0 0;font-size:1.1rem}
.good{--mood:var(--good)}.bad{--mood:var(--bad)}.open{--mood:var(--open)}
figure{margin:1.25rem 0;break-inside:avoid}
.panels{display:flex;flex-wrap:wrap;gap:1rem}
.panels svg{flex:1 1 18rem;min-width:0;max-width:30rem;height:auto}
figcaption{max-width:46rem;color:var(--soft)}
figcaption b{color:var(--ink)}
.table{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:.3rem 0}
th,td{padding:.25rem .75rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
thead th{color:var(--soft);font-weight:600}
tbody th{text-align:left;font-weight:400;padding-left:0}
tbody th.in{padding-left:1.25rem}
tbody th.head{font-weight:600}
th:last-child,td:last-child{padding-right:0}
dt{font-weight:600;margin-top:.6rem}
dd{margin:0;max-width:46rem}
footer{margin-top:3rem;color:var(--soft);font-size:.9rem}
:focus-visible{outline:2px solid var(--unlearned);outline-offset:2px}
@media print{body{max-width:none;padding:0;font-size:9.5pt}h2{break-after:avoid}
.table{overflow:visible;break-inside:avoid}.panels{flex-wrap:nowrap}.panels svg{flex-basis:0}
th,td{padding:.15rem .5rem}}
"""

NO_BREAK = "\N{NO-BREAK SPACE}"
MOODS = {"Forgotten": "good", "Not forgotten": "bad"}


def page(findings: Findings) -> str:
    """The report."""
    return "\n".join(_page(findings)) + "\n"


def _page(findings: Findings) -> Iterator[str]:
    word, sentence = outline.verdict(findings)
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield f"<title>{_text(word)}: {_text(outline.TITLE.lower())}</title>"
    yield f"<style>{style(':root')}{CSS}</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{_text(outline.TITLE)}</h1>"
    yield f'<div class="verdict {MOODS.get(word, "open")}"><strong>{_text(word)}</strong><p>{_text(sentence)}</p></div>'
    yield f"<p>{_text(outline.compared(findings))}</p>"
    drawn = {picture.name: picture for picture in pictures(findings)}
    for section in outline.sections(findings):
        yield f"<section>\n<h2>{_text(section.title)}</h2>"
        yield from (_figure(drawn[name]) for name in section.pictures if name in drawn)
        yield from map(_table, section.sheets)
        yield "</section>"
    yield "<section>\n<h2>What this cannot tell</h2>\n<ul>"
    yield from (f"<li>{_text(each)}</li>" for each in outline.cautions(findings))
    yield "</ul>\n</section>\n<section>\n<h2>The measures</h2>\n<dl>"
    yield from (f"<dt>{_text(name)}</dt><dd>{_text(told)}</dd>" for name, told in outline.GLOSSARY)
    yield f"</dl>\n</section>\n</main>\n<footer>Written by forgetcli {_text(__version__)}.</footer>\n</body>\n</html>"


def _figure(picture: Picture) -> str:
    panels = "\n".join(
        inline_svg(panel, f"{picture.name}{number}").replace("<svg ", '<svg aria-hidden="true" ', 1)
        for number, panel in enumerate(picture.panels, start=1)
    )
    return (
        f'<figure>\n<div class="panels" role="img" aria-label="{_text(picture.title + ". " + picture.description)}">\n'
        f"{panels}\n</div>\n<figcaption><b>{_text(picture.title)}.</b> {_text(picture.caption)}</figcaption>\n</figure>"
    )


def _table(figures: Sheet) -> str:
    columns = len(figures.headings)
    headings = "".join(f'<th scope="col">{_text(each)}</th>' for each in figures.headings)
    title = _text(figures.title[:1].upper() + figures.title[1:])
    rows = "\n".join(_row(row, columns) for row in figures.rows)
    return (
        f'<div class="table" role="region" aria-label="{title}" tabindex="0">\n<table>\n<caption>{title}</caption>\n'
        f"<thead><tr><td></td>{headings}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def _row(row: Row, columns: int) -> str:
    if not row.cells and not row.indented:
        return f'<tr><th scope="rowgroup" class="head" colspan="{columns + 1}">{_text(row.name)}</th></tr>'
    indented = ' class="in"' if row.indented else ""
    cells = [*row.cells, *[""] * (columns - len(row.cells))]
    return (
        f'<tr><th scope="row"{indented}>{_text(row.name)}</th>'
        + "".join(f"<td>{_text(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _text(text: str) -> str:
    """Harmless, and with figures that no line ends in the middle of."""
    return html.escape(printable(text)).replace(" %", f"{NO_BREAK}%").replace(" ± ", f"{NO_BREAK}±{NO_BREAK}")
