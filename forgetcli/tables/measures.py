"""Ratings and times as Arrow columns, made into numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forgetcli.tables.batches import Batch, Fault, Mask
from forgetcli.tables.ids import LARGEST_EXACT_FLOAT

TimeKind: TypeAlias = Literal["numbers", "dates"]


def ratings_of(batch: Batch) -> tuple[NDArray[np.float32], list[Fault]]:
    """(n,) the batch's ratings, and the faults of rows without a finite one. Raises DataError for a column whose type
    holds no numbers."""
    column = batch.columns["rating"]
    kind, types = column.type, pa.types
    if not (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    ):
        raise batch.column_error("rating", f"ratings are numbers, not {kind}")
    numbers, missing = _floats(column)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        ratings = numbers.astype(np.float32)
    finite = np.isfinite(ratings)
    if finite.all() and not missing.any():
        return ratings, []
    infinite = ~np.isfinite(numbers)
    return ratings, [
        Fault(missing, "no rating", "rating"),
        Fault(infinite & ~missing, "the rating is not finite", "rating"),
        Fault(~finite & ~infinite, "the rating is too large for float32 (above 3.4e38)", "rating"),
    ]


@dataclass(frozen=True)
class Times:
    """Times of rows as numbers of which only the order counts.

    values: (n,) int64, microseconds for dates, or (n,) float64 for numbers that are not all whole.
    """

    kind: TimeKind
    values: NDArray[np.int64] | NDArray[np.float64]

    def kept(self, rows: Mask) -> Times:
        """Those rows alone."""
        return Times(self.kind, self.values[rows])


def times_of(batch: Batch) -> tuple[Times, list[Fault]]:
    """The batch's times, and the faults of rows without one. Raises DataError for a column that holds no times."""
    column = batch.columns["timestamp"]
    kind, types = column.type, pa.types
    if types.is_floating(kind) or types.is_decimal(kind):
        return _float_times(column)
    if types.is_date(kind) or types.is_timestamp(kind):
        # Nanoseconds end with the year 2262, microseconds order well enough.
        options = pc.CastOptions(pa.timestamp("us", getattr(kind, "tz", None)), allow_time_truncate=True)
        try:
            column = pc.cast(column, options=options)
        except pa.ArrowInvalid:
            raise batch.column_error("timestamp", "a date is beyond the years that microseconds reach") from None
    elif not (types.is_integer(kind) or types.is_null(kind)):
        raise batch.column_error("timestamp", f"times are numbers or dates, not {kind}")
    values = np.asarray(pc.fill_null(column.cast(pa.int64()), 0))
    missing = np.asarray(pc.is_null(column))
    return Times("dates" if types.is_temporal(kind) else "numbers", values), _no_time(missing)


def float_order(values: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.int64]:
    """(n,) int64 that order as these numbers do as floats: their bits read as an integer, those of negative ones but
    for the sign turned over."""
    bits = (values.astype(np.float64) + 0.0).view(np.int64)  # + 0.0 makes -0.0 a 0.0
    return np.where(bits >= 0, bits, bits ^ np.int64(2**63 - 1))


def _float_times(column: pa.Array) -> tuple[Times, list[Fault]]:
    numbers, missing = _floats(column)
    missing = missing | np.isnan(numbers)
    numbers = np.where(missing, 0.0, numbers)
    whole = np.all((np.abs(numbers) <= LARGEST_EXACT_FLOAT) & (numbers == np.floor(numbers)))
    return Times("numbers", numbers.astype(np.int64) if whole else numbers), _no_time(missing)


def _no_time(missing: Mask) -> list[Fault]:
    return [Fault(missing, "no time", "timestamp")] if missing.any() else []


def _floats(column: pa.Array) -> tuple[NDArray[np.float64], Mask]:
    """(n,) the numbers, zero where one is missing, and (n,) bool where one is."""
    missing = np.asarray(pc.is_null(column)) if column.null_count else np.zeros(len(column), np.bool_)
    # Integers beyond 2^53 round here, as they would in float32 anyway.
    options = pc.CastOptions.unsafe(pa.float64())
    return np.asarray(pc.fill_null(pc.cast(column, options=options), 0.0)), missing
