"""Which rows a filter lets through: its tests as Arrow's functions, of columns that were read and of those that need
not be read at all.

A number, a date or a truth value is compared with a column of text by reading that text as one, so that a filter means
the same for CSV, whose columns are all text, as for files with types. A comparison is never made by rounding the
column: rather the value is put into the column's own type, exactly, which also keeps statistics of the file usable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from math import ceil, floor
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forgetcli.errors import UsageError
from forgetcli.tables.batches import Batch, Fault, Mask
from forgetcli.tables.columns import position_of
from forgetcli.tables.filters import (
    Atom,
    Both,
    Comparison,
    Either,
    Filter,
    Membership,
    Missing,
    Operator,
    Test,
    Value,
    kind_of,
)
from forgetcli.tables.ids import plain_values
from forgetcli.tables.parsing import INTEGER, NUMBER, cast_texts

Part = TypeVar("Part")

Operand: TypeAlias = Any
"""An Arrow array, or an expression that stands for one; Arrow's functions take either and return its like."""

COMPARE: dict[Operator, Callable[[Operand, pa.Scalar], Operand]] = {
    "=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
SECONDS_A_DAY = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TRUTHS = {"true": True, "1": True, "false": False, "0": False}
ZONED = r":.*(Z|[+-]\d\d(:?\d\d)?)$"
"""The end of a date in text that says its time zone."""
DATE = r"^\d{4}-\d\d-\d\d([ T].*)?$"

MOST_COMPARISONS = 1000
"""In an expression for Arrow, which ended the process at some 20,000 on a stack of 8 MiB."""

_ANYTHING = pc.scalar(True)


def select(batch: Batch, where: Filter) -> Batch:
    """The rows that the filter lets through, and those of which a faulty value keeps from telling, with that fault.

    Raises UsageError where the filter compares a column with a value of another kind.
    """
    tested = {name: _values(column, batch.typed) for name, column in batch.tested.items()}
    faults: list[Fault] = []

    def holds(atom: Atom) -> Operand:
        values = tested[atom.column.text]
        if _must_be_read(atom, values.type):
            values, bad = _read_as(values, _a_value(atom))
            if bad.any():
                wanted = f"not {_wanted(atom)}, with which `{where.option}` compares it"
                faults.append(Fault(bad, wanted, column=batch.tested_columns[atom.column.text].name))
        return _holds(atom, values, values.type, where)

    passed = _combined(where.test, holds)
    untold = np.asarray(pc.is_null(passed))
    kept = np.asarray(pc.fill_null(passed, False))
    before = [fault for fault in batch.faults if _concerns(fault, batch)]
    faults = [Fault(fault.rows & untold, fault.reason, column=fault.column) for fault in faults]
    kept = reduce(np.logical_or, [fault.rows for fault in [*before, *faults]], kept)
    return batch if kept.all() and not faults else batch.of_rows(kept, faults)


def might_match(where: Filter, known: Mapping[str, int | str | None]) -> bool:
    """Whether the filter can let rows through whose columns of these names all have these values."""
    names = list(known)

    def holds(atom: Atom) -> Operand:
        position = position_of(names, atom.column.text)
        if position is None:
            return pa.array([True])
        values = pa.array([known[names[position]]])
        if _must_be_read(atom, values.type):
            values, bad = _read_as(values.cast(pa.large_string()), _a_value(atom))
            if bad[0]:
                return pa.array([True])
        return _holds(atom, values, values.type, where)

    return bool(pc.fill_null(_combined(where.test, holds), False)[0].as_py())


def pruning(where: Filter, schema: pa.Schema) -> Operand:
    """An expression that is true of every row that the filter may let through, for Arrow to hold against a file's
    statistics. Columns that the schema does not have are taken for anything, and so are all rows where the filter has
    more comparisons than Arrow's stack may hold: it puts each inside the next."""

    def comparisons(atom: Atom) -> int:
        position = position_of(schema.names, atom.column.text)
        is_real = position is not None and pa.types.is_floating(schema.field(position).type)
        return len(atom.values) if isinstance(atom, Membership) and is_real else 1

    if sum(map(comparisons, where.atoms())) > MOST_COMPARISONS:
        return _ANYTHING

    def holds(atom: Atom) -> Operand:
        position = position_of(schema.names, atom.column.text)
        if position is None or schema.names.count(schema.names[position]) > 1:
            return _ANYTHING
        kind = schema.field(position).type
        if not _has_statistics(kind) or _must_be_read(atom, kind):
            return _ANYTHING
        if isinstance(atom, Missing) and pa.types.is_floating(kind):
            return _ANYTHING  # statistics know nothing of NaN
        return _holds(atom, pc.field(schema.names[position]), kind, where)

    return _combined(where.test, holds)


def _combined(test: Test, holds: Callable[[Atom], Operand]) -> Operand:
    if isinstance(test, (Both, Either)):
        join = pc.and_kleene if isinstance(test, Both) else pc.or_kleene
        return _joined(join, test.parts, lambda part: _combined(part, holds))
    return holds(test)


def _joined(
    join: Callable[[Operand, Operand], Operand], parts: Sequence[Part], made: Callable[[Part], Operand]
) -> Operand:
    """What is made of the parts, joined by halves, so that of thousands only a few are in memory at once."""
    if len(parts) == 1:
        return made(parts[0])
    middle = len(parts) // 2
    return join(_joined(join, parts[:middle], made), _joined(join, parts[middle:], made))


def _concerns(fault: Fault, batch: Batch) -> bool:
    """Whether a fault leaves open what the filter says of its rows."""
    tested = batch.tested_columns.values()
    if fault.role is not None:
        return batch.found[fault.role].position in {column.position for column in tested}
    return True


def _a_value(atom: Atom) -> Value | None:
    """A value that the atom compares the column with; all are of one kind."""
    if isinstance(atom, Missing):
        return None
    return atom.value if isinstance(atom, Comparison) else atom.values[0]


def _wanted(atom: Atom) -> str:
    """What the atom compares the column with, in words."""
    value = _a_value(atom)
    return "nothing" if value is None else kind_of(value)


def _must_be_read(atom: Atom, kind: pa.DataType) -> bool:
    """Whether a column of this type is text that stands for numbers, dates or truth values in this comparison."""
    return _is_text(kind) and _wanted(atom) not in ("text", "nothing")


def _holds(atom: Atom, x: Operand, kind: pa.DataType, where: Filter) -> Operand:
    """The test of a column of this type: true, false, or null where there is no value."""
    if pa.types.is_float16(kind):
        x, kind = x.cast(pa.float32()), pa.float32()
    if isinstance(atom, Missing):
        missing = pc.is_null(x)
        if pa.types.is_floating(kind):
            missing = pc.or_kleene(missing, pc.is_nan(x))  # pandas writes a missing number so
        return pc.invert(missing) if atom.negated else missing
    _require_comparable(atom, kind, where)
    if pa.types.is_null(kind):
        return pc.is_valid(x)
    column = _Typed(x, kind)
    if isinstance(atom, Comparison):
        return column.compared(atom.operator, atom.value)
    return column.among(atom.values, atom.negated)


@dataclass(frozen=True)
class _Typed:
    """A column, and the type of what it holds."""

    x: Operand
    kind: pa.DataType

    def compared(self, operator: Operator, value: Value) -> Operand:
        kind = self.kind
        if _is_integral(kind):
            operator, whole = _exactly(operator, _in_units(value, kind), kind)
            return COMPARE[operator](self.x, _integral_array([whole], kind)[0])
        if pa.types.is_decimal(kind):
            operator, units = _exactly(operator, Fraction(value) * Fraction(10) ** kind.scale, kind)  # type: ignore[arg-type]
            digits = tuple(map(int, str(abs(units))))
            return COMPARE[operator](self.x, pa.scalar(Decimal((int(units < 0), digits, -kind.scale)), kind))
        if pa.types.is_floating(kind):
            number = pa.scalar(float(value), kind)  # type: ignore[arg-type]
            if operator == "!=":  # so that NaN, which is no value, is left out
                return pc.or_kleene(pc.less(self.x, number), pc.greater(self.x, number))
            return COMPARE[operator](self.x, number)
        return COMPARE[operator](self.x, pa.scalar(value, kind))

    def among(self, values: tuple[Value, ...], negated: bool) -> Operand:
        kind = self.kind
        if len(values) == 1 or not (_is_integral(kind) or _is_text(kind)):
            if negated:
                return _joined(pc.and_kleene, values, lambda value: self.compared("!=", value))
            return _joined(pc.or_kleene, values, lambda value: self.compared("=", value))
        if _is_integral(kind):
            low, high = _range(kind)
            units = [_in_units(value, kind) for value in values]
            listed = _integral_array(
                [int(unit) for unit in units if unit.denominator == 1 and low <= unit <= high], kind
            )
        else:
            listed = pa.array(values, kind)
        found = pc.is_in(self.x, value_set=listed)
        # What equals itself is true, but null where there is no value, for which is_in says false.
        return pc.and_kleene(pc.invert(found) if negated else found, pc.equal(self.x, self.x))


def _require_comparable(atom: Atom, kind: pa.DataType, where: Filter) -> None:
    value, types = _a_value(atom), pa.types
    suitable = {
        "text": _is_text(kind),
        "a number": types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind),
        "a date": types.is_timestamp(kind) or types.is_date(kind),
        "true or false": types.is_boolean(kind),
    }
    wanted = _wanted(atom)
    if types.is_null(kind):
        return
    if not suitable[wanted]:
        raise UsageError(
            f"`{where.option}` compares the column {atom.column.text} with {wanted}, but it holds {kind}",
            hint=_remedy(value, suitable, kind),
        )
    if wanted == "true or false" and isinstance(atom, Comparison) and atom.operator not in ("=", "!="):
        raise UsageError(f"`{where.option}`: {atom.column.text} is true or false, and neither is above the other")


def _remedy(value: Value | None, suitable: Mapping[str, bool], kind: pa.DataType) -> str | None:
    if isinstance(value, str) and (suitable["a number"] or suitable["a date"]):
        return "numbers and dates stand without quotes: 42, 2024-06-01"
    if isinstance(value, datetime) and pa.types.is_integer(kind):
        seconds = int((value - EPOCH).total_seconds())
        return f"seconds since 1970 would be {seconds}, milliseconds {seconds * 1000}"
    return "compare it with true or false" if suitable["true or false"] else None


def _exactly(operator: Operator, value: Fraction, kind: pa.DataType) -> tuple[Operator, int]:
    """The comparison with a whole number in the type's range that holds of the same whole numbers."""
    low, high = _range(kind)
    if value.denominator != 1 and operator in ("=", "!="):
        return ("<", low) if operator == "=" else (">=", low)
    whole = floor(value) if operator in ("<=", ">") else ceil(value)
    if whole < low:
        return (">=", low) if operator in (">", ">=", "!=") else ("<", low)
    if whole > high:
        return ("<=", high) if operator in ("<", "<=", "!=") else (">", high)
    return operator, whole


def _range(kind: pa.DataType) -> tuple[int, int]:
    """The lowest and the highest whole number of an integer type, or of the integers that a type of times or of
    decimals is."""
    if pa.types.is_decimal(kind):
        return 1 - 10**kind.precision, 10**kind.precision - 1
    bits = kind.bit_width
    if pa.types.is_unsigned_integer(kind):
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _in_units(value: Value, kind: pa.DataType) -> Fraction:
    """The number, or the time since 1970 in what the type counts."""
    if isinstance(value, Decimal):
        return Fraction(value)
    passed = value - EPOCH  # type: ignore[operator]
    seconds = passed.days * SECONDS_A_DAY + passed.seconds + Fraction(passed.microseconds, 10**6)  # type: ignore[union-attr]
    if pa.types.is_date32(kind):
        return Fraction(seconds) / SECONDS_A_DAY
    return Fraction(seconds) * (UNITS[kind.unit] if pa.types.is_timestamp(kind) else UNITS["ms"])


def _integral_array(values: list[int], kind: pa.DataType) -> pa.Array:
    if pa.types.is_integer(kind):
        return pa.array(values, kind)
    return pa.array(values, pa.int32() if pa.types.is_date32(kind) else pa.int64()).view(kind)


def _is_integral(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _has_statistics(kind: pa.DataType) -> bool:
    return _is_integral(kind) or _is_text(kind) or bool(pa.types.is_floating(kind) and not pa.types.is_float16(kind))


def _values(column: pa.Array, typed: bool) -> pa.Array:
    """The column's plain values; an empty field of a text file is no value."""
    values = plain_values(column)
    if typed or not _is_text(values.type):
        return values
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)


def _read_as(texts: pa.Array, value: Value | None) -> tuple[pa.Array, Mask]:
    """The texts as what the value is, null where they are no such thing, and where that is."""
    if isinstance(value, bool):
        return _truths(texts)
    texts = pc.ascii_trim_whitespace(texts.cast(pa.large_string()))
    if isinstance(value, Decimal):
        whole, not_whole = cast_texts(texts, pa.int64(), INTEGER)
        return (whole, not_whole) if not not_whole.any() else cast_texts(texts, pa.float64(), NUMBER)
    zoned = pc.match_substring_regex(texts, ZONED)
    without = pa.scalar(None, texts.type)
    instants, bad = cast_texts(pc.if_else(zoned, texts, without), pa.timestamp("us", "UTC"), DATE)
    local, bad_local = cast_texts(pc.if_else(zoned, without, texts), pa.timestamp("us"), DATE)
    return pc.coalesce(instants, local.cast(pa.timestamp("us", "UTC"))), bad | bad_local


def _truths(texts: pa.Array) -> tuple[pa.Array, Mask]:
    encoded = pc.utf8_lower(pc.ascii_trim_whitespace(texts.cast(pa.large_string()))).dictionary_encode()
    truths = pa.array([TRUTHS.get(text) for text in encoded.dictionary.to_pylist()], pa.bool_()).take(encoded.indices)
    return truths, np.asarray(pc.and_(pc.is_null(truths), pc.is_valid(texts)))
