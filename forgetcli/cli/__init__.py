"""The command line. One thin module a command, which parses, calls the core and renders:

    SYNOPSIS   what follows the command's name in the help's first line
    DETAILS    what the help says before the options
    EXAMPLES   what it says after them
    add_arguments(parser)
    run(arguments)

A module is imported when its command is run, and imports the core inside `run`, so that help is immediate.
"""

from forgetcli.cli.program import main

__all__ = ["main"]
