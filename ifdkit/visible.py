"""Untrusted text made safe to show: control and invisible characters become escapes.

A dataset can contain escape sequences that rewrite a terminal, overrides that reverse the order of
letters, and characters that nobody sees.  Each is shown as an escape such as `\\x1b` or `\\u202e`.
What ordinary writing needs stays: accents, the joiners of emoji and of Persian, right-to-left
letters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_RANGES = (
    *((0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F)),  # C0 but tab and line feed, DEL, C1
    *((0x61C, 0x61C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069)),  # direction
    *((0xAD, 0xAD), (0x180E, 0x180E), (0x200B, 0x200B), (0x2060, 0x2065)),  # invisible
    *((0x206A, 0x206F), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB)),
    (0x2028, 0x2029),  # line ends to some programs only
    *((0xD800, 0xDFFF), (0xFFFE, 0xFFFF)),  # not characters
    (0xE0000, 0xE007F),  # tags: a hidden copy of ASCII
)
"""First and last code point of what is escaped."""
_ESCAPED = re.compile("".join(["[", *(f"{chr(a)}-{chr(b)}" for a, b in _RANGES), "]"]))
_BLANK = re.compile(
    "[\\s\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e01ef]*"
)
"""Whitespace, control and format characters, fillers, variation selectors: nothing that shows."""
# Quotes may precede the sign, so that a text with a quote of its own is guarded too, and keeps it.
_FORMULA = re.compile(r"'*(?:\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r])")
"""What spreadsheets take for a formula, also with full-width signs."""
_LINE_END = re.compile(r"[ \t]*\n[ \t]*")


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(code: int) -> str:
    return json.dumps(chr(code))[1:-1]


_ESCAPES = {code: _escape(code) for first, last in _RANGES for code in range(first, last + 1)}
_JSON_ESCAPES = {code: _json_escape(code) for code in _ESCAPES}
_URL_PASSWORD = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#:@]*):[^\s/?#]*@")


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: it is empty, or has only whitespace and invisible characters.

    `str.strip` keeps U+200B and other format characters, so a text of these alone looks filled.
    """
    return _BLANK.fullmatch(text) is not None


def visible(text: str) -> str:
    """`text` with control and invisible characters escaped; tabs and line feeds stay."""
    text = text.replace("\r\n", "\n")
    # Most texts have none.  Where a text is full of them, one table beats a call for each.
    return text.translate(_ESCAPES) if _ESCAPED.search(text) else text


def visible_json(text: str) -> str:
    r"""JSON text with these characters as the escapes `\uXXXX`, so that it stays the same value."""
    return text.translate(_JSON_ESCAPES) if _ESCAPED.search(text) else text


def masked(text: str) -> str:
    """`text` without the passwords of URLs: `https://user:***@host`."""
    return _URL_PASSWORD.sub(r"\1:***@", text) if "@" in text else text


def guarded(text: str) -> str:
    """A CSV cell that no spreadsheet takes for a formula: a quote precedes what begins like one."""
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """The text of a guarded cell: exactly the one that was given to `guarded`."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def one_line(text: str, limit: int = 300) -> str:
    """`text` in one line of at most `limit` characters, line ends as ↵; `…` marks a cut."""
    # Cut before escaping, since a line can have a megabyte, and after it, since escapes are longer.
    shown = _LINE_END.sub(" ↵ ", visible(text[: limit + 1])).replace("\t", " ").strip()
    return _cut(shown, limit) if len(text) <= limit else _cut(shown + "…", limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def sentence(text: str, limit: int = 600) -> str:
    """`text` in one line, with a capital and a full stop whether it came with them or not."""
    text = one_line(text, limit)
    return text[:1].upper() + text[1:] + ("" if text[-1:] in {"", ".", "!", "?", "…"} else ".")


FUNCTION = "function "
"""How the name of a function in memory begins, where others have the name of a file or model."""


def function_name(function: Callable[..., object]) -> str:
    """What manifests and messages call a function in memory."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{FUNCTION}{one_line(str(name), 80)}"
