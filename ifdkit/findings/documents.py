"""What the filters of web corpora measure in a text document, as one number per document.

Sources: Gopher (Rae et al., 2112.11446, appendix A.1 and table A1), C4 (Raffel et al., 1910.10683,
section 2.2), RefinedWeb (Penedo et al., 2306.01116, appendix G.2), FineWeb (Penedo et al.,
2406.17557, section 3.6).  The filters were made for English.  A number that means nothing for a
document is NaN: word lengths in a script without spaces, stop words outside English.

    @measure
    def ellipsis_lines(document: Document) -> float: ...

    measured(texts)["ellipsis_lines"]      # shape (documents,)
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ifdkit.findings.ngrams import NgramHashes, WordIds, ngram_hashes

NAN = math.nan
MAX_CHARS = 2_000_000
"""Only so many first characters of a document are measured: longer than 100,000 words."""
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
"""Scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_MAX_SHARE_UNSPACED = 0.1
_LETTERS_PER_UNSPACED_WORD = 2


@dataclass(frozen=True)
class Document:
    """A text, cut into words, lines and paragraphs when a measure asks for them."""

    text: str

    @cached_property
    def words(self) -> list[str]:
        """The parts between white space that contain a letter or a digit."""
        return [word for word in self.text.split() if any(map(str.isalnum, word))]

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank, without the white space around them."""
        return [line for line in map(str.strip, self.text.splitlines()) if line]

    @cached_property
    def paragraphs(self) -> list[str]:
        """The parts between blank lines."""
        return [part for part in map(str.strip, re.split(r"\n[ \t]*\n", self.text)) if part]

    @cached_property
    def n_unspaced(self) -> int:
        """Characters of scripts without spaces between words."""
        return 0 if self.text.isascii() else len(_UNSPACED.findall(self.text))

    @property
    def has_words(self) -> bool:
        """Whether spaces separate its words, and there are any."""
        return bool(self.words) and self.n_unspaced <= _MAX_SHARE_UNSPACED * len(self.text)

    @cached_property
    def word_ids(self) -> WordIds:
        """Its words as numbers, shape (words,), equal for equal words of this document."""
        known: dict[str, int] = {}
        numbers = [known.setdefault(word.casefold(), len(known)) for word in self.words]
        return np.array(numbers, dtype=np.int32)

    @cached_property
    def n_chars_to(self) -> NDArray[np.int64]:
        """Characters in the words before each, shape (words + 1,)."""
        return np.concatenate([[0], np.cumsum([len(word) for word in self.words])])

    def mean_over_lines(self, holds: Callable[[str], bool]) -> float:
        """The share of the lines for which this is true, 0…1; NaN without lines."""
        return sum(map(holds, self.lines)) / len(self.lines) if self.lines else NAN


Measure = Callable[[Document], float]
"""A number of a document; NaN if it is undefined."""
_MEASURES: dict[str, Measure] = {}


def measure(function: Measure) -> Measure:
    """Declare a measure: it is computed with all others in one pass over the documents."""
    _MEASURES[function.__name__] = function
    return function


def measured(texts: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """Measure → its number in every document, shape (documents,).

    Each document is cut once and dropped again, so that memory does not grow with their length.
    """
    documents = (Document(text[:MAX_CHARS]) for text in texts)
    rows = [[one(document) for one in _MEASURES.values()] for document in documents]
    table = np.array(rows, dtype=np.float64).reshape(-1, len(_MEASURES))
    return dict(zip(_MEASURES, table.T, strict=True))


# Gopher: quality


@measure
def n_words(document: Document) -> float:
    """Words; in a script without spaces two characters are one."""
    return len(document.words) + document.n_unspaced / _LETTERS_PER_UNSPACED_WORD


@measure
def mean_word_length(document: Document) -> float:
    """Characters per word."""
    return float(document.n_chars_to[-1]) / len(document.words) if document.has_words else NAN


@measure
def symbols_per_word(document: Document) -> float:
    """Hash signs or ellipses, whichever are more, per word."""
    if not document.words:
        return NAN
    text = document.text
    n_ellipses = text.count("...") + text.count("…")
    return max(text.count("#"), n_ellipses) / len(document.words)


@measure
def bullet_lines(document: Document) -> float:
    """Share of the lines that begin with a bullet."""
    return document.mean_over_lines(lambda line: line[0] in "•‣◦▪●·*-–")


@measure
def ellipsis_lines(document: Document) -> float:
    """Share of the lines that end in an ellipsis."""
    return document.mean_over_lines(lambda line: line.endswith(("...", "…")))


@measure
def words_with_letters(document: Document) -> float:
    """Share of the parts between white space that contain a letter."""
    parts = document.text.split()
    return sum(any(map(str.isalpha, part)) for part in parts) / len(parts) if parts else NAN


_STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})


@measure
def stop_words(document: Document) -> float:
    """How many of eight English stop words occur, 0…8."""
    return len(_STOP_WORDS.intersection(map(str.casefold, document.words)))


# Gopher: repetition


def _share_repeated(parts: Sequence[str]) -> float:
    """Share of the parts that equal an earlier one."""
    return 1 - len(set(parts)) / len(parts) if parts else NAN


def _chars_repeated(parts: Sequence[str]) -> float:
    """Share of the characters that are in parts that equal an earlier one."""
    n_chars = sum(map(len, parts))
    return 1 - sum(map(len, set(parts))) / n_chars if n_chars else NAN


@measure
def repeated_lines(document: Document) -> float:
    """Share of the lines that equal an earlier one."""
    return _share_repeated(document.lines)


@measure
def repeated_paragraphs(document: Document) -> float:
    """Share of the paragraphs that equal an earlier one."""
    return _share_repeated(document.paragraphs)


@measure
def repeated_line_characters(document: Document) -> float:
    """Share of the characters in lines that equal an earlier one."""
    return _chars_repeated(document.lines)


@measure
def repeated_paragraph_characters(document: Document) -> float:
    """Share of the characters in paragraphs that equal an earlier one."""
    return _chars_repeated(document.paragraphs)


TOP_NGRAM_LIMITS = {2: 0.20, 3: 0.18, 4: 0.16}
"""n → share of the characters that the most frequent n-gram may cover."""
REPEATED_NGRAM_LIMITS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
"""n → share of the characters that repeated n-grams may cover."""


@measure
def top_ngrams(document: Document) -> float:
    """The share of the most frequent 2-, 3- or 4-gram ÷ its limit in table A1, the largest of them.

    An n-gram that occurs once is no repetition, however short the document.
    """
    n_chars = document.n_chars_to[-1]
    largest = 0.0
    for n, limit in TOP_NGRAM_LIMITS.items():
        hashes = ngram_hashes(document.word_ids, n)
        if not len(hashes):
            continue
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        top = int(np.argmax(counts))
        if counts[top] > 1:
            at = int(first[top])
            length = document.n_chars_to[at + n] - document.n_chars_to[at]
            largest = max(largest, counts[top] * length / n_chars / limit)
    return float(largest) if document.has_words else NAN


@measure
def repeated_ngrams(document: Document) -> float:
    """The share covered by repeated 5- to 10-grams ÷ its limit in table A1, the largest of them.

    As published, the words of an n-gram that repeats an earlier one count once, whatever overlaps.
    """
    if not document.has_words:
        return NAN
    n_chars = float(document.n_chars_to[-1])
    return max(
        _covered_by_repeats(document, n) / n_chars / limit
        for n, limit in REPEATED_NGRAM_LIMITS.items()
    )


def _covered_by_repeats(document: Document, n: int) -> int:
    """Characters of the words in n-grams that occurred before."""
    hashes: NgramHashes = ngram_hashes(document.word_ids, n)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    starts = np.flatnonzero(first[inverse] < np.arange(len(hashes)))
    covered = np.zeros(len(document.words) + 1, dtype=np.int64)
    np.add.at(covered, starts, 1)
    np.add.at(covered, starts + n, -1)
    is_covered = np.cumsum(covered[:-1]) > 0
    return int(np.diff(document.n_chars_to)[is_covered].sum())


# C4

_TERMINAL = re.compile(r"[.!?…。！？؟।][\"'”’»)\]]*\Z|[\"”»]\Z")
_SENTENCE_END = re.compile(r"[.!?…؟।][\"'”’»)\]]*(?=\s|\Z)|[。！？]")
_MIN_WORDS_PER_LINE = 3


@measure
def n_sentences(document: Document) -> float:
    """Sentences in the lines of 3 words or more that end with a terminal punctuation mark.

    Lines without spaces between words are long enough.
    """
    kept = [
        line
        for line in document.lines
        if _TERMINAL.search(line)
        and (not document.has_words or len(line.split()) >= _MIN_WORDS_PER_LINE)
    ]
    return sum(len(_SENTENCE_END.findall(line)) for line in kept)


@measure
def lorem_ipsum(document: Document) -> float:
    """Occurrences of the dummy text."""
    return document.text.lower().count("lorem ipsum")


@measure
def curly_brackets(document: Document) -> float:
    """Opening curly brackets, which programs and templates contain and prose does not."""
    return document.text.count("{")


_JAVASCRIPT = re.compile(
    r"\bjavascript\b[^\n]{0,80}\b(?:enabled?|disabled|turned (?:on|off)|activated?|required?s?)\b"
    r"|\b(?:enabled?|disabled?|activate|turn on|requires?|without|support)\b[^\n]{0,40}"
    r"\bjavascript\b",
    re.IGNORECASE,
)
_POLICY = (
    *("terms of use", "privacy policy", "cookie policy"),
    *("uses cookies", "use of cookies", "use cookies"),
)


@measure
def boilerplate_lines(document: Document) -> float:
    """Lines about cookies, terms of use or the privacy policy, and requests to enable Javascript.

    C4 drops every line with the word Javascript; here it must ask for it, since corpora contain
    texts about programs.
    """
    text = document.text.lower()
    if "javascript" not in text and not any(phrase in text for phrase in _POLICY):
        return 0
    return sum(
        any(phrase in line for phrase in _POLICY) or bool(_JAVASCRIPT.search(line))
        for line in text.splitlines()
    )


# RefinedWeb

_COUNTER = re.compile(
    r"[\d.,]+[kKmM]?\+? (?:likes?|shares?|comments?|views?|followers?|repl(?:y|ies)|retweets?"
    r"|votes?|points?|reviews?)\W*",
    re.IGNORECASE,
)
_MIN_UPPER = 0.5
_MIN_LETTERS_UPPER = 4


@measure
def navigation_words(document: Document) -> float:
    """Share of the words in lines mainly of capitals, of numbers, of a counter, or of one word."""
    if not document.has_words:
        return NAN
    n_in_lines = sum(len(line.split()) for line in document.lines if _is_navigation(line))
    return n_in_lines / len(document.text.split())


def _is_navigation(line: str) -> bool:
    words = line.split(maxsplit=1)
    if len(words) == 1 or _COUNTER.fullmatch(line):
        return True
    n_letters = sum(map(str.isalpha, line))
    if not n_letters:
        return any(map(str.isdigit, line))
    n_upper = sum(map(str.isupper, line))
    return n_letters >= _MIN_LETTERS_UPPER and n_upper > _MIN_UPPER * n_letters


# FineWeb

_SHORT_LINE_CHARS = 30


@measure
def punctuated_lines(document: Document) -> float:
    """Share of the lines that end with a terminal punctuation mark."""
    return document.mean_over_lines(lambda line: _TERMINAL.search(line) is not None)


@measure
def short_lines(document: Document) -> float:
    """Share of the lines of 30 characters or less; a character of Chinese counts as three."""
    if document.n_unspaced:
        return NAN
    return document.mean_over_lines(lambda line: len(line) <= _SHORT_LINE_CHARS)


def quote_repetition(text: str) -> str:
    """The line of a text that occurs most often, for a quotation; the text if none repeats."""
    lines = Counter(line for line in map(str.strip, text.splitlines()) if line)
    top = max(lines, key=lambda line: lines[line] * len(line), default="")
    return top if lines[top] > 1 else text
