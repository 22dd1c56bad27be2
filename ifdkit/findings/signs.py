"""Signs that a single row shows by itself: refusals, leaks of the prompt, broken ends.

Each sign is a function of an instruction and its response.  They are anchored and narrow: a sign
that fires on good rows teaches its reader to skip the list.  So a refusal is none where the
instruction asks for one, and a disclaimer none where it speaks of AI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ifdkit.findings.finding import Finding
from ifdkit.findings.texts import Corpus, Hit, Side, changed_sides, quote, quote_at, words

_HEAD = 400
"""Characters at the beginning of a text in which an opening formula is looked for."""
_CANNOT = r"(?:can(?:'t|not| not)|won't|will not|(?:am|'m) (?:unable|not able) to)"
_INCAPABLE = (
    r"(?:currently )?(?:don't|do not)(?: currently)? have the"
    r" (?:capabilit(?:y|ies)|ability|access|means|tools) to"
)
_DO = (
    r"(?:accept|access|advise|analy[sz]e|answer|assist|book|browse|comment|complete|comply|continue|"
    r"create|describe|design|discuss|display|do (?:that|this|so)|draw|edit|endorse|engage|"
    r"express|fulfil+|generate|give|help|identify|offer|open|order|participate|perform|place|play|predict|"
    r"process|produce|promote|provide|recommend|respond|see|share|suggest|summari[sz]e|support|"
    r"translate|view|write)"
)
_SORRY = (
    r"(?:i(?:'m| am)(?: \w+)? sorry|sorry|(?:my )?apologies|i apologi[sz]e|unfortunately|as an? ai)"
)
_REFUSAL = re.compile(
    rf"^\W*(?:{_SORRY}\b[^.!?\n]{{0,120}}?)?\bi ?"
    rf"(?:(?:{_CANNOT}|{_INCAPABLE})(?: \w+)? {_DO}"
    r"|(?:must|have to|need to)(?: \w+)? (?:decline|refuse))\b"
    r"|^\W*sorry, (?:but )?(?:the|this|your) (?:task|request|question|instruction)\b"
    # Other languages: the apology and the word for "cannot" in one sentence.
    r"|^\W*es tut mir leid, aber (?:ich kann|als ki)\b"
    r"|^\W*(?:je suis )?désolée?, mais je ne (?:peux|suis)\b"
    r"|^\W*lo siento, (?:pero )?(?:no puedo|como (?:una )?ia)\b"
    r"|^\W*(?:很|非常)?(?:抱歉|对不起)[,，]?(?:但)?(?:作为[^。]{0,20}[,，])?我(?:不能|无法)"
)
_REFUSAL_ASKED = re.compile(
    r"\b(?:refus|declin|reject|apolog|resign|turn(?:s|ed|ing)? down\b|says? no\b|sorry\b)",
    re.IGNORECASE,
)
_SPEECH = re.compile('["\u201c\u00ab][^"\u201d\u00bb]*["\u201d\u00bb]\\W*\\w')
"""Somebody in a story speaks, for the text goes on after the quotation."""
_AI = re.compile(
    r"\b(?:as|being|i am|i'm)(?: just| only| merely)? an? (?:ai|artificial intelligence)"
    r"(?:,| and\b| (?:language )?(?:model|assistant|chatbot|program|system)\b)"
    # "Used as a language model" is said of one, so this begins a sentence.
    r"|(?:^|[.!?\n] ?)(?:but |however, )?as a (?:large )?language model\b"
    r"|\b(?:i am|i'm) (?:just|only|merely) a (?:large )?language model\b"
    r"|\bals ki(?:-| )?(?:sprach)?modell\b|\ben tant qu'(?:ia\b|intelligence artificielle)"
    r"|作为(?:一[个种])?(?:人工智能|ai)(?:语言)?(?:模型|助手)"
)

_AI_WORDS = (" ai", "artificial", "language model", "als ki", "qu'ia", "作为")
"""One of them stands in whatever _AI finds; looking for them takes a tenth of the time."""
_AI_ASKED = re.compile(
    r"\b(?:ai|a\.i\.|artificial intelligence|(?:large )?language models?|llms?|chat-?bots?|robots?"
    r"|androids?|assistants?|(?:chat)?gpt(?:-?\d)?|(?:who|what) are you|are you an?|are you human"
    r"|(?:introduce|about|describe) yourself)\b",
    re.IGNORECASE,
)

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
_SUMMED_UP = re.compile(
    rf"\bthis (?:\w+ and )?{_NEW}(?: and \w+)? answer\b"
    r"|\bthe (?:original|previous) answer\b|\bthe original (?:instruction|prompt)\b"
)
"""How a rewriter ends: "This improved answer provides …"."""
_ASKED = re.compile(rf"\b{_PART}s?\b", re.IGNORECASE)


def refuses(instruction: str, response: str) -> bool:
    """The response opens with a refusal that nobody asked to be written."""
    head = _head(response)
    if not _REFUSAL.match(head) or _SPEECH.match(head):
        return False
    return not _REFUSAL_ASKED.search(instruction)


def disclaims(instruction: str, response: str) -> bool:
    """The response opens by calling its writer an AI, where the talk is of something else."""
    return _disclaimer(instruction, response) is not None


def _disclaimer(instruction: str, response: str) -> int | None:
    """Where in the beginning of the response the disclaimer stands."""
    head = _head(response)
    found = _AI.search(head) if any(word in head for word in _AI_WORDS) else None
    if not found or _is_quoted(head[: found.start()]) or _AI_ASKED.search(instruction):
        return None
    return found.start()


def _is_quoted(before: str) -> bool:
    """Whether a quotation is open at the end of these words."""
    return before.count('"') % 2 == 1 or before.count("\u201c") > before.count("\u201d")


def leaks(instruction: str, response: str) -> bool:
    """The instruction or the response speaks of being rewritten, though nobody asked for that."""
    return _leak(instruction, response) is not None


def _leak(instruction: str, response: str) -> tuple[str, int] | None:
    """The text that leaks, and where."""
    for text in (instruction, response):
        place = _framed(text)
        if place is not None:
            return text, place
    place = _announced(instruction)
    if place is not None:
        return instruction, place
    place = _announced(response)
    if place is None:
        place = _summed_up(response)
    # Who asks for a better answer may be told that here is one.
    return None if place is None or _ASKED.search(instruction) else (response, place)


def _announced(text: str) -> int | None:
    """Where the text opens as a rewriter does: "Here is an improved answer:"."""
    head = _head(text)
    found = _ANNOUNCED.match(head)
    if not found and "the original " in head:
        found = _ORIGINAL.search(head)
    return found.start() if found else None


def _summed_up(text: str) -> int | None:
    """Where the end of the text praises it as a rewriter does."""
    begin = max(0, len(text) - 2 * _HEAD)
    end = text[begin:].lower()
    found = _SUMMED_UP.search(end) if "answer" in end or "the original " in end else None
    return begin + found.start() if found else None


def _framed(text: str) -> int | None:
    """Where marks of a rewriting prompt stand in the text: `[New Answer]`, `#Given Prompt#`."""
    part = text[: 10 * _HEAD]
    # Nearly every text is settled by the cheap look.
    found = _FRAME.search(part.lower()) if "]" in part or "#" in part else None
    return found.start() if found else None


def is_empty(instruction: str, response: str) -> bool:
    """The response is whitespace at most."""
    del instruction
    return not response or response.isspace()


def fence_is_open(instruction: str, response: str) -> bool:
    """A code block begins and does not end."""
    del instruction
    return "```" in response and len(_FENCE.findall(response)) % 2 == 1


_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)


def repeats(instruction: str, response: str) -> bool:
    """The response is its instruction once more, but for case and punctuation.

    So is one that repeats the first line of an instruction which has an input below it.
    """
    if not response or len(response) > 2 * len(instruction) + _ROOM:
        return False
    said = words(response, _MOST_REPEATED)
    if len(said) < _FEWEST_REPEATED:
        return False
    first_line = instruction.lstrip().partition("\n")[0]
    return said in (words(instruction, _MOST_REPEATED), words(first_line, _MOST_REPEATED))


_ROOM = 20
"""Characters by which quotation marks and the like may lengthen a repetition."""
_FEWEST_REPEATED = 4
"""Shorter instructions ("Count to three") may be their own answer."""
_MOST_REPEATED = 2_000
"""Words that are compared."""


def _head(text: str) -> str:
    """The beginning as the patterns want it: in lower case, apostrophes straight."""
    return text.lstrip()[:_HEAD].lower().replace("\u2019", "'")


def _quoted_leak(instruction: str, response: str) -> str:
    text, place = _leak(instruction, response) or (response, 0)
    return quote_at(text, place)


def _quoted_disclaimer(instruction: str, response: str) -> str:
    return quote_at(response.lstrip(), _disclaimer(instruction, response) or 0)


def _quoted_fence(instruction: str, response: str) -> str:
    del instruction
    *_, last = _FENCE.finditer(response)
    return quote_at(response, last.start())


def _quoted_response(instruction: str, response: str) -> str:
    return quote(response if response.strip() else instruction)


@dataclass(frozen=True, slots=True)
class Sign:
    """What to look for in a row, and what to say where it is found."""

    kind: str
    sentence: str
    shows: Callable[[str, str], bool]
    """Of an instruction and its response."""
    quoted: Callable[[str, str], str] = _quoted_response
    """The words that show it, of an instruction and a response that do."""


SIGNS = (
    Sign(
        "prompt_leak",
        "The text speaks of its own rewriting: the prompt has leaked.",
        leaks,
        _quoted_leak,
    ),
    Sign("refusal", "The response declines to do what is asked.", refuses),
    Sign(
        "ai_disclaimer",
        "The response presents its writer as an AI.",
        disclaims,
        _quoted_disclaimer,
    ),
    Sign("empty", "The response is empty.", is_empty),
    Sign(
        "unbalanced_code_fence",
        "A code block is opened and never closed.",
        fence_is_open,
        _quoted_fence,
    ),
)
REPEATED = Sign("repeated_instruction", "The response is its instruction once more.", repeats)


def hits(sign: Sign, corpus: Corpus) -> list[Hit]:
    """Every row that shows a sign, with the words that do."""
    found = []
    for place in _rows(sign, corpus):
        asked, answer = corpus.instructions[place], corpus.responses[place]
        found.append(Hit(place, sign.quoted(asked, answer)))
    return found


def cut_off(corpus: Corpus) -> list[Hit]:
    """Every row whose response stops inside a sentence, with its end: see cut_off_rows."""
    rows = cut_off_rows(corpus.responses)
    return [Hit(place, quote(corpus.responses[place], "tail")) for place in rows]


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


def _rows(sign: Sign, corpus: Corpus) -> list[int]:
    texts = zip(corpus.instructions, corpus.responses, strict=True)
    return [row for row, (asked, answer) in enumerate(texts) if sign.shows(asked, answer)]


def _quoting(sign: Sign, side: Side) -> Callable[[int], str]:
    return lambda row: sign.quoted(side.instructions[row], side.responses[row])


_CUT_OFF = "The response stops inside a sentence, where most of its side end with punctuation."
_LONG_RESPONSE = 20
_LONG_LINE = 12
"""Words of a last line that can be taken for prose."""
_USUAL = 0.8
"""Share of a side's prose that has to end with punctuation before a missing one means anything."""
# Bullets, headings, tables and quotations at the beginning; code anywhere; an entity of HTML last.
_NOT_PROSE = re.compile(r"^(?:[-*+•#|>`]|\d+[.)])|\w\(|[{}=<>|]|&#?\w+;$")
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
