"""`forget completion`: what a shell needs to complete the program's commands and options."""

from __future__ import annotations

import argparse

from forgetcli.cli.options import add_help_options
from forgetcli.cli.parser import Parser

SYNOPSIS = "SHELL"

DETAILS = """
Prints a script that completes commands, options, their values and file names
at the Tab key. The shell reads it when it starts:

  bash  in ~/.bashrc:                  eval "$(forget completion bash)"
  zsh   in ~/.zshrc, after compinit:   eval "$(forget completion zsh)"
  fish  in ~/.config/fish/config.fish: forget completion fish | source

The examples write it once instead, to where bash-completion and fish look for
it. The script holds all that it needs and calls nothing: after an update of
forgetcli it is to be written anew.
"""

EXAMPLES = """
mkdir -p ~/.local/share/bash-completion/completions
forget completion bash > ~/.local/share/bash-completion/completions/forget
mkdir -p ~/.config/fish/completions
forget completion fish > ~/.config/fish/completions/forget.fish
"""

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: Parser) -> None:
    """The command's own arguments."""
    parser.add_argument_group("shell").add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")
    add_help_options(parser)


def run(arguments: argparse.Namespace) -> None:
    """Describes all commands, and prints."""
    from forgetcli.cli import shells
    from forgetcli.cli.commands import COMMANDS, parser_of
    from forgetcli.cli.described import options_of

    commands = {name: options_of(parser_of(name)) for name in COMMANDS}
    print(getattr(shells, arguments.shell)(COMMANDS, commands), end="")
