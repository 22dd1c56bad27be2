"""The error tree.

IfdkitError                 exit code 2; one line that says what, where and what to do
├── UsageError              invalid flags or arguments
├── InputError              data that cannot be read
│   └── AmbiguousFormatError  data that can be read in two ways; names the flag that decides
├── ModelError              a model that does not resolve or does not load
├── StoreError              the score store cannot be opened, read or written
├── OracleError             the oracle cannot be reached or refuses the key
└── OutputError             a result that cannot be written
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IfdkitError(Exception):
    """Base of all errors that ifdkit raises on purpose.

    The message is one line: the value, the place (file, row, byte) and the fix.
    """


class UsageError(IfdkitError):
    """Flags or arguments that contradict each other or lie out of range."""


class InputError(IfdkitError):
    """A dataset that does not exist, cannot be decoded or contains no rows."""


class AmbiguousFormatError(InputError):
    """A dataset whose columns allow two readings; the message contains the flag to type."""


class ChangedInputError(InputError):
    """A dataset that changed while it was read."""


class ModelError(IfdkitError):
    """A model that does not resolve, whose weights are refused, or that does not load."""


class StoreError(IfdkitError):
    """A score store that cannot be opened, read or written."""


class OracleError(IfdkitError):
    """An oracle that cannot be reached, refuses the key, or does not know the model."""


class OutputError(IfdkitError):
    """A file that cannot be written."""


def brief(error: BaseException) -> str:
    """The first line of an error from another library, or its type if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def unknown(what: str, value: object, choices: Iterable[str]) -> str:
    """`no metric 'idf': did you mean 'ifd'?`, or with all the choices if none is close."""
    names = list(choices)
    begun = [name for name in names if len(str(value)) > 1 and name.startswith(str(value))]
    close = begun or difflib.get_close_matches(str(value), names, n=1)
    if close:
        return f"no {what} {value!r}: did you mean {close[0]!r}?"
    return f"no {what} {value!r}: choose from {', '.join(names) or 'none'}"
