"""The core's words for its parameters, as they are typed on the command line.

Messages of the core name a parameter as Python code in backquotes: `reg`, `bad_rows="drop"`. Here that becomes an
option: --reg, --bad-rows drop.
"""

from __future__ import annotations

import re

SPELLED_OTHERWISE = {
    "user": "--user-col",
    "item": "--item-col",
    "rating": "--rating-col",
    "timestamp": "--timestamp-col",
    "title": "--title-col",
    "interactions": "--data",
    "seeds": "--verify-seeds",
    "fraction": "--holdout",
    "timeout": "--lock-timeout",
    "exclude_seen=False": "--include-seen",
}
"""Parameters whose option has another name than theirs, with - for _."""

_PARAMETER = re.compile(r"`([a-z][a-z_]*)(=[^`]*)?`")


def as_typed(text: str) -> str:
    """A message of the core for who uses the program."""
    return _PARAMETER.sub(_option, text)


def _option(match: re.Match[str]) -> str:
    name, value = match[1], (match[2] or "")[1:].strip("\"'")
    whole = SPELLED_OTHERWISE.get(match[0].strip("`"))
    if whole is not None:
        return whole
    option = SPELLED_OTHERWISE.get(name, f"--{name.replace('_', '-')}")
    return f"{option} {value}" if value else option
