"""Parse a reply into an answer: what the oracle wrote, and whether the dataset may contain it.

Nothing is guessed.  A text is `rewritten` only if it is found complete in its one expected place;
every other result has a name, and the original stays.  A reply may be in any of the forms,
because servers do not always use the one that they were asked for.
"""

from __future__ import annotations

import re

from ifdkit.findings.stock_phrases import (
    MENTION_OF_ORIGINAL,
    announcement_in_reply,
    opens_with_refusal,
)
from ifdkit.oracle.calls import Reply
from ifdkit.oracle.fields import reply_fields, without_thinking
from ifdkit.reflection.outcomes import Answer, Call, Outcome, Stage

_CUT_OFF = {"length", "max_tokens"}
_LONGEST_REFUSAL = 600
"""Characters: a longer text that opens like a refusal goes on to answer."""


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
    text = without_thinking(reply.text)
    if not text.strip():
        return _answer(reply, Outcome.UNPARSED, "the reply is empty")
    found = reply_fields(call, text)
    if isinstance(found, str):
        if _refuses(text):
            return _answer(reply, Outcome.REFUSED, f"the oracle refuses: {_short(text)}")
        return _answer(reply, Outcome.UNPARSED, found)
    criticism, rewritten = found["criticism"], found[call.text_field]
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
