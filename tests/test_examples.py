"""The examples of every command's help work as they are written."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path

import pytest

from forgetcli.cli.commands import COMMANDS
from forgetcli.cli.program import HELP
from tests.pages import furnish, shell

FIRST = {
    "compare": "forget forget model.npz --records deletions.csv -o forgotten.npz --json > runs.jsonl",
    "info": "forget forget model.npz --user 3 --receipt receipt.json --quiet",
    "retrain": "forget forget model.npz --records deletions.csv -o forgotten.npz --quiet",
}
"""What has been done before."""


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A directory with every file that examples name."""
    furnish(tmp_path)
    shutil.copy(trained / "model.npz", tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_a_commands_help_work_one_after_the_other(command: str, place: Path) -> None:
    examples = importlib.import_module(f"forgetcli.cli.{command.replace('-', '_')}").EXAMPLES
    done = shell(f"{FIRST.get(command, '')}\n{examples}", place)
    assert done.returncode == 0, done.stderr


def test_the_examples_of_the_programs_help_work(place: Path) -> None:
    examples = re.search(r"^examples:\n((?:  .*\n)+)", HELP, re.MULTILINE)
    assert examples is not None
    assert examples[1].count("forget ") >= 5
    done = shell(examples[1], place)
    assert done.returncode == 0, done.stderr
