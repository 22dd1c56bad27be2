"""Signs that a single row shows by itself: refusals, leaks of the prompt, broken ends.

Each sign is a function of an instruction and its response.  They are anchored and narrow: a sign
that fires on good rows teaches its reader to skip the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ifdkit.compared import Finding
from ifdkit.findings.texts import Side, changed_sides, quote, words

_HEAD = 400
"""Characters at the beginning of a text in which an opening formula is looked for."""
_CANNOT = r"(?:can(?:'t|not| not)|won't|will not|(?:am|'m) (?:unable|not able) to)"
_DO = (
    r"(?:accept|access|advise|analy[sz]e|answer|assist|browse|comment|complete|comply|continue|"
    r"create|describe|design|discuss|display|do (?:that|this|so)|draw|edit|endorse|engage|"
    r"express|fulfil+|generate|give|help|identify|offer|open|participate|perform|play|predict|"
    r"process|produce|promote|provide|recommend|respond|see|share|suggest|summari[sz]e|support|"
    r"translate|view|write)"
)
_SORRY = (
    r"(?:i(?:'m| am)(?: \w+)? sorry|sorry|(?:my )?apologies|i apologi[sz]e|unfortunately|as an? ai)"
)
_REFUSAL = re.compile(
    rf"^\W*(?:{_SORRY}\b[^.!?\n]{{0,120}}?)?\bi ?{_CANNOT}(?: \w+)? {_DO}\b"
    r"|^\W*sorry, (?:but )?(?:the|this|your) (?:task|request|question|instruction)\b"
    # Other languages: the apology and the word for "cannot" in one sentence.
    r"|^\W*es tut mir leid, aber (?:ich kann|als ki)\b"
    r"|^\W*(?:je suis )?désolée?, mais je ne (?:peux|suis)\b"
    r"|^\W*lo siento, (?:pero )?(?:no puedo|como (?:una )?ia)\b"
    r"|^\W*(?:很|非常)?(?:抱歉|对不起)[,，]?(?:但)?(?:作为[^。]{0,20}[,，])?我(?:不能|无法)"
)
_AI = re.compile(
    r"\b(?:as|i am|i'm)(?: just| only)? an? (?:ai|artificial intelligence)"
    r"(?:,| (?:language )?(?:model|assistant|chatbot)\b)"
    r"|\bals ki(?:-| )?(?:sprach)?modell\b|\ben tant qu'(?:ia\b|intelligence artificielle)"
    r"|作为(?:一[个种])?(?:人工智能|ai)(?:语言)?(?:模型|助手)"
)

_AI_WORDS = (" ai", "artificial", "als ki", "qu'ia", "作为")
"""One of them stands in whatever _AI finds; looking for them takes a tenth of the time."""

_NEW = r"(?:new|improved|rewritten|revised|refined|updated|enhanced|better|more detailed)"
_PART = r"(?:answer|response|instruction|prompt)"
_SURE = r"(?:(?:sure|certainly|of course|okay|ok|absolutely)\W+)?"
_FRAME = re.compile(
    rf"\[(?:(?:the )?(?:start|end) of )?(?:{_NEW}|original|given) {_PART}\]"
    rf"|# ?(?:the )?(?:{_NEW}|created|given|original) {_PART} ?#"
)
_ANNOUNCED = re.compile(
    rf"^\W*{_SURE}(?:the )?{_NEW} {_PART} ?:"
    rf"|^\W*{_SURE}here(?:'s| is)(?: \w+){{0,2}}? {_NEW}\b[^.:\n]{{0,40}}?\b{_PART}\b"
)
_ORIGINAL = re.compile(rf"the original {_PART}\b")
_ASKED = re.compile(rf"\b{_PART}s?\b", re.IGNORECASE)


def refuses(instruction: str, response: str) -> bool:
    """The response opens with a refusal."""
    del instruction
    return _REFUSAL.match(_head(response)) is not None


def disclaims(instruction: str, response: str) -> bool:
    """The response opens by calling its writer an AI."""
    del instruction
    head = _head(response)
    return any(word in head for word in _AI_WORDS) and _AI.search(head) is not None


def leaks(instruction: str, response: str) -> bool:
    """The instruction or the response speaks of being rewritten, though nobody asked for that."""
    if _instruction_leaks(instruction) or _is_framed(response):
        return True
    return _is_announced(response) and not _ASKED.search(instruction)


def _instruction_leaks(instruction: str) -> bool:
    return _is_announced(instruction) or _is_framed(instruction)


def _is_announced(text: str) -> bool:
    """Whether the text opens as a rewriter does: "Here is an improved answer:"."""
    head = _head(text)
    if _ANNOUNCED.match(head):
        return True
    return "the original " in head and _ORIGINAL.search(head) is not None


def _is_framed(text: str) -> bool:
    """Whether marks of a rewriting prompt stand in the text: `[New Answer]`, `#Given Prompt#`."""
    part = text[: 10 * _HEAD]
    # Nearly every text is settled by the cheap look.
    return ("]" in part or "#" in part) and _FRAME.search(part.lower()) is not None


def is_empty(instruction: str, response: str) -> bool:
    """The response is whitespace at most."""
    del instruction
    return not response or response.isspace()


def fence_is_open(instruction: str, response: str) -> bool:
    """A code block begins and does not end."""
    del instruction
    return "```" in response and len(_FENCE.findall(response)) % 2 == 1


_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)


def _head(text: str) -> str:
    """The beginning as the patterns want it: in lower case, apostrophes straight."""
    return text.lstrip()[:_HEAD].lower().replace("\u2019", "'")


@dataclass(frozen=True, slots=True)
class Sign:
    """What to look for in a row, and what to say where it is found."""

    kind: str
    sentence: str
    shows: Callable[[str, str], bool]
    """Of an instruction and its response."""


SIGNS = (
    Sign("prompt_leak", "The text speaks of its own rewriting: the prompt has leaked.", leaks),
    Sign("refusal", "The response declines to do what is asked.", refuses),
    Sign("ai_disclaimer", "The response presents its writer as an AI.", disclaims),
    Sign("empty", "The response is empty.", is_empty),
    Sign("unbalanced_code_fence", "A code block is opened and never closed.", fence_is_open),
)


def shown_signs(before: Side, after: Side) -> list[Finding]:
    """Every sign on both sides, where the other side does not show it in all the same rows."""
    found: list[Finding | None] = []
    for sign in SIGNS:
        rows = _rows(sign, before), _rows(sign, after)
        quoting = _quoting(sign, before), _quoting(sign, after)
        found += changed_sides(sign.kind, (before, after), rows, sign.sentence, quoting)
    cut = cut_off_rows(before.responses), cut_off_rows(after.responses)
    ends = _quoting_ends(before), _quoting_ends(after)
    found += changed_sides("cut_off", (before, after), cut, _CUT_OFF, ends)
    return [one for one in found if one]


def _rows(sign: Sign, side: Side) -> list[int]:
    texts = zip(side.instructions, side.responses, strict=True)
    return [row for row, (asked, answer) in enumerate(texts) if sign.shows(asked, answer)]


def _quoting(sign: Sign, side: Side) -> Callable[[int], str]:
    def quoted(row: int) -> str:
        asked, answer = side.instructions[row], side.responses[row]
        is_in_instruction = sign.shows is leaks and _instruction_leaks(asked)
        return quote(asked if is_in_instruction or not answer.strip() else answer)

    return quoted


_CUT_OFF = "The response stops inside a sentence, where most of its side end with punctuation."
_LONG_RESPONSE = 20
_LONG_LINE = 12
"""Words of a last line that can be taken for prose."""
_USUAL = 0.8
"""Share of a side's prose that has to end with punctuation before a missing one means anything."""
# Bullets, headings, tables and quotations at the beginning; code anywhere.
_NOT_PROSE = re.compile(r"^(?:[-*+•#|>`]|\d+[.)])|\w\(|[{}=<>|]")
_NO_FULL_STOP = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese, Khmer


def cut_off_rows(responses: Sequence[str]) -> list[int]:
    """Rows whose long last line of prose stops inside a sentence; none where that is usual."""
    prose = [row for row, text in enumerate(responses) if _ends_in_prose(text)]
    cut = [row for row in prose if _stops_short(responses[row].rstrip()[-1])]
    return cut if len(cut) <= (1 - _USUAL) * len(prose) else []


def _ends_in_prose(response: str) -> bool:
    text = response.rstrip()
    end = text[-4000:]
    *above, last_line = [line.strip() for line in end.splitlines() if line.strip()] or [""]
    # Verse, code and tables end every line without a full stop.
    is_verse = bool(above) and above[-1][-1].isalnum() and len(words(above[-1], 4)) == 4
    return (
        not is_verse
        and _has_words(last_line, _LONG_LINE)
        and _has_words(text, _LONG_RESPONSE)
        and not _NOT_PROSE.search(last_line)
        and "```" not in end
    )


def _has_words(text: str, n: int) -> bool:
    # Spaces settle it for most texts; Chinese has none.
    return len(text[: 50 * n].split()) >= n or len(words(text, n)) == n


def _stops_short(last: str) -> bool:
    return (last.isalnum() and not _NO_FULL_STOP.match(last)) or last in ",;、，；("


def _quoting_ends(side: Side) -> Callable[[int], str]:
    return lambda row: quote(side.responses[row], "tail")
