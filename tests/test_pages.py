"""Every block of the README and the documentation works as it is written.

A page is a session: its blocks run one after the other in one directory, Python's in one namespace. `sh` and `python`
blocks are run; `json` and `toml` ones are parsed; a `text output` block shows what the block before it printed, whose
words and whole numbers are compared. What stands after a line *Needs x and y.* runs where those are installed.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT, Block, blocks, furnish, is_here, shell

GENERATED = {"api", "commands"}
"""Directories of pages whose blocks are signatures and the examples of the commands' help, which have a test."""

PAGES = sorted(
    [ROOT / "README.md", *(path for path in ROOT.glob("docs/**/*.md") if not GENERATED.intersection(path.parts))]
)
INSTALLS = "python3 -m venv"
"""What installs the package is run by the continuous integration, on a fresh copy of the tree."""

SHOWN = ("csv", "text", "sql", "yaml", "xml", "ini", "dockerfile", "diff")
"""Languages of blocks that show something and do nothing."""


@pytest.fixture(scope="session")
def furnished(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pages") / "place"
    directory.mkdir()
    furnish(directory)
    shutil.copy(trained / "model.npz", directory)
    return directory


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_works(
    page: Path, furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    shutil.copytree(furnished, place)
    monkeypatch.chdir(place)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = ""
    skipped = []
    for block in blocks(page.read_text(encoding="utf-8")):
        where = f"{page.name}, line {block.line}"
        if block.missing:
            skipped.append(f"{where} needs {', '.join(block.missing)}")
            printed = None
        elif block.language == "sh" and not block.text.startswith(INSTALLS):
            printed = run_shell(block, place, where)
        elif block.language == "python":
            printed = run_python(block, namespace, where)
        elif block.is_output:
            assert printed is None or words(printed) == words(block.text), where
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        else:
            assert block.language in ("sh", *SHOWN), f"{where}: nobody knows how to run {block.language or 'this'}"
    if skipped:
        pytest.skip("; ".join(skipped))


def run_shell(block: Block, place: Path, where: str) -> str:
    """What a block of commands prints on standard output."""
    done = shell(block.text, place)
    assert done.returncode == 0, f"{where}: {done.stderr}"
    return done.stdout


def run_python(block: Block, namespace: dict[str, Any], where: str) -> str:
    """What a block of Python prints. Its traceback has the page's line numbers."""
    code = compile("\n" * (block.line - 1) + block.text, where.partition(",")[0], "exec")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(code, namespace)
    return output.getvalue()


def words(text: str) -> list[str]:
    """A text's words with its fractions masked: their last places differ between processors."""
    return re.sub(r"[-+]?\d[\d,]*\.\d+(e[-+]?\d+)?", "#", text).split()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_has_code_that_nobody_runs(page: Path) -> None:
    outside = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    code = re.findall(r"\n\n    (?:forget|fc\.|import|from|pip) .*", outside)
    assert not code, "indented code is not run: fence it, and name its language"


def test_there_are_pages() -> None:
    assert {"README.md", "shell.md", "nightly.md", "measuring.md"} <= {page.name for page in PAGES}


def test_a_block_knows_its_line_and_what_it_needs() -> None:
    page = (
        "# Title\n\n*Needs pyspark, Java and no_such_package.*\n\n```python\nprint(1)\n```\n\n```text output\n1\n```\n"
    )
    first, second = blocks(page)
    assert (first.language, first.text, first.line) == ("python", "print(1)\n", 6)
    assert first.needs == ("pyspark", "Java", "no_such_package")
    assert "no_such_package" in first.missing
    assert second.is_output
    assert not second.needs


def test_what_is_installed_is_known() -> None:
    assert is_here("pytest")
    assert not is_here("a PostgreSQL server")
