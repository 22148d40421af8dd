"""`python -m forgetcli` is `forget`."""

import sys

from forgetcli.cli import main

if __name__ == "__main__":
    sys.exit(main())
