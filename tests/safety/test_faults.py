"""Killed or refused at any of its system calls, a command leaves the old file or the complete new one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from forgetcli.files import TEMPORARY_SUFFIX
from tests.safety.faults import KILL, KILL_HALFWAY, NO_FAULT, Ended, Program, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

SMALL = ("--factors", "4", "--sweeps", "2", "--threads", "1")

FORGET = ("forget", "model.npz", "--user", "u3", "--threads", "1")

COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "train": (("train", "ratings.csv", *SMALL), "model.npz"),
    "train to a new file": (("train", "ratings.csv", *SMALL, "-o", "new.npz"), "new.npz"),
    "forget in place": (FORGET, "model.npz"),
    "forget in place, named": (FORGET, "model.npz"),
    "forget to a file": ((*FORGET, "-o", "out.npz"), "out.npz"),
    "retrain": (("retrain", "model.npz", "--user", "u3", "-o", "out.npz", "--threads", "1"), "out.npz"),
    "recommend": (("recommend", "model.npz", "--all-users", "-o", "out.csv"), "out.csv"),
    "recommend to Parquet": (("recommend", "model.npz", "--all-users", "-o", "new.parquet"), "new.parquet"),
}
"""What is run, and the file that it writes: model.npz and out.* are there before, new.* are not. "named" is where the
file system has no files without a name."""

KINDS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES)

MOST_CALLS = 100
"""A command that made more would not be one of these."""

CONFIRMING = "was replaced, but the disk did not confirm it"


@dataclass(frozen=True)
class Case:
    """A command, a directory in which it has not run, and what it makes there.

    before: the files of the directory, by name.
    after:  the same when the command has run.
    calls:  that it makes on them, reading left out.
    """

    name: str
    arguments: tuple[str, ...]
    target: str
    directory: Path
    before: dict[str, bytes]
    after: dict[str, bytes]
    calls: tuple[str, ...]

    @property
    def is_unnamed(self) -> bool:
        return not self.name.endswith("named")

    def run(self, program: Program, at: int = -1, action: int = NO_FAULT, *, with_reads: bool = False) -> Ended:
        how = {"at": at, "action": action, "with_reads": with_reads, "unnamed": self.is_unnamed}
        return program.run(self.arguments, self.directory, **how)

    def reset(self) -> None:
        for path in self.directory.iterdir():
            path.unlink()
        for name, content in self.before.items():
            (self.directory / name).write_bytes(content)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("shim")) as running:
        yield running


@pytest.fixture(scope="module")
def begun(program: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that each case begins with."""
    directory = tmp_path_factory.mktemp("begun")
    rows = [f"u{u},{i},{(u * i) % 5 + 1}\n" for u in range(30) for i in range(12) if (u + i) % 3]
    (directory / "ratings.csv").write_text("user,item,rating\n" + "".join(rows))
    assert program.run(("train", "ratings.csv", *SMALL, "--seed", "1"), directory).code == 0
    for name in ("out.npz", "out.csv"):
        (directory / name).write_bytes(b"what was there before")
    return contents(directory)


@pytest.fixture(scope="module", params=COMMANDS)
def case(
    request: pytest.FixtureRequest, program: Program, begun: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> Case:
    arguments, target = COMMANDS[request.param]
    directory = tmp_path_factory.mktemp("case")
    for name, content in begun.items():
        (directory / name).write_bytes(content)
    case = Case(request.param, arguments, target, directory, begun, {}, ())
    done = case.run(program)
    assert done.code == 0, done.err
    return replace(case, after=contents(directory), calls=done.calls)


def strays(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.endswith(TEMPORARY_SUFFIX)]


def check_whole(case: Case) -> None:
    """That the target is what it was or what it was to become, and every other file what it was."""
    found = contents(case.directory)
    for name in strays(case.directory):
        del found[name]
    assert found in (case.before, case.after)


def check_next_run(program: Program, case: Case) -> None:
    """That the same command now ends as if nothing had happened, and leaves nothing lying about."""
    again = case.run(program)
    assert again.code == 0, again.err
    assert contents(case.directory) == case.after


def test_a_command_flushes_the_file_before_it_names_it_and_the_directory_after(case: Case) -> None:
    written = case.calls[case.calls.index("write") :]
    assert written.index("fsync") > max(i for i, call in enumerate(written) if call in ("write", "fchmod", "fchown"))
    assert written.index("fsync") < written.index("rename")
    assert written[-1] == "fsync"


@pytest.mark.parametrize("how", [KILL, KILL_HALFWAY], ids=["before", "halfway"])
def test_a_kill_at_any_call_leaves_the_old_file_or_the_new_one_and_the_next_run_works(
    program: Program, case: Case, how: int
) -> None:
    replaced = set()
    for at in [at for at, call in enumerate(case.calls) if how == KILL or call == "write"]:
        case.reset()
        assert case.run(program, at, how).code == -9
        check_whole(case)
        # Only between its naming and its renaming has the new file a name of its own, where it can do without.
        assert len(strays(case.directory)) <= (case.calls[at] == "rename" or not case.is_unnamed)
        replaced.add(contents(case.directory).get(case.target) == case.after[case.target])
        check_next_run(program, case)
    assert replaced == ({False, True} if how == KILL else {False})


@pytest.mark.parametrize("number", KINDS, ids=errno.errorcode.get)
def test_a_refusal_at_any_call_ends_in_a_message_with_the_old_file_whole(
    program: Program, case: Case, number: int
) -> None:
    if number != errno.EIO and case.arguments != FORGET:
        pytest.skip("one command is enough: what is refused is answered in one place")
    refused = set()
    for at in range(MOST_CALLS):
        case.reset()
        ended = case.run(program, at, number, with_reads=number == errno.EIO)
        was_left = ended.calls[at : at + 1] == ("unlink",)
        assert len(strays(case.directory)) <= was_left
        if ended.code == 0:  # what was refused is not needed, or there are no more calls
            check_whole(case)
            assert contents(case.directory)[case.target] == case.after[case.target]
        else:
            assert ended.code == 5, ended.err
            assert "\nforget: error: " in f"\n{ended.err}"
            assert ended.out == ""
            came_through = CONFIRMING in " ".join(ended.err.split())
            check_whole(case)
            assert (contents(case.directory).get(case.target) == case.after[case.target]) == came_through
            refused.add(ended.calls[at])
            check_next_run(program, case)
        if at >= len(ended.calls):
            break
    assert refused >= {"write", "rename"} | ({"fsync"} if number != errno.EACCES else set())


def test_the_temporary_of_a_killed_run_is_removed_by_any_other_command(program: Program, case: Case) -> None:
    if case.target != "out.npz":
        pytest.skip("one command is enough")
    case.reset()
    case.run(program, case.calls.index("rename"), KILL)
    assert len(strays(case.directory)) == 1
    shutil.copy(case.directory / "model.npz", case.directory / "other.npz")
    assert program.run(("forget", "other.npz", "--item", "1"), case.directory).code == 0
    assert strays(case.directory) == []
