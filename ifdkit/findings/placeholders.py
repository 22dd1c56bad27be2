"""Values in place of a text: placeholders, error messages of a service, one word repeated.

A pipeline that fails writes `nan`, `<nooutput>` or "429 Too Many Requests" where a text should be,
and a model that fails repeats itself until it reaches its token limit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ifdkit.findings.checks import Hit, corpus_check, example_check
from ifdkit.findings.ngrams import longest_run
from ifdkit.findings.texts import Corpus, quote, quote_at

# Placeholders

_MAX_PLACEHOLDER_CHARS = 80
_MARK = r"[\s\"'`*_.,:;!?()-]*"
_PLACEHOLDER = re.compile(
    rf"{_MARK}(?:"
    r"[<\[({]?\s*no[-_ ]?(?:input|output|response|answer|instruction|context|data|text|content)"
    r"(?: (?:provided|given|available|needed|required|found))?\s*[>\])}]?"
    r"|n/a|nan|none|null|nil|undefined|not (?:applicable|available|provided)"
    r"|\[?(?:empty|blank|deleted|removed|redacted)\]?|<(?:empty|blank|none|null|n/a|nan|text|input|output)>"
    r"|todo|tbd|fixme|xxx+|lorem ipsum[^\n]{0,60}|placeholder"
    r"|\[(?:insert|your|add|image|picture|photo|enter|type|fill in)\b[^\]\n]{0,60}\]"
    r"|<(?:insert|your|add|enter)\b[^>\n]{0,60}>"
    rf"){_MARK}",
    re.IGNORECASE,
)
_ONLY_MARKS = re.compile(r"[\s.…\-_*?]+")
"""`...`, `-`, `???`: no word at all."""
_VALUE_WANTED = re.compile(
    r"\b(?:if (?:there (?:are|is) )?(?:none|nothing|not)|or none|none of|otherwise|null|nan|n/a"
    r"|classif|label|extract|identify|which of|choose|select|multiple[- ]choice|options?"
    r"|python|sql|output of|return(?:s|ed)?|value of|print(?:s|ed)?|punctuation|symbols?"
    r"|morse|fill in|ellips[ie]s)\b",
    re.IGNORECASE,
)


@example_check(
    "placeholder_response",
    "placeholders as responses",
    "The response is a placeholder such as “N/A” or “<nooutput>”.",
)
def placeholder_response(instruction: str, response: str) -> str | None:
    """The whole response is a placeholder, and is no answer that the instruction leaves open."""
    if not _is_placeholder(response) or _VALUE_WANTED.search(instruction):
        return None
    return quote(response)


@corpus_check(
    "placeholder_input",
    "placeholders as inputs",
    "The input is a placeholder such as “<noinput>” or “nan”.",
)
def placeholder_input(corpus: Corpus) -> list[Hit]:
    """Examples whose whole `input` is a placeholder; none if the inputs are not known."""
    return [
        Hit(index, quote(text)) for index, text in enumerate(corpus.inputs) if _is_placeholder(text)
    ]


def _is_placeholder(text: str) -> bool:
    text = text.strip() if len(text) <= 2 * _MAX_PLACEHOLDER_CHARS else text
    if not text or len(text) > _MAX_PLACEHOLDER_CHARS:
        return False
    return bool(_PLACEHOLDER.fullmatch(text) or _ONLY_MARKS.fullmatch(text))


# Errors of a service

_ERROR_HEAD_CHARS = 400
_REASON = (
    r"(?:too many requests|bad gateway|service (?:temporarily )?unavailable|internal server error"
    r"|gateway time-?out|unauthorized|forbidden|not found|bad request|request time-?out"
    r"|rate limit|overloaded|payload too large)"
)
_ERROR = re.compile(
    r"\A\W*(?:(?:http|api|server|status)? ?(?:error|code)?\W{0,3})?[45]\d\d\b\W{0,4}"
    rf"(?:\w+\W+){{0,3}}?{_REASON}"
    rf"|\A\W*(?:error|exception|fatal|failed)\b[^\n]{{0,120}}(?:{_REASON}|\b(?:429|50[0234]|40[013])\b"
    r"|time-?out|timed out|connection|quota|api key|maximum context length|no response)"
    r"|\A\W*(?:openai|anthropic|requests|httpx|urllib3|aiohttp|google|cohere|litellm)"
    r"\.[\w.]*(?:error|exception|timeout)\b"
    r"|\A\W*(?:rate ?limit|api ?(?:connection|status|timeout)?|service ?unavailable"
    r"|invalid ?request|authentication|internal ?server|bad ?request|time-?out|connection) ?error\b"
    r"|\A\W*rate limit (?:exceeded|reached)|\A\W*too many requests\b"
    r"|\A\W*(?:the )?request timed out"
    r"|\A\W*you exceeded your current quota|\A\W*incorrect api key provided"
    r"|\A\W*(?:that|the) model is currently overloaded"
    r"|\A\W*the server (?:had an error while processing|is (?:currently )?overloaded)"
    r"|\A\W*this model's maximum context length is"
    r"|\A\W*(?:network error|an error occurred|something went wrong)[.,!:]? "
    r"(?:if this|please|while (?:process|generat))"
    r"|\A\s*\{\s*[\"'](?:error|errors|detail|err)[\"']\s*:"
    r"|\A\s*\{\s*[\"']message[\"']\s*:\s*[\"'][^\"']{0,120}(?:error|limit|quota|unauthori[sz]ed)"
    r"|\A\s*(?:<!doctype html>\s*)?<html\b.{0,300}?<(?:title|h1)>\s*(?:error )?[45]\d\d\b"
    r"|\A\s*traceback \(most recent call last\):",
    re.IGNORECASE | re.DOTALL,
)
_ERROR_WANTED = re.compile(
    r"\b(?:errors?|exceptions?|tracebacks?|stack ?trace|http|status codes?|api|rest|json|logs?"
    r"|rate[- ]limit\w*|quota|debug\w*|messages?|web ?(?:page|server)s?|html|4\d\d|5\d\d)\b",
    re.IGNORECASE,
)


@example_check(
    "error_response",
    "error messages as responses",
    "The response is the error message of a service.",
)
def error_response(instruction: str, response: str) -> str | None:
    """The response begins with an error of an API or a web server, and nobody asked about one."""
    head = response[:_ERROR_HEAD_CHARS]
    found = _ERROR.match(head)
    return quote(response) if found and not _ERROR_WANTED.search(instruction) else None


# Repetitions

_MAX_CHARS = 20_000
"""Only so many first characters of a response are examined."""
_MAX_CHARS_PER_WORD = 30
_MIN_WORDS = 20
_MAX_PERIOD = 10
_MIN_CYCLES = 5
_MIN_SHARE = 0.4
"""Of the words of the response that the repetition makes up."""
_REPETITION_WANTED = re.compile(
    r"\b(?:repeat\w*|repetit\w*|times|lyrics|songs?|poems?|chants?|chorus|mantras?|loops?|patterns?"
    r"|rhymes?|list of|sequence|nursery|tongue[- ]twister|pad|fill|print|ascii)\b",
    re.IGNORECASE,
)


@example_check(
    "repeated_words",
    "responses that repeat a few words endlessly",
    "The response repeats the same few words over and over.",
)
def repeated_words(instruction: str, response: str) -> str | None:
    """A unit of 1 to 10 words is repeated 5 times or more and makes up much of the response."""
    at = _repetition_start(response)
    if at is None or _REPETITION_WANTED.search(instruction):
        return None
    return quote_at(response, at)


def _repetition_start(text: str) -> int | None:
    """Where the repetition begins, roughly; None without one."""
    # Splitting at spaces suffices and is fast.  A text without spaces is compared by characters.
    part = text[:_MAX_CHARS].casefold()
    said: Sequence[str] = part.split()
    if len(said) < len(part) / _MAX_CHARS_PER_WORD:
        if sum(map(str.isalpha, part)) < len(part) / 2:
            return None  # numbers
        said = part
    # n words with k of them repeated in units of p ≤ k ÷ 5 words have at most n − k + p different
    # ones, and as many different pairs of neighbours.  So nearly every text is decided here.
    n = len(said)
    max_distinct = n - max(0.8 * _MIN_WORDS, _MIN_SHARE * n - _MAX_PERIOD)
    if n < _MIN_WORDS or len(set(said)) > max_distinct or len(set(pairwise(said))) > max_distinct:
        return None
    numbers = np.array([hash(word) for word in said], dtype=np.int64)
    for period in range(1, _MAX_PERIOD + 1):
        start, stop = longest_run(numbers[period:] == numbers[:-period])
        n_repeated = stop - start + period if stop > start else 0
        if n_repeated >= max(_MIN_WORDS, _MIN_CYCLES * period, _MIN_SHARE * len(said)):
            return max(0, part.find(said[start]))
    return None
