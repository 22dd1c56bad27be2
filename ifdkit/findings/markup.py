"""Leftovers of a web page in prose: HTML tags and entities, and encoding errors.

HTML is a defect only if the text is not about it.  So texts about markup, pages or programs are
skipped, and so is code.
"""

from __future__ import annotations

import re

from ifdkit.findings.checks import example_check
from ifdkit.findings.texts import quote_at

_VALUE = r"""(?:"[^"<>]{0,300}"|'[^'<>]{0,300}'|[^\s"'<>]{1,300})"""
_ATTRIBUTES = rf"(?:\s{{1,3}}[a-z][a-z:-]{{0,20}}\s?=\s?{_VALUE}){{0,10}}"
_BLOCKS = (
    r"(?:blockquote|br|caption|center|dd|div|dl|dt|em|figure|font|h[1-6]|hr|iframe|img|li|ol|p|pre"
    r"|small|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|ul)"
)
# `a<b>` is a comparison or a type, so no word may precede a tag of one letter.  `</s>`, and `<s>`
# at the beginning of a text, are special tokens (`leftovers`).
_TAG = (
    rf"</?{_BLOCKS}{_ATTRIBUTES}\s?/?>"
    rf"|(?<![\w<])(?!\A<s>)<[abiqsu]{_ATTRIBUTES}>|</[abiqu]>"
)
_ENTITY = (
    r"&(?:nbsp|amp|lt|gt|quot|apos|[lr][sd]quo|[nm]dash|hellip|bull|middot|copy|reg|trade|deg|euro"
    r"|pound|laquo|raquo|#\d{2,5}|#x[0-9a-f]{2,5});"
)
_HTML = re.compile(f"{_TAG}|{_ENTITY}", re.IGNORECASE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,500}`", re.DOTALL)
_WHOLE_PAGE = re.compile(r"<(?:!doctype|html|head|body|script|style|form|svg)\b", re.IGNORECASE)
_ABOUT_HTML = re.compile(
    r"\b(?:x?html\d?|xml|xpath|css|markup|mark ?down|tags?|web ?-?(?:page|site|app)s?|home ?page"
    r"|landing page|browser|front-?end|dom|svg|rss|jsx|react|angular|vue|django|flask|php"
    r"|java(?:script)?|jquery|bootstrap|wordpress|code|coding|snippets?|scripts?|entit(?:y|ies)"
    r"|regex|regular expressions?|pars(?:e|er|ing)|scrap(?:e|er|ing)|button|escap(?:e|ed|ing))\b",
    re.IGNORECASE,
)

# UTF-8 that was decoded as Windows-1252: â€™ for ’, Ã© for é, Â£ for £.  The letters that begin it
# also end words of some languages, but not before these characters.
_MOJIBAKE = re.compile(
    "\ufffd|ï¿½|â€[\x80-\x9f™œ˜¢¦“”\u0153\x9d]|â€(?=\\s|$)"
    "|(?<![A-ZÀ-Þ]{2})Ã[\x80-\xbfƒ„…†‡ˆ‰‹ŒŽ‘’“”•–—˜™š›œžŸ€]"
    "|(?<![A-Za-zÀ-ÿ])Â[\xa0-\xbf]"
    "|(?:[ÐÑ][\x80-\xbfƒ„…†‡ˆ‰‹ŒŽ‘’“”•–—˜™š›œžŸ€]){3}"
)
_MOJIBAKE_LETTERS = re.compile("[\ufffdïâÃÂÐÑ]")
_ABOUT_ENCODING = re.compile(r"mojibake|encod|unicode|utf-?8|charset|garbled", re.IGNORECASE)


@example_check("html_remains", "leftover HTML", "The text contains leftover HTML.")
def leftover_html(instruction: str, response: str) -> str | None:
    """The instruction or the response contains tags or entities, and is not about HTML."""
    in_instruction, in_response = _html_position(instruction), _html_position(response)
    if (in_instruction is None and in_response is None) or _ABOUT_HTML.search(instruction):
        return None
    if in_instruction is not None:
        return quote_at(instruction, in_instruction)
    # A whole page was asked for, in words that _ABOUT_HTML does not know.
    if in_response is None or _WHOLE_PAGE.search(response):
        return None
    return quote_at(response, in_response)


@example_check(
    "mojibake",
    "encoding errors",
    "Characters were decoded incorrectly (â€™ for ’) or lost (U+FFFD).",
)
def encoding_errors(instruction: str, response: str) -> str | None:
    """The instruction or the response was decoded incorrectly, and is not about encodings."""
    for text in (instruction, response):
        # Most texts are ASCII, and most others have none of the letters that begin an error.
        first = None if text.isascii() else _MOJIBAKE_LETTERS.search(text)
        found = _MOJIBAKE.search(text, first.start()) if first else None
        if found and not _ABOUT_ENCODING.search(instruction):
            return quote_at(text, found.start())
    return None


def _html_position(text: str) -> int | None:
    if "<" not in text and "&" not in text:
        return None
    found = _HTML.search(without_code(text))
    return found.start() if found else None


def without_code(text: str) -> str:
    """A text with code blanked out and every other character at its position."""
    if "`" not in text:
        return text
    return _CODE.sub(lambda code: " " * len(code.group()), text)
