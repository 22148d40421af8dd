"""Make the sample data: an invented film catalogue, its ratings, and a list of what is to be forgotten.

    python sample_data/make.py [-o DIRECTORY]

The same seed gives the same files, byte for byte (the Parquet file: with the same version of pyarrow, which writes its
own name into it). `README.md` says what the files hold; the titles' words are in `title_words.toml`.
"""

from __future__ import annotations

import argparse
import csv
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
SEED = 2302_06676
"""The arXiv number of "Netflix and Forget"."""

N_USERS = 2_000
FEWEST_RATINGS, MOST_RATINGS = 12, 400
"""A user's; between them the activity is log-normal."""
MEAN_RATING = 3.1
"""Of a film met by chance. The mean of what people rate is higher, since they choose what they expect to like."""
LENIENCY, QUALITY, GENRE_PULL, STYLE_PULL, NOISE = 0.33, 0.38, 0.62, 0.42, 0.55
"""Standard deviations in stars of what makes a rating: the user, the film, how they suit each other, and chance."""
N_STYLES = 4
"""Tastes that no column tells: pace, strangeness and the like."""

SHARED_ACCOUNT, FLATMATE_GENRE, FLATMATE_RATINGS = 42, "Horror", 48
"""The user whose flatmate rated so many horror films on her account: she takes them back."""
SHARED_ACCOUNT_TASTE = {
    "Romance": 2.2,
    "Musical": 2.0,
    "Comedy": 0.5,
    "Drama": 0.3,
    "Fantasy": -0.8,
    "Action": -1.8,
    "Crime": -1.8,
    "Science Fiction": -1.8,
    "Horror": -2.5,
}
SHARED_ACCOUNT_RATINGS = 80
"""Her own, before what she saw of that genre is left out."""
CLOSED_ACCOUNT, CLOSED_ACCOUNT_RATINGS = 1317, 120
PULLED_ITEM = 4

TITLES_FROM_PATTERN = (1, 3, 6, 6)
"""How often a pattern with none, one, two or three slots may serve before its titles look alike."""

TASTE_SPACE: dict[str, tuple[float, float, float, float]] = {
    "Action": (0.3, -0.5, 1.0, 0.0),
    "Adventure": (-0.2, 0.0, 0.8, 0.6),
    "Animation": (-0.9, 0.3, 0.2, 0.8),
    "Comedy": (-0.8, 0.2, -0.1, -0.4),
    "Crime": (0.5, -0.2, -0.3, -0.9),
    "Documentary": (0.1, -0.3, -0.9, -0.6),
    "Drama": (0.4, 0.6, -0.8, -0.5),
    "Fantasy": (-0.1, 0.2, 0.5, 1.0),
    "Horror": (1.1, -0.7, 0.2, 0.5),
    "Musical": (-0.7, 0.9, 0.2, 0.1),
    "Romance": (-0.3, 1.1, -0.4, 0.0),
    "Science Fiction": (0.4, -0.6, 0.5, 0.8),
}
"""Where each genre lies between light and dark, head and heart, intimate and spectacular, real and wondrous: who likes
one likes its neighbours."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Film:
    """One title. genres: the first is the one that its title fits."""

    title: str
    year: int
    genres: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """The films, item id i + 1 at place i, and how they sit in the world.

    genre_weights: (n_items, n_genres), rows sum to 1.
    style:         (n_items, N_STYLES), standard normal.
    quality:       (n_items,), in stars, mean about 0.
    popularity:    (n_items,), relative, above 0.
    """

    films: tuple[Film, ...]
    genre_weights: Floats
    style: Floats
    quality: Floats
    popularity: Floats


@dataclass(frozen=True)
class Audience:
    """The users, user id u + 1 at place u.

    genre_taste: (n_users, n_genres), about standard normal.
    style_taste: (n_users, N_STYLES), standard normal.
    leniency:    (n_users,), in stars.
    activity:    (n_users,), how many films each rates.
    """

    genre_taste: Floats
    style_taste: Floats
    leniency: Floats
    activity: NDArray[np.int64]


@dataclass(frozen=True)
class Ratings:
    """Distinct pairs of places, sorted by user then item, with their values from 0.5 to 5 in half steps."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    values: Floats


def invent_titles(words: dict[str, Any], rng: np.random.Generator) -> list[str]:
    """One genre's titles, all different: patterns in turn, and each slot filled with a word that its pattern has not
    had and the whole genre has had least."""
    slots = {pattern: re.findall(r"\{(\w+)\}", pattern) for pattern in words["patterns"]}
    served: Counter[str] = Counter()
    used: Counter[str] = Counter()
    had: set[tuple[str, str]] = set()
    titles: list[str] = []
    while len(titles) < words["titles"]:
        pattern = min(slots, key=lambda pattern: served[pattern] / TITLES_FROM_PATTERN[len(slots[pattern])])
        served[pattern] += 1
        title = pattern
        for slot in slots[pattern]:
            fresh = [word for word in words[slot] if (pattern, word) not in had]
            fewest = min(used[word] for word in fresh)
            rarest = [word for word in fresh if used[word] == fewest]
            word = rarest[int(rng.random() * len(rarest))]
            used[word] += 1
            had.add((pattern, word))
            title = title.replace(f"{{{slot}}}", word)
        titles.append(title[0].upper() + title[1:])
    return titles


def invent_films(rng: np.random.Generator) -> tuple[Film, ...]:
    """All genres' films in a random order, most of them recent, two in five with a second genre."""
    vocabulary = tomllib.loads((HERE / "title_words.toml").read_text(encoding="utf-8"))
    films = []
    for genre, words in vocabulary.items():
        for title in invent_titles(words, rng):
            year = 2024 - int(min(rng.standard_exponential() * 19, 90))
            second = words["also"][int(rng.random() * len(words["also"]))]
            films.append(Film(title, year, (genre, second) if rng.random() < 0.4 else (genre,)))
    return tuple(films[place] for place in rng.permutation(len(films)))


def stock_catalogue(rng: np.random.Generator) -> Catalogue:
    """Films with their hidden traits. Popularity follows Zipf–Mandelbrot, and good films tend to be well known."""
    films = invent_films(rng)
    n_items, genres = len(films), list(TASTE_SPACE)
    weights = np.zeros((n_items, len(genres)))
    for place, film in enumerate(films):
        shares = (1.0,) if len(film.genres) == 1 else (0.75, 0.25)
        weights[place, [genres.index(genre) for genre in film.genres]] = shares
    style, merit = rng.standard_normal((n_items, N_STYLES)), rng.standard_normal(n_items)
    rank = np.argsort(np.argsort(-(merit + 1.2 * rng.standard_normal(n_items))))
    popularity = np.power(rank + 25.0, -1.3)
    return Catalogue(films, weights, style, QUALITY * merit, popularity)


def gather_audience(rng: np.random.Generator) -> Audience:
    """Users with tastes that follow the taste space, and a log-normal activity."""
    space = np.array(list(TASTE_SPACE.values()))
    space /= np.linalg.norm(space, axis=1, keepdims=True)
    shared = rng.standard_normal((N_USERS, space.shape[1])) @ space.T
    genre_taste = 0.85 * shared + 0.5 * rng.standard_normal(shared.shape)
    style_taste = rng.standard_normal((N_USERS, N_STYLES))
    leniency = LENIENCY * rng.standard_normal(N_USERS)
    activity = FEWEST_RATINGS + np.exp(3.3 + 0.95 * rng.standard_normal(N_USERS))

    heroine = SHARED_ACCOUNT - 1
    genre_taste[heroine] = [SHARED_ACCOUNT_TASTE.get(genre, 0.0) for genre in TASTE_SPACE]
    style_taste[heroine] *= 0.5
    leniency[heroine] = -0.2
    activity[[heroine, CLOSED_ACCOUNT - 1]] = SHARED_ACCOUNT_RATINGS, CLOSED_ACCOUNT_RATINGS
    return Audience(genre_taste, style_taste, leniency, np.minimum(activity, MOST_RATINGS).astype(np.int64))


def enjoyment(audience: Audience, catalogue: Catalogue) -> Floats:
    """(n_users, n_items): how much each user likes each film beyond its quality, in stars."""
    by_genre = audience.genre_taste @ catalogue.genre_weights.T
    by_style = audience.style_taste @ catalogue.style.T / np.sqrt(N_STYLES)
    liking: Floats = GENRE_PULL * by_genre + STYLE_PULL * by_style
    return liking


def half_stars(wanted: Floats) -> Floats:
    """The nearest rating that the site offers."""
    return np.clip(np.round(2 * wanted) / 2, 0.5, 5.0)


def collect_ratings(audience: Audience, catalogue: Catalogue, rng: np.random.Generator) -> Ratings:
    """Each user sees films without replacement, the popular ones and the liked ones first, and rates them with noise.

    The k largest of log-weight + Gumbel noise are a weighted sample without replacement (Vieira 2014; Kool et al.
    2019); liking enters the weight, since people choose what they expect to like.
    """
    liking = enjoyment(audience, catalogue)
    gumbel = -np.log(-np.log(rng.random(liking.shape)))
    order = np.argsort(-(np.log(catalogue.popularity) + 0.75 * liking + gumbel), axis=1)
    chosen = np.arange(liking.shape[1]) < audience.activity[:, None]
    users = np.repeat(np.arange(len(liking)), audience.activity)
    items = order[chosen]
    wanted = MEAN_RATING + audience.leniency[users] + catalogue.quality[items] + liking[users, items]
    values = half_stars(wanted + NOISE * rng.standard_normal(len(users)))
    return sort_ratings(users, items, values)


def sort_ratings(users: NDArray[np.int64], items: NDArray[np.int64], values: Floats) -> Ratings:
    """The same ratings by user, then item."""
    order = np.lexsort((items, users))
    return Ratings(users[order], items[order], values[order])


def share_the_account(ratings: Ratings, catalogue: Catalogue, rng: np.random.Generator) -> Ratings:
    """User 42's account after a month with the flatmate: of that genre she rated nothing, and the flatmate much, with 4
    to 5 stars."""
    in_genre = np.array([FLATMATE_GENRE in film.genres for film in catalogue.films])
    heroine = SHARED_ACCOUNT - 1
    kept = (ratings.users != heroine) | ~in_genre[ratings.items]
    seen = rng.permutation(np.flatnonzero(in_genre))[:FLATMATE_RATINGS]
    values = np.clip(half_stars(4.8 + catalogue.quality[seen] + 0.2 * rng.standard_normal(len(seen))), 4.0, 5.0)
    return sort_ratings(
        np.concatenate([ratings.users[kept], np.full(len(seen), heroine)]),
        np.concatenate([ratings.items[kept], seen]),
        np.concatenate([ratings.values[kept], values]),
    )


def deletions(ratings: Ratings, films: Sequence[Film]) -> list[tuple[int | str, int | str]]:
    """What is to be forgotten, as (user id, item id) with "" for all: her flatmate's genre, one account, one title."""
    hers = ratings.items[ratings.users == SHARED_ACCOUNT - 1]
    genre = [(SHARED_ACCOUNT, int(item) + 1) for item in hers if FLATMATE_GENRE in films[item].genres]
    return [*genre, (CLOSED_ACCOUNT, ""), ("", PULLED_ITEM)]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """UTF-8 with plain line feeds on every system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_parquet(path: Path, ratings: Ratings) -> None:
    """The ratings as user int32, item int32, rating float32."""
    columns = {
        "user": pa.array(ratings.users + 1, pa.int32()),
        "item": pa.array(ratings.items + 1, pa.int32()),
        "rating": pa.array(ratings.values, pa.float32()),
    }
    pq.write_table(pa.table(columns), path, compression="zstd", compression_level=19)


def make(directory: Path) -> None:
    """Write the four files into the directory."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    catalogue = stock_catalogue(rng)
    audience = gather_audience(rng)
    ratings = share_the_account(collect_ratings(audience, catalogue, rng), catalogue, rng)
    films = catalogue.films
    write_parquet(directory / "ratings.parquet", ratings)
    write_csv(
        directory / "ratings.csv",
        ("user", "item", "rating"),
        (
            (user + 1, item + 1, f"{value:g}")
            for user, item, value in zip(ratings.users, ratings.items, ratings.values, strict=True)
        ),
    )
    write_csv(
        directory / "items.csv",
        ("item", "title", "year", "genres"),
        ((place + 1, film.title, film.year, "|".join(film.genres)) for place, film in enumerate(films)),
    )
    write_csv(directory / "deletions.csv", ("user", "item"), deletions(ratings, films))


def main() -> None:
    """Parse the command line and make the files."""
    parser = argparse.ArgumentParser(description="Make the sample data.")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="an existing directory (default: this one)")
    make(parser.parse_args().output)


if __name__ == "__main__":
    main()
