"""One JSON value, parsed as strictly as RFC 8259 says and with a limit on its depth."""

from __future__ import annotations

import json
from typing import Any, NoReturn

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
        # Either _refuse_constant, or Python's limit on the digits of an integer.
        reason = str(error) if "JSON number" in str(error) else "a number has too many digits"
        raise BadRowError(f"not JSON: {reason}") from error
    if _is_deep(value):
        raise BadRowError(f"nested deeper than {MAX_DEPTH} levels")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_STRICT = json.JSONDecoder(parse_constant=_refuse_constant)


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
