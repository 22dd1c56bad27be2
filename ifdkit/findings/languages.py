"""Responses in a different language from their instruction, which does not ask for one.

Different scripts are found by the module `scripts`; two languages of one script by a naive Bayes
classifier over byte n-grams (Lui and Baldwin, "langid.py", ACL 2012), in its maintained fork
`py3langid`: one file of weights inside the package, no network, deterministic.  Lists of foreign
names mislead it, and so do short texts.  So the response must be long and its classification
certain; the instruction may be shorter, but must be improbable in the language of the response.

Of a conversation only the last user turn is examined, not what was agreed before it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ifdkit.findings.checks import example_check
from ifdkit.findings.scripts import scripts_differ
from ifdkit.findings.texts import quote

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_MAX_CHARS = 300
"""Only so many first characters of a text are classified, code excluded; takes 0.3 ms."""
_MIN_LETTERS_RESPONSE = 40
_MIN_LETTERS_INSTRUCTION = 20
_MIN_PROBABILITY_RESPONSE = 0.8
"""Below it the language of a response is unknown."""
_MIN_PROBABILITY_INSTRUCTION = 0.5
"""Below it the language of an instruction is unknown."""
_MAX_PROBABILITY_ABSENT = 0.02
"""Up to it an instruction is not in the language of the response."""
_KNOWN = {
    *("en", "de", "fr", "es", "it", "pt", "nl", "ca", "ro", "pl", "cs", "sk", "hr", "sl", "hu"),
    *("sv", "da", "no", "fi", "et", "lv", "lt", "tr", "az", "id", "ms", "vi", "tl", "sw", "af"),
    *("ru", "uk", "bg", "sr", "ar", "fa", "ur", "hi", "mr", "ne", "ja", "zh"),
}
"""Languages that datasets are written in; the others of 139 mostly mean a list of names."""
_SIMILAR = (
    {"da", "no", "sv"},
    {"hr", "sl", "sr"},
    {"ca", "es", "pt"},
    {"cs", "sk"},
    {"id", "ms"},
    {"ru", "uk", "bg"},
    {"af", "nl"},
    {"tr", "az"},
    {"fa", "ur", "ar"},
    {"hi", "mr", "ne"},
    {"ja", "zh"},
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,500}`|https?://\S{1,300}", re.DOTALL)
_LANGUAGE_WANTED = re.compile(
    r"translat|languages?\b|übersetz|überset|\btradu|traduz|vertaal|перев[её]|翻译|翻譯|翻訳|번역"
    r"|\b(?:english|spanish|french|german|italian|portuguese|dutch|russian|chinese|mandarin|cantonese"
    r"|japanese|korean|arabic|hebrew|hindi|urdu|bengali|tamil|telugu|turkish|persian|farsi|greek"
    r"|(?-i:Polish)|in polish|czech|slovak|ukrainian|romanian|hungarian|bulgarian|serbian"
    r"|croatian|swedish|danish|norwegian|finnish|icelandic|latin|esperanto|swahili|indonesian|malay|vietnamese|thai|tagalog"
    r"|filipino|catalan|basque|galician|irish|gaelic|welsh|yiddish|sanskrit|afrikaans|zulu)\b"
    r"|\b(?:auf|ins?) (?:englisch|deutsch|spanisch|französisch|italienisch|russisch)"
    r"|\ben (?:anglais|français|allemand|espagnol|italien|inglés|francés|alemán|español|portugués)"
    r"|\b(?:in (?:inglese|francese|tedesco|spagnolo|italiano)|em (?:inglês|português|espanhol))"
    r"|英语|英文|中文|法语|德语|日语|西班牙语|俄语|英語|日本語|по-(?:английски|русски)|английск",
    re.IGNORECASE,
)


@example_check(
    "language_mismatch",
    "responses in a different language",
    "The response is in a different language from the instruction.",
)
def language_mismatch(instruction: str, response: str) -> str | None:
    """The response is in a language that the instruction neither uses nor asks for."""
    differ = scripts_differ(instruction, response) or _languages_differ(instruction, response)
    return quote(response) if differ and not _LANGUAGE_WANTED.search(instruction) else None


def _languages_differ(instruction: str, response: str) -> bool:
    asked, answer = _prose(instruction), _prose(response)
    if _letters(answer) < _MIN_LETTERS_RESPONSE or _letters(asked) < _MIN_LETTERS_INSTRUCTION:
        return False
    of_answer = language(answer, _MIN_PROBABILITY_RESPONSE)
    of_asked = language(asked, _MIN_PROBABILITY_INSTRUCTION) if of_answer else None
    if of_answer is None or of_asked is None or are_similar(of_answer, of_asked):
        return False
    if _probabilities(asked)[of_answer] > _MAX_PROBABILITY_ABSENT:
        return False
    # A question about a foreign text is answered in the language of the question, which is the
    # first line or the last.
    lines = [line for line in asked.splitlines() if _letters(line)]
    return not any(_is_likelier(of_answer, of_asked, line) for line in (lines[0], lines[-1]))


def language(text: str, min_probability: float) -> str | None:
    """The ISO 639-1 code of a text's language; None if its probability is too low."""
    code, probability = _identifier().classify(text)
    return code if probability >= min_probability and code in _KNOWN else None


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of a text by its first 300 characters of prose; None if uncertain."""
    prose = _prose(text)
    if _letters(prose) < _MIN_LETTERS_RESPONSE:
        return None
    return language(prose, _MIN_PROBABILITY_RESPONSE)


def are_similar(one: str, other: str) -> bool:
    """Whether two languages are the same or hard to tell apart."""
    return one == other or any({one, other} <= group for group in _SIMILAR)


def _probabilities(text: str) -> dict[str, float]:
    return dict(_identifier().rank(text))


def _is_likelier(one: str, other: str, line: str) -> bool:
    """Whether a line, perhaps too short to classify, is likelier in one language than another."""
    probabilities = _probabilities(line)
    return probabilities[one] > probabilities[other]


def _prose(text: str) -> str:
    start = text.lstrip()[: 4 * _MAX_CHARS]
    if "`" in start or "://" in start:
        start = _CODE.sub(" ", start)
    return start[:_MAX_CHARS].encode("utf-8", "ignore").decode()  # drops lone surrogates


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
