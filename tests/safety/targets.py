"""What untrusted bytes are fed to, as far as they get: each kind may be refused with this program's errors only.

Beside these, no file may be written but the target, and no kernel may read or write outside its arrays, which the
sanitizers see where the extension is built with them (tests/safety/README.md).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.safety import imports, models, mutations, native, tables, typed


@dataclass(frozen=True)
class Target:
    """A kind of input.

    use:     feeds an input to what reads it; the directory is for its files. Raises only where something is wrong.
    seeds:   makes valid inputs.
    mutated: makes another input from one.
    """

    use: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]
    mutated: Callable[[random.Random, bytes], bytes]


def _mutated_receipt(rng: random.Random, content: bytes) -> bytes:
    if rng.random() < 0.3:
        return mutations.mutated_bytes(rng, content)
    return mutations.mutated_json(rng, content.decode("utf-8", "replace")).encode("utf-8", "replace")


TARGETS = {
    "model": Target(models.use_model, models.seed_models, mutations.mutated_archive),
    "text": Target(partial(tables.use_table, name="a.csv"), tables.seed_texts, tables.mutated_text),
    "parquet": Target(partial(tables.use_table, name="a.parquet"), typed.seed_parquets, typed.mutated_parquet),
    "arrow": Target(partial(tables.use_table, name="a.arrow"), typed.seed_arrows, typed.mutated_arrow),
    "receipt": Target(models.use_receipt, models.seed_receipts, _mutated_receipt),
    "import": Target(imports.use_import, imports.seed_imports, imports.mutated_import),
    "native": Target(native.call_native, native.seed_native, native.mutated_call),
}


def made(target: Target, seeds: list[bytes], rng: random.Random) -> bytes:
    """An input for the target, made from one of its seeds."""
    return target.mutated(rng, rng.choice(seeds))
