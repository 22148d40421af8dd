"""What the parsers of the commands say, as values: for completion, settings and the documentation."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from forgetcli.cli.parser import Parser

FILE_METAVARS = {"DATA", "FILE", "MODEL", "OUT", "RETRAINED", "SOURCE", "UNLEARNED", "DIR", "DIRECTORY", "RECEIPT"}
"""What stands for a value that is a path."""


@dataclass(frozen=True)
class Option:
    """One argument of a command.

    flags:      as typed, the short one first; none of a positional argument.
    metavar:    what stands for its value; None for one that takes no value.
    choices:    the values there are; none where they cannot be listed.
    purpose:    the help's text.
    repeatable: whether it may be given more than once, or be several.
    group:      the heading under which the help has it.
    exclusive:  the first flags of the options that cannot be given beside it.
    """

    dest: str
    flags: tuple[str, ...]
    metavar: str | None
    choices: tuple[str, ...]
    purpose: str
    repeatable: bool
    group: str
    exclusive: tuple[str, ...]

    @property
    def takes_file(self) -> bool:
        """Whether its value is a path."""
        return self.metavar in FILE_METAVARS

    @property
    def name(self) -> str:
        """The long flag without its dashes, as settings call it; the metavar of a positional argument."""
        long = [flag for flag in self.flags if flag.startswith("--")]
        return (long or self.flags)[0].lstrip("-") if self.flags else str(self.metavar)


def options_of(parser: Parser) -> list[Option]:
    """All arguments of a command, in the order of its help."""
    exclusive = {
        action.dest: tuple(each.option_strings[0] for each in group._group_actions if each is not action)
        for group in parser._mutually_exclusive_groups
        for action in group._group_actions
    }
    return [
        _option(action, group.title or "", exclusive.get(action.dest, ()))
        for group in parser._action_groups
        for action in group._group_actions
    ]


def _option(action: argparse.Action, group: str, exclusive: tuple[str, ...]) -> Option:
    takes_value = not action.option_strings or action.nargs != 0
    choices = tuple(map(str, action.choices or ()))
    metavar = action.metavar if isinstance(action.metavar, str) else None
    return Option(
        dest=action.dest,
        flags=tuple(action.option_strings),
        metavar=(metavar or action.dest.upper()) if takes_value else None,
        choices=choices,
        purpose=action.help or "",
        repeatable=isinstance(action, argparse._AppendAction) or action.nargs in ("+", "*"),
        group=group,
        exclusive=exclusive,
    )
