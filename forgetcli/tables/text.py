"""Batches of rows from CSV and other delimited text, cut into blocks of whole rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from functools import partial

from forgetcli.errors import DataError
from forgetcli.tables.batches import Batch, Table
from forgetcli.tables.columns import ColumnOptions, Wanted, find_columns, find_tested
from forgetcli.tables.filters import Filter
from forgetcli.tables.layout import Dialect, count_lines, find_rows, last_row_end, quote_toggles
from forgetcli.tables.parsing import Block, TextColumns, parse
from forgetcli.tables.sources import ByteStream, Source

BLOCK_BYTES = 8 << 20
"""Large beside the cost of a call into Arrow; a few for each thread are in memory at once."""

LONGEST_ROW = 64 << 20
"""A longer row is a quote that never closes or a file that is not a table."""

DELIMITERS = ("\t", "::", ",", ";", "|")
"""What is tried where no delimiter is given; of those that are equally often in the first line, the first."""

STAND_IN = "\x1f"
"""ASCII's own unit separator takes the place of a delimiter of several bytes: Arrow knows single bytes only."""

UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def text_table(
    source: Source, stream: ByteStream, options: ColumnOptions, wanted: Wanted, where: Filter | None = None
) -> Table:
    """The rows of a text file or stream. Its columns are named by the first row, or by `options.columns`.

    Raises DataError for a file without a row, one that is not UTF-8, and as `find_columns` does.
    """
    start = stream.read(BLOCK_BYTES)
    if start[:2] in UTF16_MARKS:
        raise DataError(f"{source.name} is UTF-16 text", hint="convert it: iconv -f utf-16 -t utf-8")
    start = start.removeprefix(UTF8_MARK)
    delimiter = options.delimiter or _sniffed_delimiter(source, start, options)
    blocks = _blocks(source.name, stream, start, delimiter)
    try:
        first = next(blocks)
    except StopIteration:
        raise DataError(f"{source.name} is empty") from None
    if options.columns is not None:
        names = list(options.columns)
    else:
        first, names = _without_header(source.name, first)
    hidden = wanted.private and options.columns is None
    found = find_columns(source.name, names, options, wanted, hidden=hidden)
    tested = find_tested(source.name, names, where, hidden=hidden)
    columns = TextColumns(source.name, len(names), found, tested)
    return Table(source.name, found, _pieces(columns, first, blocks))


def _pieces(columns: TextColumns, first: Block, blocks: Iterator[Block]) -> Iterator[Callable[[], Batch]]:
    if first.text:
        yield partial(parse, first, columns)
    for block in blocks:
        yield partial(parse, block, columns)


def _blocks(source: str, stream: ByteStream, start: bytes, delimiter: str) -> Iterator[Block]:
    """The text in pieces that each begin and end with a row."""
    wide = delimiter.encode() if len(delimiter.encode()) > 1 else None
    dialect = Dialect((STAND_IN if wide else delimiter).encode(), quoting=wide is None)
    line, rest, more = 1, b"", start
    while more:
        text = rest + more
        # A delimiter of several bytes may straddle the end of what was read, but never the end of a row.
        cut = last_row_end(text, dialect)
        if cut:
            yield _block(source, text[:cut], line, dialect, wide)
            line += count_lines(text[:cut])
        rest = text[cut:]
        if len(rest) > LONGEST_ROW:
            raise DataError(
                f"{source}, line {line}: the row does not end within {LONGEST_ROW >> 20} MiB",
                hint="a quote may open a field there and never close it",
            )
        more = stream.read(BLOCK_BYTES)
    if rest:
        yield _block(source, rest, line, dialect, wide)


def _block(source: str, text: bytes, line: int, dialect: Dialect, wide: bytes | None) -> Block:
    if wide is not None:
        if dialect.delimiter in text:
            line += count_lines(text[: text.index(dialect.delimiter)])
            raise DataError(
                f"{source}, line {line}: the control character 0x1F, where the delimiter is longer than a character"
            )
        text = text.replace(wide, dialect.delimiter)
    toggles = quote_toggles(text, dialect)
    if len(toggles) % 2:  # only the last block can end so: Arrow would take the rest of the file for one field
        line += count_lines(text[: toggles[-1]])
        raise DataError(f"{source}, line {line}: a quote opens a field and never closes it")
    return Block(text, line, dialect)


def _without_header(source: str, block: Block) -> tuple[Block, list[str]]:
    """The block after its first row, and that row's fields."""
    rows = find_rows(block.text, block.dialect)
    if len(rows.starts) == 0:
        raise DataError(f"{source} is empty: it has blank lines only")
    begin, end = int(rows.starts[0]), int(rows.ends[0])
    try:
        header = block.text[begin:end].decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise not_utf8(source, block.line + int(rows.lines[0])) from None
    rest = Block(block.text[end:], block.line + count_lines(block.text[:end]), block.dialect)
    return rest, _fields(source, header, block.dialect.delimiter.decode(), block.dialect.quoting)


def _fields(source: str, row: str, delimiter: str, quoting: bool) -> list[str]:
    if not quoting:
        return row.split(delimiter)
    try:
        return next(csv.reader(io.StringIO(row, newline=""), delimiter=delimiter))
    except csv.Error:
        raise DataError(f"{source}: the first row is not the header of a table") from None


def not_utf8(source: str, line: int) -> DataError:
    """The error for text in another encoding."""
    return DataError(f"{source}, line {line}: not valid UTF-8", hint="convert it, perhaps: iconv -f latin1 -t utf-8")


def _sniffed_delimiter(source: Source, start: bytes, options: ColumnOptions) -> str:
    """A tab for .tsv; else what cuts the first line into as many fields as `options.columns`; else what is most often
    there outside quotes; else a comma."""
    if source.suffix in (".tsv", ".tab"):
        return "\t"
    line = start.lstrip(b"\r\n").split(b"\n", 1)[0].decode(errors="replace")
    counts = {delimiter: sum(part.count(delimiter) for part in line.split('"')[::2]) for delimiter in DELIMITERS}
    if options.columns is not None:
        for delimiter, count in counts.items():
            if count == len(options.columns) - 1 > 0:
                return delimiter
    delimiter = max(DELIMITERS, key=lambda delimiter: counts[delimiter])
    return delimiter if counts[delimiter] else ","
