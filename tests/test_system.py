"""What rests on POSIX has another way on Windows; see `windows.py` for what stands in for that here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.program import SAMPLES, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the stand-in for Windows asks Linux what is open")

STAND_IN = [sys.executable, "-m", "tests.windows"]
ROOT = Path(__file__).parents[1]


def on_windows(directory: Path, *arguments: str) -> str:
    """Runs the program, or code after -c, on the stand-in, to its success."""
    path = environment()["PYTHONPATH"] + os.pathsep + str(ROOT)
    done = subprocess.run(
        [*STAND_IN, *arguments], cwd=directory, env=environment(PYTHONPATH=path), capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_commands_that_replace_files_work_and_leave_nothing(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "ratings.parquet", tmp_path)
    commands = [
        ["train", "ratings.parquet", "--factors", "2", "--sweeps", "2", "-q"],
        ["forget", "model.npz", "--user", "42", "--receipt", "receipt.json", "-q"],
        ["info", "receipt.json", "--model", "model.npz"],
        ["export", "model.npz", "--format", "spark", "--fold-biases", "-o", "spark", "-q"],
        ["export", "model.npz", "--format", "spark", "--fold-biases", "-o", "spark", "--overwrite", "-q"],
    ]
    code = f"for command in {commands!r}: assert main([*command, '--debug']) == 0, command"
    assert "byte for byte" in " ".join(on_windows(tmp_path, "-c", code).split())
    assert names(tmp_path) == ["model.npz", "ratings.parquet", "receipt.json", "spark"]


def test_a_lock_keeps_others_out_until_it_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    code = """
import subprocess
from pathlib import Path
from forgetcli.files import atomic_write, lock
count = Path("count")
if len(sys.argv) == 3:
    each = [subprocess.Popen([sys.executable, "-m", "tests.windows", "-c", sys.argv[2], "again"]) for _ in range(4)]
    assert [process.wait() for process in each] == [0] * 4
else:
    for _ in range(5):
        with lock("count") as require_unchanged:
            number = int(count.read_text())
            require_unchanged()
            with atomic_write("count") as file:
                file.write(str(number + 1).encode())
"""
    on_windows(tmp_path, "-c", code)
    assert (tmp_path / "count").read_text() == "20"
    assert names(tmp_path) == ["count"]


def test_what_killed_processes_left_is_removed_when_it_has_lain_idle(tmp_path: Path) -> None:
    old, new = (tmp_path / f".model.npz.{digit * 16}.forgetcli-tmp" for digit in "ab")
    for path in (old, new):
        path.write_text("half a model")
    os.utime(old, (time.time() - 3600,) * 2)
    code = "from forgetcli.files import atomic_write\nwith atomic_write('other') as file: file.write(b'content')"
    on_windows(tmp_path, "-c", code)
    assert names(tmp_path) == [new.name, "other"]


def test_the_stand_in_keeps_open_files_where_they_are(tmp_path: Path) -> None:
    code = """
for change in (lambda: os.unlink("file"), lambda: os.replace("file", "other")):
    with open("file", "w"):
        try:
            change()
        except PermissionError:
            continue
        raise AssertionError("that would not have worked")
"""
    on_windows(tmp_path, "-c", code)
