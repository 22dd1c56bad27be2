"""Parse a reply into an answer: what the oracle wrote, and whether the dataset may contain it.

Nothing is guessed.  A text is `rewritten` only if it is found complete in its one expected place;
every other result has a name, and the original stays.  A reply may be in any of the forms,
because servers do not always use the one that they were asked for.
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
# Not strict: small models do not escape line breaks in strings.
_DECODER = json.JSONDecoder(strict=False)
_WORDS = re.compile(r"\w+")
_MIN_COPIED_WORDS = 8
"""Shorter runs of the prompt's words occur in a text by chance."""
_PLACEHOLDER_WORDS = {"...", "…", "string", "<string>", "n/a", "none", "null"}


def parse(call: Call, reply: Reply) -> Answer:
    """The answer in the reply to this call. Never raises, whatever the oracle wrote."""
    if reply.failure is not None:
        return _answer(reply, Outcome.FAILED, reply.failure)
    if reply.refusal or reply.finish_reason == "content_filter":
        why = reply.refusal or "stopped by a content filter"
        return _answer(reply, Outcome.REFUSED, f"the oracle refuses: {_short(why)}")
    if reply.finish_reason in _CUT_OFF:
        return _answer(reply, Outcome.TRUNCATED, "the reply was cut off; raise --max-tokens")
    text = _THINKING.sub("", reply.text)
    if not text.strip():
        return _answer(reply, Outcome.UNPARSED, "the reply is empty")
    found = _fields(call, text)
    if isinstance(found, str):
        if _refuses(text):
            return _answer(reply, Outcome.REFUSED, f"the oracle refuses: {_short(text)}")
        return _answer(reply, Outcome.UNPARSED, found)
    criticism, rewritten = found
    return _judged(call, reply, criticism.strip(), rewritten)


def _judged(call: Call, reply: Reply, criticism: str, text: str) -> Answer:
    """The answer with a text that was found in its expected place."""
    notes: list[str] = []
    if (opening := _OPENINGS[call.stage].match(text)) is not None:
        rest = text[opening.end() :]
        # If the original has an opening too, it belongs to the text.
        if _OPENINGS[call.stage].match(call.original) is None:
            text = rest
            notes.append(f"removed an announcement: {_short(opening[0])}")
    text = text.strip()
    outcome, reason = _verdict(call, text)
    if not criticism:
        notes.append("no criticism")
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
    if (words := _copied_words(call, text)) is not None:
        return Outcome.UNPARSED, f"the {call.text_field} repeats the prompt: {_short(words)}"
    if call.fence.lower() in text.lower():
        return Outcome.UNPARSED, f"the {call.text_field} repeats the prompt's delimiters"
    if not _is_clean(text):
        return Outcome.UNPARSED, f"the {call.text_field} contains half a surrogate pair or NUL"
    if text.split() == call.original.split():
        return Outcome.KEPT, f"the oracle returned the {call.stage} unchanged"
    if _refuses(text) and not _refuses(call.original):
        return Outcome.REFUSED, f"the {call.text_field} is a refusal: {_short(text)}"
    return Outcome.REWRITTEN, None


def _fields(call: Call, reply: str) -> tuple[str, str] | str:
    """Criticism and text, or the reason why they are missing."""
    # Sections first: their marks contain this call's token, which no text of the dataset can.
    in_sections = _in_sections(call, reply)
    return in_sections if in_sections is not None else _in_json(call, reply)


def _in_sections(call: Call, reply: str) -> tuple[str, str] | str | None:
    """The last whole section of each name; None if the reply contains no marks."""
    if call.fence.lower() not in reply.lower():
        return None
    token = re.escape(call.fence)
    marks = [
        (mark.start(), mark.end(), bool(mark[1]), mark[2].lower())
        for mark in re.finditer(rf"\[\[ *(end +)?([a-z_]+) +{token} *\]\]", reply, re.IGNORECASE)
    ]
    if not marks:
        return None
    sections: dict[str, str] = {}
    for (_, opened, closes, name), (closed, _, also_closes, same) in pairwise(marks):
        if not closes and also_closes and name == same:
            sections[name] = reply[opened:closed]
    if call.text_field not in sections:
        return f"the reply has no complete section {call.text_field}"
    return sections.get("criticism", ""), sections[call.text_field]


def _in_json(call: Call, reply: str) -> tuple[str, str] | str:
    """The one JSON object of the reply: alone, in a code fence, or in the middle of prose."""
    whole = _decoded(_without_fence(reply.strip()), 0)
    if whole is not None and whole[1] is None:
        return _of_object(call, whole[0])
    found: list[tuple[str, str]] = []
    reason = "the reply is in no known form"
    position = 0
    # Only objects that begin with one of the fields are decoded, so that a page of braces is cheap.
    for start in re.finditer(rf'\{{\s*"(?:criticism|{call.text_field})"\s*:', reply):
        if start.start() < position:
            continue
        decoded = _decoded(reply, start.start())
        if decoded is None:
            continue
        position = decoded[1] or len(reply)
        one = _of_object(call, decoded[0])
        if isinstance(one, str):
            reason = one
        elif one not in found:
            found.append(one)
    if len(found) > 1:
        return "the reply contains several different answers"
    return found[0] if found else reason


def _without_fence(reply: str) -> str:
    """The text between code fences if they are the first and the last line; else all of it."""
    first, _, rest = reply.partition("\n")
    body, _, last = rest.rpartition("\n")
    # Not one pattern for all of it, which would take cubic time on a page of blank lines.
    is_fenced = _FENCE_OPENS.fullmatch(first) is not None and last.strip() == "```"
    return body.strip() if is_fenced else reply


def _decoded(text: str, start: int) -> tuple[Any, int | None] | None:
    """The JSON value at `start` and where it ends, None if only white space follows."""
    try:
        value, stop = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return value, stop if text[stop:].strip() else None


def _of_object(call: Call, value: Any) -> tuple[str, str] | str:
    if not isinstance(value, dict):
        return "the reply is JSON, but not an object"
    text, criticism = value.get(call.text_field), value.get("criticism", "")
    if not isinstance(text, str) or not isinstance(criticism, str):
        return f"the reply is JSON without the strings criticism and {call.text_field}"
    return criticism, text


def _is_placeholder(call: Call, text: str) -> bool:
    """Whether it is a placeholder for a text, such as the prompt shows."""
    bare = text.strip().strip("<>[]\"'").lower()
    if bare == call.original.strip().strip("<>[]\"'").lower():
        return False
    shown = {one.strip("<>[]").lower() for one in _placeholders(call)}
    return text.lower() in _PLACEHOLDER_WORDS or bare in shown


def _placeholders(call: Call) -> list[str]:
    """The placeholders that the prompt shows, with their brackets."""
    found: list[str] = _PLACEHOLDER.findall(f"{call.reply_json}\n{call.reply_sections}")
    return found


def _copied_words(call: Call, text: str) -> str | None:
    """Words of the prompt in the text; None if there are none.

    A small oracle recites its task.  Words that the dataset's text contains too are allowed.
    """
    block = rf"<<(?!end )\w+ {call.fence}>>.*?<<end \w+ {call.fence}>>"
    data = " ".join(re.findall(block, call.user, re.DOTALL))
    for shown in map(str.lower, _placeholders(call)):
        if shown in text.lower() and shown not in data.lower():
            return shown
    frame = " ".join((call.system, re.sub(block, " ", call.user, flags=re.DOTALL),
                      call.reply_json, call.reply_sections))  # fmt: skip
    copied = _runs(text) & (_runs(frame) - _runs(data))
    return " ".join(min(copied)) if copied else None


def _runs(text: str) -> set[tuple[str, ...]]:
    """All runs of `_MIN_COPIED_WORDS` consecutive words."""
    words = _WORDS.findall(text.lower())
    return set(zip(*(words[i:] for i in range(_MIN_COPIED_WORDS)), strict=False))


def _refuses(text: str) -> bool:
    """Whether a text opens with a refusal and says little more."""
    return len(text.strip()) <= _LONGEST_REFUSAL and opens_with_refusal(text)


def _is_clean(text: str) -> bool:
    """Whether it can be encoded as UTF-8 and stored anywhere."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _short(text: str) -> str:
    """The text as one short line, for a reason."""
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
