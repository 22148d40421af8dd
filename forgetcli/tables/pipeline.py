"""The batches of several sources, parsed by several threads and handed on in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from forgetcli.digests import OnDigest
from forgetcli.tables.arrow import arrow_table
from forgetcli.tables.batches import Batch, Table
from forgetcli.tables.columns import ColumnOptions, Wanted
from forgetcli.tables.filters import Filter
from forgetcli.tables.frames import frame_table
from forgetcli.tables.matching import might_match, select
from forgetcli.tables.parquet import parquet_table
from forgetcli.tables.sources import OpenedSource, Source, opened
from forgetcli.tables.text import text_table

MOST_WORKERS = 8
"""Cutting a file into pieces is one thread's work, which does not keep more than these busy; each holds some 30 MiB."""

Given = TypeVar("Given")
Result = TypeVar("Result")


def read_batches(
    source: Source,
    options: ColumnOptions,
    wanted: Wanted,
    process: Callable[[Batch], Result],
    threads: int = 0,
    where: Filter | None = None,
    on_digest: OnDigest | None = None,
) -> Iterator[Result]:
    """What `process` makes of each batch of a source, in the order of the rows.

    process:   called by several threads at once, each time with another batch.
    threads:   0 is one for each processor.
    where:     the rows to read; a source whose path rules it out is not opened, unless a digest is wanted.
    on_digest: is told the source's digest when the last batch was taken.

    Raises what `process` raises, and FileSystemError, DataError and UsageError as opening and parsing do.
    """
    workers = min(threads if threads > 0 else _processors(), MOST_WORKERS)
    if where is not None and on_digest is None and not might_match(where, source.partitions):
        return
    with opened(source, on_digest) as file:
        table = _table(source, file, options, wanted, threads, where)
        if where is None:
            yield from _in_order(lambda piece: process(piece()), table.pieces, workers)
        else:
            yield from _in_order(lambda piece: process(select(piece(), where)), table.pieces, workers)


def _table(
    source: Source, file: OpenedSource, options: ColumnOptions, wanted: Wanted, threads: int, where: Filter | None
) -> Table:
    if file.kind == "parquet":
        remote = source.remote is not None
        return parquet_table(source.name, file.file, options, wanted, threads, where, source.partitions, remote=remote)
    if file.kind == "frame":
        return frame_table(source.name, file.file, options, wanted, where)
    if file.kind in ("arrow", "arrow stream"):
        is_stream = file.kind == "arrow stream"
        return arrow_table(source.name, file.file, options, wanted, where, source.partitions, is_stream=is_stream)
    return text_table(source, file.file, options, wanted, where)


def _in_order(function: Callable[[Given], Result], values: Iterable[Given], workers: int) -> Iterator[Result]:
    """function(value) of each value, in order, a few ahead of what is asked for."""
    if workers == 1:
        yield from map(function, values)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for value in values:
                waiting.append(pool.submit(function, value))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
