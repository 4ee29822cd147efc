"""``python -m isa_toolkit``: the command line."""

import sys

from isa_toolkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
