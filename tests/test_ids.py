"""Columns of ids and vocabularies, against Python's own sorting, spelling and decoding."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgetcli.errors import DataError
from forgetcli.ids import Utf8Ids, Vocabulary, as_ids, join_ids
from tests.made import THREADS, integer_ids, text_ids

INT64 = np.iinfo(np.int64)

id_number = st.integers(INT64.min, INT64.max)
id_text = st.text(min_size=1, max_size=20)


@given(st.lists(id_text))
def test_text_ids_come_back_as_they_were(strings: list[str]) -> None:
    ids = Utf8Ids.from_strings(strings)
    assert ids.to_list() == strings == [ids[i] for i in range(len(ids))]
    backwards = np.arange(len(strings))[::-1]
    assert ids.take(backwards).to_list() == strings[::-1]


@given(st.lists(id_text))
def test_a_text_vocabulary_is_sorted_bytewise_and_finds_its_own(strings: list[str]) -> None:
    vocabulary, rows = Vocabulary.of(as_ids(strings) if strings else Utf8Ids.from_strings([]))
    labels = [vocabulary.label(i) for i in range(len(vocabulary))]
    assert labels == sorted(set(strings), key=str.encode)
    assert [labels[row] for row in rows] == strings
    vocabulary.validate()


SIMILAR = ["a", "a\0", "a\0\0", "a\0b", "a" * 8, "a" * 9, "a" * 16, "a" * 8 + "\0", "a" * 17, "b", "ä", "😀", "\uffff"]


def test_padding_is_told_from_zero_bytes() -> None:
    vocabulary, _ = Vocabulary.of(Utf8Ids.from_strings(list(reversed(SIMILAR))))
    assert text_ids(vocabulary) == sorted(SIMILAR, key=str.encode)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("form", ["{}", "user_{:012d}", "{:x}-ж", "shared" * 40 + "{}"])
def test_many_text_ids_sort_and_are_found_as_in_python(form: str, threads: int) -> None:
    numbers = np.random.default_rng(4).integers(0, 10_000, 30_000)
    strings = [form.format(number) for number in numbers.tolist()]
    vocabulary, rows = Vocabulary.of(Utf8Ids.from_strings(strings), threads)
    expected = sorted(set(strings), key=str.encode)
    assert text_ids(vocabulary) == expected
    assert [expected[row] for row in rows] == strings
    queries = Utf8Ids.from_strings([*expected, "unknown", ""])
    assert vocabulary.find(queries, threads).tolist() == [*range(len(expected)), -1, -1]
    few = queries.take(np.array([5, len(expected), 3]))  # few enough for a binary search each
    assert vocabulary.find(few, threads).tolist() == [5, -1, 3]


def test_megabyte_ids_with_a_common_beginning_are_sorted() -> None:
    strings = ["x" * 1_000_000 + end for end in "cab"]
    _, rows = Vocabulary.of(Utf8Ids.from_strings(strings))
    assert rows.tolist() == [2, 0, 1]


@given(st.lists(id_number), st.lists(id_number))
def test_integer_ids_are_sorted_by_value_and_found(numbers: list[int], others: list[int]) -> None:
    vocabulary, rows = Vocabulary.of(np.array(numbers, np.int64))
    expected = sorted(set(numbers))
    assert integer_ids(vocabulary).tolist() == expected
    assert rows.tolist() == [expected.index(number) for number in numbers]
    wanted = numbers + others
    found = [expected.index(number) if number in expected else -1 for number in wanted]
    assert vocabulary.find(np.array(wanted, np.int64)).tolist() == found


@given(st.lists(id_number, min_size=1, unique=True))
def test_numbers_match_the_text_that_spells_them(numbers: list[int]) -> None:
    spelt = Utf8Ids.from_integers(np.array(numbers, np.int64))
    assert spelt.to_list() == [str(number) for number in numbers]
    values, canonical = spelt.to_integers()
    assert values.tolist() == numbers
    assert canonical.all()
    integers, rows = Vocabulary.of(np.array(numbers, np.int64))
    assert integers.find(spelt).tolist() == rows.tolist()
    texts, rows = Vocabulary.of(spelt)
    assert texts.find(np.array(numbers, np.int64)).tolist() == rows.tolist()


NOT_CANONICAL = [
    "", "-", "+12", "012", "0012", " 12", "12 ", "1.0", "1e1", "-0", "-012", "--12", "0x12", "1_2", "twelve", "12\0",
    "9223372036854775808", "-9223372036854775809", "99999999999999999999", "１２",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_CANONICAL)
def test_other_spellings_match_no_number(text: str) -> None:
    vocabulary = Vocabulary(np.array([INT64.min, -12, 0, 1, 2, 10, 12, 18, INT64.max]))
    assert vocabulary.find(Utf8Ids.from_strings([text])).tolist() == [-1]


def test_a_number_does_not_match_another_spelling_of_itself() -> None:
    vocabulary, _ = Vocabulary.of(Utf8Ids.from_strings(["0012", "12", "+12"]))
    assert vocabulary.label(int(vocabulary.find(np.array([12]))[0])) == "12"
    vocabulary, _ = Vocabulary.of(Utf8Ids.from_strings(["0012", "+12"]))
    assert vocabulary.find(np.array([12])).tolist() == [-1]


@pytest.mark.parametrize(
    "values",
    [[1, "a"], [1.5], [True], [None], [b"a"], [2**63], [-(2**63) - 1], np.array([2**63], np.uint64), np.array([0.5]),
     ["a", 1], ["\ud800"], np.array([[1, 2]])],
)  # fmt: skip
def test_what_is_no_id_is_refused(values: object) -> None:
    with pytest.raises(DataError):
        as_ids(values)


@pytest.mark.parametrize(
    "values", [[1, 2], np.array([1, 2], np.uint8), np.array([1, 2], ">i8"), (1, 2), np.array([1, 2], object)]
)
def test_whole_numbers_of_any_kind_are_ids(values: object) -> None:
    assert integer_ids(Vocabulary(as_ids(values))).tolist() == [1, 2]


def test_numbers_that_meet_text_become_text() -> None:
    joined = join_ids([np.array([1, -2]), Utf8Ids.from_strings(["x"]), np.zeros(0, np.int64)])
    assert isinstance(joined, Utf8Ids)
    assert joined.to_list() == ["1", "-2", "x"]
    assert integer_ids(Vocabulary(join_ids([np.array([1]), np.array([2])]))).tolist() == [1, 2]


def utf8(*encoded: bytes) -> Utf8Ids:
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    return Utf8Ids(np.frombuffer(b"".join(encoded), np.uint8), offsets)


@pytest.mark.parametrize(
    "raw",
    [b"\xff", b"\xc3", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\x80",
     b"a\xe2\x82", b"\xf0\x8f\xbf\xbf", b"M\xfcller"],
)  # fmt: skip
def test_bytes_that_are_not_utf8_are_refused(raw: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        raw.decode()
    with pytest.raises(ValueError, match="not UTF-8"):
        Vocabulary(utf8(raw)).validate()
    with pytest.raises(DataError, match="not UTF-8"):
        Vocabulary.of(utf8(raw))


@given(st.binary(min_size=1, max_size=6))
def test_utf8_is_judged_as_python_judges_it(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="not UTF-8"):
            Vocabulary(utf8(raw)).validate()
    else:
        Vocabulary(utf8(raw)).validate()


def offset_ids(offsets: list[int]) -> Utf8Ids:
    return Utf8Ids(np.frombuffer(b"abcd", np.uint8), np.array(offsets, np.int64))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (offset_ids([0, 3, 2, 4]), "decrease"),
        (offset_ids([0, 2**62, 4]), "decrease"),
        (offset_ids([0, -(2**62), 4]), "decrease"),
        (offset_ids([0, 2, 2, 4]), "empty"),
        (utf8(b"b", b"a"), "strictly increasing"),
        (utf8(b"a", b"a"), "strictly increasing"),
        (np.array([2, 1]), "strictly increasing"),
        (np.array([1, 1]), "strictly increasing"),
    ],
)
def test_a_damaged_vocabulary_is_refused_and_read_in_bounds(ids: Utf8Ids | NDArray[np.int64], message: str) -> None:
    vocabulary = Vocabulary(ids)
    with pytest.raises(ValueError, match=message):
        vocabulary.validate()
    queries = Utf8Ids.from_strings(["a", "b"])
    for use in (
        lambda: vocabulary.find(queries),
        lambda: vocabulary.keys(),
        lambda: vocabulary.take(np.array([0, 1])),
        lambda: Vocabulary(Utf8Ids.from_strings(["a"])).find(ids),
        lambda: Vocabulary(np.array([1])).find(ids),
    ):
        with contextlib.suppress(ValueError):  # an answer or a refusal, but no crash
            use()


@pytest.mark.parametrize("offsets", [[], [1, 4], [0, 5], [0, 3]])
def test_offsets_that_do_not_span_the_data_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offset"):
        offset_ids(offsets)


@pytest.mark.parametrize("position", [-1, 2, 2**62])
def test_positions_outside_the_ids_are_refused(position: int) -> None:
    with pytest.raises(IndexError):
        Utf8Ids.from_strings(["a", "b"]).take(np.array([position]))


@given(st.lists(id_text, min_size=1, unique=True), st.data())
def test_an_ids_key_does_not_depend_on_the_others(strings: list[str], data: st.DataObject) -> None:
    vocabulary, _ = Vocabulary.of(Utf8Ids.from_strings(strings))
    some = np.array(sorted(data.draw(st.sets(st.integers(0, len(strings) - 1), min_size=1))))
    assert np.array_equal(vocabulary.take(some).keys(), vocabulary.keys()[some])
    assert len(set(vocabulary.keys().tolist())) == len(strings)
