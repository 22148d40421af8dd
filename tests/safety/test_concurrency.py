"""Many runs on one model at once, and runs that are interrupted: no request is lost."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgetcli import files
from forgetcli.checkpoint import load
from tests.program import command_line, environment
from tests.safety.faults import Program, Task

PROCESSES = 20
KILLS = 20
"""Random moments; tests/safety/kills.py has more."""

SMALL = ("--factors", "8", "--sweeps", "3", "--threads", "1")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("runs"), with_faults=False) as running:
        yield running


@pytest.fixture
def model(tmp_path: Path, program: Program) -> Path:
    directory = tmp_path / "work"
    directory.mkdir()
    ratings = [f"u{u},{i},{(u * i) % 5 + 1}\n" for u in range(200) for i in range(100) if (u + i) % 3]
    (directory / "ratings.csv").write_text("user,item,rating\n" + "".join(ratings))
    assert program.run(("train", "ratings.csv", *SMALL), directory).code == 0
    return directory / "model.npz"


def users_of(model: Path) -> set[str]:
    users = load(model).users
    return {users.label(row) for row in range(len(users))}


def test_twenty_runs_at_once_that_forget_different_users_forget_them_all(program: Program, model: Path) -> None:
    before = users_of(model)
    groups = [[f"u{3 * run}", f"u{3 * run + 1}"] for run in range(PROCESSES)]
    tasks = [
        Task(("forget", "model.npz", "--user", one, "--user", other, "--threads", "1"), str(model.parent))
        for one, other in groups
    ]
    ended = program.run_at_once(tasks)
    assert [run.code for run in ended] == [0] * PROCESSES, ended
    assert users_of(model) == before - {user for group in groups for user in group}
    assert sorted(os.listdir(model.parent)) == ["model.npz", "ratings.csv"]
    assert any("Waiting for another process to finish with model.npz" in run.err for run in ended)


def test_a_run_that_does_not_wait_says_so_and_loses_nothing(program: Program, model: Path) -> None:
    arguments = ("forget", "model.npz", "--user", "u3", "--lock-timeout", "0")
    before = model.read_bytes()
    with files.lock(model):
        ended = program.run(arguments, model.parent)
    assert ended.code == 5
    assert "--lock-timeout" in ended.err
    assert model.read_bytes() == before
    assert program.run(arguments, model.parent).code == 0


def test_a_model_that_vanishes_while_a_run_waits_for_it_is_an_error_of_the_file_system(model: Path) -> None:
    with files.lock(model):
        waiting = subprocess.Popen(
            command_line("forget", "model.npz", "--user", "u3"),
            cwd=model.parent, env=environment(), stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith("Waiting for another process")
        model.unlink()
    _, said = waiting.communicate()
    assert waiting.returncode == 5
    assert "no such file" in said


def test_a_model_that_is_replaced_while_a_run_works_on_it_is_not_overwritten(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program that does not lock: its work would be lost."""
    from forgetcli import checkpoint
    from forgetcli.cli import main

    loaded = checkpoint.load

    def load_and_lose(path: str, **options: object) -> object:
        found = loaded(path, **options)  # type: ignore[arg-type]
        (model.parent / "newer.npz").write_bytes(model.read_bytes() + b"")
        os.replace(model.parent / "newer.npz", model)
        return found

    monkeypatch.chdir(model.parent)
    monkeypatch.setattr(checkpoint, "load", load_and_lose)
    before = model.read_bytes()
    assert main(["forget", "model.npz", "--user", "u3", "--quiet"]) == 5
    assert model.read_bytes() == before
    monkeypatch.setattr(checkpoint, "load", loaded)
    assert main(["forget", "model.npz", "--user", "u3", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (("forget", "model.npz", "--user", "u3", "--threads", "1"), "model.npz"),
        (("train", "ratings.csv", *SMALL, "--seed", "1"), "model.npz"),
        (("recommend", "model.npz", "--all-users", "-o", "recs.csv"), "recs.csv"),
    ],
    ids=["forget", "train", "recommend"],
)
def test_killed_at_random_moments_a_run_leaves_the_old_file_or_the_new_one(
    arguments: tuple[str, ...], target: str, program: Program, model: Path
) -> None:
    rng = random.Random(0)
    path = model.parent / target
    if target != "model.npz":
        path.write_bytes(b"from before")
    before, old_model = path.read_bytes(), model.read_bytes()
    began = time.monotonic()
    assert program.run(arguments, model.parent).code == 0
    duration, after = time.monotonic() - began, path.read_bytes()
    for _ in range(KILLS // 3):
        path.write_bytes(before)
        model.write_bytes(old_model)
        ended = program.run(arguments, model.parent, kill_after=rng.uniform(0, duration))
        assert ended.code in (0, -9)
        assert path.read_bytes() in (before, after)
        assert program.run(arguments, model.parent).code == 0
        assert path.read_bytes() == after
        assert not [name for name in os.listdir(model.parent) if name.endswith(files.TEMPORARY_SUFFIX)]
