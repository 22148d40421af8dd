"""Training and held-out data from tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forgetcli.errors import DataError
from forgetcli.ids import Vocabulary
from forgetcli.interactions import Duplicates, Heldout, Interactions
from forgetcli.profiling import stage
from forgetcli.tables.batches import BadRows, Batch
from forgetcli.tables.columns import ColumnOptions, Role, Wanted
from forgetcli.tables.filters import Filter
from forgetcli.tables.gathering import GrowingArray, TimeColumn, VocabularyBuilder
from forgetcli.tables.ids import EncodedIds, encode_ids, missing_ids
from forgetcli.tables.measures import Times, ratings_of, times_of
from forgetcli.tables.pipeline import read_batches
from forgetcli.tables.sources import Source, Sources, find_sources


@dataclass(frozen=True, eq=False)
class ReadResult:
    """Interactions, and what became of the rows they were read from.

    rows:         read, the dropped ones included; those that a filter leaves out are not.
    dropped_rows: that could not be used.
    duplicates:   rows merged into another of the same pair.
    has_ratings:  whether there was a rating column; without one every value is 1.
    files:        read.
    """

    interactions: Interactions
    rows: int
    dropped_rows: int
    duplicates: int
    has_ratings: bool
    files: int

    @property
    def suited_objective(self) -> Literal["explicit", "implicit"]:
        """The objective for who does not name one: explicit with ratings that differ, else implicit."""
        return self.interactions.suited_objective if self.has_ratings else "implicit"


def read_interactions(
    sources: Sources,
    columns: ColumnOptions | None = None,
    *,
    duplicates: Duplicates | None = None,
    where: Filter | str | None = None,
    bad_rows: BadRows = "stop",
    threads: int = 0,
    on_encoding: Callable[[], None] | None = None,
) -> ReadResult:
    """The interactions of Parquet and Arrow files, directories of them, CSV or TSV files (.gz, .zst and .bz2 too), all
    of these at s3://, gs:// or hdfs:// too, standard input ("-"), and data frames, as one table.

    columns:    where the user, the item and, where there are any, the rating and the time are; see `ColumnOptions`.
    duplicates: as for `Interactions.from_pairs`; None is "last" with ratings and "max" without, where a repeated pair
                is one interaction. Times are read for "last" only, and a later row wins over one of the same time.
    where:      the rows to read, such as "rating >= 4 and country = 'DE'"; see `Filter`. The others count nowhere.
    bad_rows:   "stop" at a row without a user, an item or a finite rating (or a time, where there are times), or
                "drop" and count it.
    threads:    0 is one for each processor.
    on_encoding: called when all rows have been read, before they are put in order.

    Ids are integers when they are in every file: as a number, or in text as Python would print it. Otherwise all ids
    of that side are text, integers becoming their decimal. Row order and the cut into files change nothing, but for
    "last" without times.

    Raises FileSystemError, UsageError for options that do not fit the table, and DataError naming file, row and column.
    """
    files = find_sources(sources)
    wanted = Wanted(("user", "item"), ("rating", "timestamp") if duplicates in (None, "last") else ("rating",))
    filtered = Filter.of(where)
    gathered = _Gathered()
    for file in files:
        for batch in read_batches(
            file, columns or ColumnOptions(), wanted, partial(_encode, bad_rows=bad_rows), threads, filtered
        ):
            gathered.add(file.name, batch)
    if filtered is not None and gathered.rows == 0:
        raise DataError(f"`{filtered.option}` lets no row of {_named(files)} through")
    if gathered.rows == gathered.dropped:
        dropped = f"; {gathered.dropped} were dropped" if gathered.dropped else ""
        raise DataError(f"no rows to use in {_named(files)}{dropped}")
    if on_encoding is not None:
        on_encoding()
    pa.default_memory_pool().release_unused()
    with stage("numbering ids"):
        users, user_rows = gathered.users.finish()
        items, item_rows = gathered.items.finish()
    has_ratings = gathered.ratings is not None
    ratings = gathered.ratings.take() if gathered.ratings is not None else np.ones(len(user_rows), np.float32)
    times = gathered.times.take() if gathered.times is not None else None
    interactions = Interactions.from_pairs(
        users,
        items,
        user_rows,
        item_rows,
        ratings,
        timestamps=times,
        duplicates=duplicates or ("last" if has_ratings else "max"),
        threads=threads,
    )
    return ReadResult(
        interactions,
        gathered.rows,
        gathered.dropped,
        gathered.rows - gathered.dropped - len(interactions),
        has_ratings,
        len(files),
    )


def read_heldout(
    sources: Sources,
    users: Vocabulary,
    items: Vocabulary,
    columns: ColumnOptions | None = None,
    *,
    where: Filter | str | None = None,
    bad_rows: BadRows = "stop",
    threads: int = 0,
) -> Heldout:
    """Held-out interactions (validation or test data) in terms of a model's vocabularies; of repeated pairs the last.

    Pairs whose user or item the model does not know are left out and counted. Raises as `read_interactions` does.
    """
    interactions = read_interactions(sources, columns, where=where, bad_rows=bad_rows, threads=threads).interactions
    view = interactions.by_user
    user_rows = users.find(interactions.users.ids)[view.row_numbers()]
    item_rows = items.find(interactions.items.ids)[view.indices]
    known = np.flatnonzero((user_rows >= 0) & (item_rows >= 0))
    # Numbers and the text that spells them sort differently, so that the file's order need not be the model's.
    order = known[np.lexsort((item_rows[known], user_rows[known]))]
    return Heldout(
        user_rows[order].astype(np.int32),
        item_rows[order].astype(np.int32),
        view.values[order],
        left_out=len(user_rows) - len(known),
    )


@dataclass(frozen=True)
class _Encoded:
    """The usable rows of a batch, and how many rows there were; None stands for a column that is not there."""

    users: EncodedIds
    items: EncodedIds
    ratings: NDArray[np.float32] | None
    times: Times | None
    rows: int

    @property
    def dropped(self) -> int:
        return self.rows - len(self.users.codes)


def _encode(batch: Batch, bad_rows: BadRows) -> _Encoded:
    users, items = encode_ids(batch, "user"), encode_ids(batch, "item")
    faults = [*users.faults, *missing_ids(users, "user"), *items.faults, *missing_ids(items, "item")]
    ratings = times = None
    if "rating" in batch.found:
        ratings, bad_ratings = ratings_of(batch)
        faults += bad_ratings
    if "timestamp" in batch.found:
        times, bad_times = times_of(batch)
        faults += bad_times
    kept = batch.usable_rows(faults, bad_rows)
    if kept is not None:
        users, items = users.kept(kept), items.kept(kept)
        ratings = ratings[kept] if ratings is not None else None
        times = times.kept(kept) if times is not None else None
    if not batch.typed:
        users, items = users.told_apart(), items.told_apart()
    return _Encoded(users, items, ratings, times, batch.length)


class _Gathered:
    """All that has been read so far: 12 bytes a row (20 with times) and the distinct ids."""

    def __init__(self) -> None:
        self.users, self.items = VocabularyBuilder(), VocabularyBuilder()
        self.ratings: GrowingArray[np.float32] | None = None
        self.times: TimeColumn | None = None
        self.rows = self.dropped = 0
        self._first_source: str | None = None

    def add(self, source: str, batch: _Encoded) -> None:
        """The next batch. Raises DataError when it has other columns than the ones before."""
        if self._first_source is None:
            self._first_source = source
            self.ratings = None if batch.ratings is None else GrowingArray(np.float32)
            self.times = None if batch.times is None else TimeColumn(batch.times.kind)
        self.users.add(batch.users)
        self.items.add(batch.items)
        self.rows += batch.rows
        self.dropped += batch.dropped
        self._require_alike("rating", source, self.ratings is not None, batch.ratings is not None)
        self._require_alike("timestamp", source, self.times is not None, batch.times is not None)
        if self.ratings is not None and batch.ratings is not None:
            self.ratings.append(batch.ratings)
        if self.times is not None and batch.times is not None:
            if self.times.kind != batch.times.kind:
                raise DataError(
                    f"times are {self.times.kind} in {self._first_source}, {batch.times.kind} in {source}",
                    hint="make them alike; `duplicates` sum, mean and max do without times",
                )
            self.times.append(batch.times)

    def _require_alike(self, role: Role, source: str, before: bool, now: bool) -> None:
        if before != now:
            first = str(self._first_source)
            with_it, without = (first, source) if before else (source, first)
            raise DataError(
                f"{with_it} has a {role} column, {without} has none",
                hint=f"say which one it is: `{role}=NAME`; or read one kind of file at a time",
            )


def _named(files: Sequence[Source]) -> str:
    return files[0].name + (f" and {len(files) - 1} more files" if len(files) > 1 else "")
