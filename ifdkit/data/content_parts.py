"""The content of a message: text, or a list of parts of several kinds.

A kind of part is one entry of `PART_TEXTS`, `THINKING_PARTS` or `MEDIA`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ifdkit.data.turns import BadContentError, RowObject, TextPlace, kind_of

_ANY_TEXT = ("text", "value", "content")
PART_TEXTS = {
    "text": _ANY_TEXT,
    "input_text": _ANY_TEXT,
    "output_text": _ANY_TEXT,
    "refusal": ("refusal", *_ANY_TEXT),
}
"""Type of a part → the keys that its text may have."""
THINKING_PARTS = {
    "thinking": ("thinking", *_ANY_TEXT),
    "reasoning": ("reasoning", *_ANY_TEXT),
}
"""Type of a part that contains what the assistant thought → the keys that its text may have."""
MEDIA = ("image", "audio", "video", "file", "document")
"""Words that name a part without text in its type, or in its keys if it has no type."""


class Content(NamedTuple):
    """What the content of a message contains."""

    text: str
    place: TextPlace | None
    """None if the text was put together from several parts."""
    thinking: str = ""
    media: tuple[str, ...] = ()
    objects: tuple[RowObject, ...] = ()


def content_of(content: Any, number: int, place: TextPlace) -> Content:
    """The content of message `number`. Raises BadContentError if it is not text or known parts."""
    if isinstance(content, str):
        return Content(content, place)
    if isinstance(content, Mapping) and _is_known_part(content):
        return _joined([_part(content, number, place)])
    if not isinstance(content, (list, tuple)):
        raise BadContentError(f"the content of message {number} is {kind_of(content)}, not text")
    return _joined([_part(part, number, place.inside(at)) for at, part in enumerate(content)])


def _joined(parts: Sequence[Content]) -> Content:
    texts = [part for part in parts if part.place is not None]
    return Content(
        "".join(part.text for part in texts),
        texts[0].place if len(texts) == 1 else None,
        "\n".join(part.thinking for part in parts if part.thinking),
        tuple(kind for part in parts for kind in part.media),
        tuple(one for part in parts for one in part.objects),
    )


def _is_known_part(part: Mapping[str, Any]) -> bool:
    return part.get("type") in PART_TEXTS or part.get("type") in THINKING_PARTS


def _part(part: Any, number: int, place: TextPlace) -> Content:
    """One part; its place is None unless it contains text."""
    if isinstance(part, str):
        return Content(part, place)
    if not isinstance(part, Mapping):
        raise BadContentError(f"message {number} contains a part that is not text")
    kind = part.get("type")
    media = _media_kind(part)
    if kind is None and media is None:
        kind = "text"
    keys = PART_TEXTS.get(str(kind)) or THINKING_PARTS.get(str(kind))
    if keys is None:
        if media is None:
            raise BadContentError(
                f"message {number} contains a part that is not text, of type {str(kind)[:40]!r}"
            )
        return Content("", None, media=(media,))
    key = next((key for key in keys if part.get(key) is not None), keys[0])
    is_thinking = str(kind) in THINKING_PARTS
    text = _text_of_thinking(part.get(key)) if is_thinking else part.get(key)
    if not isinstance(text, str):
        raise BadContentError(f"message {number} contains a part that is not text")
    used = ("type", key)
    read = () if all(one in used for one in part) else (RowObject(place, part, used),)
    if is_thinking:
        return Content("", None, thinking=text, objects=read)
    return Content(text, place.inside(key), objects=read)


def _media_kind(part: Mapping[str, Any]) -> str | None:
    """The kind of a part without text, or None."""
    kind = part.get("type")
    if kind is not None:
        return next((one for one in MEDIA if one in str(kind).lower()), None)
    if any(part.get(key) is not None for key in _ANY_TEXT):
        return None
    return next((one for one in MEDIA for key in part if one in str(key).lower()), None)


def _text_of_thinking(value: Any) -> Any:
    """The texts of a list of parts, as Mistral writes it, in one; anything else as it is."""
    if not (isinstance(value, list) and value):
        return value
    texts = [one.get("text") if isinstance(one, Mapping) else one for one in value]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else None
