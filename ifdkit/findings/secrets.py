"""Keys, tokens and passwords in a text, by the forms in which the services issue them.

A key that opens nothing is no finding: `YOUR_API_KEY`, `sk-xxxx…`, AWS's own `…EXAMPLE`, the token
on the front page of every tutorial on JWT.  What is found is shown by its first characters only.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ifdkit.findings.personal import Thing, hits_of, things
from ifdkit.findings.texts import Corpus, Hit


def secrets(corpus: Corpus) -> list[Hit]:
    """Rows whose instruction or response holds a key, a token or a password, each masked."""
    return hits_of(corpus, keys)


@dataclass(frozen=True, slots=True)
class _Form:
    """How the keys of one service look."""

    kind: str
    mark: str
    """Stands in every one of them, in this case or in lower case."""
    pattern: re.Pattern[str]
    """Its group `key`, where it has one, is the secret; else all of it is."""
    shown: int = 4
    """First characters that tell the kind and nothing more."""
    is_mixed: bool = False
    """Whether words may look like one, so that digits are asked for too."""


_NO_WORD = r"(?<![A-Za-z0-9_-])"
_FORMS = (
    _Form("AWS key", "A", re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])")),
    _Form("GitHub token", "gh", re.compile(_NO_WORD + r"gh[pousr]_[A-Za-z0-9]{30,255}")),
    _Form("GitHub token", "github_pat_", re.compile(_NO_WORD + r"github_pat_[A-Za-z0-9_]{22,255}")),
    _Form("GitLab token", "glpat-", re.compile(_NO_WORD + r"glpat-[A-Za-z0-9_-]{20,64}")),
    _Form("API key", "sk-", re.compile(_NO_WORD + r"sk-[A-Za-z0-9_-]{20,200}"), 3, True),
    _Form("Stripe key", "k_live_", re.compile(_NO_WORD + r"[sr]k_live_[A-Za-z0-9]{20,120}"), 8),
    _Form("Hugging Face token", "hf_", re.compile(_NO_WORD + r"hf_[A-Za-z0-9]{30,60}"), 3),
    _Form("npm token", "npm_", re.compile(_NO_WORD + r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])")),
    _Form("Slack token", "xox", re.compile(_NO_WORD + r"xox[abeprs]-[A-Za-z0-9-]{20,200}"), 5),
    _Form(
        "Slack webhook",
        "hooks.slack.com",
        re.compile(r"hooks\.slack\.com/services/(?P<key>T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/\w{16,})"),
        1,
    ),
    _Form("Google key", "AIza", re.compile(_NO_WORD + r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])")),
    _Form(
        "JSON web token",
        "eyJ",
        re.compile(
            _NO_WORD
            + r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}"
        ),
        3,
    ),
    _Form(
        "private key",
        "PRIVATE KEY",
        # The header alone stands in every article about keys; the body makes it one.
        re.compile(
            r"-----BEGIN (?:[A-Z]{2,9} ){0,2}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr]){1,6}"
            r"(?:[A-Za-z-]{1,20}: [^\n]{0,80}\s{1,4}){0,4}"
            r"(?P<key>(?:[A-Za-z0-9+/=]{16,76}(?:\s|\\[nr]){0,4}){2,200})"
        ),
        0,
    ),
    _Form(
        "password in a URL",
        "://",
        re.compile(
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@<>{}$\"']{0,64}:(?P<key>[^\s:/@<>{}$\"']{3,64})@"
            r"(?=[a-z0-9])",
            re.IGNORECASE,
        ),
        0,
    ),
    _Form(
        "key in an assignment",
        "=:",
        re.compile(
            r"(?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?(?:key|token)|auth[_-]?token"
            r"|client[_-]?secret|password|passwd)[\"']?\s{0,3}[=:]\s{0,3}"
            r"[\"'](?P<key>[A-Za-z0-9+/_.=-]{16,128})[\"']",
            re.IGNORECASE,
        ),
        0,
        True,
    ),
)
_PLACEHOLDER = re.compile(
    r"example|sample|placeholder|dummy|insert|replace|change[_-]?me|fake|your|xxx|\.\.\.|\*\*\*|<|"
    r"here|goes|secret|password|passw0rd|passwd|p@ss|api_?key|access_?(?:key|token)|token_|my[_-]|foo"
    r"|abcdef|123456|987654|000000|redacted|hidden",
    re.IGNORECASE,
)
_USUAL_PASSWORDS = {
    "pass",
    "pwd",
    "pw",
    "root",
    "admin",
    "guest",
    "user",
    "test",
    "postgres",
    "1234",
}
_JOHN_DOE = "IkpvaG4gRG9l"
"""`"John Doe` in the base64 of the JSON web token that every tutorial shows."""
_FEWEST_BITS = 2.5
"""Entropy per character below which a key is made of a few letters, as no real one is."""


def keys(text: str) -> Iterator[Thing]:
    """Keys, tokens and passwords in a text, form by form; what two forms fit is given once."""
    taken: list[Thing] = []
    for form in _FORMS:
        for one in _of_form(form, text) if _may_hold(text, form.mark) else ():
            if not any(one.start < other.end and other.start < one.end for other in taken[-_NEAR:]):
                taken.append(one)
                yield one


_NEAR = 50
"""Keys among which an overlap is looked for; a text of thousands is all keys anyway."""


def _of_form(form: _Form, text: str) -> Iterator[Thing]:
    which = "key" if "key" in form.pattern.groupindex else 0
    for found in form.pattern.finditer(text):
        key = found[which]
        if (_is_mixed(key) or not form.is_mixed) and not _opens_nothing(key, form.kind):
            yield Thing(form.kind, *found.span(which), key[: form.shown] + "…")


def masked(text: str) -> str:
    """The text with keys and personal data masked, fit to be shown."""
    parts, at = [], 0
    for one in sorted((*keys(text), *things(text)), key=lambda one: one.start):
        if one.start >= at:
            parts += [text[at : one.start], one.mask]
            at = one.end
    return "".join([*parts, text[at:]])


def masked_quote(shown: str, texts: Iterable[str]) -> str:
    """A quotation from these texts, masked; so is the part of a key that its ends have cut."""
    shown = masked(shown)
    if "…" not in shown:
        return shown
    for text in texts:
        for one in (*keys(text), *things(text)):
            shown = _without_part(shown, " ".join(text[one.start : one.end].split()), one.mask)
    return shown


_FEWEST_OF_A_PART = 8
"""Characters of a key from which on a part of it is one."""


def _without_part(shown: str, thing: str, mask: str) -> str:
    """The quotation without what it holds of a thing: its beginning, its end, or a piece of it."""
    words = shown.strip("… ")
    if len(words) >= _FEWEST_OF_A_PART and words in thing:
        return mask
    for size in range(min(len(thing), len(words)), _FEWEST_OF_A_PART - 1, -1):
        if shown.endswith("…") and words.endswith(thing[:size]):
            return f"{shown[: shown.rindex(thing[:size])]}{mask.rstrip('…')}…"
        if shown.startswith("…") and words.startswith(thing[-size:]):
            rest = shown[shown.index(thing[-size:]) + size :]
            return f"…{mask.strip('…')}…{rest}"
    return shown


def _is_mixed(key: str) -> bool:
    return any(c.isdigit() for c in key) and any(c.isalpha() for c in key)


def _may_hold(text: str, mark: str) -> bool:
    """The cheap look that settles nearly every text."""
    return ("=" in text or ":" in text) if mark == "=:" else mark in text


def _opens_nothing(key: str, kind: str) -> bool:
    if kind == "password in a URL":
        return bool(_PLACEHOLDER.search(key)) or key.lower() in _USUAL_PASSWORDS
    if kind == "private key":
        return bits_a_character(key) < _FEWEST_BITS
    # A long key holds "my" or "foo" by chance: words count at its beginning.
    is_named = _PLACEHOLDER.search(key[:24] if len(key) > 60 else key)
    return bool(is_named) or _JOHN_DOE in key or bits_a_character(key) < _FEWEST_BITS


def bits_a_character(text: str) -> float:
    """Entropy of the characters of a text, bits, ≥ 0."""
    n = len(text)
    return -sum(k / n * math.log2(k / n) for k in Counter(text).values()) if n else 0.0
