"""The vocabulary: phrases and names that `ifdkit/` must not use, in any string or comment.

The tables are the replacement table of the design as regular expressions.  A legitimate use goes
into ALLOWED with its reason.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import ifdkit

pytestmark = pytest.mark.long

PHRASES = {
    r"houses?|floors?|strangers?": "package, module, layer, new contributor",
    r"rooms|(a|each|every|lower|one|only|other|that|this) room": "package, module",
    r"cannot be meant": "invalid",
    r"(None|NaN|null) where": "None if",
    r"(lies|lie|lay) nowhere": "does not exist",
    r"stands? against": "is paired with",
    r"reads? otherwise": "differs",
    r"mend(s|ed|ing)?": "fix",
    r"unsaid": "silently",
    r"too (strange|easy)": "unusually high (low) perplexity",
    r"riders?": "requests served",
    r"families": "prefix groups",
    r"likeness": "similarity, comparability",
    r"settl(e|es|ed|er|ers|ing)": "finalize",
    r"to be had": "available",
    r"may be nothing": "not distinguishable from zero",
    r"turns? round": "reverses",
}
"""Phrase → what to write instead."""
NAMES = {
    r"(\w+_|_*)(MOST|FEWEST|LEAST)_\w+": "MAX_X, MIN_X",
    r"(\w+_|_*)A_(?!ROW$)[A-Z]+": "X_PER_Y",  # FAILURES_IN_A_ROW is English
}
"""Identifier → what to call it instead."""
ALLOWED: dict[tuple[str, str], str] = {}
"""(file, phrase in lower case) → why it is right there."""

PACKAGE = Path(ifdkit.__file__).parent
TEMPLATES = PACKAGE / "report" / "templates"
FILES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*PACKAGE.rglob("*.py"), *TEMPLATES.glob("*.html"), *TEMPLATES.glob("*.js")])
}
"""Relative path of every module and page template → its content."""
_PHRASE = re.compile("|".join(rf"\b(?:{one})\b" for one in PHRASES), re.IGNORECASE)
_NAME = re.compile("|".join(f"(?:{one})" for one in NAMES))


def texts_of(source: str) -> Iterator[str]:
    """The strings of a module, including docstrings and help, and its comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # implicitly concatenated strings are one constant
    comment: list[str] = []
    for token in tokens_of(source):
        if token.type == tokenize.COMMENT:
            comment.append(token.string.lstrip("#: "))
        elif token.type not in (tokenize.NL, tokenize.NEWLINE) and comment:
            yield " ".join(comment)
            comment = []


def tokens_of(source: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(source).readline)


def problems_in(path: str, source: str) -> Iterator[tuple[str, str]]:
    """Each banned phrase or name of a file, in lower case, with the text around it."""
    is_python = path.endswith(".py")
    for text in texts_of(source) if is_python else [source]:
        line = " ".join(text.split())
        for found in _PHRASE.finditer(line):
            yield found[0].lower(), line[max(0, found.start() - 30) : found.end() + 30]
    for name in sorted({t.string for t in tokens_of(source)} if is_python else ()):
        if _NAME.fullmatch(name):
            yield name.lower(), name


@pytest.mark.parametrize("path", FILES)
def test_no_banned_phrase_or_name(path: str) -> None:
    found = [
        f"{phrase!r} in: {context}"
        for phrase, context in problems_in(path, FILES[path])
        if (path, phrase) not in ALLOWED
    ]
    assert found == []


def test_every_exception_is_needed() -> None:
    used = {(path, phrase) for path in FILES for phrase, _ in problems_in(path, FILES[path])}
    assert set(ALLOWED) <= used


@pytest.mark.parametrize(
    "source",
    [
        '"""Between two rooms."""',
        '"""A room imports from lower layers."""',
        "# a name for each floor",
        "raise ValueError(f'{x} cannot ' 'be meant')",
        '"""The value, or None\n    where there is none."""',
        "# NaN\n# where undefined",
        "help('Mend the rows.')",
        "f'{one} stands against {other}'",
        "_MOST_ROWS = 3",
        "BCA_MOST_VALUES = 3",
        "ROWS_A_BLOCK = 3",
        "_A_REASON = 3",
    ],
)
def test_the_check_finds_planted_problems(source: str) -> None:
    """Negative control."""
    assert len(list(problems_in("x.py", source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""There is no room for the target. Amended settings are recommended."""',
        "# np.where(None, whereas) stand, against",
        "MAX_ROWS = ROWS_PER_BLOCK = FAILURES_IN_A_ROW = ALMOST = A = most_rows = 3",
    ],
)
def test_the_check_accepts_similar_words(source: str) -> None:
    assert list(problems_in("x.py", source)) == []


def test_templates_are_checked() -> None:
    assert list(problems_in("x.html", "<p>not to be\n had</p>")) != []
    assert {Path(path).suffix for path in FILES} == {".py", ".html", ".js"}
