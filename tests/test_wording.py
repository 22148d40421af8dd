"""The core speaks of its parameters, the program of its options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgetcli import TrainConfig, UsageError
from forgetcli.cli.wording import SPELLED_OTHERWISE, as_typed
from tests.program import check_error, forget
from tests.test_layers import PACKAGE

OPTION = re.compile(r"(?<![\w-])--[a-z]")
FOREIGN = {"hadoop classpath --glob", "--json"}
"""What other programs are to be told; and what the program's own output is called, which is read as a file."""


def told(path: Path) -> Iterator[str]:
    """Every string of a module but its docstrings, the parts of f-strings put together."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


@pytest.mark.parametrize(
    "path",
    sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in ("cli", "report")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_the_core_names_no_option_of_the_program(path: Path) -> None:
    for text in told(path):
        for foreign in FOREIGN:
            text = text.replace(foreign, "")
        assert not OPTION.search(text), f"write `parameter` for --option: {text!r}"


@pytest.mark.parametrize(
    ("core", "program"),
    [
        ("raise `reg`, use `dtype=\"float64\"`", "raise --reg, use --dtype float64"),
        ("`bad_rows=\"drop\"` leaves out", "--bad-rows drop leaves out"),
        ("say which: `user=NAME` or `item=NAME`", "say which: --user-col NAME or --item-col NAME"),
        ("`columns=user,item`; `data_where`, character 3", "--columns user,item; --data-where, character 3"),
        ("(`exclude_seen=False`)", "(--include-seen)"),
        ("wait: `timeout=SECONDS`", "wait: --lock-timeout SECONDS"),
        ("no `Column` and `x y` and ``", "no `Column` and `x y` and ``"),
    ],
)  # fmt: skip
def test_parameters_become_options(core: str, program: str) -> None:
    assert as_typed(core) == program


def test_what_is_spelled_otherwise_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    from forgetcli.cli.commands import COMMANDS
    from forgetcli.cli.program import main

    for command in COMMANDS:
        main([command, "--help"])
    helped = capsys.readouterr().out
    assert all(option in helped for option in SPELLED_OTHERWISE.values())


def test_python_and_the_program_are_told_the_same_each_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^`unobserved_weight` must be a number, at least 0, not -1"):
        TrainConfig(unobserved_weight=-1.0)
    (tmp_path / "a.csv").write_text("user,item\n1,2\n")
    run = forget("train", "a.csv", "--unobserved-weight", "-1", cwd=tmp_path)
    check_error(run, 2, "--unobserved-weight must be a number, at least 0, not -1")
