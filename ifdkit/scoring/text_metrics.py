"""Metrics of the texts alone: no model."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

from ifdkit.scoring.metric import Measured, Metric

MTLD_LIMIT = 0.72
"""A factor ends where the ratio of types to words falls to it (McCarthy and Jarvis 2010)."""
MIN_MTLD_WORDS = 10
"""Below it, MTLD is undefined: hardly a factor is complete."""
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Every repetition below is bounded or cannot start again inside itself, so that the time is linear.
_SENTENCE_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]+(?=\s|$)|\n{2,}")
_CODE = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_MATH = re.compile(
    r"\$\$.{1,2000}?\$\$|\\\[.{1,2000}?\\\]|\\\(.{1,2000}?\\\)"
    r"|\\begin\{(\w{1,20}\*?)\}.{1,2000}?\\end\{\1\}"
    # Not `$5 and $6`: something else than digits, and no space inside the signs.
    r"|(?<![\\$\w])\$(?! )(?=[^$\n]{0,199}[^$\s\d])[^$\n]{1,200}(?<! )\$(?![\w$])",
    re.DOTALL,
)
_LIST_ITEM = re.compile(
    r"^[ \t]*(?:[-*+•]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])[ \t]+\S.*$", re.MULTILINE
)
_MARKUP = re.compile(
    r"</?[a-zA-Z][^<>\n]{0,200}>|^ {0,3}#{1,6}[ \t].*$|^[ \t]*\|.*\|[ \t]*$"
    r"|\*\*[^*\n]+\*\*|!?\[[^\]\n]{1,300}\]\([^)\s]{1,300}\)",
    re.MULTILINE,
)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return [word.lower() for word in _WORD.findall(text)]


def mtld(words: Sequence[str]) -> float | None:
    """Measure of textual lexical diversity, in words: mean of both directions.

    None for fewer than MIN_MTLD_WORDS words, or if no word occurs twice.
    """
    if len(words) < MIN_MTLD_WORDS:
        return None
    factors = _factors(words), _factors(words[::-1])
    return sum(len(words) / n for n in factors) / 2 if min(factors) > 0 else None


def _factors(words: Sequence[str]) -> float:
    """Stretches in which the type-token ratio falls to the limit, the last one in part."""
    factors, types, n = 0.0, set[str](), 0
    for word in words:
        types.add(word)
        n += 1
        if len(types) / n <= MTLD_LIMIT:
            factors, types, n = factors + 1, set(), 0
    return factors + (1 - len(types) / n) / (1 - MTLD_LIMIT) if n else factors


def distinct_bigrams(words: Sequence[str]) -> float | None:
    """Different pairs of consecutive words ÷ all of them, 0 to 1; None for fewer than two words."""
    if len(words) < 2:
        return None
    return len(set(pairwise(words))) / (len(words) - 1)


def compression_ratio(text: str) -> float | None:
    """UTF-8 bytes ÷ bytes after deflate, > 0; None for an empty text."""
    data = text.encode(errors="replace")
    return len(data) / len(zlib.compress(data, 9, -15)) if data else None


def reading_grade(text: str) -> float | None:
    """Automated Readability Index, a school grade; None without words."""
    words = _WORD.findall(text)
    if not words:
        return None
    sentences = max(1, sum(bool(_WORD.search(part)) for part in _SENTENCE_END.split(text)))
    return 4.71 * sum(map(len, words)) / len(words) + 0.5 * len(words) / sentences - 21.43


def share_of(pattern: re.Pattern[str], text: str) -> float | None:
    """Share of the characters that a pattern covers, 0 to 1; None for an empty text."""
    if not text:
        return None
    return sum(match.end() - match.start() for match in pattern.finditer(text)) / len(text)


def response_per_instruction(measured: Measured) -> float | None:
    """Words of the response ÷ words of the instruction; None if either has none."""
    response, instruction = (
        len(text.split()) for text in (measured.example.response, measured.example.instruction)
    )
    return response / instruction if response and instruction else None


def _share(name: str, what: str, pattern: re.Pattern[str], order: int) -> Metric:
    return Metric(
        name=f"{name}_share",
        compute=lambda m: share_of(pattern, m.example.response),
        label=f"{name.capitalize()} in the response",
        short=f"{name} share",
        unit="share",
        definition=f"Share of the response's characters in {what}.",
        formula="characters ÷ all characters",
        group="text",
        is_optional=True,
        low=0.0,
        high=1.0,
        higher_means=f"more {name}",
        table_order=order,
    )


TEXT_METRICS = (
    Metric(
        name="mtld",
        compute=lambda m: mtld(words_of(m.example.response)),
        label="Lexical diversity (MTLD)",
        short="MTLD",
        unit="words",
        definition="Mean number of words until the share of different ones falls to 0.72."
        f" Undefined for fewer than {MIN_MTLD_WORDS} words, or if none occurs twice.",
        formula="words ÷ factors, mean of both directions",
        source="McCarthy and Jarvis 2010",
        group="text",
        is_optional=True,
        is_multiplicative=True,
        scale="log",
        low=1.0,
        higher_means="a larger vocabulary",
        table_order=115,
    ),
    Metric(
        name="distinct_2",
        compute=lambda m: distinct_bigrams(words_of(m.example.response)),
        label="Distinct bigrams",
        short="distinct-2",
        unit="share",
        definition="Different pairs of consecutive words ÷ all pairs, in the response. Undefined"
        " for fewer than two words.",
        formula="different bigrams ÷ bigrams",
        source="arXiv 1510.03055",
        group="text",
        is_optional=True,
        low=0.0,
        high=1.0,
        higher_means="less repetition",
        table_order=116,
    ),
    Metric(
        name="compression_ratio",
        compute=lambda m: compression_ratio(m.example.response),
        label="Compression ratio",
        short="compression ratio",
        unit="ratio",
        definition="Bytes of the response ÷ its bytes after deflate. Long texts compress better.",
        formula="UTF-8 bytes ÷ compressed bytes",
        source="arXiv 2403.00553",
        group="text",
        is_optional=True,
        is_multiplicative=True,
        low=0.0,
        higher_means="more repetition",
        table_order=117,
    ),
    Metric(
        name="reading_grade",
        compute=lambda m: reading_grade(m.example.response),
        label="Reading grade",
        short="reading grade",
        unit="school grade",
        definition="Automated Readability Index of the response: characters per word and words per"
        " sentence. Made for English prose.",
        formula="4.71 characters/words + 0.5 words/sentences − 21.43",
        source="Senter and Smith 1967",
        group="text",
        is_optional=True,
        low=-21.43,
        higher_means="harder to read",
        table_order=118,
    ),
    _share("code", "Markdown code: fenced blocks and `inline` code", _CODE, 119),
    _share("math", "formulas: `$…$`, `\\(…\\)`, `\\[…\\]` and LaTeX environments", _MATH, 120),
    _share("list", "lines that are items of a list", _LIST_ITEM, 121),
    _share("markup", "HTML tags, and Markdown headings, tables, bold text and links", _MARKUP, 122),
    Metric(
        name="length_ratio",
        compute=response_per_instruction,
        label="Response length ÷ instruction length",
        short="length ratio",
        unit="ratio",
        definition="Words of the response ÷ words of the instruction.",
        formula="words of the response ÷ words of the instruction",
        group="text",
        is_optional=True,
        is_multiplicative=True,
        scale="log",
        low=0.0,
        applies_to="pairs",
        higher_means="a longer response to as long an instruction",
        table_order=123,
    ),
)
