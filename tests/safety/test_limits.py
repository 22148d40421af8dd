"""Without the memory or the network it might want, the program says so or works."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from forgetcli.cli.limits import LEAST, tells_of_no_memory
from tests.program import Run, check_error, command_line, environment, forget_well

linux = pytest.mark.skipif(sys.platform != "linux", reason="macOS does not hold processes to such limits")


def limited(arguments: tuple[str, ...], cwd: Path, megabytes: int) -> Run:
    """`forget` under `ulimit -v`."""
    return limited_process(command_line(*arguments), cwd, megabytes)


def limited_process(command: list[str], cwd: Path, megabytes: int) -> Run:
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    done = subprocess.run(
        command,
        cwd=cwd, env=environment(), capture_output=True, text=True, check=False, preexec_fn=limit,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr)


@linux
@pytest.mark.parametrize("megabytes", [60, 200, 270, 300, 330, 360, 400])
def test_too_little_address_space_ends_in_a_message_or_in_success(megabytes: int, work: Path) -> None:
    """Where exactly it runs out is the libraries' affair; some of them end the process."""
    before = (work / "model.npz").read_bytes()
    run = limited(("forget", "model.npz", "--user", "42", "--quiet"), work, megabytes)
    if run.code == 0:
        assert megabytes << 20 >= LEAST
    else:
        assert run.code == 5, run.err
        said = " ".join(run.err.split())
        assert f"the address space is limited to {megabytes} MiB (ulimit -v)" in said
        assert "Traceback" not in run.err
        assert (work / "model.npz").read_bytes() == before


COMMANDS = {
    "train": ("train", "ratings.parquet", "--factors", "64", "--sweeps", "2", "-o", "out.npz"),
    "forget": ("forget", "model.npz", "--user", "42", "-o", "out.npz"),
    "recommend": ("recommend", "model.npz", "--all-users", "-n", "50", "-o", "out.csv"),
    "compare": ("compare", "model.npz", "model.npz", "--test", "ratings.parquet"),
}


def check_ended_well(run: Run, limit: str, work: Path, before: dict[str, bytes]) -> None:
    """That a run came to its end, or said why not and left every file as it was."""
    after = {path.name: path.read_bytes() for path in work.iterdir()}
    assert before.items() <= after.items()
    if run.code == 0:
        assert set(after) <= {*before, "out.npz", "out.csv"}
        return
    assert run.code == 5, run.err
    assert limit in " ".join(run.err.split())
    assert "Traceback" not in run.err
    assert run.out == ""
    assert after == before


@linux
@pytest.mark.parametrize("megabytes", [260, 340, 440, 510])
@pytest.mark.parametrize("command", ["train", "recommend", "compare"])
def test_with_too_little_address_space_every_command_ends_in_a_message_or_in_success(
    command: str, megabytes: int, work: Path
) -> None:
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    run = limited((*COMMANDS[command], "--quiet"), work, megabytes)
    check_ended_well(run, f"the address space is limited to {megabytes} MiB (ulimit -v)", work, before)


@linux
@pytest.mark.parametrize(
    "failing",
    [
        "raise MemoryError",
        "raise SystemError('error return without exception set')",
        """try:
        raise OSError('malloc of size 64 failed')
    except OSError:
        raise KeyError('what that led to')""",
    ],
)
def test_where_memory_does_not_even_last_to_say_so_the_parent_says_it(failing: str, tmp_path: Path) -> None:
    code = f"""
import sys
from forgetcli.cli import limits
from forgetcli.errors import FileSystemError
def program():
    {failing}
try:
    limits.run_within_limits(program)
except FileSystemError as error:
    sys.exit(error.message)
"""
    run = limited_process([sys.executable, "-c", code], tmp_path, 900)
    assert run.code == 1
    assert "limited to 900 MiB" in run.err


@pytest.fixture
def control_group() -> Iterator[Path]:
    """A control group below this process's own, in which memory can be limited."""
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        pytest.skip("there are no control groups here")
    for line in groups:
        _, controllers, own = line.split(":", 2)
        if controllers in ("memory", ""):
            parent = Path(f"/sys/fs/cgroup/{controllers}{own}")
            group = parent / f"forgetcli-test-{os.getpid()}"
            try:
                group.mkdir()
            except OSError:
                continue
            try:
                if any((group / name).exists() for name in LIMIT_FILES):
                    yield group
                    return
            finally:
                group.rmdir()
    pytest.skip("no control group of limited memory can be made here")


LIMIT_FILES = ("memory.limit_in_bytes", "memory.max")
"""In which versions 1 and 2 of control groups have the limit."""


def in_group(group: Path, arguments: tuple[str, ...], cwd: Path, megabytes: int) -> Run:
    """`forget` in a control group of so much memory."""
    limit = next(group / name for name in LIMIT_FILES if (group / name).exists())
    limit.write_text(str(megabytes << 20))
    swap = group / "memory.swap.max"
    if swap.exists():
        swap.write_text("0")

    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    try:
        done = subprocess.run(
            command_line(*arguments),
            cwd=cwd, env=environment(), capture_output=True, text=True, check=False, preexec_fn=enter,
        )  # fmt: skip
    except subprocess.SubprocessError:
        pytest.skip("no process may be put into a control group here")
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_that_the_kernel_kills_for_its_memory_ends_in_a_message_with_every_file_whole(
    command: str, work: Path, control_group: Path
) -> None:
    """The libraries alone need more than this; with much less they would be read from the disk again and again."""
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    run = in_group(control_group, (*COMMANDS[command], "--quiet"), work, 52)
    check_ended_well(run, "the control group is limited to 52 MiB", work, before)


def test_a_sweep_that_the_kernel_kills_leaves_the_old_model(work: Path, control_group: Path) -> None:
    """It needs some hundred MiB, and is allowed less after a good beginning."""
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    train = ("train", "ratings.parquet", "--factors", "2048", "--dtype", "float64", "--threads", "2", "--quiet")
    run = in_group(control_group, (*train, "-o", "model.npz"), work, 110)
    assert run.code == 5
    check_ended_well(run, "it was ended by SIGKILL", work, before)


@linux
def test_a_run_that_wants_more_than_there_is_ends_in_a_message(work: Path) -> None:
    options = ("--factors", "4096", "--dtype", "float64", "--quiet")
    run = limited(("train", "ratings.parquet", *options, "-o", "large.npz"), work, 700)
    check_error(run, 5, "not enough memory", "700 MiB", "--factors")
    assert not (work / "large.npz").exists()


@linux
def test_under_a_limit_exit_codes_and_output_are_the_same(work: Path) -> None:
    plain = forget_well("info", "model.npz", "--json", cwd=work)
    run = limited(("info", "model.npz", "--json"), work, 4000)
    assert (run.code, {**run.document, "seconds": 0, "peak_memory_bytes": 0}) == (
        0,
        {**plain.document, "seconds": 0, "peak_memory_bytes": 0},
    )
    assert limited(("recommend", "model.npz", "--user", "nobody"), work, 4000).code == 3
    assert limited(("forget", "model.npz"), work, 4000).code == 2


@linux
def test_under_a_limit_an_interrupt_still_ends_the_run(work: Path) -> None:
    subprocess.run(["mkfifo", work / "pipe"], check=True)

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which is ignored where the tests run in the background

    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)):
        running = subprocess.Popen(
            command_line("forget", "model.npz", "--records", "pipe"),
            cwd=work, env=environment(), stderr=subprocess.DEVNULL, preexec_fn=prepare,
        )  # fmt: skip
        with open(work / "pipe", "wb"):  # opens when the child does
            running.send_signal(number)
            assert running.wait(timeout=60) == code


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (ImportError("x.so: failed to map segment from shared object"), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("Resource temporarily unavailable"), True),
        (SystemError("error return without exception set"), True),
        (ValueError("an id is empty"), False),
        (ImportError("No module named 'x'"), False),
    ],
)
def test_errors_that_mean_that_memory_ran_out_are_told_from_others(error: Exception, is_memory: bool) -> None:
    assert tells_of_no_memory(error) == is_memory


def without_network() -> tuple[str, ...] | None:
    for options in (("--net",), ("--user", "--map-root-user", "--net")):
        command = ("unshare", *options)
        if (
            shutil.which("unshare")
            and subprocess.run((*command, "true"), capture_output=True, check=False).returncode == 0
        ):
            return command
    return None


def test_every_command_works_where_there_is_no_network(work: Path) -> None:
    apart = without_network()
    if apart is None:
        pytest.skip("no network can be taken away here")
    for arguments in (
        ("train", "ratings.parquet", "--factors", "4", "--sweeps", "2", "-o", "new.npz"),
        ("forget", "new.npz", "--user", "42", "--receipt", "receipt.json"),
        ("retrain", "new.npz", "-o", "again.npz"),
        ("compare", "new.npz", "again.npz"),
        ("recommend", "new.npz", "--user", "43", "-n", "3"),
        ("info", "new.npz"),
    ):
        done = subprocess.run(
            (*apart, *command_line(*arguments)),
            cwd=work,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_no_command_opens_a_socket(work: Path) -> None:
    """Where the network cannot be taken away: Python's own audit of what is asked of the system."""
    script = """
import sys
sys.addaudithook(lambda event, _: sys.exit(f"a socket: {event}") if event.startswith("socket.") else None)
from forgetcli.cli import main
for line in sys.argv[1:]:
    assert main(line.split()) == 0, line
"""
    lines = (
        "train ratings.parquet --factors 4 --sweeps 2 -o new.npz --quiet",
        "forget new.npz --user 42 --quiet",
        "recommend new.npz --user 43 -n 3 -o recs.csv --quiet",
        "info new.npz",
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *lines], cwd=work, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
