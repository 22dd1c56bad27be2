"""The API key: where it comes from, which server gets it, and how it is kept out of all texts."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator

from ifdkit.errors import UsageError

DEFAULT_VARIABLE = "OPENAI_API_KEY"
"""The variable whose key belongs to the default server, and to no other."""
_MAX_QUOTE_CHARS = 200
_NO_KEY = "none"
"""Sent to servers that need no key, because the SDK requires one."""
_MIN_PIECE = 8
"""Characters of a key in a row that are removed from a message."""
_CODED = re.compile(
    r"\\u00([0-9a-f]{2})|\\x([0-9a-f]{2})|%([0-9a-f]{2})|&#x([0-9a-f]{2});"
    r"|&#([0-9]{2,3});|\\[nrtbf]",
    re.IGNORECASE,
)
"""A character of a key as JSON, Python, a URL or HTML writes it; or a line end in JSON."""


class ApiKey:
    """An API key that only the SDK sees: it is in no repr and no message."""

    def __init__(self, variable: str | None, *, is_required: bool) -> None:
        """Read the key from an environment variable; None sends none.

        Raises UsageError if it is required and not set, or not one line of ASCII.
        """
        self.__value = os.environ.get(variable, "").strip() if variable else ""
        if not self.__value and is_required:
            raise UsageError(
                f"the oracle needs a key: set it in the environment variable"
                f" {variable or DEFAULT_VARIABLE}, or name another variable with --api-key-env"
            )
        # Anything else would break the header, with an error that quotes the key.
        if not (self.__value.isascii() and self.__value.isprintable()):
            raise UsageError(f"the key in {variable} must be one line of ASCII")
        self.__forms = tuple(dict.fromkeys(_forms(self.__value)))

    @property
    def value(self) -> str:
        """The key, or a placeholder for none."""
        return self.__value or _NO_KEY

    def redact(self, text: str) -> str:
        """Untrusted text as one short line, with the key and pieces of it replaced."""
        for begin, end in reversed(self._spans(text, _MIN_PIECE)):
            text = f"{text[:begin]}[key]{text[end:]}"
        line = " ".join(text.split())
        return line if len(line) <= _MAX_QUOTE_CHARS else line[: _MAX_QUOTE_CHARS - 1] + "…"

    def is_in(self, text: str | None) -> bool:
        """Whether a text contains the key or half of it, however it is split or encoded."""
        # A shorter piece may be a word that is there by chance, and the text is a dataset's.
        return bool(text and self._spans(text, (len(self.__value) + 1) // 2))

    def _spans(self, text: str, n_piece: int) -> list[tuple[int, int]]:
        """Where pieces of at least `n_piece` characters of a form of the key are, in order."""
        if not self.__value:
            return []
        found = [(m.start(), m.end()) for m in re.finditer(re.escape(self.__value), text)]
        plain, places = _letters(text)
        for form in self.__forms:
            n = min(max(n_piece, _MIN_PIECE), len(form))
            if n < _MIN_PIECE // 2:
                continue  # the exact search is all that such a key allows
            pieces = {form[i : i + n] for i in range(len(form) - n + 1)}
            for piece in pieces:
                at = plain.find(piece)
                while at >= 0:
                    found.append((places[at][0], places[at + n - 1][1]))
                    at = plain.find(piece, at + 1)
        return _joined(sorted(found))

    def __repr__(self) -> str:
        return "ApiKey([key])"


def _letters(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The ASCII letters and digits of a text in lower case, and where in the text each one is.

    So white space, line ends, quotes and other separators inside a key do not hide it.
    """
    letters: list[str] = []
    places: list[tuple[int, int]] = []
    position = 0
    while position < len(text):
        char, end = text[position], position + 1
        if char in "\\%&" and (match := _CODED.match(text, position)):
            end = match.end()
            code = next((int(one, 16) for one in match.groups()[:4] if one), 0)
            char = chr(code or int(match[5] or 0))
        if char.isascii() and char.isalnum():
            letters.append(char.lower())
            places.append((position, end))
        position = end
    return "".join(letters), places


def _forms(key: str) -> Iterator[str]:
    """Letters and digits of the key, of its base64 at every offset, of its hex, and reversed."""
    yield _letters(key)[0]
    for offset in range(3):
        # The first and last characters depend on the bytes around the key.
        coded = base64.b64encode(b"\0" * offset + key.encode()).decode().rstrip("=")
        yield _letters(coded[(offset * 8 + 5) // 6 : -1])[0]
    yield key.encode().hex()
    yield _letters(key[::-1])[0]


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans without overlaps; those that touch become one."""
    joined: list[tuple[int, int]] = []
    for begin, end in spans:
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined
