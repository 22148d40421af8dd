"""JSON from elsewhere, read strictly and held against a schema.

Of JSON Schema (draft 7) the words that `validate` names; a schema with any other is refused, so that nothing that one
says is passed over.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn, TypeAlias

from forgetcli.errors import DataError

Schema: TypeAlias = dict[str, Any]

_SHOWN = 40
"""Characters of a member's name in a message: it may be anything."""

_ANNOTATIONS = {"$schema", "$id", "title", "description", "definitions"}


def parse(text: bytes) -> Any:
    """The value of a JSON text in UTF-8. Raises DataError for any other text, for a member that is there twice, of
    which readers would differ in the one they take, and for a number that no float holds."""
    try:
        return json.loads(
            text.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite
        )
    except UnicodeDecodeError as error:
        raise DataError("not valid UTF-8") from error
    except RecursionError as error:
        raise DataError("not valid JSON: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise DataError(f"not valid JSON: {error.msg}, line {error.lineno}, column {error.colno}") from error
    except ValueError as error:  # an integer of thousands of digits
        raise DataError("not valid JSON: a number is too long") from error


def validate(value: Any, schema: Schema) -> None:
    """Raises DataError, with the place of what is wrong, unless the value follows the schema.

    Knows type, const, enum, pattern (of the whole text), maxLength, minimum, maximum, required, properties,
    additionalProperties, propertyNames, items, maxItems, anyOf, and $ref to the schema's own definitions.
    """
    _check(value, schema, schema.get("definitions", {}), "")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise DataError(f"the member {_shown(name)} is there twice")
        members[name] = value
    return members


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text)


def _refuse_constant(text: str) -> NoReturn:
    raise DataError(f"not valid JSON: {_shown(text)} is no number that JSON has")


def _check(value: Any, schema: Schema, definitions: dict[str, Schema], place: str) -> None:
    for word, wanted in schema.items():
        match word:
            case "$ref":
                _check(value, definitions[wanted.removeprefix("#/definitions/")], definitions, place)
            case "anyOf":
                _check_any(value, wanted, definitions, place)
            case "type":
                _require(_is_of(value, wanted), place, f"should be {_listed(wanted)}")
            case "const":
                _require(value == wanted and type(value) is type(wanted), place, f"should be {json.dumps(wanted)}")
            case "enum":
                _require(value in wanted, place, f"should be one of {', '.join(map(str, wanted))}")
            case "pattern":
                _require(not isinstance(value, str) or _fits(wanted, value), place, f"should match {wanted}")
            case "maxLength":
                _require(not isinstance(value, str) or len(value) <= wanted, place, f"has more than {wanted} letters")
            case "minimum":
                _require(not _is_of(value, "number") or value >= wanted, place, f"should be at least {wanted}")
            case "maximum":
                _require(not _is_of(value, "number") or value <= wanted, place, f"should be at most {wanted}")
            case "items" | "maxItems":
                if isinstance(value, list):
                    _check_list(value, word, wanted, definitions, place)
            case "required" | "properties" | "additionalProperties" | "propertyNames":
                if isinstance(value, dict):
                    _check_members(value, word, schema, definitions, place)
            case _:
                if word not in _ANNOTATIONS:
                    raise ValueError(f"a schema with {word!r}")


def _check_any(value: Any, choices: list[Schema], definitions: dict[str, Schema], place: str) -> None:
    """Of choices that do not fit, the last one's complaint is the one to tell: null comes first."""
    for choice in choices[:-1]:
        try:
            return _check(value, choice, definitions, place)
        except DataError:
            continue
    return _check(value, choices[-1], definitions, place)


def _check_list(value: list[Any], word: str, wanted: Any, definitions: dict[str, Schema], place: str) -> None:
    if word == "maxItems":
        _require(len(value) <= wanted, place, f"has more than {wanted} entries")
    else:
        for number, each in enumerate(value):
            _check(each, wanted, definitions, f"{place}[{number}]")


def _check_members(
    value: dict[str, Any], word: str, schema: Schema, definitions: dict[str, Schema], place: str
) -> None:
    wanted, known = schema[word], schema.get("properties", {})
    prefix = f"{place}." if place else ""
    match word:
        case "required":
            for name in wanted:
                _require(name in value, f"{prefix}{name}", "is missing")
        case "properties":
            for name in wanted.keys() & value.keys():
                _check(value[name], wanted[name], definitions, f"{prefix}{name}")
        case "propertyNames":
            for name in value:
                _check(name, wanted, definitions, f"{prefix}{_shown(name)}")
        case "additionalProperties":
            for name in sorted(value.keys() - known.keys()):
                _require(wanted is not False, f"{prefix}{_shown(name)}", "is unknown")
                _check(value[name], wanted, definitions, f"{prefix}{_shown(name)}")


def _require(holds: bool, place: str, complaint: str) -> None:
    if not holds:
        raise DataError(f"{place or 'it'} {complaint}")


def _is_of(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "array": list, "object": dict}[kind])


def _fits(pattern: str, text: str) -> bool:
    """Whether the whole text is of the pattern, whose ^ and $ are not needed: Python's $ would allow a line break."""
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) is not None


def _listed(kind: str) -> str:
    return {"null": "null", "array": "a list", "integer": "a whole number", "object": "an object"}.get(
        kind, f"a {kind}"
    )


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
