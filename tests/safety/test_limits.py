"""Without the memory or the network it might want, the program says so or works."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from forgetcli.cli.limits import LEAST, tells_of_no_memory
from tests.program import Run, check_error, command_line, environment, forget_well

linux = pytest.mark.skipif(sys.platform != "linux", reason="macOS does not hold processes to such limits")


def limited(arguments: tuple[str, ...], cwd: Path, megabytes: int) -> Run:
    """`forget` under `ulimit -v`."""
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    done = subprocess.run(
        command_line(*arguments),
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
