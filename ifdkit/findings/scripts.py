"""Responses in another script than their instruction: Latin, Cyrillic, Arabic, …

Scripts are told apart, not languages: an English answer to a German question passes unseen, and
so does a Chinese answer to a Japanese one, for both are written with Han characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

from ifdkit.findings.finding import Finding
from ifdkit.findings.texts import Side, changed_sides, finding, quote

_LOOKED_AT = 500
"""First characters of a text, code blocks left out."""
_FEWEST_LETTERS = 20
_FEWEST_ASKED = 8
"""Letters of an instruction that settle its script; few, for a Chinese one is short."""
_TRACE = 0.1
"""Share of its letters up to which a script counts as absent from a text."""
_DENSE = {"CJK", "HANGUL"}
"""Scripts in which one letter says as much as three of an alphabet."""
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "BOPOMOFO"}
_SCRIPTS = {
    "LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI",
    "GURMUKHI", "GUJARATI", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "THAI", "LAO",
    "TIBETAN", "MYANMAR", "GEORGIAN", "ETHIOPIC", "KHMER", "MONGOLIAN", "HANGUL",
}  # fmt: skip


def language_switches(before: Side, after: Side) -> list[Finding]:
    """Responses without a trace of their instruction's script, and pairs that change script."""
    rows = _switched(before), _switched(after)
    sentence = (
        "The response is in another script than its instruction (scripts are told apart, not"
        " languages)."
    )
    quoting = _quoting(before), _quoting(after)
    found = changed_sides("language_switch", (before, after), rows, sentence, quoting)
    told = {*rows[0], *rows[1]}
    across = [row for row in _changed_script(before, after) if row not in told]
    if across:
        text = (
            "Instruction and response are both in another script than before (scripts are told"
            " apart, not languages)."
        )
        found.append(
            finding("language_switch", after, across, text, quoted=_quoting(after), name="both")
        )
    return [one for one in found if one]


def _switched(side: Side) -> list[int]:
    """Rows whose response has its letters in a script that the instruction is not in."""
    texts = zip(side.instructions, side.responses, strict=True)
    return [row for row, (asked, answer) in enumerate(texts) if differ(asked, answer)]


def _changed_script(before: Side, after: Side) -> list[int]:
    """Rows in which both the instruction and the response leave the script they had."""
    return [
        row
        for row in range(len(before.ids))
        if differ(before.responses[row], after.responses[row])
        and differ(before.instructions[row], after.instructions[row])
    ]


def differ(asked: str, answer: str) -> bool:
    """Whether two texts are in scripts of which neither has a trace in the other."""
    if asked.isascii() and answer.isascii():
        return False
    here, there = scripts(asked), scripts(answer)
    if _weight(here) < _FEWEST_ASKED or _weight(there) < _FEWEST_LETTERS:
        return False
    return not _present(here) & _present(there)


def _present(letters: Counter[str]) -> set[str]:
    total = letters.total()
    return {script for script, n in letters.items() if n > _TRACE * total}


def _weight(letters: Counter[str]) -> int:
    return sum(n * (3 if script in _DENSE else 1) for script, n in letters.items())


def scripts(text: str) -> Counter[str]:
    """Letters of each script in the beginning of a text, code blocks left out."""
    start = text.lstrip()[: 4 * _LOOKED_AT]
    if "```" in start:
        start = _CODE.sub(" ", start)
    letters: Counter[str] = Counter()
    for character, n in Counter(start[:_LOOKED_AT]).items():
        script = _script(character)
        if script:
            letters[script] += n
    return letters


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str | None:
    """The script of a letter, by the first word of its Unicode name; None for all else."""
    if not character.isalpha():
        return None
    name = unicodedata.name(character, "").split(" ")[0]
    if name in _EAST_ASIAN:
        return "CJK"
    return name if name in _SCRIPTS else None


def _quoting(side: Side) -> Callable[[int], str]:
    return lambda row: quote(side.responses[row])
