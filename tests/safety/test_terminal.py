"""Whatever ids, titles and files are called, a terminal gets visible characters only."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.program import forget, forget_on_terminal, forget_well, write_csv

HOSTILE = (
    "\x1b]0;owned\x07", "\x1b[2J\x1b[31mred", "\x9b31mC1", "\u202egnp.exe", "\u2066isolated", "a\rb", "a\x08\x08b",
    "tab\there", "line\u2028break", "=1+1", "@SUM(A1)", "-2+3", "\u200bzero width", "\ufeffmark", "\x7fdelete",
)  # fmt: skip

SAFE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What rich's own progress display sends: colours and moves of the cursor, never titles or device commands."""


def hostile_model(directory: Path, file: str = "model.npz") -> None:
    rows = [
        (user, HOSTILE[(at + step) % len(HOSTILE)], (at * step) % 5 + 1)
        for at, user in enumerate(HOSTILE)
        for step in range(9)
    ]
    write_csv(directory / "data.csv", ("user", "item", "rating"), rows)
    write_csv(directory / "names.csv", ("item", "title"), [(name, f"title {name}") for name in HOSTILE])
    forget_well("train", "data.csv", "--factors", "4", "--sweeps", "2", "-o", file, cwd=directory)


def check_harmless(shown: str, *, display: bool = False) -> None:
    plain = SAFE_SEQUENCE.sub("", shown).replace("\r", "") if display else shown
    assert all(character.isprintable() or character == "\n" for character in plain), plain


def test_tables_of_recommendations_cannot_drive_a_terminal(tmp_path: Path) -> None:
    hostile_model(tmp_path)
    code, shown = forget_on_terminal(
        "recommend", "model.npz", "--all-users", "--include-seen", "--item-names", "names.csv", cwd=tmp_path
    )
    assert code == 0
    assert "\\x1b" in shown
    check_harmless(shown, display=True)
    assert "\x1b]" not in shown


@pytest.mark.parametrize("command", [("info",), ("forget", "--user", HOSTILE[0]), ("recommend", "--user", HOSTILE[1])])
def test_files_and_ids_in_messages_cannot_drive_a_terminal(command: tuple[str, ...], tmp_path: Path) -> None:
    hostile_model(tmp_path, "m\x1b]0;x\x07.npz")
    run = forget(command[0], "m\x1b]0;x\x07.npz", *command[1:], cwd=tmp_path)
    assert run.code == 0
    check_harmless(run.err)
    if command[0] != "recommend":  # whose standard output is a table for programs
        check_harmless(run.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", "\x1b[2Jno.npz"),
        ("recommend", "model.npz", "--user", "\x1b[2Jnobody"),
        ("train", "\u202eno.csv"),
        ("forget", "model.npz", "--records", "\x9b2J"),
        ("\x1b[2J",),
        ("train", "data.csv", "--user-col", "\x1b[2J"),
        ("train", "data.csv", "--objective", "\x1b[2J"),
        ("train", "data.csv", "-o", "\x1b[2J/x.npz"),
        ("recommend", "model.npz", "--all-users", "-o", "x.\x1b[2J"),
    ],
)
def test_errors_that_repeat_an_argument_cannot_drive_a_terminal(arguments: tuple[str, ...], tmp_path: Path) -> None:
    hostile_model(tmp_path)
    run = forget(*arguments, cwd=tmp_path)
    assert run.code in (2, 3, 5)
    check_harmless(run.out + run.err)


def test_json_is_ascii(tmp_path: Path) -> None:
    hostile_model(tmp_path)
    run = forget_well("recommend", "model.npz", "--all-users", "--include-seen", "--json", cwd=tmp_path)
    assert run.out.isascii()
    check_harmless(run.out)


def test_csv_holds_ids_as_they_are_also_those_that_a_spreadsheet_takes_for_formulas(tmp_path: Path) -> None:
    """Changing them would make them other ids: docs/privacy.md says what to do before opening them in one."""
    hostile_model(tmp_path)
    forget_well("recommend", "model.npz", "--all-users", "--include-seen", "-o", "recs.csv", cwd=tmp_path)
    with (tmp_path / "recs.csv").open(newline="", encoding="utf-8") as file:
        users = {row["user"] for row in csv.DictReader(file)}
    assert users == set(HOSTILE)


NOWHERE = "endpoint_override=127.0.0.1:9&scheme=http"


@pytest.mark.parametrize(
    ("secret", "arguments"),
    [
        ("sesame", ("train", "{}/a.csv?" + NOWHERE, "-o", "m.npz", "--progress")),
        ("sesame", ("forget", "{}/model.npz", "--user", "1")),
        ("sesame", ("recommend", "model.npz", "--all-users", "-o", "{}/a.txt")),
        ("se/sa/me", ("train", "{}/a.csv", "-o", "m.npz", "--progress")),
        ("se/sa/me", ("forget", "model.npz", "--records", "{}/a.csv")),
        ("se/sa/me", ("forget", "{}/model.npz", "--user", "1")),
        ("se/sa/me", ("recommend", "model.npz", "--users", "{}/a.csv")),
        ("se/sa/me", ("recommend", "model.npz", "--all-users", "-o", "{}/a.csv")),
    ],
)
def test_a_secret_in_an_address_is_not_shown(secret: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    hostile_model(tmp_path)
    given = [argument.replace("{}", f"s3://key:{secret}@bucket") for argument in arguments]
    run = forget(*given, cwd=tmp_path)
    assert run.code in (2, 5)
    shown = "".join((run.out + run.err).split())
    assert "bucket" in shown
    assert not any(part in shown for part in ("sesame", "se/", "sa/me"))
