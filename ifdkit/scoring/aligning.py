"""The passes of each block of a run: made here at first, and in processes once that pays.

A model on a GPU, or a store that has most NLLs, is faster than one process can render, tokenise and
align.  Passes depend on the example alone, so it does not matter where they are made.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

from ifdkit.engine.program_pool import ProgramPool
from ifdkit.engine.programs import can_start_programs
from ifdkit.engine.threads import available_threads
from ifdkit.errors import IfdkitError
from ifdkit.prompting.alignment import Aligner
from ifdkit.records import Example, Passes

if TYPE_CHECKING:
    from ifdkit.scoring.scorer import Scorer

log = logging.getLogger(__name__)

MAX_PROCESSES = 8
"""Each takes some 130 MB, and this process keeps up with no more."""
MIN_EXAMPLES = 3 * 2048
"""Examples after which a run knows what aligning costs."""
MIN_SHARE = 0.2
"""Share of a run's time that aligning takes, from which on processes are started."""
MIN_SECONDS = 2.0
"""Aligning that is left to do. To start a process and to fill its table of words takes one."""

Aligned = Callable[[], list[Passes]]
"""Waits for the passes of a block. Raises IfdkitError."""


class BlockAligner:
    """Aligns the blocks of a run, several at a time if that pays."""

    def __init__(self, scorer: Scorer, n_rows: int) -> None:
        """`n_rows`: of the run."""
        self._scorer, self._n_rows_left = scorer, n_rows
        self._begin = time.perf_counter()
        self._n_rows = self._n_aligned = 0
        self._spent_s = 0.0
        self._pool: _Pool | None = None
        self._is_decided = self._is_closed = False
        self._lock = threading.Lock()  # close() may come from another thread than begin()

    @property
    def ahead(self) -> int:
        """Blocks to begin before the result of the first one is waited for."""
        return self._pool.size if self._pool else 0

    def begin(self, examples: Sequence[Example], n_rows: int) -> Aligned:
        """Align examples of `n_rows` rows, or begin to; the result waits for them.

        Raises CancelledError after close().
        """
        with self._lock:
            if self._is_closed:
                raise CancelledError
            if not self._is_decided and self._n_aligned >= MIN_EXAMPLES:
                self._is_decided = True
                self._pool = self._pool_that_pays()
            self._n_rows += n_rows
            self._n_rows_left -= n_rows
            if not examples:
                return list
            if self._pool is not None:
                return self._pool.begin(examples)
        begin = time.perf_counter()
        found = self._scorer.aligner.align(examples)
        self._spent_s += time.perf_counter() - begin
        self._n_aligned += len(examples)
        return lambda: found

    def close(self) -> None:
        """End the processes, and begin nothing more."""
        with self._lock:
            self._is_closed = True
            if self._pool is not None:
                self._pool.close()

    def _pool_that_pays(self) -> _Pool | None:
        share = self._spent_s / (time.perf_counter() - self._begin)
        left_s = self._spent_s / self._n_rows * self._n_rows_left
        n = min((self._scorer.settings.threads or available_threads()) - 1, MAX_PROCESSES)
        if share < MIN_SHARE or left_s < MIN_SECONDS or n < 1 or not can_start_programs():
            return None
        aligner = self._scorer.aligner
        # Only the process that rendered a prompt knows whether it contained the date.
        if aligner.template.may_read_clock or self._scorer.settings.trust_remote_code:
            return None
        try:
            pool = _Pool(aligner, n)
        except (AttributeError, OSError, TypeError, pickle.PicklingError) as error:
            # A template that is a function of the caller's, or a folder that was deleted.
            log.info("aligning in this process: %s", error)
            return None
        log.info("aligning takes %.0f %% of the time: %d processes continue it", 100 * share, n)
        return pool


class _Pool:
    """Processes that align blocks."""

    def __init__(self, aligner: Aligner, size: int) -> None:
        """Raises what pickle does if the aligner cannot be sent to another process, or OSError."""
        self._aligner = aligner
        self._programs = ProgramPool(
            "ifdkit.scoring.aligning_worker",
            size,
            opening=pickle.dumps(aligner),
            # Its own threads would compete with the other processes.
            variables={"TOKENIZERS_PARALLELISM": "false"},
        )

    @property
    def size(self) -> int:
        """Processes at most."""
        return self._programs.size

    def begin(self, examples: Sequence[Example]) -> Aligned:
        """Align a block, in the first process that is free."""
        return self._programs.begin(lambda: examples, partial(self._finished, examples)).result

    def close(self) -> None:
        """End the processes at once, whatever they are doing."""
        self._programs.close()

    def _finished(self, examples: Sequence[Example], answer: Any) -> list[Passes]:
        if isinstance(answer, IfdkitError):
            raise answer
        # Here, if a template exceeds its limits, or if the process has died.
        found: list[Passes] = self._aligner.align(examples) if answer is None else answer
        return found
