"""One JSON value, parsed as strictly as RFC 8259 says, but for NaN, and within limits.

Python's `json` writes NaN and Infinity for missing and for infinite numbers. They are read as null,
so that a row is not lost because of a score that nobody reads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from ifdkit.data.raw import MAX_DEPTH, MAX_VALUES, too_many

# Possessive quantifiers (*+) never backtrack.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},]', re.DOTALL)
"""A whole string, a bracket or a comma."""


class BadRowError(ValueError):
    """A row that is not a JSON value; the message is the reason for its rejection."""


def parse(data: bytes, max_values: int | None = None) -> Any:
    """One JSON value of up to `max_values` values (MAX_VALUES).

    Raises BadRowError with a reason that names the position in the row.
    """
    limit = MAX_VALUES if max_values is None else max_values
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from error
    if may_exceed(text, limit) and exceeds(text, limit):
        raise BadRowError(too_many(limit))
    try:
        value = _decoded(text)
    except json.JSONDecodeError as error:
        raise BadRowError(f"not JSON: {error.msg} (character {error.pos})") from error
    except RecursionError as error:
        raise BadRowError(f"nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        # Python's limit on the digits of an integer.
        raise BadRowError("not JSON: a number has too many digits") from error
    if _is_deep(value):
        raise BadRowError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def parsed(data: bytes, max_values: int | None = None) -> tuple[Any, str | None]:
    """The value and None, or None and the reason why there is no value."""
    try:
        return parse(data, max_values), None
    except BadRowError as error:
        return None, str(error)


def may_exceed(text: str, max_values: int) -> bool:
    """Whether a JSON value in the text may have more values; quick, as commas may be in texts."""
    if len(text) <= max_values:  # each value has a character of its own
        return False
    return text.count(",") + text.count("[") + text.count("{") > max_values


def exceeds(text: str, max_values: int, begin: int = 0) -> bool:
    """Whether the JSON value at `begin` has more values: lists, objects and what is in them.

    An empty list in another counts twice: as a list, and as a member.
    """
    n_values = depth = 0
    for token in _TOKEN.finditer(text, begin):
        char = text[token.start()]
        if char in "]}":
            depth -= 1
        elif char in "[{":
            depth += 1
            n_values += 1
        elif char == ",":
            n_values += 1
        if n_values > max_values:
            return True
        if depth <= 0:
            return False
    return False


_STRICT = json.JSONDecoder(parse_constant=lambda _: None)
_SCAN: Callable[[str, int], tuple[Any, int]] = _STRICT.scan_once  # type: ignore[attr-defined]
_FLAT = frozenset((str, int, float, bool, type(None)))
"""Types of values that contain no others."""


def _decoded(text: str) -> Any:
    """`_STRICT.decode(text)`, in half the time if there is no white space around the value."""
    try:
        value, end = _SCAN(text, 0)
    except StopIteration:
        return _STRICT.decode(text)  # white space at the beginning, or no value
    return value if end == len(text) else _STRICT.decode(text)


def _is_deep(value: Any) -> bool:
    """Whether lists and objects are nested deeper than MAX_DEPTH. Not recursive itself."""
    if isinstance(value, dict) and _FLAT.issuperset(map(type, value.values())):
        return False  # as most rows are
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
