"""``python -m ops.cli``: the command where its script is not on the path."""

import sys

from ops.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
