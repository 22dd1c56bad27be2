"""Rules on what can be read and on scores: which rows have a number that they should not have.

Every rule counts as checked the rows in which its number is defined.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ifdkit.auditing.outcomes import Check, Outcome, Subject
from ifdkit.auditing.result import MOST_PLACES, Place
from ifdkit.auditing.rules import Rule
from ifdkit.findings.secrets import masked
from ifdkit.findings.texts import quote
from ifdkit.records import Status
from ifdkit.scoring.arithmetic import perplexity

FEWEST_TOKENS = 16
"""In shorter responses the perplexity is that of a few words: names and numbers look strange."""
FEWEST_RESPONSES = 20
"""Among fewer nothing is usual."""
_MAD_TO_SD = 1.4826
"""Of a normal distribution, the standard deviation ÷ the median absolute deviation."""


def unreadable_row(subject: Subject, rule: Rule) -> Outcome:
    """Rows that were rejected by the reader; `checked` are rows, not examples."""
    del rule
    rejects = subject.scored.rejects
    places = tuple(
        Place(id="", row=one.row, line=one.line, quote=masked(quote(one.reason)))
        for one in rejects[:MOST_PLACES]
    )
    n_rows = subject.scored.dataset.n_rows
    return Outcome(checked=n_rows, count=len(rejects), places=places)


def empty_response(subject: Subject, rule: Rule) -> Outcome:
    """Responses of whitespace at most. Read from the texts: it needs no scores."""
    del rule
    return _empty(subject, subject.corpus.responses, subject.corpus.instructions)


def empty_instruction(subject: Subject, rule: Rule) -> Outcome:
    """The same of instructions."""
    del rule
    return _empty(subject, subject.corpus.instructions, subject.corpus.responses)


def _empty(subject: Subject, texts: tuple[str, ...], others: tuple[str, ...]) -> Outcome:
    places = [place for place, text in enumerate(texts) if not text.strip()]
    return subject.outcome(places, len(texts), quoted=lambda place: quote(others[place]))


def truncated_response(subject: Subject, rule: Rule) -> Outcome:
    """Responses whose end lies beyond the maximum length of the scores; the value is in tokens."""
    del rule
    tokens = subject.numbers("truncated_tokens")
    if tokens is None:
        return subject.lacks("number of truncated tokens")
    responses = subject.corpus.responses
    return subject.outcome(
        np.flatnonzero(tokens > 0),
        int(np.isfinite(tokens).sum()),
        values=tokens,
        quoted=lambda place: quote(responses[place], "tail"),
    )


def over_long_prompt(subject: Subject, rule: Rule) -> Outcome:
    """Prompts as long as the maximum length: nothing of the response is left."""
    del rule
    if not subject.scored.scores.numbers:
        return subject.lacks("status")
    statuses = subject.scored.scores.statuses
    places = [i for i, status in enumerate(statuses) if status == Status.PROMPT_TOO_LONG]
    return subject.outcome(places, len(statuses))


def ifd_above_one(subject: Subject, rule: Rule) -> Outcome:
    """IFD of the threshold (1) or more: given its instruction the response is no likelier."""
    values = subject.numbers("ifd")
    if values is None:
        return subject.lacks("IFD")
    known = np.isfinite(values)
    broken = known & (values >= _threshold(rule))
    return subject.outcome(np.flatnonzero(broken), int(known.sum()), values=values)


def low_coherence(subject: Subject, rule: Rule) -> Outcome:
    """Cosine of instruction and response below the threshold.

    The default, 0.1, takes 0.7 % of 1,000 Alpaca rows and 0.3 % of 400 answers of Alpaca-7B.
    """
    values = subject.numbers("coherence")
    if values is None:
        return subject.lacks("coherence")
    known = np.isfinite(values)
    broken = known & (values < _threshold(rule))
    return subject.outcome(np.flatnonzero(broken), int(known.sum()), values=values)


def low_perplexity(subject: Subject, rule: Rule) -> Outcome:
    """Responses far easier than is usual in this file: loops, boilerplate, texts known by heart."""
    return _outliers(subject, rule, sign=-1)


def high_perplexity(subject: Subject, rule: Rule) -> Outcome:
    """Responses far stranger than is usual in this file: gibberish, broken encodings."""
    return _outliers(subject, rule, sign=1)


def _outliers(subject: Subject, rule: Rule, *, sign: int) -> Outcome:
    """Rows whose direct NLL lies `threshold` robust standard deviations off the median.

    Relative to the file, because what is usual depends on model, tokenizer and language; on NLL,
    which is the log of perplexity; by median and MAD, which outliers do not move (Iglewicz and
    Hoaglin 1993, who advise 3.5).  The upper tail is heavy on real data, for short answers are
    hard: there the default is 5.  A file that is strange as a whole shows no outlier.
    """
    nll = subject.numbers("nll_response_direct")
    if nll is None:
        return subject.lacks("perplexity of the response")
    known = np.isfinite(nll) & (subject.scored.scores.scored_tokens >= FEWEST_TOKENS)
    n_known = int(known.sum())
    if n_known < FEWEST_RESPONSES:
        return Outcome(
            skipped=f"needs {FEWEST_RESPONSES} responses of {FEWEST_TOKENS} tokens or more to tell"
            f" what is usual, and there are {n_known}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        median = float(np.median(nll[known]))
        deviations = np.where(known, sign * (nll - median), np.nan)
        spread = _MAD_TO_SD * float(np.median(np.abs(deviations[known])))
    if not (spread > 0 and np.isfinite(spread)):
        return Outcome(skipped="most responses have the same perplexity, so nothing is unusual")
    limit = _threshold(rule) * spread
    return subject.outcome(
        np.flatnonzero(deviations >= limit),
        n_known,
        values=subject.numbers("ppl_response_direct"),
        quoted=lambda place: quote(subject.corpus.responses[place]),
        found=_with_perplexities(rule, median, sign * limit),
    )


def _with_perplexities(rule: Rule, median: float, off: float) -> str:
    """The rule's sentence with what it amounts to in this file: places show perplexities."""
    limit, usual = perplexity(median + off), perplexity(median)
    if limit is None or usual is None:
        return rule.sentence
    word = "more" if off > 0 else "less"
    return f"{rule.sentence[:-1]}: it is {limit:.3g} or {word}, where {usual:.3g} is usual."


def _threshold(rule: Rule) -> float:
    assert rule.threshold is not None, rule.name
    return rule.threshold


NUMBER_CHECKS: Mapping[str, Check] = {
    "unreadable_row": unreadable_row,
    "empty_response": empty_response,
    "empty_instruction": empty_instruction,
    "truncated_response": truncated_response,
    "over_long_prompt": over_long_prompt,
    "ifd_above_one": ifd_above_one,
    "low_coherence": low_coherence,
    "low_perplexity": low_perplexity,
    "high_perplexity": high_perplexity,
}
"""Rule → its check."""
