"""Tables as untrusted input: delimited text, packed or not, Parquet and Arrow, in all the uses that they have."""

from __future__ import annotations

import bz2
import gzip
import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pyarrow as pa

from forgetcli import unlearn
from forgetcli.errors import ForgetError
from forgetcli.interactions import Interactions
from forgetcli.tables import read_ids, read_interactions, read_item_names, read_records
from tests.safety import mutations
from tests.safety.models import small_models


def read_as_data(path: Path) -> None:
    """As training data, to the last check of what comes out."""
    _check(read_interactions(path, threads=1).interactions)


def read_what_is_usable(path: Path) -> None:
    """The same, without the rows that cannot be used, and duplicates summed."""
    _check(read_interactions(path, bad_rows="drop", duplicates="sum", threads=1).interactions)


def _check(data: Interactions) -> None:
    data.validate()
    data.users.validate()
    data.items.validate()


def read_as_forget_list(path: Path) -> None:
    """As a forget-list, and two models forget what it says."""
    request = read_records(path)
    for model in (small_models()[0], small_models()[3]):
        with suppress(ForgetError):
            unlearn.forget(model, request, method="sweeps", sweeps=1, threads=1)


def read_filtered(path: Path) -> None:
    """As training data of which a filter picks rows."""
    _check(read_interactions(path, where="not item in (1, 2) and user != 'u1'", threads=1).interactions)


USES: tuple[Callable[[Path], object], ...] = (
    read_as_data,
    read_as_forget_list,
    read_what_is_usable,
    partial(read_ids, side="user"),
    read_item_names,
    read_filtered,
)


def use_table(content: bytes, directory: Path, *, name: str) -> None:
    """Reads a table in one of its uses, which the content determines: all of them in turn would find no more."""
    use_in_one_way(USES[zlib.crc32(content) % len(USES)], content, directory / name)


def use_in_every_way(content: bytes, directory: Path, *, name: str) -> None:
    """Reads a table in all uses."""
    for use in USES:
        use_in_one_way(use, content, directory / name)


def use_in_one_way(use: Callable[[Path], object], content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with suppress(ForgetError):
        use(path)


def seed_texts() -> list[bytes]:
    """Small delimited texts."""
    rows = "".join(f"u{u},{i},{(u * i) % 5 + 1},2024-01-0{i}\n" for u in range(6) for i in range(1, 5))
    plain = "".join(f"{u},{i},{(u * i) % 5 + 1}\n" for u in range(6) for i in range(1, 5))
    return [
        f"user,item,rating,timestamp\n{rows}".encode(),
        f"userId,movieId,rating\n{plain}".encode(),
        f"user\titem\n{plain}".replace(",", "\t").encode(),
        b'user,item,title\n"a ""b""",1,"x\ny"\r\nc,2,z\r\n',
        b"user,item\n1,\n,2\n3,4\n",
    ]


PACKINGS: tuple[Callable[[bytes], bytes], ...] = (
    partial(gzip.compress, mtime=0),
    bz2.compress,
    lambda text: bytes(pa.compress(text, "zstd", asbytes=True)),
)


def mutated_text(rng: random.Random, content: bytes) -> bytes:
    """A text like this one, now and then packed, and then now and then broken again."""
    text = mutations.mutated_text(rng, content)
    if rng.random() < 0.95:
        return text
    packed = rng.choice(PACKINGS)(text)
    return packed if rng.random() < 0.3 else mutations.mutated_bytes(rng, packed)
