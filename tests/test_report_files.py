"""Reports of a comparison: HTML and Markdown."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from forgetcli import als
from forgetcli.auditing import audit
from forgetcli.comparing import compare
from forgetcli.errors import UsageError
from forgetcli.interactions import Interactions, split_holdout
from forgetcli.records import ForgetRequest
from forgetcli.report import drawing, formats
from forgetcli.report.findings import Findings
from forgetcli.runs import Cost, Run
from forgetcli.unlearn import forget, retrain
from tests.samples import CONFIGS, triples

pytest.importorskip("matplotlib", reason="reports are drawn by forgetcli[report]")

UNLIKE_ANY_FIGURE = 987_000_000_000
"""Ids from here on are not to be found in a report by accident."""

HOSTILE = '<img src=x onerror="alert(1)">|*`&\x1b[31m.npz'


@cache
def findings(name: str = "biased", retrains: int = 3, audited: bool = True) -> Findings:
    users, items, ratings = triples()
    data, test = split_holdout(Interactions.from_arrays(users + UNLIKE_ANY_FIGURE, items, ratings), 0.2, seed=1)
    original = als.train(data, CONFIGS[name])
    view = data.by_user
    pairs = [
        (int(data.users.label(int(u))), int(data.items.label(int(i))))
        for u, i in zip(view.row_numbers()[::9], view.indices[::9], strict=True)
    ]
    request = ForgetRequest.of(pairs=pairs)
    unlearned = forget(original, request, method="response").model
    others = [retrain(original, request, seed=seed)[0] for seed in range(1, retrains + 1)]
    compared = compare(
        unlearned, others, original=original if audited else None, request=request, test=test if audited else None
    )
    found = audit(unlearned, others, original, request) if audited else None
    names = ("forgotten.npz", HOSTILE, *(f"r{number}.npz" for number in range(2, retrains + 1)), "model.npz")
    cost = Cost.of([Run("forget", HOSTILE + "2", 1.0, 0.5), Run("retrain", "r2.npz", 4.0, 3.0)], names)
    return Findings(
        compared,
        found,
        cost if audited else None,
        names[: len(compared.models)],
        {"still-held": 0.0, "objective-gap": -1.0},
        compared.figures(),
    )


CASES = [("biased", 3, True), ("biased", 1, True), ("implicit", 3, True), ("biased", 2, False), ("plain", 1, False)]


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.tags if each == tag]


@cache
def html(name: str, retrains: int, audited: bool) -> str:
    [(path, content)] = formats.files("out.html", findings(name, retrains, audited))
    assert path == Path("out.html")
    return content.decode()


@cache
def markdown(name: str, retrains: int, audited: bool) -> dict[Path, str]:
    written = formats.files("x/my report.md", findings(name, retrains, audited))
    return {path: content.decode() for path, content in written}


@pytest.mark.parametrize("case", CASES)
def test_a_page_is_one_well_formed_file_that_needs_nothing_else(case: tuple[str, int, bool]) -> None:
    page = Page(html(*case))
    assert page.open == []
    assert not {"script", "link", "img", "iframe", "object", "image"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {"src", "srcset", "data"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert all((attributes.get(name) or "#").startswith("#") for name in ("href", "xlink:href"))
    assert "http" not in html(*case)
    assert "@import" not in html(*case)


@pytest.mark.parametrize("case", CASES)
def test_names_on_a_page_are_unique_and_point_somewhere(case: tuple[str, int, bool]) -> None:
    text = html(*case)
    ids = Counter(attributes["id"] for _, attributes in Page(text).tags if "id" in attributes)
    assert max(ids.values()) == 1
    pointed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert pointed
    assert pointed <= set(ids)


@pytest.mark.parametrize("case", CASES)
def test_a_page_can_be_read_without_seeing_it(case: tuple[str, int, bool]) -> None:
    text = html(*case)
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    pictures = [attributes for attributes in page.all("div") if attributes.get("role") == "img"]
    assert len(pictures) == text.count("<figcaption>") == text.count("<figure>")
    assert all(re.search(r"\d", str(attributes["aria-label"])) for attributes in pictures)
    assert all(attributes["aria-hidden"] == "true" for attributes in page.all("svg"))
    assert text.count("<table>") == text.count("<caption>")
    assert all("scope" in attributes for attributes in page.all("th"))
    assert "nan" not in " ".join(page.words).lower().split()


def test_colours_follow_the_page() -> None:
    text = html(*CASES[0])
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert "var(--unlearned)" in drawn
    assert not re.search(r"#[0-9a-f]{6}\b", drawn)


def test_the_same_comparison_gives_the_same_page() -> None:
    again = dict(formats.files("out.html", findings(*CASES[0])))
    assert again[Path("out.html")].decode() == html(*CASES[0])


@pytest.mark.parametrize("case", CASES)
def test_nothing_from_files_becomes_markup_and_no_id_of_a_user_is_told(case: tuple[str, int, bool]) -> None:
    for text in (html(*case), *markdown(*case).values()):
        assert "<img" not in text
        assert "\x1b" not in text
        assert str(UNLIKE_ANY_FIGURE)[:9] not in text
    assert "&lt;img src=x onerror=&quot;" in html(*case)
    assert "&lt;img src=x onerror=" in markdown(*case)[Path("x/my report.md")]


@pytest.mark.parametrize("case", CASES)
def test_markdown_has_its_pictures_beside_it(case: tuple[str, int, bool]) -> None:
    written = dict(markdown(*case))
    assert list(written)[-1] == Path("x/my report.md")
    text = written.pop(Path("x/my report.md"))
    shown = re.findall(r"!\[[^]]*\d[^]]*\]\(([^)]+)\)", text)
    assert sorted(Path("x") / name.replace("%20", " ") for name in shown) == sorted(written)
    for picture in written.values():
        assert picture.startswith("<svg ")
        assert "<title>" in picture
        assert "prefers-color-scheme" in picture
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) >= 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_a_report_says_the_verdict_first_and_what_failed() -> None:
    found = findings(*CASES[0])
    assert found.audit is not None
    text = " ".join(Page(html(*CASES[0])).words).replace("\N{NO-BREAK SPACE}", " ")
    assert text.index(found.audit.sentence) < text.index("Checks")
    assert "FAILS" in text
    without = " ".join(Page(html("biased", 2, False)).words)
    assert "No verdict" in without


def test_every_caution_is_in_the_report() -> None:
    found = findings("biased", 1, True)
    words = " ".join(Page(html("biased", 1, True)).words)
    assert any("single retrained model" in caution for caution in found.comparison.cautions)
    assert "single retrained model" in words
    assert "none of the models compared" in words


def test_a_report_of_whole_users_has_no_memory_to_show() -> None:
    found = findings(*CASES[0])
    assert found.audit is not None
    bare = dataclasses.replace(found.audit, memory=None, membership=None, scores=None)
    [(_, content)] = formats.files("out.html", dataclasses.replace(found, audit=bare))
    assert "memory1-" not in content.decode()


def test_the_name_tells_the_format() -> None:
    formats.check("a.html")
    formats.check("a.HTM")
    formats.check("b/a.md")
    with pytest.raises(UsageError, match="cannot tell the format"):
        formats.check("a.pdf")


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="matplotlib is not installed") as caught:
        formats.check("a.html")
    assert caught.value.hint == "pip install 'forgetcli[report]'"
