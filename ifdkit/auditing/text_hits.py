"""What the text rules find, in several processes if there are many examples.

A check of single examples gives the same hits in any process, so the examples are cut into chunks
of a fixed size, and the hits of the chunks are put together in order.  The processes get texts and
return positions and a few quotations.  Meanwhile this one applies the other rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ifdkit.auditing.result import MAX_PLACES
from ifdkit.engine.program_pool import ProgramPool
from ifdkit.engine.programs import can_start_programs
from ifdkit.engine.threads import available_threads
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


class TextWorkers:
    """Processes that apply checks of single examples to the chunks of a corpus."""

    def __init__(self, corpus: Corpus, checks: Mapping[str, TextCheck], n_workers: int) -> None:
        """`checks` are by the name of their rule.  The processes start at once."""
        self._corpus, self._checks = corpus, checks
        self._programs = ProgramPool("ifdkit.auditing.text_worker", n_workers)
        starts = range(0, len(corpus.ids), EXAMPLES_PER_CHUNK)
        self._chunks = [
            self._programs.begin(partial(self._job, start), partial(self._hits_of_chunk, start))
            for start in starts
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
        self._programs.close()

    def _texts(self, start: int) -> tuple[list[str], list[str]]:
        """Instructions and responses of the chunk that begins there."""
        end = min(start + EXAMPLES_PER_CHUNK, len(self._corpus.ids))
        return list(self._corpus.instructions[start:end]), list(self._corpus.responses[start:end])

    def _job(self, start: int) -> tuple[list[str], list[str], list[str]]:
        return list(self._checks), *self._texts(start)

    def _hits_of_chunk(self, start: int, answer: dict[str, TextHits] | None) -> dict[str, TextHits]:
        if answer is None:  # its process has died, perhaps for want of memory
            return hits_of_examples(self._checks, *self._texts(start))
        return answer


def hits_of_examples(
    checks: Mapping[str, TextCheck], instructions: Sequence[str], responses: Sequence[str]
) -> dict[str, TextHits]:
    """The hits of every check in these examples."""
    corpus = Corpus(("",) * len(responses), instructions, responses)
    return {name: TextHits.of(check, corpus) for name, check in checks.items()}


@contextmanager
def text_workers(
    corpus: Corpus, checks: Mapping[str, TextCheck], n_workers: int | None
) -> Iterator[TextWorkers | None]:
    """Processes for the checks of single examples; None if they would not pay.

    `n_workers` is their number, by default one per core that this process may use.
    """
    of_examples = {name: check for name, check in checks.items() if check.is_of_examples}
    n = available_threads() if n_workers is None else n_workers
    pays = n > 1 and of_examples and len(corpus.ids) >= MIN_EXAMPLES
    if not pays or not can_start_programs():
        yield None
        return
    workers = TextWorkers(corpus, of_examples, n)
    try:
        yield workers
    finally:
        workers.close()
