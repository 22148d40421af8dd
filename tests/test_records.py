"""Requests to forget, against sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetcli.errors import DataError
from forgetcli.ids import Utf8Ids
from forgetcli.interactions import Interactions
from forgetcli.records import ForgetRequest, RequestCounts, Resolution

number = st.integers(0, 9)
cells = st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=40)
Cell = tuple[int, int]
requests = st.tuples(st.lists(st.tuples(number, number), max_size=12), st.lists(number), st.lists(number))
Parts = tuple[list[Cell], list[int], list[int]]


def interactions_of(pairs: set[Cell]) -> Interactions:
    ordered = sorted(pairs)
    return Interactions.from_arrays([user for user, _ in ordered], [item for _, item in ordered])


def as_text(pairs: set[Cell]) -> Interactions:
    ordered = sorted(pairs)
    return Interactions.from_arrays([str(user) for user, _ in ordered], [str(item) for _, item in ordered])


def cells_of(interactions: Interactions, entries: slice | np.ndarray = slice(None)) -> set[Cell]:
    view = interactions.by_user
    labels = (
        (interactions.users.label(int(user)), interactions.items.label(int(item)))
        for user, item in zip(view.row_numbers()[entries], view.indices[entries], strict=True)
    )
    return {(int(user), int(item)) for user, item in labels}


def expected_counts(pairs: set[Cell], parts: Parts) -> tuple[set[Cell], RequestCounts]:
    asked, users, items = set(parts[0]), set(parts[1]), set(parts[2])
    known_users, known_items = {user for user, _ in pairs}, {item for _, item in pairs}
    gone = {cell for cell in pairs if cell in asked or cell[0] in users or cell[1] in items}
    return gone, RequestCounts(
        pairs=len(asked),
        users=len(users),
        items=len(items),
        unknown_pairs=len(asked - pairs),
        unknown_users=len(users - known_users),
        unknown_items=len(items - known_items),
        interactions=len(gone),
    )


def same(a: Resolution, b: Resolution) -> bool:
    return (
        np.array_equal(a.removal.entries, b.removal.entries)
        and a.counts == b.counts
        and (a.erased_users, a.erased_items) == (b.erased_users, b.erased_items)
    )


@given(cells, requests, st.booleans(), st.booleans())
def test_a_request_means_what_sets_say(pairs: set[Cell], parts: Parts, text_data: bool, text_request: bool) -> None:
    everything = (as_text if text_data and pairs else interactions_of)(pairs)
    asked, users, items = parts
    request = ForgetRequest.of(asked, users, items)
    if text_request:
        request = ForgetRequest.of(
            [(str(user), str(item)) for user, item in asked],
            [str(user) for user in users],
            [str(item) for item in items],
        )
    resolution = request.resolve(everything)
    gone, counts = expected_counts(pairs, parts)
    assert cells_of(everything, resolution.removal.entries) == gone
    assert resolution.counts == counts
    left = everything.without(resolution.removal).interactions
    assert cells_of(left) == pairs - gone
    assert resolution.erased_users == everything.n_users - left.n_users
    assert resolution.erased_items == everything.n_items - left.n_items


@given(cells, requests, st.data())
def test_order_and_repetition_change_nothing(pairs: set[Cell], parts: Parts, data: st.DataObject) -> None:
    everything = interactions_of(pairs)
    asked, users, items = parts
    shuffled = ForgetRequest.of(
        data.draw(st.permutations(asked + asked)),
        data.draw(st.permutations(users + users)),
        data.draw(st.permutations(items + items)),
    )
    assert same(ForgetRequest.of(*parts).resolve(everything), shuffled.resolve(everything))


@given(cells, requests)
def test_forgetting_twice_is_once(pairs: set[Cell], parts: Parts) -> None:
    request = ForgetRequest.of(*parts)
    everything = interactions_of(pairs)
    left = everything.without(request.resolve(everything).removal).interactions
    again = request.resolve(left)
    assert again.counts.interactions == 0
    assert left.without(again.removal).interactions is left


@given(cells, requests, requests)
def test_a_request_in_two_files_is_one_request(pairs: set[Cell], first: Parts, second: Parts) -> None:
    everything = interactions_of(pairs)
    together = ForgetRequest.of(first[0] + second[0], first[1] + second[1], first[2] + second[2])
    combined = ForgetRequest.of(*first) | ForgetRequest.of(*second)
    assert same(together.resolve(everything), combined.resolve(everything))
    whole = ForgetRequest.combine([ForgetRequest.of(*first), ForgetRequest.of(*second)])
    assert same(whole.resolve(everything), combined.resolve(everything))


def test_nothing_asked_for_removes_nothing() -> None:
    resolution = ForgetRequest.of().resolve(interactions_of({(1, 2)}))
    assert len(resolution.removal.entries) == 0
    assert resolution.counts == RequestCounts(0, 0, 0, 0, 0, 0, 0)
    assert ForgetRequest.combine([]).resolve(interactions_of({(1, 2)})).counts == resolution.counts


def test_text_and_numbers_of_several_files_name_the_same_things() -> None:
    everything = interactions_of({(1, 1), (2, 1), (3, 2)})
    request = ForgetRequest.of(users=[1, 4]) | ForgetRequest.of(users=["1", "01", "three"])
    assert request.resolve(everything).counts == RequestCounts(
        pairs=0, users=4, items=0, unknown_pairs=0, unknown_users=3, unknown_items=0, interactions=1
    )


def test_ids_are_matched_as_the_training_data_typed_them() -> None:
    everything = Interactions.from_arrays(["12", "0012"], ["x", "x"])
    resolution = ForgetRequest.of(users=[12]).resolve(everything)
    left = everything.without(resolution.removal).interactions
    assert [left.users.label(row) for row in range(left.n_users)] == ["0012"]


def test_unknown_things_are_counted_once_each() -> None:
    everything = Interactions.from_arrays(["a"], ["x"])
    unknown = [("a", "y"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "y"), ("c", "y")]
    counts = ForgetRequest.of(unknown, users=["b", "b", "c"], items=["ü", "ü"]).resolve(everything).counts
    assert counts == RequestCounts(
        pairs=5, users=2, items=1, unknown_pairs=5, unknown_users=2, unknown_items=1, interactions=0
    )


def test_extreme_integers_are_ids_like_any_other() -> None:
    extremes = [-(2**63), 2**63 - 1, 0]
    everything = Interactions.from_arrays(extremes, extremes)
    resolution = ForgetRequest.of(pairs=[(extremes[0], extremes[0])], users=[str(extremes[1])]).resolve(everything)
    assert (resolution.counts.interactions, resolution.erased_users, resolution.erased_items) == (2, 2, 2)


def test_the_training_data_itself_as_a_request_names_everything() -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 2000, 60_000), rng.integers(0, 900, 60_000)
    everything = Interactions.from_arrays(users, items)
    none = np.zeros(0, np.int64)
    resolution = ForgetRequest(users, items, none, none).resolve(everything)
    assert np.array_equal(resolution.removal.entries, np.arange(len(everything)))
    assert (resolution.erased_users, resolution.erased_items) == (everything.n_users, everything.n_items)
    assert len(everything.without(resolution.removal).interactions) == 0


def test_requests_that_make_no_sense_are_refused() -> None:
    one, two = Utf8Ids.from_strings(["a"]), Utf8Ids.from_strings(["a", "b"])
    with pytest.raises(DataError, match="more users than items"):
        ForgetRequest(one, two, one, one)
    with pytest.raises(DataError, match="empty"):
        ForgetRequest.of(users=[""])
