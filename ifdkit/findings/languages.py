"""Responses in another language than their instruction asks in, where it does not ask for that.

Other scripts are seen by the module `scripts`; two languages of one script by a naive Bayes
classifier over byte n-grams (Lui and Baldwin, "langid.py", ACL 2012), in the fork `py3langid` that
is kept: one file of weights inside the package, no network, the same verdict each time.  Lists of
foreign names mislead it, and so do short texts.  So the response must be long and the verdict on it
sure; the instruction may be shorter, but must be improbable in the language of the response.

Of a conversation only the last turn of the user is known: what was agreed before is not seen.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ifdkit.findings.scripts import differ as differ_in_script
from ifdkit.findings.texts import Corpus, Hit, quote

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_LOOKED_AT = 300
"""First characters of a text, code left out: a third of a millisecond's work."""
_FEWEST_LETTERS = 40
"""Letters of a response that can be told."""
_FEWEST_ASKED = 20
"""The same of an instruction."""
_SURE = 0.8
"""Probability from which a verdict on a response counts."""
_LIKELY = 0.5
"""The same of an instruction."""
_IMPROBABLE = 0.02
"""Probability of the response's language up to which an instruction is not in it."""
_KNOWN = {
    *("en", "de", "fr", "es", "it", "pt", "nl", "ca", "ro", "pl", "cs", "sk", "hr", "sl", "hu"),
    *("sv", "da", "no", "fi", "et", "lv", "lt", "tr", "az", "id", "ms", "vi", "tl", "sw", "af"),
    *("ru", "uk", "bg", "sr", "ar", "fa", "ur", "hi", "mr", "ne", "ja", "zh"),
}
"""Languages that data are written in; the rest of 139 mostly mean a list of names."""
_NEIGHBOURS = (
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
_ASKED = re.compile(
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


def language_mismatch(corpus: Corpus) -> list[Hit]:
    """Rows whose response is in another language than the instruction, without being asked."""
    texts = zip(corpus.instructions, corpus.responses, strict=True)
    return [
        Hit(place, quote(answer))
        for place, (asked, answer) in enumerate(texts)
        if differ(asked, answer)
    ]


def differ(asked: str, answer: str) -> bool:
    """Whether an answer is in another language than its question, which names none."""
    differs = differ_in_script(asked, answer) or _differ_in_language(asked, answer)
    return differs and not _ASKED.search(asked)


def _differ_in_language(asked: str, answer: str) -> bool:
    here, there = _prose(asked), _prose(answer)
    if _letters(there) < _FEWEST_LETTERS or _letters(here) < _FEWEST_ASKED:
        return False
    said = language(there, _SURE)
    wanted = language(here, _LIKELY) if said else None
    if said is None or wanted is None or _alike(said, wanted):
        return False
    if _probabilities(here)[said] > _IMPROBABLE:
        return False
    # A question about a foreign text is answered in the language of the question, which is the
    # first line or the last.
    lines = [line for line in here.splitlines() if _letters(line)]
    return not any(_leans(line, said, wanted) for line in (lines[0], lines[-1]))


def language(text: str, sure: float) -> str | None:
    """The language of a text by its ISO 639-1 code; None where it is less probable than `sure`."""
    code, probability = _identifier().classify(text)
    return code if probability >= sure and code in _KNOWN else None


def _probabilities(text: str) -> dict[str, float]:
    return dict(_identifier().rank(text))


def _alike(one: str, other: str) -> bool:
    """Whether two verdicts may be of one language, since they are hard to tell apart."""
    return one == other or any({one, other} <= near for near in _NEIGHBOURS)


def _leans(line: str, one: str, other: str) -> bool:
    """Whether a line, perhaps too short for a verdict, is rather in one language than in other."""
    likely = _probabilities(line)
    return likely[one] > likely[other]


def _prose(text: str) -> str:
    start = text.lstrip()[: 4 * _LOOKED_AT]
    if "`" in start or "://" in start:
        start = _CODE.sub(" ", start)
    return start[:_LOOKED_AT].encode("utf-8", "ignore").decode()  # lone surrogates fall out


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
