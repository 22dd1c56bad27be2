"""The rules about text documents: what the filters of published web corpora remove.

Every rule names its source and has the threshold published there:

    Gopher      Rae et al. 2021, 2112.11446, appendix A.1 and table A1
    C4          Raffel et al. 2020, 1910.10683, section 2.2
    RefinedWeb  Penedo et al. 2023, 2306.01116, appendix G.2
    FineWeb     Penedo et al. 2024, 2406.17557, section 3.6

A filter removes every document beyond its threshold.  These rules warn: a corpus of poems or of
programs is beyond some of them, and rightly so.  `findings.documents` defines the numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ifdkit.auditing.checking import AuditedDataset, CheckResult, Rule
from ifdkit.auditing.result import Detail
from ifdkit.findings import documents
from ifdkit.findings.documents import Measure
from ifdkit.findings.languages import are_similar
from ifdkit.findings.overlap import MIN_WORDS, NGRAM_WORDS, overlap
from ifdkit.findings.pairs import MAX_IDS
from ifdkit.findings.texts import EMPTY_KEY, quote

_MIN_MAJORITY = 0.8
"""Of the documents with a known language: in a corpus of several languages none is wrong."""


@dataclass(frozen=True, slots=True)
class OfDocuments:
    """A measure of documents as the check of a rule; NaN counts as not checked."""

    measure: Measure
    side: Literal["above", "below"]
    """Of the threshold: where a document is reported."""
    quoted: Callable[[str], str] | None = None
    """The part of a text that a quotation shows; its beginning by default."""
    english_only: bool = False

    def __call__(self, data: AuditedDataset, rule: Rule) -> CheckResult:
        """The documents beyond the threshold, with their numbers."""
        values = data.document_numbers[self.measure.__name__]
        is_known = np.isfinite(values) & np.array(
            [one != EMPTY_KEY for one in data.corpus.response_keys], dtype=bool
        )
        if self.english_only:
            is_known &= np.array([one == "en" for one in data.languages], dtype=bool)
        is_beyond = values > rule.limit if self.side == "above" else values < rule.limit
        part, texts = self.quoted, data.corpus.responses
        return data.result(
            np.flatnonzero(is_known & is_beyond),
            int(is_known.sum()),
            values=values,
            quoted=None if part is None else lambda index: quote(part(texts[index])),
        )


def other_language(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Documents in another language than most; skipped if no language has most of them."""
    del rule
    known = Counter(one for one in data.languages if one is not None)
    n_known = known.total()
    main, n_main = known.most_common(1)[0] if known else ("", 0)
    if n_main < _MIN_MAJORITY * n_known or not n_known:
        return CheckResult(
            skipped=f"no language has {100 * _MIN_MAJORITY:g} % of the documents whose language"
            " can be told"
        )
    indices = [
        index
        for index, one in enumerate(data.languages)
        if one is not None and not are_similar(one, main)
    ]
    others = Counter(str(data.languages[index]) for index in indices)
    return data.result(
        indices,
        n_known,
        found=f"The document is not in the language of most of them, which is {main}.",
        details=tuple(Detail(text=code, count=n) for code, n in others.most_common()),
    )


def contaminated_document(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Documents that share an n-gram of `threshold` words with a file of `--against`."""
    if not data.against:
        return CheckResult(skipped="needs --against: a file whose texts must not be in the corpus")
    quotes: dict[int, str] = {}
    details = []
    for name, texts in data.against.items():
        found = overlap(data.corpus.responses, texts, int(rule.limit))
        quotes |= {hit.index: hit.quote for hit in found.hits}
        if found.hits:
            ids = tuple(data.corpus.ids[hit.index] for hit in found.hits[:MAX_IDS])
            details.append(
                Detail(
                    text=f"{name}: {found.n_found:,} of {found.n_texts:,} texts found, on average"
                    f" {100 * found.coverage:.0f} % of their n-grams",
                    count=len(found.hits),
                    row_ids=ids,
                )
            )
    n_filled = sum(one != EMPTY_KEY for one in data.corpus.response_keys)
    return data.result(sorted(quotes), n_filled, quoted=quotes.__getitem__, details=tuple(details))


def _rule(
    name: str,
    title: str,
    measure: Measure,
    *,
    found: str,
    fix: str,
    above: float | None = None,
    below: float | None = None,
    most: float = 0.01,
    bounds: tuple[float, float] = (0.0, 1.0),
    quoted: Callable[[str], str] | None = None,
    english_only: bool = False,
) -> Rule:
    """A rule about a measure; a document above or below the threshold is reported."""
    threshold = above if above is not None else below
    side: Literal["above", "below"] = "above" if above is not None else "below"
    return Rule(
        name=name,
        title=title,
        severity="warning",
        most=most,
        check=OfDocuments(measure, side, quoted, english_only),
        found=found,
        fix=fix,
        threshold=threshold,
        bounds=bounds,
        applies_to="documents",
    )


_ANY = (0.0, math.inf)
_REPETITION = "Remove the repeated parts, such as menus and footers, or the documents."

DOCUMENT_RULES = (
    Rule(
        name="contaminated_document",
        title="documents that contain texts of an evaluation set",
        severity="error",
        most=0.0,
        check=contaminated_document,
        threshold=float(NGRAM_WORDS),
        bounds=(float(MIN_WORDS), 50.0),
        # GPT-3 (2005.14165, appendix C) uses 13 words, PaLM (2204.02311, section 8.1) 8.
        found="The document shares {threshold} words in a row with an evaluation set.",
        fix="Remove the documents. Otherwise the model's score on that set is meaningless.",
        applies_to="documents",
    ),
    Rule(
        name="other_language",
        title="documents in another language",
        severity="warning",
        most=0.01,
        check=other_language,
        found="The document is not in the language of most of them.",
        fix="Remove the documents, or keep each language in a file of its own.",
        applies_to="documents",
    ),
    _rule(
        "too_few_words", "documents of few words", documents.n_words,
        below=50, bounds=_ANY,  # Gopher
        found="The document has fewer than {threshold} words (Gopher).",
        fix="Remove the documents, or join parts of one text.",
    ),
    _rule(
        "too_many_words", "overlong documents", documents.n_words,
        above=100_000, bounds=_ANY,  # Gopher
        found="The document has more than {threshold} words (Gopher).",
        fix="Split the documents, or look for logs and dumps of data.",
    ),
    _rule(
        "short_words", "documents of very short words", documents.mean_word_length,
        below=3, bounds=_ANY,  # Gopher
        found="The mean word length is below {threshold} characters (Gopher).",
        fix="Look for spelled-out letters, tables and broken text extraction.",
    ),
    _rule(
        "long_words", "documents of very long words", documents.mean_word_length,
        above=10, bounds=_ANY,  # Gopher
        found="The mean word length is above {threshold} characters (Gopher).",
        fix="Look for URLs, encoded data and lost spaces.",
    ),
    _rule(
        "many_symbols", "documents full of symbols", documents.symbols_per_word,
        above=0.1, bounds=_ANY,  # Gopher
        found="There are more than {threshold} hash signs or ellipses per word (Gopher).",
        fix="Look for tag lists and cut-off previews.",
    ),
    _rule(
        "bullet_lists", "documents of bullet points", documents.bullet_lines,
        above=0.9,  # Gopher
        found="More than {percent} of the lines begin with a bullet (Gopher).",
        fix="Remove the documents, unless lists are wanted.",
    ),
    _rule(
        "cut_off_lines", "documents of cut-off lines", documents.ellipsis_lines,
        above=0.3,  # Gopher
        found="More than {percent} of the lines end in an ellipsis (Gopher).",
        fix="Remove the documents: they list the beginnings of other pages.",
    ),
    _rule(
        "few_letters", "documents of numbers and symbols", documents.words_with_letters,
        below=0.8,  # Gopher
        found="Less than {percent} of the words contain a letter (Gopher).",
        fix="Look for tables, logs and dumps of data.",
    ),
    _rule(
        "few_stop_words", "English documents without common words", documents.stop_words,
        below=2, bounds=(0.0, 8.0), english_only=True,  # Gopher
        found="Fewer than {threshold} of the words the, be, to, of, and, that, have and with occur"
        " (Gopher).",
        fix="Look for lists of keywords and products.",
    ),
    _rule(
        "repeated_lines", "documents of repeated lines", documents.repeated_lines,
        above=0.3, quoted=documents.quote_repetition,  # Gopher
        found="More than {percent} of the lines repeat an earlier one (Gopher).",
        fix=_REPETITION,
    ),
    _rule(
        "repeated_line_characters", "documents mainly of repeated lines",
        documents.repeated_line_characters,
        above=0.1, quoted=documents.quote_repetition,  # FineWeb; Gopher has 0.2
        found="More than {percent} of the characters are in lines that repeat an earlier one"
        " (FineWeb).",
        fix=_REPETITION,
    ),
    _rule(
        "repeated_paragraphs", "documents of repeated paragraphs", documents.repeated_paragraphs,
        above=0.3, quoted=documents.quote_repetition,  # Gopher
        found="More than {percent} of the paragraphs repeat an earlier one (Gopher).",
        fix=_REPETITION,
    ),
    _rule(
        "repeated_paragraph_characters", "documents mainly of repeated paragraphs",
        documents.repeated_paragraph_characters,
        above=0.2, quoted=documents.quote_repetition,  # Gopher
        found="More than {percent} of the characters are in paragraphs that repeat an earlier one"
        " (Gopher).",
        fix=_REPETITION,
    ),
    _rule(
        "top_ngram", "documents dominated by one phrase", documents.top_ngrams,
        above=1.0, bounds=_ANY,  # Gopher: 0.20, 0.18 and 0.16 of the characters
        found="One 2-, 3- or 4-gram covers more than 20, 18 or 16 % of the characters, times"
        " {threshold} (Gopher).",
        fix=_REPETITION,
    ),
    _rule(
        "repeated_ngrams", "documents of repeated phrases", documents.repeated_ngrams,
        above=1.0, bounds=_ANY,  # Gopher: 0.15 to 0.10 of the characters
        found="Repeated 5- to 10-grams cover more than 15 to 10 % of the characters, times"
        " {threshold} (Gopher).",
        fix=_REPETITION,
    ),
    _rule(
        "few_sentences", "documents of few sentences", documents.n_sentences,
        below=5, bounds=_ANY,  # C4
        found="The document has fewer than {threshold} complete sentences (C4).",
        fix="Look for menus, lists of links and captions.",
    ),
    _rule(
        "lorem_ipsum", "dummy texts", documents.lorem_ipsum,
        above=0, bounds=_ANY, most=0.0,  # C4
        found="The document contains “lorem ipsum” (C4).",
        fix="Remove the documents.",
    ),
    _rule(
        "curly_bracket", "documents with curly brackets", documents.curly_brackets,
        above=0, bounds=_ANY,  # C4
        found="The document contains a curly bracket, as programs do (C4).",
        fix="Remove the documents, or switch the rule off if the corpus may contain code.",
    ),
    _rule(
        "web_boilerplate", "notices of web pages", documents.boilerplate_lines,
        above=0, bounds=_ANY,  # C4
        found="The document contains a notice about cookies, terms of use, privacy or Javascript"
        " (C4).",
        fix="Remove these lines.",
    ),
    _rule(
        "navigation", "menus and counters of web pages", documents.navigation_words,
        above=0.05,  # RefinedWeb
        found="More than {percent} of the words are in lines of one word, of capitals, of numbers"
        " or of a counter (RefinedWeb).",
        fix="Extract the main text of the pages, without menus and buttons.",
    ),
    _rule(
        "unpunctuated_lines", "documents without punctuation at line ends",
        documents.punctuated_lines,
        below=0.12,  # FineWeb
        found="Less than {percent} of the lines end with a terminal punctuation mark (FineWeb).",
        fix="Look for lists and menus. Join lines that were broken at a fixed width.",
    ),
    _rule(
        "short_lines", "documents of short lines", documents.short_lines,
        above=0.67,  # FineWeb
        found="More than {percent} of the lines have 30 characters or less (FineWeb).",
        fix="Look for lists and menus.",
    ),
)  # fmt: skip
"""Every rule that applies to documents alone, in the order of report."""


def worded_for_documents(rule: Rule) -> Rule:
    """A rule that applies to both, in words that fit documents: a document is a response alone."""

    def reworded(text: str) -> str:
        return text.replace("response", "document").replace("Response", "Document")

    return replace(
        rule, title=reworded(rule.title), found=reworded(rule.found), fix=reworded(rule.fix)
    )
