"""`python -m ifdkit`, and the console script."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Any

from ifdkit.cli import INTERRUPTED

_THRESHOLDS = (50_000, 20, 50)
"""Objects, and collections of the generation below, between two collections."""


def run() -> None:
    """Run the command line and exit with its code."""
    sys.unraisablehook = _report_unraisable
    collect_rarely()
    try:
        # Imported here, so that Ctrl-C during the import is reported like any other.
        from ifdkit.cli.main import main

        code = main()
    except KeyboardInterrupt:
        with suppress(OSError):
            os.write(2, INTERRUPTED.encode())
        code = 130
    sys.exit(code)


def collect_rarely() -> None:
    """Search for reference cycles less often than Python does by default.

    A search goes through all that is in memory, and rows have no cycles.  Only the process of a
    command does this: in a library it would be a setting of somebody else's program.
    """
    gc.set_threshold(*_THRESHOLDS)


def _report_unraisable(unraisable: Any) -> None:
    """Report what Python cannot raise, except Ctrl-C inside a destructor or a callback of C."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    run()
