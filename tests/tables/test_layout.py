"""The rows of delimited text."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetcli.tables.layout import Dialect, count_lines, find_rows, last_row_end, quote_toggles

COMMA = Dialect(b",")
awkward_text = st.text(st.sampled_from('ab,,""\n\n\r'), max_size=20).map(str.encode)


def arrow_rows(text: bytes, width: int) -> int | None:
    """The number of rows that Arrow's parser sees, or None when they are not all of one width."""
    try:
        return len(
            pacsv.read_csv(
                pa.BufferReader(text),
                read_options=pacsv.ReadOptions(column_names=[str(i) for i in range(width)]),
                parse_options=pacsv.ParseOptions(newlines_in_values=True),
            )
        )
    except pa.ArrowInvalid:
        return None


@given(awkward_text.filter(lambda text: text != b"" and len(quote_toggles(text, COMMA)) % 2 == 0))
def test_rows_are_those_of_arrows_parser(text: bytes) -> None:
    rows = find_rows(text, COMMA)
    if len(rows.fields) == 0:
        assert text.strip(b"\r\n") == b""
    elif len(set(rows.fields.tolist())) == 1:
        assert arrow_rows(text, int(rows.fields[0])) == len(rows.starts)
    else:
        assert arrow_rows(text, int(rows.fields[0])) is None


@given(awkward_text, awkward_text)
def test_a_cut_where_a_row_ends_gives_the_same_rows(before: bytes, after: bytes) -> None:
    text = before + after
    cut = last_row_end(before, COMMA)
    whole, head, tail = (find_rows(part, COMMA) for part in (text, text[:cut], text[cut:]))
    assert whole.starts.tolist() == [*head.starts.tolist(), *(tail.starts + cut).tolist()]
    assert whole.fields.tolist() == [*head.fields.tolist(), *tail.fields.tolist()]
    assert whole.lines.tolist() == [*head.lines.tolist(), *(tail.lines + count_lines(text[:cut])).tolist()]


@pytest.mark.parametrize(
    ("text", "lines", "fields"),
    [
        (b'a,"x\ny"\nb,c\n', [0, 2], [2, 2]),
        (b"a\r\n\r\nb,c", [0, 2], [1, 2]),
        (b'5" disc,c\n"a""b",d\n', [0, 1], [2, 2]),
        (b'"a"b"c,d\ne\n', [0, 1], [2, 1]),
    ],
)
def test_lines_and_fields_count_quoted_line_ends(text: bytes, lines: list[int], fields: list[int]) -> None:
    rows = find_rows(text, COMMA)
    assert rows.lines.tolist() == lines
    assert rows.fields.tolist() == fields


def test_a_quote_that_never_closes_is_an_odd_toggle() -> None:
    assert len(quote_toggles(b'a,"b\nc,d\n', COMMA)) == 1
    assert len(quote_toggles(b'a,"b\nc,d\n', Dialect(b",", quoting=False))) == 0
