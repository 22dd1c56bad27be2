"""Full-text search: which words occur in which texts.

A text is cut at white space.  A term of three characters or more is looked for inside words, so
that `surpris` finds "unsurprising," and a language without spaces can be searched too; a shorter
one only at their beginning.  The texts themselves are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.expressions.evaluation import Mask

if TYPE_CHECKING:
    import pyarrow as pa

MIN_INFIX_CHARACTERS = 3
MAX_TERMS = 20


class TextSegment:
    """The distinct words of consecutive texts, and the texts in which each occurs."""

    def __init__(self, first: int, texts: pa.Array, file: Path) -> None:
        """`texts` begin at position `first`; the postings are written to `file`."""
        import pyarrow.compute as pc
        from scipy.sparse import coo_matrix

        self.first, self.n = first, len(texts)
        lists = pc.utf8_split_whitespace(pc.utf8_lower(texts))
        encoded = pc.list_flatten(lists).dictionary_encode()
        words = encoded.indices.to_numpy()
        counts = pc.list_value_length(lists).to_numpy()
        places = np.repeat(np.arange(self.n, dtype=np.int32), counts)
        self._words = encoded.dictionary
        # The conversion is a counting sort by word; it also merges repeated words of a text.
        table = coo_matrix(
            (np.ones(len(words), dtype=np.int8), (words, places)),
            shape=(max(1, len(self._words)), max(1, self.n)),
        ).tocsr()
        self._stops = table.indptr.astype(np.int64)
        # Postings are the large part: they stay on disk.
        np.save(file, table.indices.astype(np.int32))
        self._places = np.load(file, mmap_mode="r")

    def find(self, term: str) -> Mask:
        """The texts with a word that contains a term in lower case, shape (n,)."""
        import pyarrow.compute as pc

        match = pc.match_substring if len(term) >= MIN_INFIX_CHARACTERS else pc.starts_with
        found = np.flatnonzero(match(self._words, term).to_numpy(zero_copy_only=False))
        mask: Mask = np.zeros(self.n, dtype=bool)
        mask[self._places[_ranges(self._stops[found], self._stops[found + 1])]] = True
        return mask


def _ranges(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """The integers of all half-open ranges, one range after the other."""
    lengths = stops - starts
    shifts = starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(starts) else starts
    found: NDArray[np.int64] = np.repeat(shifts, lengths) + np.arange(lengths.sum())
    return found


def terms_of(query: str) -> list[str]:
    """The terms of a search; a text must have all of them."""
    return list(dict.fromkeys(query.lower().split()))[:MAX_TERMS]
