"""Sentence embeddings behind the store: each distinct text is embedded once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.engine.embedder import EmbedFunction, FunctionEmbedder, cosine
from ifdkit.engine.models import Weights
from ifdkit.errors import ModelError
from ifdkit.records import Example, Passes, Status
from ifdkit.scoring.batches import BatchFiller
from ifdkit.scoring.store import Store, Vector, text_key
from ifdkit.scoring.work import Work
from ifdkit.visible import FUNCTION

if TYPE_CHECKING:
    from ifdkit.engine.embedder import SentenceEmbedder

_TEXTS_PER_BATCH = {"cpu": 16, "mps": 64, "cuda": 256}
"""Texts embedded and stored together: on a CPU more are slower, and take more memory."""
_TEXTS_PER_CALL = 256
"""Of a function, which divides them as it likes."""


@dataclass(frozen=True, slots=True)
class EmbedderUsage:
    """What an embedder has done so far."""

    texts: int = 0
    embedding_s: float = 0.0
    load_s: float = 0.0

    def __sub__(self, before: EmbedderUsage) -> EmbedderUsage:
        return EmbedderUsage(
            self.texts - before.texts,
            self.embedding_s - before.embedding_s,
            self.load_s - before.load_s,
        )

    def add_to(self, work: Work) -> None:
        """Count it as work of a run."""
        work.texts_embedded += self.texts
        work.embedding_s += self.embedding_s
        work.model_load_s += self.load_s


def check_available(name: str) -> None:
    """Raise ModelError for the name that manifests give to a function, which is no model."""
    if name.startswith(FUNCTION):
        raise ModelError(
            f"embedder {name} was a function in memory: give it again with embedder=…, or another"
            " embedder"
        )


def coherences(
    embeddings: Embeddings, pairs: Sequence[tuple[str, str] | None], work: Work
) -> list[float | None]:
    """Cosine of each pair of texts, None for None; what was done is added to `work`."""
    before = embeddings.usage
    vectors = embeddings.embed(texts_of(pairs))
    (embeddings.usage - before).add_to(work)
    return [pair and cosine(vectors[pair[0]], vectors[pair[1]]) for pair in pairs]


def text_pairs(
    examples: Sequence[Example], passes: Sequence[Passes]
) -> list[tuple[str, str] | None]:
    """The two texts of each example whose embeddings are compared; None if it has no coherence."""
    undefined = {Status.EMPTY_INSTRUCTION, Status.EMPTY_RESPONSE}
    return [
        None
        if example.is_document or each.status in undefined
        else (example.instruction, example.response)
        for example, each in zip(examples, passes, strict=True)
    ]


def texts_of(pairs: Iterable[tuple[str, str] | None]) -> Iterator[str]:
    """All texts of pairs, one after the other."""
    return (text for pair in pairs if pair for text in pair)


class Embeddings:
    """An embedder behind a store. Loads the weights when they are first needed.

    Vectors of a function are in a temporary store, until this is closed: what a function computes
    is not known, so that a later run could not tell whether they are still its own.
    """

    def __init__(
        self,
        embedder: Weights | EmbedFunction,
        store: Store,
        *,
        device: str,
        trust_remote_code: bool = False,
    ) -> None:
        """Raises ModelError if a function returns anything but a vector for each text."""
        self.usage = EmbedderUsage()
        self._device, self._trust = device, trust_remote_code
        self._filler = BatchFiller()
        self._embedder: SentenceEmbedder | None = None
        self._weights: Weights | None = None
        self._function: FunctionEmbedder | None = None
        self._texts_per_batch = _TEXTS_PER_BATCH[device.partition(":")[0]]
        if isinstance(embedder, Weights):
            self._store, self._weights = store, embedder
            self.name, self.source = embedder.name, embedder.source
            # All files: an embedder's numbers depend on its tokenizer and pooling too.
            self.hash = embedder.fingerprint(store.file_digest, everything=True)
        else:
            self._function, self._store = FunctionEmbedder(embedder), Store(None)
            self.name, self.source = self._function.name, "a function in memory"
            self.hash = self._function.fingerprint
            self._texts_per_batch = _TEXTS_PER_CALL

    @property
    def are_kept(self) -> bool:
        """Whether vectors stay in the store of the run."""
        return self._function is None

    def embed(self, texts: Iterable[str]) -> dict[str, Vector]:
        """Text → embedding, float32 of shape (dimensions,)."""
        distinct = list(dict.fromkeys(texts))
        keys = [text_key(self.hash, text) for text in distinct]
        known = self._store.get_embeddings(keys)
        order = sorted(range(len(distinct)), key=lambda i: (-len(distinct[i]), i))

        def compute(batch: list[int]) -> list[Vector]:
            embedder, start = self._loaded(), time.perf_counter()
            vectors = list(embedder.embed([distinct[i] for i in batch]))
            self._count(texts=len(batch), embedding_s=time.perf_counter() - start)
            return vectors

        put = partial(self._store.put_embeddings, model=self.name)
        size = self._texts_per_batch
        for begin in range(0, len(order), size):
            missing = [i for i in order[begin : begin + size] if keys[i] not in known]
            self._filler.fill(known, keys, missing, compute, put)
        self._filler.wait()
        return {text: known[key] for text, key in zip(distinct, keys, strict=True)}

    def time(self, texts: Sequence[str], limit_s: float) -> tuple[float, float, int]:
        """Seconds of embedding and of loading, and how many texts were embedded; stores nothing."""
        begin = time.perf_counter()
        embedder, n_done = self._loaded(), 0
        embedder.embed(texts[:1])  # the first pass of a process takes longer
        loaded, size = time.perf_counter(), self._texts_per_batch
        while n_done < len(texts) and time.perf_counter() - loaded < limit_s:
            embedder.embed(texts[n_done : n_done + size])
            n_done = min(len(texts), n_done + size)
        return time.perf_counter() - loaded, loaded - begin, n_done

    def has_all(self, texts: Iterable[str]) -> bool:
        """Whether the store has the embedding of every text."""
        keys = {text_key(self.hash, text) for text in texts}
        return self._store.get_embeddings(list(keys)).keys() >= keys

    def stored(self, texts: Iterable[str]) -> dict[str, Vector]:
        """Text → embedding, for those that the store has: no model is loaded."""
        distinct = list(dict.fromkeys(texts))
        keys = [text_key(self.hash, text) for text in distinct]
        known = self._store.get_embeddings(keys)
        return {text: known[key] for text, key in zip(distinct, keys, strict=True) if key in known}

    def unload(self) -> None:
        """Free the memory of the model; it loads again when needed."""
        self._embedder = None

    def close(self) -> None:
        """Finish what is being stored."""
        self._filler.close()
        if self._function is not None:
            self._store.close()

    def _loaded(self) -> SentenceEmbedder | FunctionEmbedder:
        if self._function is not None:
            return self._function
        if self._embedder is None:
            assert self._weights is not None, "an embedder is a model or a function"
            from ifdkit.engine.embedder import SentenceEmbedder

            begin = time.perf_counter()
            self._embedder = SentenceEmbedder(
                self._weights.name,
                self._weights.folder,
                device=self._device,
                trust_remote_code=self._trust,
            )
            self._count(load_s=time.perf_counter() - begin)
        return self._embedder

    def _count(self, *, texts: int = 0, embedding_s: float = 0.0, load_s: float = 0.0) -> None:
        used = self.usage
        self.usage = EmbedderUsage(
            used.texts + texts, used.embedding_s + embedding_s, used.load_s + load_s
        )


def stored_vectors(
    embeddings: Embeddings, instructions: Sequence[str], responses: Sequence[str]
) -> NDArray[np.float32]:
    """One vector per example: the sum of those of its two halves, brought to length 1.

    Shape (examples, dimensions); zeros where the store lacks a half.  Both halves were embedded for
    coherence, so that a rewrite of either moves the example.
    """
    found = embeddings.stored([*instructions, *responses])
    if not found:
        return np.zeros((len(instructions), 1), dtype=np.float32)
    size = len(next(iter(found.values())))
    vectors = np.zeros((len(instructions), size), dtype=np.float32)
    for i, (asked, answered) in enumerate(zip(instructions, responses, strict=True)):
        halves = [found[text] for text in (asked, answered) if text in found]
        if len(halves) == 2:
            vectors[i] = _unit(_unit(halves[0]) + _unit(halves[1]))
    return vectors


def _unit(vector: Vector) -> Vector:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
