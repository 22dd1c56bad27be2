"""Conversations stored as one text, as in HH-RLHF: `\\n\\nHuman: …\\n\\nAssistant: …`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ifdkit.data.turns import RowTurn, TextPlace
from ifdkit.records import Role

_MARKER = re.compile(r"(?:\A\s*|\n[ \t]*\n)(Human|User|Assistant):")
_ROLES: dict[str, Role] = {"Human": "user", "User": "user", "Assistant": "assistant"}


def is_transcript(value: object) -> bool:
    """Whether a text begins like a transcript, and contains an answer."""
    return (
        isinstance(value, str)
        and _MARKER.match(value) is not None
        and any(match[1] == "Assistant" for match in _MARKER.finditer(value))
    )


def walk_transcript(text: str, place: TextPlace) -> Iterator[RowTurn]:
    """The turns of a transcript, without the white space around their texts."""
    matches = list(_MARKER.finditer(text))
    ends = [*(match.start() for match in matches[1:]), len(text)]
    for match, end in zip(matches, ends, strict=True):
        whole = text[match.end() : end]
        start = match.end() + len(whole) - len(whole.lstrip())
        stop = start + len(whole.strip())
        span = TextPlace(place.path, place.is_json_text, (start, stop))
        yield RowTurn(_ROLES[match[1]], text[start:stop], place=span)
