"""Texts of an evaluation set inside long documents, by the n-grams that they share.

A document is contaminated if it shares an n-gram of 13 words with an evaluation set (GPT-3,
2005.14165, appendix C; 8 words: PaLM, 2204.02311, section 8.1).  A shorter text of 8 words or more
must be contained as a whole.  As in GPT-3, an n-gram in more than ten documents does not count: it
is a phrase of many texts.  It does count if all n-grams of its text are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.checks import Hit
from ifdkit.findings.ngrams import NgramHashes, Vocabulary, longest_run, ngram_hashes
from ifdkit.findings.texts import quote, word_spans

NGRAM_WORDS = 13
MIN_WORDS = 8
MAX_DOCUMENTS = 10
"""Documents with the same n-gram, above which it is a common phrase."""
MAX_WORDS = 200_000
"""Only so many first words of a document are searched."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What documents share with one evaluation set."""

    hits: tuple[Hit, ...]
    """The contaminated documents, with the longest passage shared."""
    n_texts: int
    """Texts of the evaluation set that are long enough to be searched for."""
    n_found: int
    """Those of which a document contains an n-gram."""
    coverage: float
    """Mean share of the n-grams of these that are in a document, 0…1; 0 if there are none."""


def overlap(documents: Sequence[str], against: Sequence[str], n: int = NGRAM_WORDS) -> Overlap:
    """Search documents for the n-grams of `against`.

    Time is linear in the words of both.  Memory grows with the evaluation set and with what is
    found, not with the documents: words that the evaluation set lacks are all one unknown word.
    """
    vocabulary = Vocabulary()
    texts = [ids for text in against if len(ids := vocabulary.ids(text, MAX_WORDS)) >= MIN_WORDS]
    sizes = sorted({min(len(ids), n) for ids in texts})
    ngrams_of = [np.unique(ngram_hashes(ids, min(len(ids), n))) for ids in texts]
    ngrams = np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *ngrams_of]))
    found: dict[int, list[tuple[int, NDArray[np.int64]]]] = {}
    n_documents = np.zeros(len(ngrams), dtype=np.int64)
    for index, text in enumerate(documents):
        ids = vocabulary.known_ids(text, MAX_WORDS)
        parts = [(size, _find(ngrams, ngram_hashes(ids, size))) for size in sizes]
        parts = [(size, at) for size, at in parts if (at >= 0).any()]
        if parts:
            found[index] = parts
            n_documents[np.unique(np.concatenate([at[at >= 0] for _, at in parts]))] += 1
    is_rare = (n_documents > 0) & (n_documents <= MAX_DOCUMENTS)
    positions = [np.searchsorted(ngrams, own) for own in ngrams_of]
    for at in positions:
        if (n_documents[at] > 0).all():  # the whole text, however often
            is_rare[at] = True
    hits = []
    for index, parts in found.items():
        flags = [(size, (at >= 0) & is_rare[at]) for size, at in parts]
        shared = [_passage(documents[index], size, one) for size, one in flags if one.any()]
        if shared:
            hits.append(Hit(index, quote(max(shared, key=len))))
    shares = [float(is_rare[at].mean()) for at in positions]
    positive = [share for share in shares if share > 0]
    coverage = sum(positive) / len(positive) if positive else 0.0
    return Overlap(tuple(hits), len(texts), len(positive), coverage)


def _find(ngrams: NgramHashes, wanted: NgramHashes) -> NDArray[np.int64]:
    """The position of each n-gram among the sorted ones, −1 if it is not among them."""
    if not len(ngrams):
        return np.full(len(wanted), -1, dtype=np.int64)
    at = np.minimum(np.searchsorted(ngrams, wanted), len(ngrams) - 1)
    return np.where(ngrams[at] == wanted, at, -1)


def _passage(text: str, size: int, shared: NDArray[np.bool_]) -> str:
    """The longest passage whose n-grams are all shared."""
    start, stop = longest_run(shared)
    spans = word_spans(text, start + (stop - start) + size - 1)[start:]
    return text[spans[0][0] : spans[-1][1]] if spans else text
