"""`python -m ifdkit`, and the console script.

Ctrl-C ends the process at once until the command line begins, interrupts it (KeyboardInterrupt)
until it has returned, and then ends the process at once with the code of the result.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import gc
import os
import sys
from contextlib import suppress
from typing import Any

from ifdkit import _end_interrupted
from ifdkit.cli import INTERRUPTED

_THRESHOLDS = (50_000, 20, 50)
"""Objects, and collections of the generation below, between two collections."""


def run() -> None:
    """Run the command line and exit with its code."""
    sys.unraisablehook = _report_unraisable
    # A shell may start a command with SIGINT ignored: then it stays so.
    before = _signal.getsignal(_signal.SIGINT)
    if is_handled := before in (_signal.default_int_handler, _end_interrupted):
        _signal.signal(_signal.SIGINT, _end_interrupted)
    collect_rarely()
    try:
        from ifdkit.cli.main import main

        if is_handled:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        code = main()
        if is_handled:
            _signal.signal(_signal.SIGINT, lambda *_: os._exit(code))
    except KeyboardInterrupt:
        with suppress(OSError):
            os.write(2, INTERRUPTED.encode())
        code = 130
    # Python notes a KeyboardInterrupt that leaves `exec` of a string, as in the making of a
    # dataclass, and at its end kills itself by SIGINT, whatever the code; another `exec` clears it.
    exec("")
    gc.freeze()  # Python ends with searches for cycles, which took 1.1 s after an import of torch
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
