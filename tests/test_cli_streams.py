"""Standard streams that are closed, full, left by their reader, or of an old encoding."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from forgetcli.cli.streams import PLAIN
from tests.program import SMALL, command_line, environment, forget_well

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="shell redirections of Linux")


def shell(line: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of shell in which `forget` is the program."""
    program = f'forget() {{ {shlex.join(command_line())} "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", program], cwd=cwd, env=environment(**extra), capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a small model, its data, and a model that has forgotten, with three retrains."""
    directory = tmp_path_factory.mktemp("streams")
    rows = [f"{user},{item},{1 + (user * item) % 5}" for user in range(30) for item in range(20) if (user + item) % 3]
    (directory / "ratings.csv").write_text("\n".join(["user,item,rating", *rows, ""]))
    forget_well("train", "ratings.csv", *SMALL, cwd=directory)
    forget_well("forget", "model.npz", "--user", "7", "--item", "3", "--no-retrain", "-o", "gone.npz", cwd=directory)
    for seed in ("1", "2", "3"):
        given = ("--user", "7", "--item", "3", "--seed", seed, "-o", f"r{seed}.npz")
        forget_well("retrain", "model.npz", *given, cwd=directory)
    return directory


@pytest.mark.parametrize("talk", ["2>&1 | true", "2>/dev/full", "2>&-"])
def test_who_does_not_listen_to_the_talk_keeps_nothing_from_being_forgotten(place: Path, talk: str) -> None:
    (place / "heard.npz").unlink(missing_ok=True)
    line = f"(sleep 0.2; forget forget model.npz --user 7 --progress -o heard.npz) {talk}; exit ${{PIPESTATUS[0]}}"
    done = shell(line, place)
    assert done.returncode == 0, done.stderr
    assert forget_well("info", "heard.npz", "--json", cwd=place).document["users"] == 29


@pytest.mark.parametrize("reader", ["| true", "| head -c 10"])
def test_a_check_that_does_not_hold_fails_also_where_the_report_is_not_read(place: Path, reader: str) -> None:
    given = "gone.npz r1.npz r2.npz r3.npz --user 7 --item 3 --original model.npz --fail-above objective-gap=-1"
    done = shell(f"forget compare {given} --json {reader}; exit ${{PIPESTATUS[0]}}", place)
    assert done.returncode == 1
    assert "the check does not hold" in done.stderr


def test_closed_standard_output_matters_only_to_what_is_written_there(place: Path) -> None:
    assert shell("forget train ratings.csv --factors 8 --sweeps 1 -o quiet.npz >&-", place).returncode == 0
    for command in ("recommend model.npz --user 1", "info model.npz", "info model.npz --json", "--help"):
        done = shell(f"forget {command} >&-", place)
        assert (done.returncode, done.stderr.splitlines()[0][:14]) == (5, "forget: error:"), command


def test_no_file_that_is_written_becomes_standard_output(place: Path) -> None:
    done = shell("forget forget model.npz --user 7 -o apart.npz <&- >&- 2>&-", place)
    assert done.returncode == 0
    assert forget_well("info", "apart.npz", "--json", cwd=place).document["users"] == 29


def test_errors_on_closed_standard_error_do_not_go_to_standard_output(place: Path) -> None:
    done = shell("forget info nothing.npz 2>&-; forget bogus 2>&-", place)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_our_signs_gets_others(place: Path, encoding: str) -> None:
    done = shell("forget info model.npz && forget recommend model.npz --user 1 -n 1", place, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert " -> " in done.stdout
    assert not set(done.stdout) & set(PLAIN)
