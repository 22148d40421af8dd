"""Files are replaced whole or not at all, and locked files are changed by one process at a time."""

from __future__ import annotations

import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest

from forgetcli import checkpoint, files
from forgetcli.errors import FileSystemError
from forgetcli.files import TEMPORARY_SUFFIX, atomic_write, check_writable, file_system_errors, hard_links, lock

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def run(code: str, directory: Path, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that runs the code in the directory, with the arguments."""
    prelude = "import os, signal, sys\nfrom forgetcli.errors import FileSystemError\nfrom forgetcli.files import *\n"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    command = [sys.executable, "-c", prelude + code, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, cwd=directory, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def output_of(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 0, text
    return text


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


@pytest.fixture(params=["unnamed", "named"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of making the new file: without a name where Linux can, and the one for all other systems."""
    if request.param == "named":
        exists = os.path.exists
        monkeypatch.setattr(os.path, "exists", lambda path: path != "/proc/self/fd" and exists(path))
    elif sys.platform != "linux":
        pytest.skip("unnamed files are Linux's")


@pytest.mark.usefixtures("each_way")
def test_a_new_file_has_the_content_and_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "model", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "model").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o640
    assert names(tmp_path) == ["model"]


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_a_body_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    def fail() -> None:
        with atomic_write(tmp_path / "model") as file:
            file.write(b"new" * 100_000)
            raise failure

    write(tmp_path / "model", b"old")
    with pytest.raises(failure):
        fail()
    assert (tmp_path / "model").read_bytes() == b"old"
    assert names(tmp_path) == ["model"]


@pytest.mark.usefixtures("each_way")
def test_the_old_content_is_there_until_the_new_one_is_complete(tmp_path: Path) -> None:
    write(tmp_path / "model", b"old")
    with atomic_write(tmp_path / "model") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "model").read_bytes() == b"old"
    assert (tmp_path / "model").read_bytes() == b"new"


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_the_mode_of_the_replaced_file_is_kept(tmp_path: Path, mode: int) -> None:
    write(tmp_path / "model", b"old")
    os.chmod(tmp_path / "model", mode)
    write(tmp_path / "model", b"new")
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == mode


@pytest.mark.usefixtures("each_way")
@as_root
def test_owner_and_group_of_the_replaced_file_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "model", b"old")
    os.chown(tmp_path / "model", 1234, 2345)
    write(tmp_path / "model", b"new")
    status = (tmp_path / "model").stat()
    assert (status.st_uid, status.st_gid) == (1234, 2345)


@as_root
def test_rights_of_a_group_that_cannot_be_kept_go_to_no_other_group(tmp_path: Path) -> None:
    write(tmp_path / "model", b"old")
    os.chown(tmp_path / "model", 1234, 2345)
    os.chmod(tmp_path / "model", 0o664)
    os.chmod(tmp_path, 0o777)
    as_somebody_else("with atomic_write('model') as file: file.write(b'new')", tmp_path)
    status = (tmp_path / "model").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (65534, 65534, 0o604)


@pytest.mark.skipif(sys.platform != "linux", reason="access lists are read as Linux keeps them")
def test_the_access_list_of_the_replaced_file_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "model", b"old")
    everyone = 0xFFFFFFFF
    access = struct.pack("<I", 2) + b"".join(
        struct.pack("<2HI", *entry)
        for entry in [(1, 6, everyone), (2, 4, 1234), (4, 0, everyone), (16, 4, everyone), (32, 0, everyone)]
    )
    try:
        os.setxattr(tmp_path / "model", "system.posix_acl_access", access)
    except OSError:
        pytest.skip("this file system has no access lists")
    write(tmp_path / "model", b"new")
    assert os.getxattr(tmp_path / "model", "system.posix_acl_access") == access


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "models").mkdir()
    if exists:
        write(tmp_path / "models/v7", b"old")
    (tmp_path / "current").symlink_to("models/v7")
    write(tmp_path / "current", b"new")
    assert os.readlink(tmp_path / "current") == "models/v7"
    assert (tmp_path / "models/v7").read_bytes() == b"new"
    assert names(tmp_path) == ["current", "models"]
    assert names(tmp_path / "models") == ["v7"]


def test_other_hard_links_are_counted_and_keep_the_old_content(tmp_path: Path) -> None:
    assert hard_links(tmp_path / "model") == 0
    write(tmp_path / "model", b"old")
    assert hard_links(tmp_path / "model") == 0
    (tmp_path / "other").hardlink_to(tmp_path / "model")
    assert hard_links(tmp_path / "model") == 1
    write(tmp_path / "model", b"new")
    assert (tmp_path / "other").read_bytes() == b"old"
    assert hard_links(tmp_path / "model") == 0


def test_a_device_or_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = run("sys.stdout.write(open('pipe').read())", tmp_path)
    write(tmp_path / "pipe", b"through the pipe")
    assert output_of(reader) == "through the pipe"
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.usefixtures("each_way")
def test_names_as_long_as_the_file_system_allows_can_be_written(tmp_path: Path) -> None:
    write(tmp_path / ("ü" * 125 + ".npz"), b"content")
    assert len(names(tmp_path)) == 1


def test_strays_of_killed_processes_are_removed_and_live_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for target in ("model", "another"):
        (tmp_path / f".{target}.0123456789abcdef{TEMPORARY_SUFFIX}").write_bytes(b"left by a killed process")
    (tmp_path / f"notes{TEMPORARY_SUFFIX}").write_bytes(b"no name that this program gives")
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    with atomic_write(tmp_path / "model") as file:
        file.write(b"slow")
        assert len(names(tmp_path)) == 2
        write(tmp_path / "model", b"quick")
        write(tmp_path / "another", b"quick")
        assert len(names(tmp_path)) == 4
    assert (tmp_path / "model").read_bytes() == b"slow"
    assert names(tmp_path) == ["another", "model", f"notes{TEMPORARY_SUFFIX}"]


def test_a_planted_link_or_pipe_with_a_temporarys_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / f".model.0123456789abcdef{TEMPORARY_SUFFIX}").symlink_to("victim")
    os.mkfifo(tmp_path / f".model.fedcba9876543210{TEMPORARY_SUFFIX}")
    write(tmp_path / "model", b"content")
    assert (tmp_path / "victim").read_bytes() == b"mine"


class StopAtLine:
    """Does something at the n-th line that runs in files.py, and nothing at any other."""

    def __init__(self, count: int, stop: Callable[[], None]) -> None:
        self.left, self.stop = count, stop

    def __call__(self, frame: FrameType, event: str, _: object) -> StopAtLine | None:
        if frame.f_code.co_filename != files.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.stop()
        return self

    @property
    def was_reached(self) -> bool:
        return self.left <= 0


def write_and_stop(path: Path, content: bytes, at_line: StopAtLine) -> None:
    before = sys.gettrace()
    sys.settrace(at_line)
    try:
        with atomic_write(path) as file:
            file.write(content)
    finally:
        sys.settrace(before)


@pytest.mark.usefixtures("each_way")
def test_killing_a_writer_at_any_line_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    old, new = b"old" * 10_000, b"new" * 10_000
    outcomes = set()
    for line in range(1, 1000):
        write(tmp_path / "model", old)
        child = os.fork()
        if child == 0:
            write_and_stop(tmp_path / "model", new, StopAtLine(line, lambda: os.kill(os.getpid(), signal.SIGKILL)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        content = (tmp_path / "model").read_bytes()
        assert content in (old, new)
        assert len(names(tmp_path)) <= 2
        write(tmp_path / "model", b"the next run")
        assert names(tmp_path) == ["model"]
        outcomes.add(content)
        if status == 0:
            break
    assert outcomes == {old, new}


# Python closes a file late when the interrupt comes between the end of a `with` block and its exit.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("each_way")
def test_an_interrupt_at_any_line_leaves_the_old_or_the_new_file_and_nothing_else(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for line in range(1, 1000):
        write(tmp_path / "model", b"old")
        at_line = StopAtLine(line, interrupt)
        with suppress(KeyboardInterrupt):
            write_and_stop(tmp_path / "model", b"new", at_line)
        assert (tmp_path / "model").read_bytes() in (b"old", b"new")
        assert names(tmp_path) == ["model"]
        if not at_line.was_reached:
            break
    assert not at_line.was_reached


def test_a_file_that_outgrows_its_limit_leaves_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "model", b"old")
    text = output_of(
        run(
            """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with atomic_write("model") as file:
        file.write(bytes(1_000_000))
except FileSystemError as error:
    print(error.message, error.hint, sep="|")
""",
            tmp_path,
        )
    )
    assert text == (
        "cannot write model: the file would be larger than is allowed|"
        "raise the limit (ulimit -f), or use another disk\n"
    )
    assert (tmp_path / "model").read_bytes() == b"old"
    assert names(tmp_path) == ["model"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_full_disk_is_named_as_such() -> None:
    with pytest.raises(FileSystemError, match="cannot write /dev/full: the disk is full"):
        write(Path("/dev/full"), bytes(1_000_000))


def as_somebody_else(code: str, directory: Path) -> str:
    """What the code prints when nobody (65534), with no other group, runs it in the directory."""
    for parent in [*directory.parents][:3]:
        os.chmod(parent, 0o755)
    drop = "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    return output_of(run(drop + code, directory))


@as_root
def test_a_directory_that_may_not_be_written_to_is_refused_before_any_work(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    text = as_somebody_else(
        """
try:
    check_writable("model")
except FileSystemError as error:
    print(error.message, error.hint, sep="|")
""",
        tmp_path,
    )
    assert text == ("cannot write model: permission denied|check the permissions of the file and of its directory\n")


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("missing/model", "no such file or directory", "create the directory .*/missing first"),
        ("file/model", "not a directory", None),
        (".", "is a directory", None),
        ("loop", "too many levels of symbolic links", None),
        ("x" * 300, "file name too long", None),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_with_its_reason(
    tmp_path: Path, path: str, message: str, hint: str | None
) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    for attempt in (check_writable, lambda path: write(path, b"")):
        with pytest.raises(FileSystemError, match=message) as raised:
            attempt(tmp_path / path)
        if hint:
            assert raised.value.hint is not None
            assert raised.value.hint.startswith("create the directory")
    assert names(tmp_path) == before


def test_standard_input_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileSystemError, match="cannot read -") as raised:
        checkpoint.load("-")
    assert "put this into a file first" in str(raised.value.hint)


def test_nobody_is_told_to_create_the_directory_of_what_is_to_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileSystemError, match="no such file") as raised, file_system_errors(tmp_path / "a/b", "read"):
        (tmp_path / "a/b").read_bytes()
    assert raised.value.hint is None


def test_asking_whether_a_file_can_be_written_changes_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    assert names(tmp_path) == []
    write(tmp_path / "model", b"old")
    check_writable(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == b"old"


def test_twenty_processes_that_change_one_file_at_once_lose_nothing(tmp_path: Path) -> None:
    write(tmp_path / "model", b"")
    code = """
with lock("model", timeout=50):
    content = open("model").read()
    os.sched_yield()
    with atomic_write("model") as file:
        file.write((content + sys.argv[1] + "\\n").encode())
"""
    for process in [run(code, tmp_path, number) for number in range(20)]:
        output_of(process)
    assert sorted(map(int, (tmp_path / "model").read_text().split())) == list(range(20))
    assert names(tmp_path) == ["model"]


def test_a_locked_file_is_refused_after_the_timeout_with_who_has_it(tmp_path: Path) -> None:
    write(tmp_path / "model", b"content")
    with lock(tmp_path / "model"):
        text = output_of(
            run(
                """
try:
    with lock("model", timeout=0.05):
        pass
except FileSystemError as error:
    print(error.message, error.hint, sep="|")
""",
                tmp_path,
            )
        )
    who = f"process {os.getpid()}" if os.path.exists("/proc/locks") else "another process"
    assert text == (
        f"cannot lock model: {who} is changing it, still after 0.05 s|"
        "try again when it has finished, or wait longer: `timeout=SECONDS`\n"
    )
    with lock(tmp_path / "model", timeout=0):
        assert names(tmp_path) == ["model"]


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    write(tmp_path / "model", b"content")
    holder = run("with lock('model'):\n    print(flush=True); signal.pause()", tmp_path)
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(FileSystemError, match="is changing it"), lock(tmp_path / "model", timeout=0):
        pass
    holder.kill()
    holder.communicate()
    with lock(tmp_path / "model", timeout=0):
        assert names(tmp_path) == ["model"]


def test_a_file_that_is_not_there_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(FileSystemError, match="no such file"), lock(tmp_path / "model"):
        pass
    assert names(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="access lists as Linux keeps them")
def test_a_file_without_an_access_list_is_given_none_by_its_directory(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.write_bytes(b"old")
    target.chmod(0o640)
    everyone = 0xFFFFFFFF
    entries = ((1, 6, everyone), (2, 4, 12345), (4, 4, everyone), (0x10, 4, everyone), (0x20, 0, everyone))
    try:
        listed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        os.setxattr(tmp_path, "system.posix_acl_default", listed)
    except OSError:
        pytest.skip("this file system has no access lists")
    write(target, b"new")
    with pytest.raises(OSError, match="No data"):
        os.getxattr(target, "system.posix_acl_access")
    assert target.stat().st_mode & 0o777 == 0o640
    write(tmp_path / "other", b"new")
    assert os.getxattr(tmp_path / "other", "system.posix_acl_access")  # as any new file there has one
