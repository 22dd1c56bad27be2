"""Empty texts, cut-off responses, unclosed code blocks, and repetitions of the instruction."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ifdkit.findings.checks import Hit, corpus_check, example_check
from ifdkit.findings.texts import Corpus, has_words, quote, quote_at, words
from ifdkit.visible import is_blank

_MAX_EXTRA_CHARS = 20
"""What quotation marks and the like may add to a repetition."""
_MIN_WORDS_REPEATED = 4
"""A shorter instruction ("Count to three") may be its own answer."""
_MAX_WORDS_REPEATED = 2_000
"""Words that are compared."""


@example_check("empty", "empty responses", "The response is empty.")
def empty_response(instruction: str, response: str) -> str | None:
    """The response is blank or only invisible; the quotation is of the instruction."""
    return quote(instruction) if is_blank(response) else None


@example_check("empty_instruction", "empty instructions", "The instruction is empty.")
def empty_instruction(instruction: str, response: str) -> str | None:
    """The instruction is blank or only invisible; the quotation is of the response."""
    return quote(response) if is_blank(instruction) else None


_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)


@example_check(
    "unbalanced_code_fence", "unclosed code blocks", "A code block is opened and never closed."
)
def unclosed_code_block(instruction: str, response: str) -> str | None:
    """The response has an odd number of code fences; the quotation begins at the last."""
    del instruction
    if "```" not in response:
        return None
    fences = [found.start() for found in _FENCE.finditer(response)]
    return quote_at(response, fences[-1]) if len(fences) % 2 == 1 else None


@example_check(
    "repeated_instruction",
    "responses that only repeat the instruction",
    "The response only repeats the instruction.",
)
def repeated_instruction(instruction: str, response: str) -> str | None:
    """The response is the instruction except for case and punctuation.

    Or the first line of an instruction that has an input below it.
    """
    if not response or len(response) > 2 * len(instruction) + _MAX_EXTRA_CHARS:
        return None
    said = words(response, _MAX_WORDS_REPEATED)
    if len(said) < _MIN_WORDS_REPEATED:
        return None
    first_line = instruction.lstrip().partition("\n")[0]
    asked = (words(text, _MAX_WORDS_REPEATED) for text in (instruction, first_line))
    return quote(response) if said in asked else None


# Responses that stop short

_MIN_WORDS = 20
_MIN_WORDS_OF_LAST_LINE = 12
"""A shorter last line may be a heading, a caption or a signature."""
_USUAL_SHARE = 0.8
"""If less of a dataset's prose ends with punctuation, a missing full stop means nothing."""
# Bullets, headings, tables and quotations at the beginning; code anywhere; an HTML entity last.
_NOT_PROSE = re.compile(r"^(?:[-*+•#|>`]|\d+[.)])|\w\(|[{}=<>|]|&#?\w+;$")
_NO_FULL_STOP = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese, Khmer


@corpus_check("cut_off", "cut-off responses", "The response stops mid-sentence.")
def cut_off(corpus: Corpus) -> list[Hit]:
    """Responses whose long last line of prose stops mid-sentence; none if that is usual here."""
    responses = corpus.responses
    return [Hit(index, quote(responses[index], "tail")) for index in _cut_off(responses)]


def _cut_off(responses: Sequence[str]) -> list[int]:
    prose = [index for index, text in enumerate(responses) if _ends_in_prose(text)]
    cut = [index for index in prose if _stops_short(responses[index].rstrip()[-1])]
    return cut if len(cut) <= (1 - _USUAL_SHARE) * len(prose) else []


def _ends_in_prose(response: str) -> bool:
    text = response.rstrip()
    end = text[-4000:]
    *above, last_line = [line.strip() for line in end.splitlines() if line.strip()] or [""]
    # Verse, code and tables end every line without a full stop.
    is_verse = bool(above) and above[-1][-1].isalnum() and has_words(above[-1], 4)
    return (
        not is_verse
        and _has_words_or_spaces(last_line, _MIN_WORDS_OF_LAST_LINE)
        and _has_words_or_spaces(text, _MIN_WORDS)
        and not _NOT_PROSE.search(last_line)
        and "```" not in end
    )


def _has_words_or_spaces(text: str, n: int) -> bool:
    # Splitting at spaces decides most texts at once; Chinese has none.
    return len(text[: 50 * n].split()) >= n or has_words(text, n)


def _stops_short(last: str) -> bool:
    return (last.isalnum() and not _NO_FULL_STOP.match(last)) or last in ",;、，；("
