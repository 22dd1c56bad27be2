"""Responses in a different script from their instruction: Latin, Cyrillic, Arabic, …

Only scripts are compared, not languages.  An English answer to a German question is not found, and
neither is a Chinese answer to a Japanese question, because both contain Han characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from ifdkit.findings.checks import Hit
from ifdkit.findings.pairs import Evidence, PairedTexts, SideTexts, differences, pair_check, quoting
from ifdkit.findings.texts import quote

_MAX_CHARS = 500
"""Only so many first characters of a text are examined, code blocks excluded."""
_MIN_LETTERS_RESPONSE = 20
_MIN_LETTERS_INSTRUCTION = 8
"""Few, because a Chinese instruction is short."""
_MAX_SHARE_ABSENT = 0.1
"""Share of a text's letters up to which a script counts as absent."""
_DENSE = {"CJK", "HANGUL"}
"""Scripts in which one letter counts as three of an alphabet."""
_NOT_LANGUAGES = "(scripts are compared, not languages)"
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO"}
_SCRIPTS = {
    "LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI",
    "GURMUKHI", "GUJARATI", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "THAI", "LAO",
    "TIBETAN", "MYANMAR", "GEORGIAN", "ETHIOPIC", "KHMER", "MONGOLIAN", "HANGUL",
}  # fmt: skip


@pair_check("language_switch", "language switches")
def language_switch(texts: PairedTexts) -> Iterator[Evidence]:
    """Responses without a trace of their instruction's script, and pairs that change script."""
    before, after = _switched(texts.before), _switched(texts.after)
    text = f"The response is in a different script from its instruction {_NOT_LANGUAGES}."
    yield from differences(texts, before, after, text)
    reported = {hit.index for hit in (*before, *after)}
    rows = [row for row in _changed_script(texts) if row not in reported]
    text = f"Instruction and response are in a different script from before {_NOT_LANGUAGES}."
    quoted = quoting(texts.after.responses)
    yield Evidence(side=texts.after, rows=rows, text=text, quoted=quoted, is_of_both=True)


def _switched(side: SideTexts) -> list[Hit]:
    """Rows whose response is in a script that the instruction does not use."""
    texts = zip(side.instructions, side.responses, strict=True)
    return [Hit(row, quote(answer)) for row, (asked, answer) in enumerate(texts)
            if scripts_differ(asked, answer)]  # fmt: skip


def _changed_script(texts: PairedTexts) -> list[int]:
    """Rows in which both the instruction and the response change script."""
    before, after = texts.before, texts.after
    columns = before.responses, after.responses, before.instructions, after.instructions
    return [
        row
        for row, (answer, new_answer, asked, new_asked) in enumerate(zip(*columns, strict=True))
        if scripts_differ(answer, new_answer) and scripts_differ(asked, new_asked)
    ]


def scripts_differ(asked: str, answer: str) -> bool:
    """Whether a text and its answer have no script in common."""
    if asked.isascii() and answer.isascii():
        return False
    of_asked, of_answer = scripts(asked), scripts(answer)
    if _weight(of_asked) < _MIN_LETTERS_INSTRUCTION or _weight(of_answer) < _MIN_LETTERS_RESPONSE:
        return False
    return not _present(of_asked) & _present(of_answer)


def _present(letters: Counter[str]) -> set[str]:
    total = letters.total()
    return {script for script, n in letters.items() if n > _MAX_SHARE_ABSENT * total}


def _weight(letters: Counter[str]) -> int:
    return sum(n * (3 if script in _DENSE else 1) for script, n in letters.items())


def scripts(text: str) -> Counter[str]:
    """Script → letters of it in the beginning of a text, code blocks excluded."""
    start = text.lstrip()[: 4 * _MAX_CHARS]
    if "```" in start:
        start = _CODE.sub(" ", start)
    letters: Counter[str] = Counter()
    for character, n in Counter(start[:_MAX_CHARS]).items():
        script = _script(character)
        if script:
            letters[script] += n
    return letters


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str | None:
    """The script of a letter, by the first word of its Unicode name; None for other characters."""
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "").split(" ")[0]
    if name in _EAST_ASIAN:
        return "CJK"
    return name if name in _SCRIPTS else None
