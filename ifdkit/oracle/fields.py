"""The strings of a reply, in any of the forms in which an oracle may send them.

A reply may be in another form than the one that was asked for, since servers do not always keep to
it.  Nothing is guessed: the strings are found complete in their one place, or a reason is given.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

from ifdkit.oracle.calls import OracleCall

# What a reasoning model thinks before it answers, drafts and all; unclosed, it never answered.
_THINKING = re.compile(
    r"\A\s*<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE
)
_FENCE_OPENS = re.compile(r"```[a-zA-Z]*\s*")
# Not strict: small models do not escape line breaks in strings.
_DECODER = json.JSONDecoder(strict=False)
_MAX_SCANNED = 2**26
"""Characters that are decoded in search of an object: each attempt may reach the reply's end."""


def without_thinking(text: str) -> str:
    """A reply without what a reasoning model thought before it."""
    return _THINKING.sub("", text)


def reply_fields(call: OracleCall, reply: str) -> dict[str, str] | str:
    """The strings of `call.reply_fields`, or the reason why they are missing.

    Only the last is required; the others are empty if they are missing.
    """
    # Sections first: their marks contain this call's token, which no text of the dataset can.
    in_sections = _in_sections(call, reply)
    return in_sections if in_sections is not None else _in_json(call, reply)


def _in_sections(call: OracleCall, reply: str) -> dict[str, str] | str | None:
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
    names = call.reply_fields
    if names[-1] not in sections:
        return f"the reply has no complete section {names[-1]}"
    return {name: sections.get(name, "") for name in names}


def _in_json(call: OracleCall, reply: str) -> dict[str, str] | str:
    """The one JSON object of the reply: alone, in a code fence, or in the middle of prose."""
    whole = _decoded(_without_fence(reply.strip()), 0)
    if whole is not None and whole[1] is None:
        return _of_object(call, whole[0])
    found: list[dict[str, str]] = []
    reason = "the reply is in no known form"
    position = 0
    # Only objects that begin with one of the fields are decoded, so that a page of braces is cheap.
    names = "|".join(call.reply_fields)
    n_scanned = 0
    for start in re.finditer(rf'\{{\s*"(?:{names})"\s*:', reply):
        if start.start() < position:
            continue
        decoded = _decoded(reply, start.start())
        if decoded is None:
            n_scanned += len(reply) - start.start()
            if n_scanned > _MAX_SCANNED:
                return "the reply has too many beginnings of an answer"
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


def _of_object(call: OracleCall, value: Any) -> dict[str, str] | str:
    if not isinstance(value, dict):
        return "the reply is JSON, but not an object"
    *optional, required = call.reply_fields
    texts = {name: value.get(name, "") for name in optional} | {required: value.get(required)}
    if not all(isinstance(text, str) for text in texts.values()):
        return f"the reply is JSON without the strings {' and '.join(call.reply_fields)}"
    return texts
