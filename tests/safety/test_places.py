"""Full disks, forbidden and foreign places, links, and permissions, as the whole program meets them."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.program import Run, check_error, command_line, environment, forget, forget_well


@cache
def unshare() -> tuple[str, ...] | None:
    """The start of a command that may mount file systems which nobody else sees; None where that is not allowed."""
    for options in (("--mount",), ("--user", "--map-root-user", "--mount")):
        command = ("unshare", *options)
        with tempfile.TemporaryDirectory() as directory:
            mount = (*command, "mount", "-t", "tmpfs", "none", directory)
            if shutil.which("unshare") and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
                return command
    return None


def on_mounted(options: str, arguments: tuple[str, ...], work: Path, *, then: str = "") -> Run:
    """Runs `forget` in work/disk, where a tmpfs with these options is mounted that holds a copy of the model. What is
    in it afterwards is copied to work/after."""
    command = unshare()
    if sys.platform != "linux" or command is None:
        pytest.skip("file systems may not be mounted here")
    (work / "disk").mkdir()
    (work / "after").mkdir()
    script = f"""
    mount -t tmpfs -o {options} none disk && cp model.npz disk && cd disk {then} || exit 99
    "$@"
    code=$?
    cp -a . ../after
    exit $code
    """
    done = subprocess.run(
        (*command, "sh", "-c", script, "sh", *command_line(*arguments)),
        cwd=work, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [("forget", "model.npz", "--user", "42"), ("retrain", "model.npz", "--user", "42", "-o", "new.npz")],
    ids=["in place", "to a new file"],
)
def test_a_disk_without_room_for_the_new_model_keeps_the_old_one(arguments: tuple[str, ...], work: Path) -> None:
    size = (work / "model.npz").stat().st_size * 3 // 2
    check_error(on_mounted(f"size={size}", (*arguments, "--quiet"), work), 5, "cannot write", "the disk is full")
    assert os.listdir(work / "after") == ["model.npz"]
    assert (work / "after" / "model.npz").read_bytes() == (work / "model.npz").read_bytes()


def test_a_disk_without_room_for_recommendations_holds_none(work: Path) -> None:
    size = (work / "model.npz").stat().st_size + (64 << 10)
    arguments = ("recommend", "model.npz", "--all-users", "-n", "100", "-o", "recs.csv", "--quiet")
    check_error(on_mounted(f"size={size}", arguments, work), 5, "cannot write recs.csv", "the disk is full")
    assert os.listdir(work / "after") == ["model.npz"]


def test_a_read_only_file_system_is_refused_before_any_work(work: Path) -> None:
    arguments = ("forget", "model.npz", "--user", "42", "--method", "retrain")
    run = on_mounted("size=10m", arguments, work, then="&& mount -o remount,ro .")
    check_error(run, 5, "cannot write model.npz", "read-only")
    assert (work / "after" / "model.npz").read_bytes() == (work / "model.npz").read_bytes()


def test_a_model_that_outgrows_the_limit_on_files_keeps_the_old_one(work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    done = subprocess.run(
        command_line("forget", "model.npz", "--user", "42", "--quiet"),
        cwd=work,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16)),
    )
    check_error(Run(done.returncode, done.stdout, done.stderr), 5, "larger than is allowed", "ulimit -f")
    assert (work / "model.npz").read_bytes() == before


@pytest.fixture
def elsewhere(work: Path) -> Iterator[Path]:
    """A directory on another file system."""
    if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(work).st_dev:
        pytest.skip("there is no other file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def test_a_model_on_another_file_system_is_replaced_there_through_its_link(work: Path, elsewhere: Path) -> None:
    shutil.move(work / "model.npz", elsewhere / "v1.npz")
    (work / "model.npz").symlink_to(elsewhere / "v1.npz")
    before = (elsewhere / "v1.npz").read_bytes()
    forget_well("forget", "model.npz", "--user", "42", cwd=work)
    assert (work / "model.npz").is_symlink()
    assert (elsewhere / "v1.npz").read_bytes() != before
    assert os.listdir(elsewhere) == ["v1.npz"]
    forget_well("forget", "model.npz", "--user", "43", "-o", str(elsewhere / "v2.npz"), cwd=work)
    assert sorted(os.listdir(elsewhere)) == ["v1.npz", "v2.npz"]


def test_in_place_the_mode_and_the_owner_stay(work: Path) -> None:
    (work / "model.npz").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(work / "model.npz", 1234, 2345)
    before = (work / "model.npz").stat()
    forget_well("forget", "model.npz", "--user", "42", cwd=work)
    after = (work / "model.npz").stat()
    assert after.st_ino != before.st_ino
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


@pytest.mark.parametrize(
    "arguments",
    [
        ("forget", "gone.npz", "--user", "42"),
        ("forget", "model.npz", "--records", "gone.csv"),
        ("train", "gone.csv"),
        ("recommend", "model.npz", "--users", "gone.csv"),
        ("info", "gone.npz"),
    ],
)
def test_an_input_that_is_not_there_is_named(arguments: tuple[str, ...], work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    check_error(forget(*arguments, cwd=work), 5, next(part for part in arguments if part.startswith("gone")), "no such")
    assert (work / "model.npz").read_bytes() == before


def test_an_interrupted_run_can_simply_be_run_again(work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    (work / "model.npz").rename(work / "reference.npz")
    forget_well("forget", "reference.npz", "--user", "42", cwd=work)
    (work / "model.npz").write_bytes(before)
    os.mkfifo(work / "pipe")
    # It waits for its list, and there it is interrupted.
    running = subprocess.Popen(
        command_line("forget", "model.npz", "--records", "pipe"),
        cwd=work, env=environment(), stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with open(work / "pipe", "wb"):
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 130
    assert (work / "model.npz").read_bytes() == before
    forget_well("forget", "model.npz", "--user", "42", cwd=work)
    assert (work / "model.npz").read_bytes() == (work / "reference.npz").read_bytes()
