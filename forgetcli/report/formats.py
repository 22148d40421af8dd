"""The files that a report is written as, by the ending of its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from forgetcli.errors import UsageError
from forgetcli.report import drawing

if TYPE_CHECKING:
    from forgetcli.report.findings import Findings

HTML, MARKDOWN = (".html", ".htm"), (".md", ".markdown")


def check(path: str) -> None:
    """Raises UsageError where a report of this name could not be made."""
    if Path(path).suffix.lower() not in HTML + MARKDOWN:
        raise UsageError(f"cannot tell the format of {path}", hint="name the report something.html or something.md")
    drawing.check_available()


def files(path: str, findings: Findings) -> Iterator[tuple[Path, bytes]]:
    """What is to be written, the report itself last."""
    target = Path(path)
    if target.suffix.lower() in HTML:
        from forgetcli.report.page import page

        yield target, page(findings).encode()
        return
    from forgetcli.report.markdown import markdown
    from forgetcli.report.pictures import pictures

    drawn = list(pictures(findings))
    names = {picture.name: f"{target.stem}-{picture.name}.svg" for picture in drawn}
    for picture in drawn:
        described = f"{picture.title}. {picture.description}"
        yield target.with_name(names[picture.name]), drawing.lone_svg(picture.panels, picture.name, described)
    yield target, markdown(findings, drawn, names).encode()
