"""`python -m ifdkit`, and the console script."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from ifdkit.cli import INTERRUPTED


def run() -> None:
    """Run the command line and exit with its code."""
    try:
        # Imported here, so that Ctrl-C during the import is reported like any other.
        from ifdkit.cli.main import main

        code = main()
    except KeyboardInterrupt:
        with suppress(OSError):
            os.write(2, INTERRUPTED.encode())
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    run()
