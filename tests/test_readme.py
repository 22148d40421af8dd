"""What the README says is so; that its blocks work as written is seen to by `test_pages`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forgetcli import read_records
from forgetcli.cli.program import HELP
from tests.pages import furnish, shell
from tests.program import SAMPLES

README = (SAMPLES.parent / "README.md").read_text(encoding="utf-8")
SURE_TITLES = 8
"""Of ten: the last bits of scores differ between processors, and near ties may change places."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every file that the README's commands name."""
    directory = tmp_path_factory.mktemp("readme")
    furnish(directory)
    return directory


def test_the_first_two_blocks_install_and_run_the_demonstration_and_the_tests() -> None:
    demonstration, tests = blocks("sh")[:2]
    for command in (demonstration, tests):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert "sample_data/demo.sh" in demonstration
    assert tests.endswith("'.[test]' && .venv/bin/pytest\n")


def test_the_demonstration_shows_the_titles_that_the_readme_shows(place: Path) -> None:
    done = shell(str(SAMPLES / "demo.sh"), place)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^42,\d+,\d+,[\d.]+,(.*)$", done.stdout, re.MULTILINE)
    promised = re.findall(r"^\| \d+ \| (.*?) \| (.*?) \|$", README, re.MULTILINE)
    assert (len(shown), len(promised)) == (20, 10)
    before, after = zip(*promised, strict=True)
    assert len(set(before) & {title.strip('"') for title in shown[:10]}) >= SURE_TITLES
    assert len(set(after) & {title.strip('"') for title in shown[10:]}) >= SURE_TITLES
    verdict = re.search(r"^> (Nothing of the \d+ forgotten ratings.*?):", README, re.MULTILINE | re.DOTALL)
    assert verdict is not None
    assert verdict[1].replace("\n> ", " ") in " ".join(done.stdout.split())


def test_the_forget_list_asks_for_a_pair_a_user_and_an_item(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(blocks("csv")[0])
    request = read_records(tmp_path / "list.csv")
    assert [len(ids) for ids in (request.pair_users, request.users, request.items)] == [1, 1, 1]


def test_the_exit_codes_are_those_of_the_program() -> None:
    told = dict(re.findall(r"^\| (\d+) \| (.*?) \|$", README, re.MULTILINE))
    codes = {code: meaning for code, meaning in told.items() if meaning.replace("`", "") in " ".join(HELP.split())}
    assert set(re.findall(r"^ +(\d+)  ", HELP, re.MULTILINE)) <= set(codes) | {"70"}
