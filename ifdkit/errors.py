"""Every error a user can meet, in one tree.

IfdkitError                 exit code 2; one line that says what, where and what to do
├── UsageError              flags or arguments that cannot be meant
├── InputError              data that cannot be read
│   └── AmbiguousFormatError  data that can be read in two ways; names the flag that decides
├── ModelError              a name that resolves to nothing, weights refused or broken
├── StoreError              the score store cannot be opened, read or written
├── OracleError             the oracle cannot be reached, refuses the key or is not there
└── OutputError             a result that cannot be written
"""

from __future__ import annotations


class IfdkitError(Exception):
    """Base of everything that ifdkit raises on purpose.

    The message is one line for a person: the value, the place (file, row, byte) and the fix.
    """


class UsageError(IfdkitError):
    """Flags or arguments that contradict each other or lie out of range."""


class InputError(IfdkitError):
    """A dataset that does not exist, cannot be decoded or holds no rows."""


class AmbiguousFormatError(InputError):
    """A dataset whose columns allow two readings; the message holds the flag to type."""


class ModelError(IfdkitError):
    """A model that does not resolve, whose weights are refused, or that does not load."""


class StoreError(IfdkitError):
    """A score store that cannot be opened, read or written."""


class OracleError(IfdkitError):
    """An oracle that cannot be reached, refuses the key, or does not know the model."""


class OutputError(IfdkitError):
    """A file that cannot be written."""


def brief(error: BaseException) -> str:
    """The first line of a foreign error, or its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
