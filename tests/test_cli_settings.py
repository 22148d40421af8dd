"""Defaults of options from the environment and from forget.toml."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from forgetcli.cli import settings
from forgetcli.cli.commands import parser_of
from forgetcli.errors import DataError, ForgetError, UsageError
from tests.program import LONGEST_LINE, check_error, forget, forget_well, longest_line


def parsed(command: str, given: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """The arguments of a command line, with the settings of an environment."""
    parser = parser_of(command)
    settings.apply(parser, command, given, environment)
    return vars(parser.parse(given))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A forget.toml in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forget.toml").write_text(
        "threads = 2\nquiet = true\n[train]\nfactors = 12\nbiases = false\nreg = 0.5\n"
    )
    return tmp_path / "forget.toml"


def test_the_nearer_setting_wins(file: Path) -> None:
    def factors(given: list[str], **environment: str) -> int:
        value = parsed("train", ["x.csv", *given], environment)["factors"]
        return -1 if value is None else int(value)

    both = {"FORGET_FACTORS": "16", "FORGET_TRAIN_FACTORS": "24"}
    assert factors(["--factors", "5"], **both) == 5
    assert factors([], **both) == 24
    assert factors([], FORGET_FACTORS="16") == 16
    assert factors([]) == 12
    file.write_text("factors = 9\n")
    assert factors([]) == 9
    assert factors([], FORGET_CONFIG="") == -1


def test_values_have_the_types_of_their_options(file: Path) -> None:
    arguments = parsed("train", ["x.csv"], {"FORGET_JSON": "yes", "FORGET_TRAIN_DTYPE": "float64"})
    found = {name: arguments[name] for name in ("threads", "quiet", "biases", "reg", "json", "dtype")}
    assert found == {"threads": 2, "quiet": True, "biases": False, "reg": 0.5, "json": True, "dtype": "float64"}
    assert parsed("train", ["x.csv", "--biases"], {})["biases"] is True


def test_the_environment_can_take_back_what_the_file_switches_on(file: Path) -> None:
    assert parsed("info", ["m.npz"], {})["quiet"] is True
    assert parsed("info", ["m.npz"], {"FORGET_QUIET": "0"})["quiet"] is False


def test_a_repeatable_option_takes_a_list_which_the_command_line_replaces(file: Path) -> None:
    file.write_text('[compare]\nfail-above = ["0.05", "still-held=0"]\n')
    assert parsed("compare", ["a", "b"], {})["fail_above"] == [("memory", 0.05), ("still-held", 0.0)]
    assert parsed("compare", ["a", "b", "--fail-above", "1"], {})["fail_above"] == [("memory", 1.0)]


def test_an_option_given_silences_a_setting_that_excludes_it(file: Path) -> None:
    file.write_text("[train]\nholdout = 0.1\n")
    assert parsed("train", ["x.csv"], {})["holdout"] == 0.1
    assert parsed("train", ["x.csv", "--validation", "v.csv"], {})["holdout"] is None


def test_the_file_is_the_one_named_else_here_else_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home" / "forget").mkdir(parents=True)
    for number, path in enumerate(["home/forget/forget.toml", "forget.toml", "named.toml"], 1):
        environment = {"XDG_CONFIG_HOME": "home"} | ({"FORGET_CONFIG": path} if path == "named.toml" else {})
        (tmp_path / path).write_text(f"threads = {number}\n")
        assert parsed("info", ["m.npz"], environment)["threads"] == number


@pytest.mark.parametrize(
    ("text", "error", "part"),
    [
        ("thread = 2\n", UsageError, "no option 'thread' to set"),
        ("[train]\nfactor = 2\n", UsageError, "no option 'factor' to set"),
        ("[trian]\nfactors = 2\n", UsageError, "[trian] is no command"),
        ("[forget]\nusers = 2\n", UsageError, "no option 'users' to set"),
        ("[forget]\ndry-run = true\n", UsageError, "no option 'dry-run' to set"),
        ("threads = -1\n", UsageError, "threads must be at least 0, not -1"),
        ("quiet = 3\n", UsageError, "quiet must be true or false, not '3'"),
        ("threads = [1]\n", UsageError, "threads takes one value"),
        ("[info\n", DataError, "is no TOML"),
    ],
)
def test_what_no_command_knows_is_an_error(text: str, error: type[ForgetError], part: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(error) as raised:
        parsed("info", ["m.npz"], {})
    assert part in raised.value.message
    assert "forget.toml" in raised.value.message


@pytest.mark.parametrize("variable", ["FORGET_THREAD", "FORGET_INFO_FACTORS", "FORGET_USER", "FORGET_RECORDS"])
def test_a_variable_that_no_command_knows_is_an_error(variable: str, tmp_path: Path) -> None:
    check_error(forget("info", "m.npz", cwd=tmp_path, **{variable: "1"}), 2, variable, "no option's default")


def test_a_variable_of_another_command_is_none_of_this_ones_business(file: Path) -> None:
    assert "factors" not in parsed("info", ["m.npz"], {"FORGET_TRAIN_FACTORS": "3", "FORGET_FACTORS": "4"})


def test_the_program_heeds_them_and_says_so(work: Path) -> None:
    (work / "forget.toml").write_text("[train]\nfactors = 7\nsweeps = 2\n")
    run = forget("train", "ratings.parquet", "-o", "t.npz", cwd=work, FORGET_CONFIG="forget.toml", FORGET_JSON="1")
    assert run.document["model"]["config"]["factors"] == 7
    shown = forget("train", "--help", cwd=work, FORGET_CONFIG="forget.toml", FORGET_REG="0.5").out
    assert "factors = 7 (forget.toml [train])" in shown
    assert "reg = 0.5 (FORGET_REG)" in shown
    assert longest_line(shown) <= LONGEST_LINE


def test_a_mistake_that_a_setting_made_names_the_setting(work: Path) -> None:
    run = forget("forget", "model.npz", "--user", "1", cwd=work, FORGET_SWEEPS="4")
    check_error(run, 2, "--sweeps belongs to --method sweeps", "sweeps = 4 (FORGET_SWEEPS)")


def test_every_way_to_set_a_default_is_explained(tmp_path: Path) -> None:
    shown = forget_well("help", "settings", cwd=tmp_path).out
    assert longest_line(shown) <= LONGEST_LINE
    assert all(word in shown for word in ("FORGET_TRAIN_FACTORS", "FORGET_CONFIG", "XDG_CONFIG_HOME", "forget.toml"))


def test_the_tests_run_without_settings() -> None:
    assert os.environ["FORGET_CONFIG"] == ""
