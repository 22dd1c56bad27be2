"""The program of a worker process: loads a replica, and answers with the NLLs of each unit.

`python -m ifdkit.engine.worker FD`, started by `workers`.  FD is a connection on which the driver
sends a Loadable and then units.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from multiprocessing.connection import Connection
from queue import Queue
from typing import Any

from ifdkit.engine.programs import own_connection
from ifdkit.errors import IfdkitError, ModelError, brief


class _Recorder(logging.Handler):
    """Keeps what is logged, for the driver."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self.messages.append((record.levelno, record.getMessage()))


def main() -> None:
    """Serve until the driver closes the connection or ends, however it ends."""
    connection = own_connection()
    received: Queue[Any] = Queue()
    threading.Thread(target=_receive, args=(connection, received), daemon=True).start()
    logger, recorder = logging.getLogger("ifdkit"), _Recorder()
    logger.addHandler(recorder)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    try:
        backend = received.get().load()
        connection.send((backend.budget, backend.float32_problem(), recorder.messages))
        while True:
            connection.send(backend.nll(received.get()))
    except BaseException as error:
        with contextlib.suppress(OSError):
            connection.send(_portable(error))
    os._exit(1)  # without the destructors of torch, which nothing needs


def _receive(connection: Connection, received: Queue[Any]) -> None:
    """Pass on what the driver sends; end this process when the connection ends.

    The driver never waits for a forward pass before it can send.  And when it ends, even by
    SIGKILL, a forward pass that takes minutes ends too.
    """
    with contextlib.suppress(EOFError, OSError):
        while True:
            received.put(connection.recv())
    os._exit(1)


def _portable(error: BaseException) -> Any:
    """An error that the driver can unpickle, whatever it was."""
    if isinstance(error, IfdkitError):
        return error
    return ModelError(f"a worker failed: {type(error).__name__}: {brief(error)}")


if __name__ == "__main__":
    main()
