"""The program around its commands: help, mistakes, exit codes, streams."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import typing
from pathlib import Path
from types import SimpleNamespace

import pytest

from forgetcli import __version__
from forgetcli.cli import forget as forget_command
from forgetcli.cli import main, options, program
from forgetcli.interactions import Duplicates
from forgetcli.tables import BadRows
from forgetcli.unlearn import DEFAULT_SWEEPS, Method
from tests.program import (
    COMMANDS,
    LONGEST_LINE,
    SMALL,
    check_error,
    command_line,
    environment,
    forget,
    forget_on_terminal,
    forget_well,
    longest_line,
)

NUMERICS = {"numpy", "scipy", "pyarrow", "rich"}


def test_help_lists_every_command_and_exit_code(tmp_path: Path) -> None:
    shown = forget_well("--help", cwd=tmp_path).out
    assert all(f"\n  {command} " in shown for command in COMMANDS)
    assert all(f"\n  {code:>3}  " in shown for code in (0, 1, 2, 3, 4, 5, 70, 130))
    assert longest_line(shown) <= LONGEST_LINE


def test_no_arguments_is_a_call_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: forget COMMAND")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_in_80_columns(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"usage: forget {command} ")
    assert f"examples:\n  forget {command} " in shown.out or f"forget {command} " in shown.out.partition("examples:")[2]
    assert longest_line(shown.out) <= LONGEST_LINE
    assert shown.err == ""


@pytest.mark.parametrize(("columns", "longest"), [("60", 60), ("80", 80), ("200", 80)])
def test_help_is_wrapped_to_the_terminals_width_up_to_80(columns: str, longest: int, tmp_path: Path) -> None:
    shown = forget("train", "--help", cwd=tmp_path, COLUMNS=columns).out
    purposes = "\n".join(line for line in shown.splitlines() if line.startswith(28 * " "))
    assert longest - 12 < longest_line(purposes) <= longest
    usage, _, details = shown.split("\n\n")[:3]
    assert longest_line(usage) <= longest
    assert longest - 12 < longest_line(details) <= longest


@pytest.mark.parametrize(("environment", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_the_bar_has_no_colours_where_they_are_not_wanted(
    environment: dict[str, str], is_coloured: bool, work: Path
) -> None:
    options = ("--factors", "64", "--sweeps", "300", "-o", "long.npz")
    code, shown = forget_on_terminal("train", "ratings.parquet", *options, cwd=work, **environment)
    assert code == 0
    assert re.search(r"sweep \d+/300", shown)
    assert bool(re.search(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]", shown)) == is_coloured


def test_help_command_is_the_commands_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    direct = capsys.readouterr().out
    assert main(["help", "train"]) == 0
    assert capsys.readouterr().out == direct


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"forget {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    assert not {*NUMERICS, "argparse", "dataclasses"} & imported_by(arguments, tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_imports_no_numerics(command: str, tmp_path: Path) -> None:
    assert not NUMERICS & imported_by([command, "--help"], tmp_path)


def test_training_does_without_pandas_which_pyarrow_would_import(work: Path) -> None:
    loaded = imported_by(["train", "ratings.csv", *SMALL, "-o", "new.npz", "--quiet"], work)
    assert "pyarrow" in loaded
    assert "pandas" not in loaded


def test_forgetting_a_named_user_reads_no_table_and_imports_nothing_for_it(work: Path) -> None:
    loaded = imported_by(["forget", "model.npz", "--user", "42", "-o", "left.npz", "--quiet"], work)
    assert (work / "left.npz").exists()
    assert "pyarrow" not in loaded


def imported_by(arguments: list[str], directory: Path) -> set[str]:
    """The modules that a command line loads."""
    begin = f"import sys; from forgetcli.cli import main; sys.argv[1:] = {arguments}; "
    code = begin + "main(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=directory, env=environment(), capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trian", "x.csv"], ["no command 'trian'", "did you mean train?"]),
        (["--quiet", "train"], ["the command comes before its options"]),
        (["train"], ["required: DATA", "see forget train --help"]),
        (["train", "x.csv", "--factor", "3"], ["unknown argument '--factor'", "did you mean --factors?"]),
        (["train", "x.csv", "--factors", "many"], ["--factors must be a whole number, not 'many'"]),
        (["train", "x.csv", "--factors", "0"], ["--factors must be at least 1, not 0"]),
        (["train", "x.csv", "--factors", "5000"], ["--factors must be a whole number from 1 to 4096"]),
        (["train", "x.csv", "--reg", "nan"], ["--reg must be a number"]),
        (["train", "x.csv", "--reg", "-1"], ["--reg must be a number above 0"]),
        (["train", "x.csv", "--objective", "hinge"], ["--objective", "invalid choice", "implicit"]),
        (["train", "x.csv", "--objective", "explicit", "--alpha", "3"], ["--alpha belongs to implicit models"]),
        (["train", "x.csv", "--solver", "qr"], ["--solver", "invalid choice", "exact"]),
        (["train", "x.csv", "--cg-steps", "2"], ["--cg-steps belongs to --solver cg"]),
        (["train", "x.csv", "--solver", "cg", "--cg-steps", "3000000000"], ["--cg-steps must be a whole number"]),
        (["train", "x.csv", "--holdout", "0.1", "--validation", "v.csv"], ["not allowed with argument"]),
        (["train", "x.csv", "--holdout", "1.5"], ["--holdout must be above 0 and below 1"]),
        (["train", "x.csv", "--threads", "-1"], ["--threads must be at least 0"]),
        (["train", "x.csv", "-o", "x.csv"], ["x.csv is read, and cannot be the output too"]),
        (["train", "x.csv", "--columns", ""], ["--columns names no column"]),
        (["forget", "m.npz"], ["nothing to forget was named"]),
        (["forget", "m.npz", "--user"], ["--user: expected one argument"]),
        (["forget", "m.npz", "--user", "1", "--method", "wishing"], ["--method", "invalid choice"]),
        (["forget", "m.npz", "--user", "1", "--sweeps", "0"], ["--sweeps must be at least 1"]),
        (["forget", "m.npz", "--user", "1", "--sweeps", "3"], ["--sweeps belongs to --method sweeps"]),
        (["forget", "m.npz", "--user", "1", "--lock-timeout", "-1"], ["--lock-timeout must be at least 0"]),
        (["forget", "m.npz", "--records", "r.csv", "-o", "r.csv"], ["cannot be the output too"]),
        (["retrain", "m.npz", "--user", "1"], ["required: -o"]),
        (["compare", "m.npz"], ["required: RETRAINED"]),
        (["compare", "m.npz", "r.npz", "--fail-above", "much"], ["--fail-above must be a number"]),
        (["recommend", "m.npz"], ["one of the arguments --user --users --all-users is required"]),
        (["recommend", "m.npz", "--all-users", "-n", "0"], ["-n must be at least 1"]),
        (["recommend", "m.npz", "--all-users", "-o", "x.xls"], ["cannot tell the format"]),
        (["info"], ["required: FILE"]),
        (["info", "a.npz", "b.npz"], ["unknown argument 'b.npz'"]),
    ],
)  # fmt: skip
def test_wrong_use_is_told_before_any_work(
    arguments: list[str], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("user,item,rating\n1,1,3\n1,2,4\n2,1,5\n")
    code = main(arguments)
    shown = capsys.readouterr()
    check_error(SimpleNamespace(code=code, out=shown.out, err=shown.err), 2, *parts)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_options_and_files_come_in_any_order(work: Path) -> None:
    forget_well("train", "--factors", "8", "ratings.parquet", "--sweeps", "3", "-o", "other.npz", cwd=work)
    assert (work / "other.npz").read_bytes() == (work / "model.npz").read_bytes()


@pytest.mark.parametrize(
    ("line", "owner"),
    [
        ("forget model.npz --user 7 --where rating>3", "--records"),
        ("forget model.npz --user 7 --where=rating>3", "--records"),
        ("forget model.npz --user 7 --data-where rating>3", "--data"),
        ("retrain model.npz --user 7 --duplicates sum -o out.npz", "--data"),
        ("recommend model.npz --user 7 --where rating>3", "--users"),
        ("compare model.npz r1.npz --test-where rating>3", "--test"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(line: str, owner: str, tmp_path: Path) -> None:
    check_error(forget(*line.split(), cwd=tmp_path), 2, f"belongs to {owner}, which is not given")


def test_a_default_of_such_an_option_waits_for_the_runs_that_have_use_for_it(work: Path) -> None:
    asked = ("forget", "model.npz", "--user", "7", "--dry-run", "--quiet")
    assert forget(*asked, cwd=work, FORGET_FORGET_WHERE="user > 3").code == 0


def test_the_offered_choices_are_those_that_the_core_knows() -> None:
    assert typing.get_args(Duplicates) == options.DUPLICATES
    assert typing.get_args(BadRows) == options.BAD_ROWS
    assert typing.get_args(Method) == forget_command.METHODS
    assert forget_command.DEFAULT_SWEEPS == DEFAULT_SWEEPS


def raising(error: BaseException) -> object:
    def run(given: list[str]) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MemoryError(), 5, "forget: error: there is not enough memory\n"),
        (OSError(28, "No space left on device"), 5, "forget: error: the system refused: No space left on device\n"),
        (KeyboardInterrupt(), 130, "forget: interrupted\n"),
        (ValueError("secret-user-7"), 70, "forget: error: an error in forget itself (ValueError)\n"),
    ],
)
def test_what_the_core_cannot_name_has_a_message_and_a_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "run", raising(error))
    assert main(["info", "m.npz"]) == code
    shown = capsys.readouterr()
    assert shown.err.startswith(message)
    assert "Traceback" not in shown.err
    assert "secret" not in shown.err


def test_debug_shows_where_an_error_arose(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["info", str(tmp_path / "no.npz"), "--debug"]) == 5
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert "forget: error: cannot read" in shown


def test_control_characters_of_a_path_do_not_reach_the_terminal(tmp_path: Path) -> None:
    run = forget("info", "evil\x1b[2J\n.npz", cwd=tmp_path)
    check_error(run, 5, r"evil\x1b[2J\n.npz")


def test_a_reader_that_leaves_is_no_error(trained: Path) -> None:
    with subprocess.Popen(
        command_line("recommend", "model.npz", "--all-users", "-n", "50"),
        cwd=trained, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"user,item,rank,score\n"
        process.stdout.close()
        complaint = process.stderr.read()
    assert (process.returncode, complaint) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["info", "model.npz"], ["recommend", "model.npz", "--user", "42"]])
def test_output_that_cannot_be_written_is_the_systems_refusal(arguments: list[str], trained: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command_line(*arguments), cwd=trained, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 5
    assert done.stderr.decode().startswith("forget: error: ")
    assert b"Traceback" not in done.stderr


def test_ctrl_c_ends_training_at_once_and_writes_nothing(work: Path) -> None:
    before = (work / "model.npz").read_bytes()
    with subprocess.Popen(
        command_line("train", "ratings.parquet", "--factors", "256", "--sweeps", "10000", "--progress"),
        cwd=work, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell starts what it puts into the background with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert any(b"sweep 1/10000" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert out == b""
    assert err.decode().splitlines()[-1] == "forget: interrupted"
    assert b"Traceback" not in err
    assert (work / "model.npz").read_bytes() == before
    assert not [name for name in os.listdir(work) if name.endswith("tmp")]
