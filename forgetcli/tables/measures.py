"""Ratings and times as Arrow columns, made into numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forgetcli.tables.batches import Batch, Fault, Mask

TimeKind: TypeAlias = Literal["integers", "floats", "dates"]


def ratings_of(batch: Batch) -> tuple[NDArray[np.float32], list[Fault]]:
    """(n,) the batch's ratings, and the faults of rows without a finite one. Raises DataError for a column whose type
    holds no numbers."""
    column = batch.columns["rating"]
    kind, types = column.type, pa.types
    if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind)
            or types.is_null(kind)):
        raise batch.column_error("rating", f"ratings are numbers, not {kind}")
    numbers, missing = _floats(column)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        ratings = numbers.astype(np.float32)
    finite = np.isfinite(ratings)
    if finite.all() and not missing.any():
        return ratings, []
    infinite = ~np.isfinite(numbers)
    return ratings, [Fault(missing, "no rating", "rating"),
                     Fault(infinite & ~missing, "the rating is not finite", "rating"),
                     Fault(~finite & ~infinite, "the rating is too large for float32 (above 3.4e38)", "rating")]


@dataclass(frozen=True)
class Times:
    """Times of rows as numbers of which only the order counts.

    values: (n,) int64 integers or microseconds of dates, or (n,) float64.
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
        numbers, missing = _floats(column)
        return Times("floats", numbers), [Fault(missing | np.isnan(numbers), "no time", "timestamp")]
    missing = np.asarray(pc.is_null(column))
    faults = [Fault(missing, "no time", "timestamp")] if missing.any() else []
    if types.is_integer(kind) or types.is_null(kind):
        name: TimeKind = "integers"
    elif types.is_date(kind) or types.is_timestamp(kind):
        name = "dates"
        options = pc.CastOptions(pa.timestamp("us", getattr(kind, "tz", None)), allow_time_truncate=True)
        column = pc.cast(column, options=options)
    else:
        raise batch.column_error("timestamp", f"times are numbers or dates, not {kind}")
    return Times(name, np.asarray(pc.fill_null(column.cast(pa.int64()), 0))), faults


def ordered_times(batches: Sequence[Times]) -> NDArray[np.int64] | None:
    """(n,) int64, increasing with time, of all batches in a row; None where some are numbers and some dates."""
    kinds = {times.kind for times in batches}
    if "dates" in kinds and len(kinds) > 1:
        return None
    values = np.concatenate([times.values for times in batches]) if batches else np.empty(0, np.int64)
    if values.dtype == np.int64:
        return values.astype(np.int64, copy=False)
    # The bits of a float, read as an integer, order as it does; a negative one's the other way round.
    bits = (values + 0.0).astype(np.float64).view(np.int64)
    return np.where(bits >= 0, bits, bits ^ np.int64(2**63 - 1))


def _floats(column: pa.Array) -> tuple[NDArray[np.float64], Mask]:
    """(n,) the numbers, zero where one is missing, and (n,) bool where one is."""
    missing = np.asarray(pc.is_null(column)) if column.null_count else np.zeros(len(column), np.bool_)
    # Integers beyond 2^53 round here, as they would in float32 anyway.
    options = pc.CastOptions.unsafe(pa.float64())
    return np.asarray(pc.fill_null(pc.cast(column, options=options), 0.0)), missing
