"""Kills runs at random moments, as many as wanted, and checks each time that nothing is lost and nothing lies about.

    python tests/safety/kills.py --kills 300

Of each command it says how often the old file was there afterwards and how often the new one; test_concurrency.py does
the same a few times.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))  # behind the installed package, which has the extension

OPTIONS = ("--factors", "32", "--sweeps", "3")
COMMANDS = {
    "train": (("train", "ratings.csv", *OPTIONS, "--seed", "1"), "model.npz"),
    "forget": (("forget", "model.npz", "--user", "u3"), "model.npz"),
    "recommend": (("recommend", "model.npz", "--all-users", "-o", "recs.csv"), "recs.csv"),
}


def main() -> None:
    from forgetcli.files import TEMPORARY_SUFFIX
    from tests.safety.faults import Program

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="of all commands together")
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as place:
        work = Path(place)
        rows = (f"u{u},{i},{(u * i) % 5 + 1}\n" for u in range(arguments.users) for i in range(100) if (u + i) % 3)
        (work / "ratings.csv").write_text("user,item,rating\n" + "".join(rows))
        with Program(Path(scratch), with_faults=False) as program:
            assert program.run(("train", "ratings.csv", *OPTIONS), work).code == 0
            model = (work / "model.npz").read_bytes()
            for name, (command, target) in COMMANDS.items():
                path, found = work / target, Counter[str]()
                old = model if target == "model.npz" else b"what was there before"

                def reset(path: Path = path, old: bytes = old) -> None:
                    (work / "model.npz").write_bytes(model)
                    path.write_bytes(old)

                reset()
                began = time.monotonic()
                assert program.run(command, work).code == 0
                duration, new = time.monotonic() - began, path.read_bytes()
                for _ in range(arguments.kills // len(COMMANDS)):
                    reset()
                    code = program.run(command, work, kill_after=rng.uniform(0, duration)).code
                    assert code in (0, -9), code
                    content = path.read_bytes()
                    assert content in (old, new), "neither the old file nor the new one"
                    found["ended before the kill" if code == 0 else "old" if content == old else "new"] += 1
                    found["temporaries"] += _strays(work, TEMPORARY_SUFFIX)
                    assert program.run(command, work).code == 0
                    assert path.read_bytes() == new, "the next run came to something else"
                    assert _strays(work, TEMPORARY_SUFFIX) == 0, "a temporary outlived the next run"
                print(f"{name}: a run takes {duration:.2f} s; after the kill {dict(found)}", flush=True)


def _strays(directory: Path, suffix: str) -> int:
    return sum(name.endswith(suffix) for name in os.listdir(directory))


if __name__ == "__main__":
    main()
