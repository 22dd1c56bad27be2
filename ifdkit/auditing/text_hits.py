"""What the text rules find, in several processes if there are many examples.

A check of single examples gives the same hits in any process, so the examples are cut into chunks
of a fixed size, and the hits of the chunks are put together in order.  The processes get texts
through a pipe and return positions and a few quotations.  Meanwhile this one applies the other
rules.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ifdkit
from ifdkit.auditing.result import MAX_PLACES
from ifdkit.findings.checks import TextCheck
from ifdkit.findings.texts import Corpus

EXAMPLES_PER_CHUNK = 2_000
MIN_EXAMPLES = 10_000
"""For fewer, starting a process and loading its tables takes longer than the work."""


@dataclass(frozen=True, slots=True)
class TextHits:
    """The examples that show what a text check looks for."""

    indices: NDArray[np.int64]
    """Ascending."""
    quotes: Mapping[int, str]
    """Of the first MAX_PLACES."""

    @classmethod
    def of(cls, check: TextCheck, corpus: Corpus) -> TextHits:
        """Those of a whole corpus."""
        hits = check(corpus)
        indices = np.array([hit.index for hit in hits], dtype=np.int64)
        return cls(indices, {hit.index: hit.quote for hit in hits[:MAX_PLACES]})

    @classmethod
    def joined(cls, chunks: Sequence[TextHits], size: int) -> TextHits:
        """Those of consecutive chunks of `size` examples."""
        parts = [hits.indices + i * size for i, hits in enumerate(chunks)]
        quotes = {
            index + i * size: quote
            for i, hits in enumerate(chunks)
            for index, quote in hits.quotes.items()
        }
        indices = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        return cls(indices, {int(one): quotes[int(one)] for one in indices[:MAX_PLACES]})


def n_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class TextWorkers:
    """Processes that apply checks of single examples to the chunks of a corpus."""

    def __init__(self, corpus: Corpus, checks: Mapping[str, TextCheck], n_workers: int) -> None:
        """`checks` are by the name of their rule.  The processes start at once."""
        self._corpus, self._checks = corpus, checks
        self._local, self._processes = threading.local(), list[subprocess.Popen[bytes]]()
        self._executor = ThreadPoolExecutor(n_workers, "text rules")
        starts = range(0, len(corpus.ids), EXAMPLES_PER_CHUNK)
        self._chunks: list[Future[dict[str, TextHits]]] = [
            self._executor.submit(self._hits_of_chunk, start) for start in starts
        ]

    @property
    def names(self) -> frozenset[str]:
        """The rules whose hits it finds."""
        return frozenset(self._checks)

    def hits(self, name: str) -> TextHits:
        """The hits of a rule; waits for the processes."""
        found = [chunk.result()[name] for chunk in self._chunks]
        return TextHits.joined(found, EXAMPLES_PER_CHUNK)

    def close(self) -> None:
        """End the processes."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._executor.shutdown(wait=True)
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if stream:
                        stream.close()

    def _hits_of_chunk(self, start: int) -> dict[str, TextHits]:
        corpus = self._corpus
        end = min(start + EXAMPLES_PER_CHUNK, len(corpus.ids))
        instructions, responses = corpus.instructions[start:end], corpus.responses[start:end]
        job = {"instructions": list(instructions), "responses": list(responses)}
        answer = self._asked({"rules": list(self._checks), **job})
        if answer is None:  # its process has died, perhaps for want of memory
            return hits_of_examples(self._checks, instructions, responses)
        return {
            name: TextHits(
                np.array(indices, dtype=np.int64), dict(zip(indices, quotes, strict=False))
            )
            for name, (indices, quotes) in answer.items()
        }

    def _asked(self, job: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer of this thread's process; None if it does not answer."""
        process = getattr(self._local, "process", None)
        try:
            if process is None or process.poll() is not None:
                process = self._local.process = _start()
                self._processes.append(process)
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):  # it cannot be started, or was ended
            return None
        return json.loads(line) if line.endswith(b"\n") else None


def hits_of_examples(
    checks: Mapping[str, TextCheck], instructions: Sequence[str], responses: Sequence[str]
) -> dict[str, TextHits]:
    """The hits of every check in these examples."""
    corpus = Corpus(("",) * len(responses), instructions, responses)
    return {name: TextHits.of(check, corpus) for name, check in checks.items()}


@contextlib.contextmanager
def text_workers(
    corpus: Corpus, checks: Mapping[str, TextCheck], n_workers: int | None
) -> Iterator[TextWorkers | None]:
    """Processes for the checks of single examples; None if they would not pay.

    `n_workers` is their number, by default one per core.
    """
    of_examples = {name: check for name, check in checks.items() if check.is_of_examples}
    n = n_cores() if n_workers is None else n_workers
    if n < 2 or not of_examples or len(corpus.ids) < MIN_EXAMPLES:
        yield None
        return
    workers = TextWorkers(corpus, of_examples, n)
    try:
        yield workers
    finally:
        workers.close()


def _start() -> subprocess.Popen[bytes]:
    # The package of this process, wherever it was imported from.
    folder = str(Path(ifdkit.__file__).parent.parent)
    paths = [folder, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ifdkit.auditing.text_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is for the parent
    )
