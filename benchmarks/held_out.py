"""The split that the accuracy figures rest on: rows held out by NumPy's generator, in the order of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import forgetcli as fc

SPLIT_SEED = 20261122


def split(path: Path, fraction: float, objective: str) -> tuple[fc.Interactions, fc.Heldout]:
    """Training data and held-out pairs of a Parquet file with the columns user, item and rating.

    Row n of the file is held out where the n-th draw of `default_rng(SPLIT_SEED)` is below the fraction. A pair whose
    user or item then has no training row is left out, and counted: no model that learns from pairs alone can say
    anything of it. Implicit models get 1 for every rating.
    """
    table = pq.read_table(path)
    users, items, ratings = (table[name].to_numpy() for name in ("user", "item", "rating"))
    values = ratings if objective == "explicit" else np.ones(len(ratings), np.float32)
    held = np.random.default_rng(SPLIT_SEED).random(len(users)) < fraction
    training = fc.Interactions.from_arrays(users[~held], items[~held], values[~held])
    user_rows = training.users.find(fc.as_ids(users[held]))
    item_rows = training.items.find(fc.as_ids(items[held]))
    known = np.flatnonzero((user_rows >= 0) & (item_rows >= 0))
    order = known[np.lexsort((item_rows[known], user_rows[known]))]
    return training, fc.Heldout(
        user_rows[order].astype(np.int32),
        item_rows[order].astype(np.int32),
        values[held][order],
        int(held.sum()) - len(known),
    )
