"""Instructions of an evaluation set that a dataset contains: equal, inside others, or nearly equal.

A row is contaminated if its instruction

- equals one of them except for whitespace and case;
- shares an n-gram of 13 words with one, or contains the whole of one of 8 to 12 words: the
  convention of GPT-3 (2005.14165, appendix C; shorter ones occur in good texts by chance and must
  be equal);
- is a near duplicate of one, as `near` defines it.

What many instructions share is a template and proves nothing, in the dataset or in the evaluation
set: words in more than ten different instructions of either, or in a tenth of the evaluation set.
An n-gram that contains eight words of a template does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.checks import Hit
from ifdkit.findings.near import (
    MIN_WORDS,
    SHINGLE_WORDS,
    SIMILARITY,
    jaccard,
    shingles,
)
from ifdkit.findings.ngrams import NgramHashes, Vocabulary, WordIds, longest_run, ngram_hashes
from ifdkit.findings.texts import EMPTY_KEY, Corpus, indices_by_key, key, quote, word_spans

NGRAM_WORDS = 13
MIN_WORDS_WHOLE = 8
"""Of an instruction that counts if another contains the whole of it."""
MAX_WORDS = 2_000
"""Only so many first words of an instruction are searched."""
MAX_INSTRUCTIONS = 10
MAX_SHARE = 0.1
"""Words in more instructions than these, or in more than this share of them, are a template."""
MIN_INSTRUCTIONS_OF_TEMPLATE = 3
"""In a small evaluation set two instructions may share words without a template."""
MIN_OWN_SIMILARITY = 0.5
"""Of near duplicates, outside templates: a long template around two questions is no duplicate."""

Bools = NDArray[np.bool_]


def contaminated(corpus: Corpus, against: Sequence[str]) -> list[Hit]:
    """The examples whose instruction is one of `against`, contains one or nearly equals one.

    The quotation shows the shared words.  Time is linear in the size of both.
    """
    vocabulary = Vocabulary()
    keys = {key(text) for text in against} - {EMPTY_KEY}
    read = (vocabulary.ids(text, MAX_WORDS) for text in against)
    evaluation = {word_ids.tobytes(): word_ids for word_ids in read if len(word_ids)}
    indices_of = indices_by_key(corpus.instruction_keys)
    indices_of.pop(EMPTY_KEY, None)
    texts = [corpus.instructions[indices[0]] for indices in indices_of.values()]
    instructions = [vocabulary.ids(text, MAX_WORDS) for text in texts]
    search = _Search(list(evaluation.values()), instructions)
    hits = []
    for (one, indices), text, word_ids in zip(indices_of.items(), texts, instructions, strict=True):
        shared = quote(text) if one in keys else search.shared(text, word_ids)
        if shared is not None:
            hits += [Hit(index, shared) for index in indices]
    return sorted(hits, key=lambda hit: hit.index)


class _Index:
    """The n-grams of one length in the evaluation set, and the instructions that contain them."""

    def __init__(self, n: int, texts: Mapping[int, WordIds]) -> None:
        """`texts` are instructions by number."""
        self.n = n
        hashes = [np.unique(ngram_hashes(text, n)) for text in texts.values()]
        numbers = np.repeat(np.array([*texts], dtype=np.int64), [len(one) for one in hashes])
        together = np.concatenate([np.zeros(0, dtype=np.uint64), *hashes])
        order = np.argsort(together, kind="stable")
        # Distinct n-grams, sorted; instructions of n-gram i are those from border i to i + 1.
        self._ngrams, first = np.unique(together[order], return_index=True)
        self._instructions = numbers[order]
        self._borders = np.append(first, len(numbers))

    def contains(self, ngrams: NgramHashes) -> Bools:
        """Which of these n-grams the evaluation set contains."""
        return self._find(ngrams) >= 0

    def _find(self, ngrams: NgramHashes) -> NDArray[np.int64]:
        """The number of each n-gram, −1 for one that is not in the index."""
        if not len(self._ngrams):
            return np.full(len(ngrams), -1, dtype=np.int64)
        at = np.searchsorted(self._ngrams, ngrams)
        at[at == len(self._ngrams)] = 0
        return np.where(self._ngrams[at] == ngrams, at, -1)


class _CountedIndex(_Index):
    """An index that also knows which n-grams are part of a template."""

    def __init__(self, n: int, texts: Mapping[int, WordIds], dataset: Iterable[WordIds]) -> None:
        """`texts` are all of the evaluation set, `dataset` the distinct ones of the dataset."""
        super().__init__(n, texts)
        n_instructions = np.diff(self._borders)
        limit = max(MIN_INSTRUCTIONS_OF_TEMPLATE - 1, MAX_SHARE * len(texts))
        n_rows = np.zeros(len(self._ngrams), dtype=np.int64)
        for word_ids in dataset:
            found = np.unique(self._find(ngram_hashes(word_ids, n)))
            n_rows[found[found >= 0]] += 1
        self._is_template = (n_instructions > min(limit, MAX_INSTRUCTIONS)) | (
            n_rows > MAX_INSTRUCTIONS
        )

    def is_template(self, ngrams: NgramHashes) -> Bools:
        """Which of these n-grams are in the index and part of a template."""
        found = self._find(ngrams)
        is_template = found >= 0
        is_template[is_template] = self._is_template[found[is_template]]
        return is_template

    def instructions_with(self, ngrams: NgramHashes, at_least: float) -> NDArray[np.int64]:
        """The instructions that contain so many of these n-grams, ascending."""
        parts = [
            self._instructions[self._borders[one] : self._borders[one + 1]]
            for one in self._find(ngrams)
            if one >= 0
        ]
        together = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        found, counts = np.unique(together, return_counts=True)
        return found[counts >= at_least]


class _Search:
    """Searches instructions of a dataset for those of an evaluation set."""

    def __init__(self, texts: Sequence[WordIds], dataset: Sequence[WordIds]) -> None:
        """`texts` are the evaluation set's, `dataset` the other's; each without repetition."""
        self._texts = texts
        numbered = dict(enumerate(texts))
        self._shingles = _CountedIndex(SHINGLE_WORDS, numbered, dataset)
        candidates = filter(self._is_candidate, dataset)
        self._passages = _CountedIndex(MIN_WORDS_WHOLE, numbered, candidates)
        # One index of the 13-grams, and one of the whole texts of each shorter length.
        self._proofs = [
            _Index(n, _texts_of_length(texts, n))
            for n in range(NGRAM_WORDS, MIN_WORDS_WHOLE - 1, -1)
        ]

    def shared(self, text: str, word_ids: WordIds) -> str | None:
        """The words that an instruction shares with the evaluation set; None if it is clean."""
        if self._is_candidate(word_ids):
            in_template = self._passages.is_template(ngram_hashes(word_ids, MIN_WORDS_WHOLE))
            for index in self._proofs:
                found = index.contains(ngram_hashes(word_ids, index.n))
                found &= ~_any_in_window(in_template, index.n - MIN_WORDS_WHOLE + 1)
                if found.any():
                    return _quoted(text, found, index.n)
        near = self._near_duplicate(word_ids)
        if near is None:
            return None
        found = np.isin(ngram_hashes(word_ids, SHINGLE_WORDS), shingles(near))
        return _quoted(text, found, SHINGLE_WORDS)

    def _is_candidate(self, word_ids: WordIds) -> bool:
        """Whether eight words or more in a row have known 3-grams; most instructions do not."""
        begin, end = longest_run(self._shingles.contains(ngram_hashes(word_ids, SHINGLE_WORDS)))
        return end - begin + SHINGLE_WORDS - 1 >= MIN_WORDS_WHOLE

    def _near_duplicate(self, word_ids: WordIds) -> WordIds | None:
        """An instruction of the evaluation set that is a near duplicate of this one."""
        if len(word_ids) < MIN_WORDS:
            return None
        mine = shingles(word_ids)
        own = self._outside_templates(mine)
        candidates = self._shingles.instructions_with(own, MIN_OWN_SIMILARITY * len(own))
        for number in candidates.tolist():
            other: WordIds = self._texts[number]
            theirs = shingles(other)
            shorter, longer = sorted((len(word_ids), len(other)))
            if (
                len(other) >= MIN_WORDS
                and shorter >= SIMILARITY * longer
                and jaccard(mine, theirs) >= SIMILARITY
                and jaccard(own, self._outside_templates(theirs)) >= MIN_OWN_SIMILARITY
            ):
                return other
        return None

    def _outside_templates(self, ngrams: NgramHashes) -> NgramHashes:
        return ngrams[~self._shingles.is_template(ngrams)]


def _texts_of_length(texts: Sequence[WordIds], n: int) -> dict[int, WordIds]:
    """The instructions of which one n-gram of this length is proof, by number."""
    return {
        number: text
        for number, text in enumerate(texts)
        if len(text) == n or (n == NGRAM_WORDS and len(text) > NGRAM_WORDS)
    }


def _any_in_window(flags: Bools, width: int) -> Bools:
    """Whether any of `width` flags from each position on is True; shape (n − width + 1,)."""
    if len(flags) < width:
        return np.zeros(0, dtype=bool)
    windows = np.lib.stride_tricks.sliding_window_view(flags, width)
    found: Bools = np.logical_or.reduce(windows, axis=1, dtype=np.bool_)
    return found


def _quoted(text: str, shared: Bools, n: int) -> str:
    """The longest passage of a text whose n-grams are all shared."""
    begin, end = longest_run(shared)
    spans = word_spans(text, MAX_WORDS)[begin : end + n - 1]
    return quote(text[spans[0][0] : spans[-1][1]] if spans else text)
