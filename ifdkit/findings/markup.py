"""Remains of a web page in prose: tags and entities of HTML, and characters decoded wrongly.

HTML is a defect only where nobody speaks of it.  So texts about markup, pages or programs are left
alone, and so is whatever stands in code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ifdkit.findings.texts import Corpus, Hit, quote_at

_VALUE = r"""(?:"[^"<>]{0,300}"|'[^'<>]{0,300}'|[^\s"'<>]{1,300})"""
_ATTRIBUTES = rf"(?:\s{{1,3}}[a-z][a-z:-]{{0,20}}\s?=\s?{_VALUE}){{0,10}}"
_BLOCKS = (
    r"(?:blockquote|br|caption|center|dd|div|dl|dt|em|figure|font|h[1-6]|hr|iframe|img|li|ol|p|pre"
    r"|small|span|strike|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|ul)"
)
# `a<b>` is a comparison or a type, so a tag of one letter stands apart from what is before it.
_TAG = (
    rf"</?{_BLOCKS}{_ATTRIBUTES}\s?/?>"
    rf"|(?<![\w<])<[abiqsu]{_ATTRIBUTES}>|</[abiqsu]>"
)
_ENTITY = (
    r"&(?:nbsp|amp|lt|gt|quot|apos|[lr][sd]quo|[nm]dash|hellip|bull|middot|copy|reg|trade|deg|euro"
    r"|pound|laquo|raquo|#\d{2,5}|#x[0-9a-f]{2,5});"
)
_REMAINS = re.compile(f"{_TAG}|{_ENTITY}", re.IGNORECASE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,500}`", re.DOTALL)
_PAGE = re.compile(r"<(?:!doctype|html|head|body|script|style|form|svg)\b", re.IGNORECASE)
_ABOUT = re.compile(
    r"\b(?:x?html\d?|xml|xpath|css|markup|mark ?down|tags?|web ?-?(?:page|site|app)s?|home ?page"
    r"|landing page|browser|front-?end|dom|svg|rss|jsx|react|angular|vue|django|flask|php"
    r"|java(?:script)?|jquery|bootstrap|wordpress|code|coding|snippets?|scripts?|entit(?:y|ies)"
    r"|regex|regular expressions?|pars(?:e|er|ing)|scrap(?:e|er|ing)|button|escap(?:e|ed|ing))\b",
    re.IGNORECASE,
)

# What UTF-8 becomes where it is read as Windows-1252: â€™ for ’, Ã© for é, Â£ for £.  The letters
# that begin it end words of their own in some languages, but not before these signs.
_MOJIBAKE = re.compile(
    "\ufffd|ï¿½|â€[\x80-\x9f™œ˜¢¦“”\u0153\x9d]|â€(?=\\s|$)"
    "|(?<![A-ZÀ-Þ]{2})Ã[\x80-\xbfƒ„…†‡ˆ‰‹ŒŽ‘’“”•–—˜™š›œžŸ€]"
    "|(?<![A-Za-zÀ-ÿ])Â[\xa0-\xbf]"
    "|(?:[ÐÑ][\x80-\xbfƒ„…†‡ˆ‰‹ŒŽ‘’“”•–—˜™š›œžŸ€]){3}"
)
_MOJIBAKE_LETTERS = re.compile("[\ufffdïâÃÂÐÑ]")
_ENCODINGS = re.compile(r"mojibake|encod|unicode|utf-?8|charset|garbled", re.IGNORECASE)


def html_remains(corpus: Corpus) -> list[Hit]:
    """Rows whose instruction or response holds tags or entities, though it is not about them."""
    found = []
    for place, (asked, answer) in enumerate(_texts(corpus)):
        hit = _remains(asked, answer)
        if hit:
            text, at = hit
            found.append(Hit(place, quote_at(text, at)))
    return found


def mojibake(corpus: Corpus) -> list[Hit]:
    """Rows with characters that were decoded wrongly: â€™, Ã©, and U+FFFD for what was lost."""
    found = []
    for place, (asked, answer) in enumerate(_texts(corpus)):
        for text in (asked, answer):
            # Most texts are ASCII, and most others have none of the letters that begin it.
            seen = None if text.isascii() else _MOJIBAKE_LETTERS.search(text)
            broken = _MOJIBAKE.search(text, seen.start()) if seen else None
            if broken and not _ENCODINGS.search(asked):
                found.append(Hit(place, quote_at(text, broken.start())))
                break
    return found


def _texts(corpus: Corpus) -> Iterator[tuple[str, str]]:
    return zip(corpus.instructions, corpus.responses, strict=True)


def _remains(asked: str, answer: str) -> tuple[str, int] | None:
    """The text with remains of HTML, and where the first of them stands."""
    in_asked, in_answer = _first_remains(asked), _first_remains(answer)
    if (in_asked is None and in_answer is None) or _ABOUT.search(asked):
        return None
    if in_asked is not None:
        return asked, in_asked
    # Whoever answers with a whole page was asked for one in words that are not known here.
    if in_answer is None or _PAGE.search(answer):
        return None
    return answer, in_answer


def _first_remains(text: str) -> int | None:
    if "<" not in text and "&" not in text:
        return None
    found = _REMAINS.search(_without_code(text))
    return found.start() if found else None


def _without_code(text: str) -> str:
    """The text with code blanked out, every other character where it was."""
    if "`" not in text:
        return text
    return _CODE.sub(lambda code: " " * len(code.group()), text)
