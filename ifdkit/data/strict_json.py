"""One JSON value, parsed as strictly as RFC 8259 says, but for NaN, and with a limit on its depth.

Python's `json` writes NaN and Infinity for missing and for infinite numbers. They are read as null,
so that a row is not lost because of a score that nobody reads.
"""

from __future__ import annotations

import json
from typing import Any

from ifdkit.data.raw import MAX_DEPTH


class BadRowError(ValueError):
    """A row that is not a JSON value; the message is the reason for its rejection."""


def parse(data: bytes) -> Any:
    """One JSON value. Raises BadRowError with a reason that names the position in the row."""
    try:
        value = _STRICT.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8: byte 0x{data[error.start]:02x} at {error.start}") from error
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


def parsed(data: bytes) -> tuple[Any, str | None]:
    """The value and None, or None and the reason why there is no value."""
    try:
        return parse(data), None
    except BadRowError as error:
        return None, str(error)


_STRICT = json.JSONDecoder(parse_constant=lambda _: None)


def _is_deep(value: Any) -> bool:
    """Whether lists and objects are nested deeper than MAX_DEPTH. Not recursive itself."""
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
