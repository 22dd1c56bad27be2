"""The program of a process that aligns examples: gets an Aligner, then blocks, and answers each.

`python -m ifdkit.scoring.aligning_worker FD`, started by `aligning`.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from ifdkit.__main__ import collect_rarely
from ifdkit.errors import IfdkitError
from ifdkit.prompting.alignment import Aligner


def main() -> None:
    """Serve until the driver closes the connection or ends, however it ends."""
    collect_rarely()
    connection = Connection(int(sys.argv[1]))
    os.dup2(2, 1)  # stdout belongs to the driver's results
    with suppress(EOFError, OSError):
        aligner: Aligner = connection.recv()
        while True:
            examples = connection.recv()
            try:
                connection.send(aligner.align(examples))
            except IfdkitError as error:
                connection.send(error)


if __name__ == "__main__":
    main()
