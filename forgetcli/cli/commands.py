"""The commands there are, and what each of them takes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forgetcli.cli.parser import Parser

COMMANDS = {
    "train": "train a model on interactions",
    "forget": "remove records from a model, without retraining",
    "retrain": "train anew on what remains: the yardstick",
    "compare": "compare a model that forgot with one that never knew",
    "recommend": "list the best items for users",
    "info": "say what a model file is",
    "import": "take over a model that another trainer made",
    "export": "write a model for another program to serve",
    "completion": "print what a shell needs to complete commands and options",
}
"""By name, in the order of the help, with a summary."""


def module_of(name: str) -> Any:
    """The module of a command: its help's texts, `add_arguments` and `run`."""
    return import_module(f"forgetcli.cli.{name}")


def parser_of(name: str) -> Parser:
    """The parser of a command, with all its arguments."""
    from forgetcli.cli.parser import command_parser

    module = module_of(name)
    parser = command_parser(name, module.SYNOPSIS, module.DETAILS, module.EXAMPLES)
    module.add_arguments(parser)
    return parser
