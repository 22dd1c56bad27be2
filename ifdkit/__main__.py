"""`python -m ifdkit`, and the console script."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from ifdkit.cli import INTERRUPTED


def run() -> None:
    """Run the command line and exit with its code."""
    sys.unraisablehook = _report_unraisable
    try:
        # Imported here, so that Ctrl-C during the import is reported like any other.
        from ifdkit.cli.main import main

        code = main()
    except KeyboardInterrupt:
        with suppress(OSError):
            os.write(2, INTERRUPTED.encode())
        code = 130
    sys.exit(code)


def _report_unraisable(unraisable: Any) -> None:
    """Report what Python cannot raise, except Ctrl-C inside a destructor or a callback of C."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    run()
