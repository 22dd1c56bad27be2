"""Keys, tokens and passwords in a text, by the formats in which services issue them.

A placeholder is not a finding: `YOUR_API_KEY`, `sk-xxxx…`, AWS's own `…EXAMPLE`, the token of every
JWT tutorial.  What is found is shown by its first characters only.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ifdkit.findings.checks import example_check
from ifdkit.findings.personal import SensitiveSpan, list_masked


@example_check(
    "secret",
    "keys, tokens and passwords",
    "The text contains what looks like a key, a token or a password.",
)
def secret(instruction: str, response: str) -> str | None:
    """The instruction or the response contains a secret; the quotation masks it."""
    return list_masked([*find_secrets(instruction), *find_secrets(response)])


@dataclass(frozen=True, slots=True)
class _Format:
    """What the keys of one service look like."""

    kind: str
    marker: str
    """Contained in every one of them: a cheap test before the pattern.  "=:" means either."""
    pattern: re.Pattern[str]
    """The secret is its group `key`, or the whole match without such a group."""
    shown_chars: int = 4
    """First characters that only tell the kind."""
    needs_digits: bool = False
    """Whether plain words match too, so that a key must contain digits and letters."""


_START = r"(?<![A-Za-z0-9_-])"
_FORMATS = (
    _Format(
        "AWS key", "A", re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])")
    ),
    _Format("GitHub token", "gh", re.compile(_START + r"gh[pousr]_[A-Za-z0-9]{30,255}")),
    _Format("GitHub token", "github_pat_", re.compile(_START + r"github_pat_[A-Za-z0-9_]{22,255}")),
    _Format("GitLab token", "glpat-", re.compile(_START + r"glpat-[A-Za-z0-9_-]{20,64}")),
    _Format("API key", "sk-", re.compile(_START + r"sk-[A-Za-z0-9_-]{20,200}"), 3, True),
    _Format("Stripe key", "k_live_", re.compile(_START + r"[sr]k_live_[A-Za-z0-9]{20,120}"), 8),
    _Format("Hugging Face token", "hf_", re.compile(_START + r"hf_[A-Za-z0-9]{30,60}"), 3),
    _Format("npm token", "npm_", re.compile(_START + r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])")),
    _Format("Slack token", "xox", re.compile(_START + r"xox[abeprs]-[A-Za-z0-9-]{20,200}"), 5),
    _Format(
        "Slack webhook",
        "hooks.slack.com",
        re.compile(r"hooks\.slack\.com/services/(?P<key>T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/\w{16,})"),
        1,
    ),
    _Format("Google key", "AIza", re.compile(_START + r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])")),
    _Format(
        "JSON web token",
        "eyJ",
        re.compile(
            _START + r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}"
        ),
        3,
    ),
    _Format(
        "private key",
        "PRIVATE KEY",
        # The header alone occurs in every article about keys; a key has a body.
        re.compile(
            r"-----BEGIN (?:[A-Z]{2,9} ){0,2}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr]){1,6}"
            r"(?:[A-Za-z-]{1,20}: [^\n]{0,80}\s{1,4}){0,4}"
            r"(?P<key>(?:[A-Za-z0-9+/=]{16,76}(?:\s|\\[nr]){0,4}){2,200})"
        ),
        0,
    ),
    _Format(
        "password in a URL",
        "://",
        re.compile(
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@<>{}$\"']{0,64}:(?P<key>[^\s:/@<>{}$\"']{3,64})@"
            r"(?=[a-z0-9])",
            re.IGNORECASE,
        ),
        0,
    ),
    _Format(
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
_DEFAULT_PASSWORDS = {
    *("pass", "pwd", "pw", "root", "admin", "guest", "user", "test", "postgres", "1234"),
}
_JOHN_DOE = "IkpvaG4gRG9l"
"""`"John Doe` in the base64 of the JSON web token that every tutorial shows."""
_MIN_BITS_PER_CHAR = 2.5
"""Entropy below which a key consists of a few letters, as no real one does."""


def find_secrets(text: str) -> Iterator[SensitiveSpan]:
    """Keys, tokens and passwords in a text, format by format; overlapping ones only once."""
    found: list[SensitiveSpan] = []
    for form in _FORMATS:
        for one in _in_format(form, text) if _may_contain(text, form.marker) else ():
            if not any(one.start < other.end and other.start < one.end for other in found[-_NEAR:]):
                found.append(one)
                yield one


_NEAR = 50
"""Earlier spans that are checked for an overlap: a text of thousands of keys takes linear time."""


def _in_format(form: _Format, text: str) -> Iterator[SensitiveSpan]:
    group = "key" if "key" in form.pattern.groupindex else 0
    for found in form.pattern.finditer(text):
        key = found[group]
        if (_is_mixed(key) or not form.needs_digits) and not _is_placeholder(key, form.kind):
            yield SensitiveSpan(form.kind, *found.span(group), key[: form.shown_chars] + "…")


def _is_mixed(key: str) -> bool:
    return any(c.isdigit() for c in key) and any(c.isalpha() for c in key)


def _may_contain(text: str, marker: str) -> bool:
    """A cheap test that rules out nearly every text."""
    return ("=" in text or ":" in text) if marker == "=:" else marker in text


def _is_placeholder(key: str, kind: str) -> bool:
    if kind == "password in a URL":
        return bool(_PLACEHOLDER.search(key)) or key.lower() in _DEFAULT_PASSWORDS
    if kind == "private key":
        return bits_per_char(key) < _MIN_BITS_PER_CHAR
    # A long key contains "my" or "foo" by chance, so only its beginning is searched.
    named = _PLACEHOLDER.search(key[:24] if len(key) > 60 else key)
    return bool(named) or _JOHN_DOE in key or bits_per_char(key) < _MIN_BITS_PER_CHAR


def bits_per_char(text: str) -> float:
    """Entropy of the characters of a text, bits per character, ≥ 0."""
    n = len(text)
    return -sum(k / n * math.log2(k / n) for k in Counter(text).values()) if n else 0.0
