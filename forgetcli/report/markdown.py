"""A comparison as Markdown, with pictures in files beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from forgetcli import __version__
from forgetcli.printable import printable
from forgetcli.report import outline

if TYPE_CHECKING:
    from forgetcli.report.findings import Findings
    from forgetcli.report.pictures import Picture
    from forgetcli.report.sheet import Row, Sheet


def markdown(findings: Findings, drawn: Sequence[Picture], files: Mapping[str, str]) -> str:
    """The report. files: of the pictures, by name, in the report's directory."""
    word, sentence = outline.verdict(findings)
    parts = [f"# {outline.TITLE}", f"**{word}.** {_escaped(sentence)}", _escaped(outline.compared(findings))]
    pictures = {picture.name: picture for picture in drawn}
    for section in outline.sections(findings):
        parts.append(f"## {section.title}")
        for name in section.pictures:
            if name in pictures:
                picture = pictures[name]
                parts.append(f"![{_escaped(picture.title + '. ' + picture.description)}]({quote(files[name])})")
                parts.append(f"*{_escaped(picture.title)}.* {_escaped(picture.caption)}")
        parts += [_table(figures) for figures in section.sheets]
    parts += ["## What this cannot tell", "\n".join(f"- {_escaped(each)}" for each in outline.cautions(findings))]
    parts += ["## The measures", "\n".join(f"- **{name}.** {_escaped(text)}" for name, text in outline.GLOSSARY)]
    parts.append(f"Written by forgetcli {__version__}.")
    return "\n\n".join(parts) + "\n"


def _table(figures: Sheet) -> str:
    columns = len(figures.headings)
    lines = ["| " + " | ".join([figures.title, *figures.headings]) + " |", "|---|" + "--:|" * columns]
    return "\n".join([*lines, *(_row(row, columns) for row in figures.rows)])


def _row(row: Row, columns: int) -> str:
    name = _escaped(row.name) if row.indented or row.cells else f"**{_escaped(row.name)}**"
    cells = [*map(_escaped, row.cells), *[""] * (columns - len(row.cells))]
    return "| " + " | ".join([f"&emsp;{name}" if row.indented else name, *cells]) + " |"


def _escaped(text: str) -> str:
    """Text that Markdown takes for nothing but text."""
    return html.escape(re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", printable(text)), quote=False)
