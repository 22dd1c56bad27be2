"""The program of a process that aligns examples: gets an Aligner, then blocks, and answers each.

`python -m ifdkit.scoring.aligning_worker FD`, started by `aligning`.
"""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any

from ifdkit.engine.programs import own_connection
from ifdkit.errors import IfdkitError
from ifdkit.prompting.alignment import Aligner


def main() -> None:
    """Serve until the driver closes the connection or ends, however it ends."""
    gc.set_threshold(50_000)  # what it makes has no cycles
    connection = own_connection()
    with suppress(EOFError, OSError):
        aligner: Aligner = connection.recv()
        while True:
            examples, n_exceeded = connection.recv(), aligner.template.n_exceeded
            answer: Any
            try:
                answer = aligner.align(examples)
            except IfdkitError as error:
                answer = error
            if aligner.template.n_exceeded > n_exceeded:
                answer = None  # the driver counts them over all blocks, so it does the block itself
            connection.send(answer)


if __name__ == "__main__":
    main()
