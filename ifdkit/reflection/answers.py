"""A reply in, an answer out: what the oracle wrote, and whether it may stand in the dataset.

Nothing is guessed at.  A text is `rewritten` only where it was found whole in the one place that it
had to be; everything else is named, and the original stands.  A reply may be in any of the forms,
since servers do not always keep to the one that they were asked for.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

from ifdkit.findings.stock_phrases import (
    MENTION_OF_ORIGINAL,
    announcement_in_reply,
    opens_with_refusal,
)
from ifdkit.reflection.outcomes import Answer, Call, Outcome, Reply, Stage

_CUT_OFF = {"length", "max_tokens"}
_LONGEST_REFUSAL = 600
"""Characters: a longer text that opens like a refusal goes on to answer."""

# What a reasoning model thinks before it answers, drafts and all; unclosed, it never answered.
_THINKING = re.compile(
    r"\A\s*<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE
)
_FENCE_OPENS = re.compile(r"```[a-zA-Z]*\s*")

# What a rewriting model says before the text itself, and headings of it.
_OPENINGS = {
    Stage.INSTRUCTION: announcement_in_reply(
        r"(?:instruction|prompt|question|task|version|request)s?"
    ),
    Stage.RESPONSE: announcement_in_reply(
        r"(?:answer|response|reply|version of the (?:answer|response|reply))s?"
    ),
}
_PLACEHOLDER = re.compile(r"<[^<>\n]+>|\[[^\[\]\n]+\]")
# Not strict: small models leave line breaks in strings as they are.
_DECODER = json.JSONDecoder(strict=False)
_WORDS = re.compile(r"\w+")
_PARROTED_WORDS = 8
_EMPTY_WORDS = {"...", "…", "string", "<string>", "n/a", "none", "null"}


def parse(call: Call, reply: Reply) -> Answer:
    """What the reply to this call amounts to. Never raises, whatever the oracle wrote."""
    if reply.failure is not None:
        return _answer(reply, Outcome.FAILED, reply.failure)
    if reply.refusal or reply.finish_reason == "content_filter":
        said = reply.refusal or "stopped by a content filter"
        return _answer(reply, Outcome.REFUSED, f"the oracle refuses: {_short(said)}")
    if reply.finish_reason in _CUT_OFF:
        return _answer(reply, Outcome.TRUNCATED, "the reply was cut off; allow more tokens for it")
    said = _THINKING.sub("", reply.text)
    if not said.strip():
        return _answer(reply, Outcome.UNPARSED, "the reply is empty")
    found = _fields(call, said)
    if isinstance(found, str):
        if _refuses(said):
            return _answer(reply, Outcome.REFUSED, f"the oracle refuses: {_short(said)}")
        return _answer(reply, Outcome.UNPARSED, found)
    criticism, text = found
    return _judged(call, reply, criticism.strip(), text)


def _judged(call: Call, reply: Reply, criticism: str, text: str) -> Answer:
    """The outcome of a text that was found where it had to be."""
    notes: list[str] = []
    if (opening := _OPENINGS[call.stage].match(text)) is not None:
        rest = text[opening.end() :]
        # An opening that the original has too belongs to the text.
        if _OPENINGS[call.stage].match(call.original) is None:
            text = rest
            notes.append(f"an opening was stripped: {_short(opening[0])}")
    text = text.strip()
    outcome, reason = _verdict(call, text)
    if not criticism:
        notes.append("no criticism was given")
    if outcome is not Outcome.REWRITTEN:
        return _answer(reply, outcome, reason, criticism=criticism or None, notes=notes)
    # A mention that stands in the dataset's own text is the dataset's.
    mention = MENTION_OF_ORIGINAL.search(text)
    if mention and mention[0].lower() not in call.user.lower():
        notes.append(f"mentions {mention[0]!r}")
    return _answer(reply, outcome, None, criticism=criticism or None, text=text, notes=notes)


def _verdict(call: Call, text: str) -> tuple[Outcome, str | None]:
    if not text:
        return Outcome.UNPARSED, f"the {call.text_field} is empty"
    if _is_placeholder(call, text):
        return Outcome.UNPARSED, f"the {call.text_field} copies the prompt's placeholder"
    if (words := _parroted(call, text)) is not None:
        return Outcome.UNPARSED, f"the {call.text_field} repeats the prompt: {_short(words)}"
    if call.fence.lower() in text.lower():
        return Outcome.UNPARSED, f"the {call.text_field} repeats the prompt's delimiters"
    if not _is_clean(text):
        return Outcome.UNPARSED, f"the {call.text_field} is no valid text: half a character or NUL"
    if text.split() == call.original.split():
        return Outcome.KEPT, f"the oracle gave the {call.stage} back as it was"
    if _refuses(text) and not _refuses(call.original):
        return Outcome.REFUSED, f"the {call.text_field} is a refusal: {_short(text)}"
    return Outcome.REWRITTEN, None


def _fields(call: Call, said: str) -> tuple[str, str] | str:
    """Criticism and text, or the reason why they are not to be had."""
    # Marks first: they bear this call's token, which no text of the dataset can.
    in_sections = _in_sections(call, said)
    return in_sections if in_sections is not None else _in_json(call, said)


def _in_sections(call: Call, said: str) -> tuple[str, str] | str | None:
    """The last whole section of each name; None where the reply has no marks at all."""
    if call.fence.lower() not in said.lower():
        return None
    token = re.escape(call.fence)
    marks = [
        (mark.start(), mark.end(), bool(mark[1]), mark[2].lower())
        for mark in re.finditer(rf"\[\[ *(end +)?([a-z_]+) +{token} *\]\]", said, re.IGNORECASE)
    ]
    if not marks:
        return None
    sections: dict[str, str] = {}
    for (_, opened, closes, name), (closed, _, also_closes, same) in pairwise(marks):
        if not closes and also_closes and name == same:
            sections[name] = said[opened:closed]
    if call.text_field not in sections:
        return f"the reply has no whole section {call.text_field}"
    return sections.get("criticism", ""), sections[call.text_field]


def _in_json(call: Call, said: str) -> tuple[str, str] | str:
    """The one JSON object of the reply: alone, in a code fence, or in the middle of prose."""
    whole = _decoded(_without_fence(said.strip()), 0)
    if whole is not None and whole[1] is None:
        return _of_object(call, whole[0])
    found: list[tuple[str, str]] = []
    reason = "the reply is in none of the forms asked for"
    position = 0
    # Only objects that begin as ours do are tried, so that a page of braces costs nothing.
    for start in re.finditer(rf'\{{\s*"(?:criticism|{call.text_field})"\s*:', said):
        if start.start() < position:
            continue
        decoded = _decoded(said, start.start())
        if decoded is None:
            continue
        position = decoded[1] or len(said)
        one = _of_object(call, decoded[0])
        if isinstance(one, str):
            reason = one
        elif one not in found:
            found.append(one)
    if len(found) > 1:
        return "the reply holds several answers that differ"
    return found[0] if found else reason


def _without_fence(said: str) -> str:
    """What stands between code fences that are the first and the last line; else all of it."""
    first, _, rest = said.partition("\n")
    body, _, last = rest.rpartition("\n")
    # No one pattern for all of it: a page of blank lines would take its third power in time.
    is_fenced = _FENCE_OPENS.fullmatch(first) is not None and last.strip() == "```"
    return body.strip() if is_fenced else said


def _decoded(text: str, start: int) -> tuple[Any, int | None] | None:
    """The JSON value at `start` and its end, None for an end with nothing after it."""
    try:
        value, stop = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return value, stop if text[stop:].strip() else None


def _of_object(call: Call, value: Any) -> tuple[str, str] | str:
    if not isinstance(value, dict):
        return "the reply is JSON, but no object"
    text, criticism = value.get(call.text_field), value.get("criticism", "")
    if not isinstance(text, str) or not isinstance(criticism, str):
        return f"the reply is JSON without criticism and {call.text_field} as texts"
    return criticism, text


def _is_placeholder(call: Call, text: str) -> bool:
    """Whether it is a stand-in for a text, such as the prompt shows where the text has to go."""
    bare = text.strip().strip("<>[]\"'").lower()
    if bare == call.original.strip().strip("<>[]\"'").lower():
        return False
    shown = {one.strip("<>[]").lower() for one in _placeholders(call)}
    return text.lower() in _EMPTY_WORDS or bare in shown


def _placeholders(call: Call) -> list[str]:
    """What the prompt shows where the text has to go, brackets included."""
    found: list[str] = _PLACEHOLDER.findall(f"{call.reply_json}\n{call.reply_sections}")
    return found


def _parroted(call: Call, text: str) -> str | None:
    """Words of the prompt's own that came back as if they were the text; None where none did.

    A small oracle recites its task.  Words that the dataset's text holds as well may return.
    """
    block = rf"<<(?!end )\w+ {call.fence}>>.*?<<end \w+ {call.fence}>>"
    data = " ".join(re.findall(block, call.user, re.DOTALL))
    for shown in map(str.lower, _placeholders(call)):
        if shown in text.lower() and shown not in data.lower():
            return shown
    frame = " ".join((call.system, re.sub(block, " ", call.user, flags=re.DOTALL),
                      call.reply_json, call.reply_sections))  # fmt: skip
    again = _runs(text) & (_runs(frame) - _runs(data))
    return " ".join(min(again)) if again else None


def _runs(text: str) -> set[tuple[str, ...]]:
    """All runs of so many consecutive words that chance does not repeat them."""
    words = _WORDS.findall(text.lower())
    return set(zip(*(words[i:] for i in range(_PARROTED_WORDS)), strict=False))


def _refuses(text: str) -> bool:
    """Whether a text opens with a refusal and says little more."""
    return len(text.strip()) <= _LONGEST_REFUSAL and opens_with_refusal(text)


def _is_clean(text: str) -> bool:
    """Whether it can be written as UTF-8 and read back."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _short(text: str) -> str:
    """One line of it, to be quoted in a reason."""
    line = " ".join(text.split()).encode("utf-8", "replace").decode()
    return line if len(line) <= 120 else line[:119] + "…"


def _answer(
    reply: Reply,
    outcome: Outcome,
    reason: str | None,
    *,
    criticism: str | None = None,
    text: str | None = None,
    notes: list[str] | None = None,
) -> Answer:
    if criticism is not None and not _is_clean(criticism):
        criticism = criticism.replace("\0", "").encode("utf-8", "replace").decode()
    return Answer(
        outcome,
        reason,
        criticism,
        text,
        tuple(notes or ()),
        reply.prompt_tokens,
        reply.completion_tokens,
    )
