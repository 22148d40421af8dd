"""Completion, as the shells themselves do it."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from forgetcli.cli import completion
from forgetcli.cli.commands import COMMANDS, parser_of
from forgetcli.cli.described import options_of
from tests.program import environment, forget_well

DEADLINE = 30.0
"""Seconds that a shell may take to answer a key on a busy machine."""

NEEDS_BASH, NEEDS_ZSH, NEEDS_FISH = (
    pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell} here") for shell in completion.SHELLS
)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with each shell's script, and a model to complete."""
    directory = tmp_path_factory.mktemp("completion")
    for shell in completion.SHELLS:
        (directory / shell).write_text(forget_well("completion", shell, cwd=directory).out)
    (directory / "a model.npz").touch()
    return directory


def completed_by_bash(words: list[str], scripts: Path) -> list[str]:
    """What bash offers for the last of the words."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f'. ./bash; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _forget; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=scripts, capture_output=True, text=True, check=True, env=environment()
    )
    return done.stdout.split()


@NEEDS_BASH
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["forget", "re"], {"retrain", "recommend"}),
        (["forget", "--v"], {"--version"}),
        (["forget", "help", "inf"], {"info"}),
        (["forget", "help", "set"], {"settings"}),
        (["forget", "train", "--bi"], {"--biases"}),
        (["forget", "train", "x.csv", "--objective", ""], {"explicit", "implicit"}),
        (["forget", "train", "--objective", "=", "im"], {"implicit"}),
        (["forget", "train", "--objective", "="], {"explicit", "implicit"}),
        (["forget", "train", "--factors", ""], set()),
        (["forget", "forget", "m.npz", "--method", "r"], {"response", "retrain"}),
        (["forget", "info", "--fact"], set()),
        (["forget", "completion", ""], {"bash", "zsh", "fish"}),
    ],
)  # fmt: skip
def test_bash_offers_what_fits(words: list[str], offered: set[str], scripts: Path) -> None:
    assert set(completed_by_bash(words, scripts)) == offered


@NEEDS_BASH
@pytest.mark.parametrize("command", COMMANDS)
def test_bash_offers_every_option_of_a_command(command: str, scripts: Path) -> None:
    flags = {flag for option in options_of(parser_of(command)) for flag in option.flags}
    assert set(completed_by_bash(["forget", command, "-"], scripts)) == flags


def typed(shell: list[str], start: str, keys: str, wanted: str, directory: Path) -> str:
    """What a shell shows on a terminal after some keys, up to the wanted text."""
    ours, theirs = pty.openpty()
    shown = ""
    with subprocess.Popen(
        shell, cwd=directory, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env=environment(TERM="dumb", PS1="> ", INPUTRC="/dev/null", HOME=str(directory)),
    ) as process:  # fmt: skip
        os.close(theirs)
        os.write(ours, f"{start}; echo rea''dy\n".encode())
        ends = time.monotonic() + DEADLINE
        while wanted not in shown and time.monotonic() < ends:
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 1 << 16).decode(errors="replace")
            if keys and "\nready" in shown.replace("\r", ""):
                os.write(ours, keys.encode())
                keys, shown = "", ""
        process.kill()
    os.close(ours)
    return shown


@NEEDS_BASH
@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("forget rec\t", "forget recommend "),
        ("forget forget m.npz --on-\t", "--on-unknown "),
        ("forget forget --on-unknown=f\t", "--on-unknown=fail "),
        ("forget info a\t", r"forget info a\ model.npz "),
    ],
)
def test_the_tab_key_completes_in_bash(keys: str, wanted: str, scripts: Path) -> None:
    assert wanted in typed(["bash", "--norc", "-i"], ". ./bash", keys, wanted, scripts)


@NEEDS_ZSH
@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("forget rec\t", "recommend "),
        ("forget hel\t", "help "),
        ("forget --v\t", "--version "),
        ("forget help set\t", "settings "),
        ("forget info --js\t", "--json"),
        ("forget forget m.npz --on-unknown=f\t", "--on-unknown=fail "),
        ("forget info a\t", r"a\ model.npz "),
        ("forget train --objective i\t", "implicit "),
    ],
)
@pytest.mark.parametrize("start", ["compinit -u; . ./zsh", "fpath=($PWD $fpath); compinit -u"])
def test_the_tab_key_completes_in_zsh(keys: str, wanted: str, start: str, scripts: Path) -> None:
    shutil.copy(scripts / "zsh", scripts / "_forget")  # where zsh looks for the completion of a command
    start = f"unsetopt beep; autoload -Uz compinit; {start}"
    assert wanted in typed(["zsh", "-f", "-i"], start, keys, wanted, scripts)


@NEEDS_FISH
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("forget re", {"recommend", "retrain"}),
        ("forget --v", {"--version"}),
        ("forget hel", {"help"}),
        ("forget help inf", {"info"}),
        ("forget help set", {"settings"}),
        ("forget train --objective ", {"explicit", "implicit"}),
        ("forget train --objective=im", {"--objective=implicit"}),
        ("forget train --bi", {"--biases"}),
        ("forget forget m.npz --method r", {"response", "retrain"}),
        ("forget train --factors ", set()),
        ("forget info a", {"a model.npz"}),
        ("forget info --fact", set()),
        ("forget info forget --meth", set()),
        ("forget completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_fish_offers_what_fits(line: str, offered: set[str], scripts: Path) -> None:
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source fish; complete -C '{line}'"],
        cwd=scripts, capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    assert {each.partition("\t")[0] for each in done.stdout.splitlines()} == offered


@NEEDS_FISH
def test_fish_finds_the_script_where_the_help_puts_it(scripts: Path, tmp_path: Path) -> None:
    place = tmp_path / ".config" / "fish" / "completions"
    place.mkdir(parents=True)
    shutil.copy(scripts / "fish", place / "forget.fish")
    (tmp_path / "forget").touch(0o755)  # fish looks for scripts of commands that there are
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["fish", "-c", "complete -C 'forget rec'"],
        cwd=scripts, capture_output=True, text=True, check=True, env=environment(HOME=str(tmp_path), PATH=path),
    )  # fmt: skip
    assert done.stdout.startswith("recommend\t")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_script_knows_every_option(shell: str, scripts: Path) -> None:
    script = (scripts / shell).read_text()
    for command in COMMANDS:
        for option in options_of(parser_of(command)):
            for flag in option.flags:
                named = flag if shell != "fish" else f"-{'l' if flag.startswith('--') else 's'} {flag.lstrip('-')}"
                assert named in script, (command, flag)
