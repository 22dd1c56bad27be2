"""Programs that answer requests side by side, each behind a thread that waits for it."""

from __future__ import annotations

import logging
import pickle
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from ifdkit.engine.programs import program_environment, start_program

log = logging.getLogger(__name__)

MAX_DEATHS = 3
"""Programs that are started again behind one thread: one may have died for want of memory."""

_Result = TypeVar("_Result")


class ProgramPool:
    """Programs of one module that get requests and return answers, both pickled.

    A program that dies costs nothing: `finish` is told that there is no answer.
    """

    def __init__(
        self,
        module: str,
        size: int,
        *,
        opening: bytes | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Starts at most `size` programs, each with its first request.

        `opening` is a pickled object that a program gets before its requests, `variables` are added
        to its environment.
        """
        self.size = size
        self._module, self._opening = module, opening
        self._environment = {**program_environment(), **(variables or {})}
        self._local, self._is_closed = threading.local(), False
        self._started: list[tuple[subprocess.Popen[bytes], Connection]] = []
        self._executor = ThreadPoolExecutor(size, "program")

    def begin(
        self, request: Callable[[], object], finish: Callable[[Any], _Result]
    ) -> Future[_Result]:
        """Ask the first program that is free, and finish its answer; None if there is none.

        Both functions are called in a thread.  The result raises CancelledError after `close`.
        """
        return self._executor.submit(self._finished, request, finish)

    def close(self) -> None:
        """End the programs at once, whatever they are doing.  To be called by one thread."""
        self._is_closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process, _ in list(self._started):
            process.kill()
        self._executor.shutdown(wait=True)  # a thread may have started one more
        for process, connection in self._started:
            connection.close()
            process.kill()
            process.wait()

    def _finished(self, request: Callable[[], object], finish: Callable[[Any], _Result]) -> _Result:
        answer = self._answer(request())
        if self._is_closed:  # nobody waits for the result any more
            raise CancelledError
        return finish(answer)

    def _answer(self, request: object) -> Any:
        """What the program of this thread answers; None if it does not."""
        mine = self._local
        if getattr(mine, "n_deaths", 0) > MAX_DEATHS:
            return None
        try:
            if getattr(mine, "connection", None) is None:
                mine.connection = self._connected()
            mine.connection.send(request)
            return mine.connection.recv()
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            log.info("a process of %s has ended: %r", self._module, error)
            mine.connection, mine.n_deaths = None, getattr(mine, "n_deaths", 0) + 1
            return None

    def _connected(self) -> Connection:
        """A new program.  Raises OSError or EOFError."""
        started = start_program(self._module, self._environment, is_silent=True)
        self._started.append(started)
        if self._is_closed:  # `close` may not have seen this one
            raise EOFError("the pool is closed")
        connection = started[1]
        if self._opening is not None:
            connection.send_bytes(self._opening)
        return connection
