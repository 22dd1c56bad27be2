"""Checks of scores, and of what could be read: examples with a number that they should not have.

Each check counts as checked the examples in which its number is defined.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ifdkit.auditing.checking import AuditedDataset, CheckResult, Rule
from ifdkit.auditing.result import MAX_PLACES, Place, StatusCount
from ifdkit.findings.masking import masked
from ifdkit.findings.texts import quote
from ifdkit.records import Status
from ifdkit.scoring.arithmetic import perplexity
from ifdkit.scoring.reasons import ReasonCounter

MIN_TOKENS = 16
"""A shorter response has the perplexity of a few words: names and numbers have a high one."""
MAX_REASONS = 3
"""Reasons of a status that are named."""
MIN_RESPONSES = 20
"""Among fewer there is no usual perplexity."""
_SD_PER_MAD = 1.4826
"""Of a normal distribution, the standard deviation ÷ the median absolute deviation."""


def unreadable_row(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Rows that the reader rejected; `checked` counts rows, not examples."""
    del rule
    rejects = data.scored.rejects
    places = tuple(
        Place(id="", row=one.row, line=one.line, quote=masked(quote(one.reason)))
        for one in rejects[:MAX_PLACES]
    )
    n_rows = data.scored.dataset.n_rows
    return CheckResult(checked=n_rows, count=len(rejects), places=places)


def nothing_measured(data: AuditedDataset, rule: Rule) -> CheckResult:
    """All examples if none could be scored though scores were asked for; or if there are none.

    A gate without evidence must not pass.
    """
    del rule
    n = len(data)
    if not n:
        return CheckResult(
            checked=1, count=1, found="Nothing could be measured: there is no readable example."
        )
    numbers = data.scored.scores.numbers
    is_scored = data.scored.manifest is not None or bool(numbers)
    measured = [name for name in numbers if not name.endswith(("_tokens", "_words"))]
    if not is_scored or measured:
        return CheckResult(checked=n)
    reasons = _reasons(data, None)
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return CheckResult(
        checked=n,
        count=n,
        found=f"Nothing could be measured: no example could be scored{why}.",
        quotes_text=bool(reasons),
    )


def invalid(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Examples of status `invalid`, such as conversations that a chat template refuses."""
    del rule
    if data.scored.manifest is None and not data.scored.scores.numbers:
        return data.lacks("status")
    statuses = data.scored.scores.statuses
    reasons = _reasons(data, Status.INVALID)
    return replace(
        data.result(
            [i for i, status in enumerate(statuses) if status == Status.INVALID], len(statuses)
        ),
        found=f"The example could not be scored: {'; '.join(reasons)}." if reasons else None,
        quotes_text=bool(reasons),
    )


def status_counts(data: AuditedDataset) -> tuple[StatusCount, ...]:
    """How many examples have each status but `ok`, the most frequent first, with reasons."""
    counts = Counter(map(str, data.scored.scores.statuses))
    if data.is_documents:  # a document has no instruction to be empty
        del counts[Status.EMPTY_INSTRUCTION]
    del counts[Status.OK]
    return tuple(
        StatusCount(status=status, count=n, reasons=_reasons(data, status))
        for status, n in counts.most_common()
    )


def _reasons(data: AuditedDataset, status: str | None) -> tuple[str, ...]:
    """The most frequent reasons of a status, or of all, on one line each and masked."""
    scores = data.scored.scores
    if scores.reasons is None:
        return ()
    counter = ReasonCounter()
    counter.add(
        (one, reason)
        for one, reason in zip(scores.statuses, scores.reasons, strict=True)
        if status in (None, str(one))
    )
    found = counter.most_common()[:MAX_REASONS]
    return tuple(masked(quote(one.reason)).rstrip(".") for one in found)


def truncated_response(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Responses that run past the maximum length of the scores; the value is in tokens."""
    del rule
    tokens = data.numbers("truncated_tokens")
    if tokens is None:
        return data.lacks("number of truncated tokens")
    return data.result(
        np.flatnonzero(tokens > 0),
        int(np.isfinite(tokens).sum()),
        values=tokens,
        quoted=lambda index: quote(data.corpus.responses[index], "tail"),
    )


def over_long_prompt(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Prompts that fill the maximum length, so that no response token is left."""
    del rule
    if not data.scored.scores.numbers:
        return data.lacks("status")
    statuses = data.scored.scores.statuses
    indices = [i for i, status in enumerate(statuses) if status == Status.PROMPT_TOO_LONG]
    return data.result(indices, len(statuses))


def ifd_above_one(data: AuditedDataset, rule: Rule) -> CheckResult:
    """IFD at or above the threshold: the instruction does not make the response more likely."""
    values = data.numbers("ifd")
    if values is None:
        return data.lacks("IFD")
    is_known = np.isfinite(values)
    indices = np.flatnonzero(is_known & (values >= rule.limit))
    return data.result(indices, int(is_known.sum()), values=values)


def low_coherence(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Cosine similarity of instruction and response below the threshold.

    The default, 0.1, is met by 0.7 % of 1,000 Alpaca rows and by 0.3 % of 400 answers of Alpaca-7B.
    """
    values = data.numbers("coherence")
    if values is None:
        return data.lacks("coherence")
    is_known = np.isfinite(values)
    indices = np.flatnonzero(is_known & (values < rule.limit))
    return data.result(indices, int(is_known.sum()), values=values)


def low_perplexity(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Responses of unusually low perplexity: loops, boilerplate, memorized texts."""
    return _outliers(data, rule, sign=-1)


def high_perplexity(data: AuditedDataset, rule: Rule) -> CheckResult:
    """Responses of unusually high perplexity: gibberish, encoding errors."""
    return _outliers(data, rule, sign=1)


def _outliers(data: AuditedDataset, rule: Rule, *, sign: int) -> CheckResult:
    """Responses whose direct NLL is `threshold` robust standard deviations from the median.

    Relative to the file, because usual values depend on model, tokenizer and language.  Of the NLL,
    which is the log of the perplexity.  By median and MAD, which outliers do not move (Iglewicz and
    Hoaglin 1993, who advise 3.5).  The upper tail of real data is heavy, because short answers have
    a high perplexity: there the default is 5.  A file that is unusual as a whole has no outliers.
    """
    nll = data.numbers("nll_response_direct")
    if nll is None:
        return data.lacks("perplexity of the response")
    is_known = np.isfinite(nll) & (data.scored.scores.scored_tokens >= MIN_TOKENS)
    n_known = int(is_known.sum())
    if n_known < MIN_RESPONSES:
        return CheckResult(
            skipped=f"needs {MIN_RESPONSES} responses of {MIN_TOKENS} tokens or more, and there"
            f" are {n_known}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        median = float(np.median(nll[is_known]))
        deviations = np.where(is_known, sign * (nll - median), np.nan)
        spread = _SD_PER_MAD * float(np.median(np.abs(deviations[is_known])))
    if not (spread > 0 and np.isfinite(spread)):
        return CheckResult(skipped="most responses have the same perplexity, so none is unusual")
    limit = rule.limit * spread
    return data.result(
        np.flatnonzero(deviations >= limit),
        n_known,
        values=data.numbers("ppl_response_direct"),
        quoted=lambda index: quote(data.corpus.responses[index]),
        found=_with_perplexities(rule, median, sign * limit),
    )


def _with_perplexities(rule: Rule, median: float, distance: float) -> str:
    """The rule's sentence with the perplexities of this file, because places show perplexities."""
    limit, usual = perplexity(median + distance), perplexity(median)
    if limit is None or usual is None:
        return rule.sentence
    word = "more" if distance > 0 else "less"
    return f"{rule.sentence[:-1]} ({limit:.3g} or {word}; the median is {usual:.3g})."
