"""The JSON Schemas of what --json prints; that every test's --json object fits is seen to by `program.Run.document`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import fastjsonschema
import pytest

from forgetcli.cli.commands import COMMANDS, parser_of
from forgetcli.report import schemas
from forgetcli.report.documents import SCHEMA_VERSION
from tests.program import check_schema, forget_well


@dataclasses.dataclass(frozen=True)
class Example:
    """What it is.

    first, second: two
                   lines.
    third:  one; the second
            line.
    """

    first: int
    second: float | None
    third: tuple[str, ...]
    fourth: dict[str, bool]


def test_every_command_with_json_has_a_schema() -> None:
    with_json = {command for command in COMMANDS if parser_of(command).has("--json")}
    assert with_json == set(schemas.commands())


@pytest.mark.parametrize("command", schemas.commands())
def test_the_program_prints_each_schema_and_it_is_one(command: str, tmp_path: Path) -> None:
    printed = json.loads(forget_well(command, "--json-schema", cwd=tmp_path).out)
    fastjsonschema.compile(printed)
    assert printed == schemas.schema(command)
    for shape in printed.get("anyOf", [printed]):
        assert shape["properties"]["schema_version"]["const"] == SCHEMA_VERSION


def test_a_schema_is_derived_from_a_dataclass_and_its_docstring() -> None:
    found = schemas.derived(Example)
    assert found["required"] == ["first", "second", "third", "fourth"]
    assert found["properties"]["first"] == {"type": "integer", "description": "two lines."}
    assert found["properties"]["second"]["anyOf"] == [{"type": ["number", "null"]}, {"type": "null"}]
    assert found["properties"]["third"]["description"] == "one; the second line."
    assert found["properties"]["fourth"] == {"type": "object", "additionalProperties": {"type": "boolean"}}


@pytest.fixture(scope="module")
def info(trained: Path) -> dict[str, object]:
    document: dict[str, object] = forget_well("info", "model.npz", "--json", cwd=trained).document
    return document


def test_an_object_as_it_is_fits(info: dict[str, object]) -> None:
    check_schema(info)


def test_a_member_that_no_schema_describes_fails_the_tests(info: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        check_schema({**info, "surprise": 1})


@pytest.mark.parametrize(("member", "value"), [("users", "many"), ("schema_version", 0), ("user_ids", "float")])
def test_a_member_of_another_kind_fails_the_tests(member: str, value: object, info: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        check_schema({**info, member: value})


def test_readers_may_meet_members_that_they_do_not_know(info: dict[str, object]) -> None:
    fastjsonschema.compile(schemas.schema("info"))({**info, "surprise": 1})


def test_recommendations_validate_with_titles_and_as_a_file(work: Path) -> None:
    arguments = ("recommend", "model.npz", "--user", "42", "--item-names", "items.csv", "--json")
    assert forget_well(*arguments, cwd=work).document["recommendations"][0]["items"][0]["title"]
    assert forget_well(*arguments, "-o", "recs.csv", cwd=work).document["output"] == "recs.csv"
