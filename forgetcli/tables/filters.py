"""The language that says which rows of a table to read: `rating >= 4 and country in ('DE', 'AT')`.

    filter  = both { "or" both }
    both    = no { "and" no }
    no      = { "not" } ( "(" filter ")" | test )
    test    = column ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
            | value ( "=" | ... ) column
            | column [ "not" ] "in" "(" value { "," value } ")"
            | column "is" [ "not" ] "null"
    column  = a name, or any name in double quotes
    value   = a number, text in single quotes, true, false, or a date such as 2024-06-01 or 2024-06-01T12:30:00Z

Nothing of it is evaluated by Python: it is read into the tests below, which `matching` turns into Arrow's expressions.
A row without a value in a column passes no test of it but "is null", and "not" turns a test round without changing
that, as in SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, Self, TypeAlias

from forgetcli.errors import UsageError
from forgetcli.printable import printable

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
Value: TypeAlias = Decimal | str | bool | datetime
"""A number, a text, a truth value, or a time in UTC."""

DEEPEST = 50
"""Parentheses within parentheses: no person writes more, and Python's own stack has an end."""

SHOWN_CHARACTERS = 20

OPPOSITE: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
MIRRORED: dict[Operator, Operator] = {"=": "=", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
SPELLINGS: dict[str, Operator] = {
    "=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=",
}  # fmt: skip
KEYWORDS = ("and", "or", "not", "in", "is", "null", "true", "false")

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<date>\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?(?![\w.]))
      | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?(?![\w.]))
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<word>[^\W\d][\w.]*)
      | (?P<sign>==|!=|<>|<=|>=|[=<>(),])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Name:
    """A column that a filter names, and where: the first character is number 1."""

    text: str
    position: int


@dataclass(frozen=True)
class Comparison:
    """That the column's value stands so to this one."""

    column: Name
    operator: Operator
    value: Value


@dataclass(frozen=True)
class Membership:
    """That the column's value is one of these, all of one kind, or is one, but none of these."""

    column: Name
    values: tuple[Value, ...]
    negated: bool


@dataclass(frozen=True)
class Missing:
    """That the column has no value in a row, or has one."""

    column: Name
    negated: bool


@dataclass(frozen=True)
class Both:
    """That all of several hold."""

    parts: tuple[Test, ...]


@dataclass(frozen=True)
class Either:
    """That one of several holds."""

    parts: tuple[Test, ...]


Test: TypeAlias = Comparison | Membership | Missing | Both | Either
Atom: TypeAlias = Comparison | Membership | Missing


@dataclass(frozen=True)
class Filter:
    """Which rows to read.

    test:   what holds of them.
    option: what the filter is called in messages about it.
    """

    test: Test
    option: str = "where"

    @classmethod
    def parse(cls, text: str, option: str = "where") -> Self:
        """The filter of this text. Raises UsageError that says where it is no filter."""
        return cls(_Parser(text, option).whole(), option)

    @classmethod
    def of(cls, where: Filter | str | None) -> Filter | None:
        """What a reader was given, parsed."""
        return Filter.parse(where) if isinstance(where, str) else where

    def atoms(self) -> list[Atom]:
        """The single tests, in order."""
        return _atoms(self.test)

    def names(self) -> list[Name]:
        """The columns, each where it is first named."""
        first: dict[str, Name] = {}
        for atom in self.atoms():
            first.setdefault(atom.column.text, atom.column)
        return list(first.values())


def kind_of(value: Value) -> str:
    """What a value is, in words."""
    if isinstance(value, bool):
        return "true or false"
    return {Decimal: "a number", str: "text", datetime: "a date"}[type(value)]


def _atoms(test: Test) -> list[Atom]:
    if isinstance(test, (Both, Either)):
        return [atom for part in test.parts for atom in _atoms(part)]
    return [test]


@dataclass(frozen=True)
class _Token:
    """kind: a group of _TOKEN, or "keyword", or "end". text: as written, keywords in lower case."""

    kind: str
    text: str
    position: int


class _Parser:
    """Recursive descent, one method a rule. "Not" is carried down to the tests, so that none is left above them."""

    def __init__(self, text: str, option: str) -> None:
        self._text, self._option = text, option
        self._tokens = self._tokenised()
        self._next = self._depth = 0

    def whole(self) -> Test:
        test = self._filter(negated=False)
        if self._peek().kind != "end":
            raise self._error(self._peek(), "and, or, or the end should follow")
        return test

    def _filter(self, negated: bool) -> Test:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(self._peek(), f"more than {DEEPEST} parentheses or nots within each other")
        parts = [self._both(negated)]
        while self._took("or"):
            parts.append(self._both(negated))
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Both(tuple(parts)) if negated else Either(tuple(parts))

    def _both(self, negated: bool) -> Test:
        parts = [self._no(negated)]
        while self._took("and"):
            parts.append(self._no(negated))
        return parts[0] if len(parts) == 1 else Either(tuple(parts)) if negated else Both(tuple(parts))

    def _no(self, negated: bool) -> Test:
        while self._took("not"):
            negated = not negated
        if self._took("("):
            test = self._filter(negated)
            self._require(")", "a closing parenthesis is missing")
            return test
        return self._test(negated)

    def _test(self, negated: bool) -> Test:
        token = self._peek()
        if self._is_value(token):
            value, operator = self._value(), self._operator()
            return _comparison(self._column(), MIRRORED[operator], value, negated)
        column = self._column()
        if self._took("is"):
            turned = self._took("not")
            self._require("null", "null or not null should follow")
            return Missing(column, turned != negated)
        turned = self._took("not")
        if self._took("in"):
            return Membership(column, self._list(), turned != negated)
        if turned:
            raise self._error(self._peek(), "in (...) should follow")
        operator = self._operator()
        token = self._peek()
        if token.kind in ("word", "quoted"):
            wanted = "a value should follow; text stands in single quotes, as 'DE'"
            raise self._error(token, wanted if token.kind == "word" else f"{wanted}, and names in double ones")
        return _comparison(column, operator, self._value(), negated)

    def _list(self) -> tuple[Value, ...]:
        self._require("(", "a list in parentheses should follow")
        values = [self._value()]
        while self._took(","):
            token = self._peek()
            values.append(self._value())
            if type(values[-1]) is not type(values[0]):
                raise self._error(token, f"this is {kind_of(values[-1])}, the first of the list {kind_of(values[0])}")
        self._require(")", "a comma or a closing parenthesis is missing")
        return tuple(values)

    def _operator(self) -> Operator:
        token = self._peek()
        if token.text not in SPELLINGS:
            raise self._error(token, "a comparison (=, !=, <, <=, >, >=), in (...) or is null should follow")
        return SPELLINGS[self._take().text]

    def _column(self) -> Name:
        token = self._peek()
        if token.kind not in ("word", "quoted"):
            hint = "; one of this name stands in double quotes" if token.kind == "keyword" else ""
            raise self._error(token, f"a column's name should stand here{hint}")
        text = self._take().text
        return Name(text[1:-1].replace('""', '"') if token.kind == "quoted" else text, token.position)

    def _value(self) -> Value:
        token = self._peek()
        if not self._is_value(token):
            raise self._error(token, "a value should follow: a number, a date, text in single quotes, true or false")
        text = self._take().text
        if token.kind == "number":
            return Decimal(text)
        if token.kind == "text":
            return text[1:-1].replace("''", "'")
        if token.kind == "keyword":
            return text == "true"
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise self._error(token, "there is no such date") from None
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)

    @staticmethod
    def _is_value(token: _Token) -> bool:
        return token.kind in ("number", "text", "date") or (token.text in ("true", "false") and token.kind == "keyword")

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _took(self, text: str) -> bool:
        """Passes over a keyword or sign, if it is next."""
        token = self._peek()
        found = token.kind in ("keyword", "sign") and token.text == text
        self._next += found
        return found

    def _require(self, text: str, otherwise: str) -> None:
        if not self._took(text):
            raise self._error(self._peek(), otherwise)

    def _tokenised(self) -> list[_Token]:
        tokens: list[_Token] = []
        at, end = 0, len(self._text.rstrip())
        while at < end:
            match = _TOKEN.match(self._text, at)
            if match is None or match.lastgroup is None:
                at += len(self._text[at:]) - len(self._text[at:].lstrip())
                opened = {
                    "'": "a quote opens text and never closes it",
                    '"': "a quote opens a name and never closes it",
                }
                raise self._error(_Token("", "", at + 1), opened.get(self._text[at], "this is no part of a filter"))
            kind, text, position = match.lastgroup, match[match.lastgroup], match.start(match.lastgroup) + 1
            if kind == "word" and text.lower() in KEYWORDS:
                kind, text = "keyword", text.lower()
            tokens.append(_Token(kind, text, position))
            at = match.end()
        return [*tokens, _Token("end", "", end + 1)]

    def _error(self, token: _Token, what: str) -> UsageError:
        return filter_error(self._option, self._text, token.position, what)


def filter_error(option: str, text: str, position: int, what: str) -> UsageError:
    """The error for a place in a filter. position: from 1."""
    rest = text[position - 1 :].strip()
    shown = rest if len(rest) <= SHOWN_CHARACTERS else rest[:SHOWN_CHARACTERS] + "…"
    at = f"at {printable(shown)!r}" if shown else "at the end"
    return UsageError(
        f"`{option}`, character {position}, {at}: {what}",
        hint="for example \"rating >= 4 and (country in ('DE', 'AT') or time >= 2024-06-01)\"",
    )


def _comparison(column: Name, operator: Operator, value: Value, negated: bool) -> Comparison:
    return Comparison(column, OPPOSITE[operator] if negated else operator, value)
