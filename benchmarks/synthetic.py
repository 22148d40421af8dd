"""Make a large table of synthetic ratings, by default of MovieLens-25M's shape.

    python benchmarks/synthetic.py -o /tmp/synth25m.parquet
    python benchmarks/synthetic.py --ratings 1e6 --order shuffled --csv -o /tmp/synth1m.parquet

Writes user int32, item int32 (both from 1), rating float32 (0.5 to 5 in half stars): exactly so many distinct pairs, in
which every user and, if there are ratings enough, every item occurs. Users' activity is log-normal, items' popularity
Zipf–Mandelbrot, and a rating is a mean, two biases, a low-rank product and noise. The same options give the same rows;
memory stays under 3 GB up to 100 million ratings.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

RATINGS, USERS, ITEMS = 25_000_000, 162_541, 59_047
"""MovieLens-25M's, to five places."""
FEWEST_RATINGS, ACTIVITY_SIGMA, BUSIEST_SHARE = 20, 1.39, 0.6
"""Each user's ratings: a floor, a log-normal on top with MovieLens-25M's ratio of mean to median, and at most so large
a share of the items."""
TAIL_EXPONENT, ITEMS_PER_SHIFT = 1.8, 590
"""Popularity is (rank + items / 590) ** -1.8. At the default size the head items have 85,000 ratings, the median 18;
MovieLens-25M's have 81,000 and 6."""
RANK, MEAN = 8, 3.55
USER_BIAS, ITEM_BIAS, TASTE, NOISE = 0.40, 0.45, 0.50, 0.70
"""Standard deviations in stars of what makes a rating: the user, the item, the product of their factors, chance."""

CHUNK_ROWS, CHUNK_USERS = 2_000_000, 1 << 16
ITEM_BITS = 24
"""A pair is sorted as user << 24 | item in 64 bits, with 24 bits between them for a random rank where one is needed."""
HEAVY_SHARE = 0.02
"""A user with more than this share of the items is sampled from all of them at once, a lighter one by drawing."""
HEAVY_BLOCK_CELLS = 1 << 24
"""So many cells of heavy users × items are held at a time: 64 MiB."""

Counts = NDArray[np.int64]
Keys = NDArray[np.uint64]


@dataclass(frozen=True)
class Shape:
    """What was asked for. Raises ValueError when no table can be so."""

    ratings: int
    users: int
    items: int
    seed: int

    def __post_init__(self) -> None:
        if not 1 <= self.items < 1 << ITEM_BITS:
            raise ValueError(f"items must be from 1 to {(1 << ITEM_BITS) - 1:,}, not {self.items:,}")
        if not 1 <= self.users < 1 << 31:
            raise ValueError(f"users must be from 1 to 2^31 - 1, not {self.users:,}")
        most = self.users * self.busiest
        if not self.users <= self.ratings <= most:
            raise ValueError(f"ratings must be from {self.users:,}, one a user, to {most:,}, not {self.ratings:,}")

    @property
    def busiest(self) -> int:
        """The most ratings that one user may have."""
        return max(1, int(BUSIEST_SHARE * self.items))


@dataclass(frozen=True)
class World:
    """Who rates how often, what is how popular, and what it is like; rows are ids − 1.

    activity:   (n_users,), sums to the number of ratings.
    popularity: (n_items,), sums to 1.
    assured:    (n,) keys of pairs that are in the table, so that every item is; sorted.
    user_bias, item_bias, user_factors, item_factors: float32, what a rating is made of.
    """

    activity: Counts
    popularity: NDArray[np.float64]
    assured: Keys
    user_bias: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """A part of the table: ids from 1, ratings in half stars from 1 to 10."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    half_stars: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.users)


def draw_activity(shape: Shape, rng: np.random.Generator) -> Counts:
    """(n_users,) ratings of each user: a floor plus a log-normal, capped, with exactly the asked sum."""
    floor = min(FEWEST_RATINGS, shape.ratings // shape.users)
    spread = np.exp(ACTIVITY_SIGMA * rng.standard_normal(shape.users))

    def at(scale: float) -> Counts:
        counts: Counts = np.minimum(floor + np.floor(scale * spread), shape.busiest).astype(np.int64)
        return counts

    low, high = 0.0, shape.busiest / float(spread.min())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).sum() <= shape.ratings else (low, middle)
    activity = at(low)
    while missing := shape.ratings - int(activity.sum()):
        open_to_more = rng.permutation(np.flatnonzero(activity < shape.busiest))
        activity[open_to_more[:missing]] += 1
    return activity


def draw_world(shape: Shape) -> World:
    """Everything but the table itself; a few tens of bytes a user and an item."""
    rng = np.random.default_rng((shape.seed, 0))
    activity = draw_activity(shape, rng)
    popularity = (rng.permutation(shape.items) + 1 + shape.items / ITEMS_PER_SHIFT) ** -TAIL_EXPONENT
    assured = min(shape.items, shape.ratings)
    places = ((np.arange(assured) + rng.random(assured)) * (shape.ratings / assured)).astype(np.int64)
    owners = np.searchsorted(np.cumsum(activity), places, side="right").astype(np.uint64)
    scale = np.sqrt(TASTE) / RANK**0.25
    return World(
        activity=activity,
        popularity=popularity / popularity.sum(),
        assured=np.sort(pair_keys(owners, rng.permutation(shape.items)[:assured])),
        user_bias=USER_BIAS * rng.standard_normal(shape.users, np.float32),
        item_bias=ITEM_BIAS * rng.standard_normal(shape.items, np.float32),
        user_factors=np.float32(scale) * rng.standard_normal((shape.users, RANK), np.float32),
        item_factors=np.float32(scale) * rng.standard_normal((shape.items, RANK), np.float32),
    )


def pair_keys(users: NDArray[np.integer], items: NDArray[np.integer]) -> Keys:
    """Pairs as numbers that sort by user, then item."""
    return users.astype(np.uint64) << np.uint64(ITEM_BITS) | items.astype(np.uint64)


def key_users(keys: Keys) -> Counts:
    """The users of pair keys."""
    return (keys >> np.uint64(ITEM_BITS)).astype(np.int64)


def key_items(keys: Keys) -> Counts:
    """The items of pair keys."""
    return (keys & np.uint64((1 << ITEM_BITS) - 1)).astype(np.int64)


def distinct(keys: Keys) -> Keys:
    """The keys sorted, each once. NumPy's own `unique` hashes, which here takes ten times as long."""
    ordered = np.sort(keys)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def draws_needed(popularity: NDArray[np.float64]) -> Callable[[Counts], Counts]:
    """From a number of distinct items to the draws with replacement that on average give it, and some more.

    d draws give Σ 1 − (1 − p)^d ≈ Σ 1 − exp(−d p) distinct items; the sum is tabulated and read backwards.
    """
    draws = np.geomspace(1.0, 100.0 * len(popularity), 200)
    found = np.array([-np.expm1(-count * popularity).sum() for count in draws])

    def needed(wanted: Counts) -> Counts:
        mean = np.exp(np.interp(np.log(np.maximum(wanted, 1)), np.log(found), np.log(draws)))
        enough: Counts = np.ceil(mean + 2 * np.sqrt(mean) + 1).astype(np.int64)
        return enough

    return needed


def sample_light(wanted: Counts, assured: Keys, popularity: NDArray[np.float64], rng: np.random.Generator) -> Keys:
    """Sorted keys of exactly wanted[u] distinct items for each user u, the assured ones among them.

    Draws with replacement, drops repetitions, draws again for users who lack items, and drops what is too much.
    """
    cumulative = np.cumsum(popularity)
    needed = draws_needed(popularity)
    keys = assured
    lacking = wanted - np.bincount(key_users(keys), minlength=len(wanted))
    while (lacking > 0).any():
        users = np.repeat(np.arange(len(wanted)), np.where(lacking > 0, needed(wanted), 0))
        items = np.searchsorted(cumulative, cumulative[-1] * rng.random(len(users)), side="right")
        keys = distinct(np.concatenate([keys, pair_keys(users, np.minimum(items, len(popularity) - 1))]))
        lacking = wanted - np.bincount(key_users(keys), minlength=len(wanted))
    return keep_some(keys, assured, wanted, rng)


def keep_some(keys: Keys, assured: Keys, wanted: Counts, rng: np.random.Generator) -> Keys:
    """wanted[u] of each user's keys, the assured ones first and others at random, sorted as before."""
    chance = rng.integers(1, 1 << 24, len(keys), dtype=np.uint64)
    chance[np.searchsorted(keys, assured)] = 0
    users, items = key_users(keys).astype(np.uint64), keys & np.uint64((1 << ITEM_BITS) - 1)
    in_turn = np.sort(users << np.uint64(ITEM_BITS + 24) | chance << np.uint64(ITEM_BITS) | items)
    available = np.bincount(users.astype(np.int64), minlength=len(wanted))
    turn = np.arange(len(keys)) - np.repeat(np.cumsum(available) - available, available)
    kept = in_turn[turn < np.repeat(wanted, available)]
    return np.sort(pair_keys(kept >> np.uint64(ITEM_BITS + 24), kept & np.uint64((1 << ITEM_BITS) - 1)))


def sample_heavy(wanted: Counts, assured: Keys, popularity: NDArray[np.float64], rng: np.random.Generator) -> Keys:
    """As `sample_light`, by giving every item an exponential time of rate p and taking the first (Efraimidis &
    Spirakis 2006); assured items come at time 0."""
    mean_time = (1 / popularity).astype(np.float32)
    block = max(1, HEAVY_BLOCK_CELLS // len(popularity))
    parts = [np.empty(0, np.uint64)]
    for start in range(0, len(wanted), block):
        counts = wanted[start : start + block]
        times = rng.standard_exponential((len(counts), len(popularity)), np.float32) * mean_time
        low, high = np.searchsorted(assured, pair_keys(np.array([start, start + len(counts)]), np.zeros(2, np.int64)))
        times[key_users(assured[low:high]) - start, key_items(assured[low:high])] = 0
        for row, count in enumerate(counts):
            first = np.argpartition(times[row], count - 1)[:count]
            parts.append(pair_keys(np.full(count, start + row), first))
    return np.sort(np.concatenate(parts))


def sample_users(world: World, start: int, stop: int, rng: np.random.Generator) -> Keys:
    """Sorted keys of all pairs of users start to stop, counted from start."""
    wanted = world.activity[start:stop]
    low, high = np.searchsorted(world.assured, pair_keys(np.array([start, stop]), np.zeros(2, np.int64)))
    owners, items = key_users(world.assured[low:high]) - start, key_items(world.assured[low:high])
    parts = []
    heavy = wanted > HEAVY_SHARE * len(world.popularity)
    for chosen, sample in ((~heavy, sample_light), (heavy, sample_heavy)):
        position = np.cumsum(chosen) - 1
        theirs = chosen[owners]
        keys = sample(wanted[chosen], pair_keys(position[owners[theirs]], items[theirs]), world.popularity, rng)
        parts.append(pair_keys(np.flatnonzero(chosen)[key_users(keys)], key_items(keys)))
    return np.sort(np.concatenate(parts))


def rate(world: World, users: Counts, items: Counts, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(n,) ratings of the pairs in half stars."""
    stars = np.einsum("nk,nk->n", world.user_factors[users], world.item_factors[items])
    stars += world.user_bias[users] + world.item_bias[items] + np.float32(MEAN)
    stars += np.float32(NOISE) * rng.standard_normal(len(users), np.float32)
    half_stars: NDArray[np.uint8] = np.clip(np.round(2 * stars), 1, 10).astype(np.uint8)
    return half_stars


def generate(shape: Shape) -> Iterator[Rows]:
    """The table by user, then item, in parts of about two million rows. A part's randomness is its own, so its rows
    depend on nothing before it."""
    world = draw_world(shape)
    before = np.concatenate([[0], np.cumsum(world.activity)])
    start = 0
    while start < shape.users:
        full = int(np.searchsorted(before, before[start] + CHUNK_ROWS, side="right")) - 1
        stop = min(max(full, start + 1), start + CHUNK_USERS, shape.users)
        rng = np.random.default_rng((shape.seed, 1, start))
        keys = sample_users(world, start, stop, rng)
        users, items = key_users(keys) + start, key_items(keys)
        half_stars = rate(world, users, items, rng)
        yield Rows((users + 1).astype(np.int32), (items + 1).astype(np.int32), half_stars)
        start = stop


def shuffle(parts: Iterator[Rows], shape: Shape) -> Iterator[Rows]:
    """The same rows in a random order. Holds the whole table: 9 bytes a row, and 8 for the permutation."""
    places = np.random.default_rng((shape.seed, 2)).permutation(shape.ratings)
    n = shape.ratings
    table = Rows(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint8))
    start = 0
    for part in parts:
        chosen = places[start : start + len(part)]
        table.users[chosen], table.items[chosen], table.half_stars[chosen] = part.users, part.items, part.half_stars
        start += len(part)
    del places
    for start in range(0, shape.ratings, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        yield Rows(table.users[rows], table.items[rows], table.half_stars[rows])


def write(parts: Iterator[Rows], path: Path, *, with_csv: bool) -> None:
    """Write the parts to the Parquet file as they come and, if asked, to a CSV file beside it."""
    schema = pa.schema([("user", pa.int32()), ("item", pa.int32()), ("rating", pa.float32())])
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(path, schema))]
        if with_csv:
            writers.append(stack.enter_context(pc.CSVWriter(path.with_suffix(".csv"), schema)))
        for part in parts:
            ratings = part.half_stars.astype(np.float32) / 2
            table = pa.table([part.users, part.items, ratings], schema=schema)
            for writer in writers:
                writer.write_table(table)


def whole_number(text: str) -> int:
    """25000000, 25_000_000 or 25e6. Raises ValueError for anything else."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


def main() -> None:
    """Parse the command line and write the table."""
    parser = argparse.ArgumentParser(description="Make a large table of synthetic ratings.")
    parser.add_argument("--ratings", type=whole_number, default=RATINGS, help="default: 25e6")
    parser.add_argument("--users", type=whole_number, help="default: 162,541 for 25e6 ratings, and in proportion")
    parser.add_argument("--items", type=whole_number, default=ITEMS, help="default: 59,047")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--order", choices=("user", "shuffled"), default="user", help="of the rows (default: user)")
    parser.add_argument("--csv", action="store_true", help="write the same rows as CSV too, beside the Parquet file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the Parquet file")
    options = parser.parse_args()
    users = options.users or max(1, round(options.ratings * USERS / RATINGS))
    try:
        shape = Shape(options.ratings, users, options.items, options.seed)
    except ValueError as error:
        parser.error(str(error))
    parts = generate(shape)
    write(shuffle(parts, shape) if options.order == "shuffled" else parts, options.output, with_csv=options.csv)


if __name__ == "__main__":
    main()
