"""Stock phrases of language models: refusals, AI disclaimers, and announcements of a rewriting.

All patterns for such phrases are here.  The checks look for them in the examples of a dataset, and
`reflection` in the reply of an oracle.

The patterns are anchored and narrow, because a check that fires on good rows teaches its readers
to ignore it.  So a refusal does not count if the instruction asks for one, and a disclaimer does
not count if the instruction is about AI.
"""

from __future__ import annotations

import re

from ifdkit.findings.checks import example_check
from ifdkit.findings.texts import quote, quote_at

_HEAD_CHARS = 400
"""Characters at the beginning of a text that can contain an opening phrase."""


def _head(text: str) -> str:
    """The beginning of a text as the patterns expect it: lower case, straight apostrophes."""
    return text.lstrip()[:_HEAD_CHARS].lower().replace("\u2019", "'")


# Refusals

_APOLOGY = (
    r"(?:i(?:'m| am)(?: \w+)? (?:sorry|afraid)|sorry|(?:my )?apologies|i apologi[sz]e|unfortunately"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model))"
)
_CANNOT = (
    r"(?:can'?t|can ?not|won't|will not|(?:am|'m|are|'re) (?:unable|not able|not going) to"
    r"|(?:currently )?(?:don't|do not)(?: currently)? have the"
    r" (?:capabilit(?:y|ies)|ability|access|means|tools) to)"
)
_MUST_DECLINE = r"(?:must|have to|need to)(?: \w+)? (?:decline|refuse)"
_HELP = (
    r"(?:answer|assist|comply|continue|create|discuss|do (?:that|this|so)|engage|fulfil+|generate"
    r"|help|improve|produce|provide|respond|rewrite|support|write)"
)
"""What only an assistant says that it cannot do."""
_OTHER_ACTS = (
    r"(?:accept|access|advise|analy[sz]e|book|browse|comment|complete|describe|design|display|draw"
    r"|edit|endorse|express|give|identify|offer|open|order|participate|perform|place|play|predict"
    r"|process|promote|recommend|see|share|suggest|summari[sz]e|translate|view)"
)
_REFUSAL_WITHOUT_SPEAKER = (
    r"^\W*sorry, (?:but )?(?:the|this|your) (?:task|request|question|instruction)\b"
    # Other languages: the apology and the word for "cannot" in one sentence.
    r"|^\W*es tut mir leid, aber (?:ich kann|als ki)\b"
    r"|^\W*(?:je suis )?désolée?, mais je ne (?:peux|suis)\b"
    r"|^\W*lo siento, (?:pero )?(?:no puedo|como (?:una )?ia)\b"
    r"|^\W*(?:很|非常)?(?:抱歉|对不起)[,，]?(?:但)?(?:作为[^。]{0,20}[,，])?我(?:不能|无法)"
)


def _refusal(between: str, statement: str) -> re.Pattern[str]:
    """Perhaps an apology and some words `between`, then the `statement`: "I can't help"."""
    return re.compile(rf"^\W*(?:{_APOLOGY}\b{between})?\b{statement}\b|{_REFUSAL_WITHOUT_SPEAKER}")


# The two patterns differ, because a dataset contains all kinds of responses, and what an oracle
# writes may be an instruction.
#   - A response has to refuse in the sentence of its apology: "I'm sorry for your loss. I cannot
#     express …" is sympathy.  An oracle may need another sentence.
#   - A response has to say "I": the letter of a company begins "Unfortunately, we cannot offer".
#   - An instruction says "I can't open the file" or "I have to decline an invitation", so in a
#     reply only acts of an assistant count.
_REFUSAL_IN_RESPONSE = _refusal(
    r"(?:[.!] |[^.!?\n]{0,120}?)",
    rf"i ?(?:{_CANNOT}(?: \w+)? (?:{_HELP}|{_OTHER_ACTS})|{_MUST_DECLINE}|decline to)",
)
_REFUSAL_IN_REPLY = _refusal(
    r"(?:[^.!?\n]{0,120}?|(?s:.{0,60}?))",
    rf"(?:i|we) ?(?:{_CANNOT}(?: \w+)?|(?:{_MUST_DECLINE}|decline)(?: to)?) {_HELP}",
)
_SPEECH = re.compile('["\u201c\u00ab][^"\u201d\u00bb]*["\u201d\u00bb]\\W*\\w')
"""Somebody in a story speaks: the text goes on after the quotation."""
_REFUSAL_WANTED = re.compile(
    r"\b(?:refus|declin|reject|apolog|resign|turn(?:s|ed|ing)? down\b|says? no\b|sorry\b)",
    re.IGNORECASE,
)


def opens_with_refusal(reply: str) -> bool:
    """Whether an oracle's reply, or the instruction or response in it, opens with a refusal."""
    return _opens_with(_REFUSAL_IN_REPLY, reply)


def _opens_with(refusal: re.Pattern[str], text: str) -> bool:
    head = _head(text)
    return bool(refusal.match(head)) and not _SPEECH.match(head)


@example_check("refusal", "refusals", "The response declines the request.")
def refusal(instruction: str, response: str) -> str | None:
    """The response opens with a refusal that the instruction does not ask for."""
    if _opens_with(_REFUSAL_IN_RESPONSE, response) and not _REFUSAL_WANTED.search(instruction):
        return quote(response)
    return None


# AI disclaimers

_DISCLAIMER = re.compile(
    r"\b(?:as|being|i am|i'm)(?: just| only| merely)? an? (?:ai|artificial intelligence)"
    r"(?:,| and\b| (?:language )?(?:model|assistant|chatbot|program|system)\b)"
    # At the beginning of a sentence: "used as a language model" is said of one.
    r"|(?:^|[.!?\n] ?)(?:but |however, )?as a (?:large )?language model\b"
    r"|\b(?:i am|i'm) (?:just|only|merely) a (?:large )?language model\b"
    r"|\bals ki(?:-| )?(?:sprach)?modell\b|\ben tant qu'(?:ia\b|intelligence artificielle)"
    r"|作为(?:一[个种])?(?:人工智能|ai)(?:语言)?(?:模型|助手)"
)
_DISCLAIMER_WORDS = (" ai", "artificial", "language model", "als ki", "qu'ia", "作为")
"""Every match of _DISCLAIMER contains one; looking for them takes a tenth of the time."""
_ABOUT_AI = re.compile(
    r"\b(?:ai|a\.i\.|artificial intelligence|(?:large )?language models?|llms?|chat-?bots?|robots?"
    r"|androids?|assistants?|(?:chat)?gpt(?:-?\d)?|(?:who|what) are you|are you an?|are you human"
    r"|(?:introduce|about|describe) yourself)\b",
    re.IGNORECASE,
)


@example_check("ai_disclaimer", "AI disclaimers", "The response calls its author an AI.")
def ai_disclaimer(instruction: str, response: str) -> str | None:
    """The beginning of the response calls its author an AI, and the instruction is not about AI."""
    head = _head(response)
    found = _DISCLAIMER.search(head) if any(word in head for word in _DISCLAIMER_WORDS) else None
    if not found or _ends_inside_quotation(head[: found.start()]) or _ABOUT_AI.search(instruction):
        return None
    return quote_at(response.lstrip(), found.start())


def _ends_inside_quotation(text: str) -> bool:
    return text.count('"') % 2 == 1 or text.count("\u201c") > text.count("\u201d")


# Announcements of a rewriting

_YES = r"(?:(?:sure|certainly|of course|okay|ok|absolutely)\W+)?"
_NEW = r"(?:new|improved|rewritten|revised|refined|updated|enhanced|better|more detailed)"
_PART = r"(?:answer|response|instruction|prompt)"
_FRAME = re.compile(
    rf"\[(?:(?:the )?(?:start|end) of )?(?:{_NEW}|original|given) {_PART}\]"
    rf"|# ?(?:the )?(?:{_NEW}|created|given|original) {_PART} ?#"
)
"""Delimiters of a rewriting prompt: `[New Answer]`, `#Given Prompt#`."""
_ANNOUNCEMENT = re.compile(
    rf"^\W*{_YES}(?:the )?{_NEW} {_PART} ?:"
    rf"|^\W*{_YES}here(?:'s| is)(?: \w+){{0,2}}? {_NEW}\b[^.:\n]{{0,40}}?\b{_PART}\b"
)
"""How a rewriting begins: "Here is an improved answer"."""
_ORIGINAL = re.compile(rf"the original {_PART}\b")
_SUMMARY = re.compile(
    rf"\bthis (?:\w+ and )?{_NEW}(?: and \w+)? answer\b"
    r"|\bthe (?:original|previous) answer\b|\bthe original (?:instruction|prompt)\b"
)
"""How a rewriting ends: "This improved answer provides …"."""
_REWRITING_WANTED = re.compile(rf"\b{_PART}s?\b", re.IGNORECASE)


@example_check(
    "prompt_leak", "leaked prompts", "The text mentions its own rewriting: the prompt has leaked."
)
def prompt_leak(instruction: str, response: str) -> str | None:
    """The instruction or the response mentions being rewritten, which nobody asked for."""
    for text in (instruction, response):
        position = _frame_position(text)
        if position is not None:
            return quote_at(text, position)
    position = _announcement_position(instruction)
    if position is not None:
        return quote_at(instruction, position)
    position = _announcement_position(response)
    if position is None:
        position = _summary_position(response)
    # Whoever asks for a better answer may be told that here is one.
    if position is None or _REWRITING_WANTED.search(instruction):
        return None
    return quote_at(response, position)


def _frame_position(text: str) -> int | None:
    part = text[: 10 * _HEAD_CHARS]
    # A cheap test first: most texts contain neither character.
    found = _FRAME.search(part.lower()) if "]" in part or "#" in part else None
    return found.start() if found else None


def _announcement_position(text: str) -> int | None:
    head = _head(text)
    found = _ANNOUNCEMENT.match(head)
    if not found and "the original " in head:
        found = _ORIGINAL.search(head)
    return found.start() if found else None


def _summary_position(text: str) -> int | None:
    begin = max(0, len(text) - 2 * _HEAD_CHARS)
    end = text[begin:].lower()
    found = _SUMMARY.search(end) if "answer" in end or "the original " in end else None
    return begin + found.start() if found else None


_NEW_IN_REPLY = (
    r"(?:new|newer|better|improved|revised|rewritten|re-written|refined|enhanced|updated|expanded"
    r"|detailed|reworked|polished)"
)
_YES_IN_REPLY = r"(?:(?:sure|certainly|of course|absolutely|okay|ok)\b[^\n:]{0,30}?[!.,:]\s*)?"
MENTION_OF_ORIGINAL = re.compile(
    r"\b(?:the|your|this) (?:original|old|previous|initial) "
    r"(?:instruction|prompt|question|answer|response|reply)\b",
    re.IGNORECASE,
)
"""Words of a rewriting about the text that it replaces."""


def announcement_in_reply(nouns: str) -> re.Pattern[str]:
    """How an oracle introduces the text that it was asked for, up to the text; also headings.

    `nouns` is the pattern of what it calls the text.  Wider than the pattern of `prompt_leak`: a
    reply is known to be a rewriting, but in a dataset "Here is a detailed answer:" is a good
    opening.  And it matches the whole announcement, because `reflection` removes what it matches.
    """
    said = (
        rf"{_YES_IN_REPLY}(?:here(?:['’]s| is| are)|below is|this is|the following is)\b"
        rf"[^\n:]{{0,80}}\b{_NEW_IN_REPLY}\b[^\n:]{{0,40}}\b{nouns}\b[^\n:]{{0,60}}:"
    )
    label = rf"(?:the |my |your )?{_NEW_IN_REPLY}(?:,? (?:and )?(?:more )?{_NEW_IN_REPLY})* {nouns}"
    heading = rf"(?:#+ *)?(?:\[{label}\]:?|\*\*{label}:?\*\*:?|{label} *[:\n])"
    return re.compile(rf"\s*(?:{said}|{heading})\s*", re.IGNORECASE)
