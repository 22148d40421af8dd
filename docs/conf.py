"""How Sphinx builds the documentation: `sphinx-build -W --keep-going docs build/docs`.

The pages of the commands and of the Python API are written anew by `reference.py` at each build, from the installed
package.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference

import forgetcli

project = "forgetcli"
author = "the forgetcli authors"
copyright = "the forgetcli authors, Apache 2.0"
version = release = forgetcli.__version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "**/README.md"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"forgetcli {version}"
html_copy_source = False

reference.write(Path(__file__).parent)

man_pages = [
    (f"commands/{command}", f"forget-{command}", summary, author, 1) for command, summary in reference.COMMANDS.items()
]
