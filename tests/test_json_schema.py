"""JSON from elsewhere: read strictly, and held against a schema as another validator does."""

from __future__ import annotations

import json
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetcli.errors import DataError
from forgetcli.json_schema import parse, validate

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "list"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]{1,3}$", "maxLength": 2},
        "kind": {"enum": ["a", "b"]},
        "list": {"type": "array", "maxItems": 2, "items": {"$ref": "#/definitions/count"}},
        "either": {"anyOf": [{"type": "null"}, {"type": "number", "minimum": -1, "maximum": 1}]},
        "map": {"type": "object", "propertyNames": {"pattern": "^x"}, "additionalProperties": {"type": "boolean"}},
        "version": {"const": 1},
    },
    "definitions": {"count": {"type": "integer", "minimum": 0}},
}

leaves = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([-0.5, 1.5]) | st.sampled_from("a b ab abc A")
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y"]), inner),
    max_leaves=4,
)
documents = st.fixed_dictionaries(
    {}, optional=dict.fromkeys((*SCHEMA["properties"], "other"), leaves | values)
) | st.fixed_dictionaries(
    {"name": st.just("ab"), "list": st.lists(st.integers(-1, 2), max_size=3)},
    optional={
        "kind": st.sampled_from("abc"), "either": leaves, "map": st.dictionaries(st.sampled_from("xy"), leaves),
        "version": leaves,
    },
)  # fmt: skip


def holds(value: Any, schema: dict[str, Any]) -> bool:
    try:
        validate(value, schema)
    except DataError:
        return False
    return True


THEIRS = fastjsonschema.compile(SCHEMA)


@settings(max_examples=200)
@given(documents)
def test_what_is_valid_is_what_another_validator_finds_valid(document: dict[str, Any]) -> None:
    theirs = True
    try:
        THEIRS(document)
    except fastjsonschema.JsonSchemaValueException:
        theirs = False
    assert holds(document, SCHEMA) == theirs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "ab\n"}, "name should match"),
        ({"name": 3}, "name should be a string"),
        ({"list": [1, -1]}, r"list\[1\] should be at least 0"),
        ({"list": [1, True]}, r"list\[1\] should be a whole number"),
        ({"map": {"x": 1}}, r"map\.x should be a boolean"),
        ({"surplus": 1}, "surplus is unknown"),
        ({"version": True}, "version should be 1"),
        ({"either": "no"}, "either should be a number"),
    ],
)
def test_the_complaint_names_the_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        validate({"name": "ab", "list": []} | change, SCHEMA)


def test_a_missing_member_is_named() -> None:
    with pytest.raises(DataError, match="list is missing"):
        validate({"name": "ab"}, SCHEMA)


def test_a_schema_with_a_word_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="uniqueItems"):
        validate([], {"uniqueItems": True})


@given(values)
def test_what_json_writes_is_read_back(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1', "line 1, column"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "member c is there twice"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[1e999]", "1e999 is no number"),
        (b"[" + b"9" * 5000 + b"]", "a number is too long"),
        (b"[" * 100_000, "nested too deeply"),
        (b'"\xff"', "not valid UTF-8"),
        (b'"a\nb"', "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "not valid"),
    ],
)
def test_what_is_not_plain_json_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(text)
