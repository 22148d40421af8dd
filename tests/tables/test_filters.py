"""The filters' language: what it means, and where a mistake is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from forgetcli.errors import UsageError
from forgetcli.tables.filters import Both, Comparison, Either, Filter, Membership, Missing, Name, Test, Value


def meaning(text: str) -> Test:
    return Filter.parse(text).test


def is_(column: str, operator: str, value: Value, at: int) -> Comparison:
    return Comparison(Name(column, at), operator, value)  # type: ignore[arg-type]


A, B, C = "a = 1", "b = 2", "c = 3"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", Decimal(4)),
        ("-0.5", Decimal("-0.5")),
        (".5e3", Decimal(500)),
        ("'DE'", "DE"),
        ("'O''Hara'", "O'Hara"),
        ("''", ""),
        ("TRUE", True),
        ("false", False),
        ("2024-06-01", datetime(2024, 6, 1, tzinfo=UTC)),
        ("2024-06-01T12:30", datetime(2024, 6, 1, 12, 30, tzinfo=UTC)),
        ("2024-06-01 12:30:00.5", datetime(2024, 6, 1, 12, 30, 0, 500_000, tzinfo=UTC)),
        ("2024-06-01T12:30:00Z", datetime(2024, 6, 1, 12, 30, tzinfo=UTC)),
        ("2024-06-01T12:30:00+02:00", datetime(2024, 6, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: Value) -> None:
    assert meaning(f"a = {text}") == is_("a", "=", value, 1)


@pytest.mark.parametrize("sign", ["=", "!=", "<", "<=", ">", ">="])
def test_every_comparison_can_be_written_either_way_round(sign: str) -> None:
    mirrored = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(sign, sign)
    assert meaning(f"a {sign} 4") == is_("a", sign, Decimal(4), 1)
    assert meaning(f"4 {mirrored} a") == is_("a", sign, Decimal(4), len(mirrored) + 4)


def test_and_binds_tighter_than_or_and_parentheses_tightest() -> None:
    a, b, c = is_("a", "=", Decimal(1), 1), is_("b", "=", Decimal(2), 10), is_("c", "=", Decimal(3), 21)
    assert meaning("a = 1 or b = 2 and  c = 3") == Either((a, Both((b, c))))
    grouped = meaning("(a = 1 or b = 2) and c = 3")
    assert isinstance(grouped, Both)
    assert [type(part) for part in grouped.parts] == [Either, Comparison]


def test_not_turns_every_test_round() -> None:
    turned = meaning("not (a = 1 and b < 2 or c is null)")
    assert isinstance(turned, Both)
    either, missing = turned.parts
    assert isinstance(either, Either)
    assert [part.operator for part in either.parts if isinstance(part, Comparison)] == ["!=", ">="]
    assert missing == Missing(Name("c", 25), negated=True)
    assert meaning("not not a = 1") == is_("a", "=", Decimal(1), 9)
    assert meaning("not a not in (1)") == Membership(Name("a", 5), (Decimal(1),), negated=False)


def test_keywords_know_no_case_and_names_may_be_quoted() -> None:
    listed = meaning('"My ""own"" column" NOT IN (\'x\', \'y\')')
    assert listed == Membership(Name('My "own" column', 1), ("x", "y"), negated=True)
    assert meaning('"null" IS NOT Null') == Missing(Name("null", 1), negated=True)
    assert [name.text for name in Filter.parse("größe > 1 and b.c < 2 or größe = 0").names()] == ["größe", "b.c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "character 1, at the end: a column's name should stand here"),
        ("rating", "character 7, at the end: a comparison"),
        ("rating >=", "character 10, at the end: a value should follow"),
        ("rating >= and x = 1", "character 11, at 'and x = 1': a value should follow"),
        ("country = DE", "character 11, at 'DE': a value should follow; text stands in single quotes"),
        ('country = "DE"', "character 11, at '\"DE\"': a value should follow; text stands in single quotes"),
        ("country = 'DE", 'character 11, at "\'DE": a quote opens text and never closes it'),
        ('"rating > 3', "character 1, at '\"rating > 3': a quote opens a name"),
        ("(rating > 3", "character 12, at the end: a closing parenthesis is missing"),
        ("rating > 3)", r"character 11, at '\)': and, or, or the end should follow"),
        ("rating > 3 stars = 2", "character 12, at 'stars = 2': and, or"),
        ("rating ~ 3", "character 8, at '~ 3': this is no part of a filter"),
        ("rating in 3", "character 11, at '3': a list in parentheses should follow"),
        ("rating in ()", r"character 12, at '\)': a value should follow"),
        ("rating in (3, 'x')", r"character 15, at \"'x'\)\": this is text, the first of the list a number"),
        ("rating not 3", r"character 12, at '3': in \(...\) should follow"),
        ("rating is 3", "character 11, at '3': null or not null should follow"),
        ("null = 3", "at 'null = 3': a column's name should stand here; one of this name stands in double"),
        ("day > 2024-13-01", "character 7, at '2024-13-01': there is no such date"),
        ("3 = 3", "character 5, at '3': a column's name should stand here"),
        ("a = 1 or " * 3 + "b = __import__('os')", "a value should follow"),
        ("a = 1; drop", "character 6, at '; drop'"),
        ("(" * 60 + "a = 1", "more than 50 parentheses"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"`where`, .*{said}") as raised:
        Filter.parse(text)
    assert raised.value.hint is not None


def test_the_example_of_the_hint_is_a_filter() -> None:
    with pytest.raises(UsageError) as raised:
        Filter.parse("?")
    assert raised.value.hint is not None
    Filter.parse(raised.value.hint.split('"')[1])


def test_any_number_of_nots_and_of_parts_is_read() -> None:
    assert meaning("not " * 5000 + "a = 1") == is_("a", "=", Decimal(1), 20001)
    assert len(Filter.parse(" or ".join(["a = 1"] * 3000)).atoms()) == 3000
