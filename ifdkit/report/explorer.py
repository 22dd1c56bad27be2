"""The rows of the explorer in an HTML report: JSON of bounded size that is safe inside a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ifdkit.data.atomic import dumps
from ifdkit.report.comparison.wording import metric_of
from ifdkit.scoring.explored import ExploredSide, ShadedToken
from ifdkit.visible import one_line, visible

MAX_EXAMPLES = 600
"""Sides of all rows together: 300 pairs."""
MAX_BYTES = 2_000_000
"""Of the JSON: with the figures the page stays below 3 MB."""
_CHARACTER_LIMITS = (4000, 2000, 1200, 800, 500, 300, 150, 60)
_SPECIAL = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorerRow:
    """One line of the explorer's table."""

    sides: Mapping[str, ExploredSide]
    """Name → example: `before` and `after`, or one alone."""
    reasons: Sequence[str]
    """Why it was chosen."""
    findings: Mapping[str, str]
    """Kind of a finding that names it → the words that show it; empty if the page has none."""
    place: str = ""
    """Where its example is; empty for the row and the turn of each side."""


@dataclass(frozen=True, slots=True)
class ExplorerData:
    """What the page's script reads."""

    json: str
    """No `<`, `>` or `&` in it, so that it cannot end its script element."""
    n_rows: int
    characters: int
    """Length at which each text is cut."""
    has_tokens: bool


def explorer_data(
    rows: Sequence[ExplorerRow],
    fields: Sequence[str],
    titles: Mapping[str, str],
    *,
    noun: str,
    has_text: bool,
) -> ExplorerData:
    """As many of the rows as there is room for, their texts cut until the JSON fits MAX_BYTES.

    `titles` names the kinds of findings in the order of their chips; `noun` is what to call a row.
    """
    if rows:
        rows = rows[: MAX_EXAMPLES // len(rows[0].sides)]
    for characters in _CHARACTER_LIMITS:
        text = _json(rows, fields, titles, characters, noun=noun, has_text=has_text)
        if len(text.encode()) <= MAX_BYTES:
            break
    while len(text.encode()) > MAX_BYTES:  # ids and numbers alone are too much: fewer rows
        rows = rows[: len(rows) // 2]
        text = _json(rows, fields, titles, characters, noun=noun, has_text=has_text)
    has_tokens = any(side.tokens for row in rows for side in row.sides.values())
    return ExplorerData(text, len(rows), characters, has_tokens)


def _json(
    rows: Sequence[ExplorerRow],
    fields: Sequence[str],
    titles: Mapping[str, str],
    characters: int,
    *,
    noun: str,
    has_text: bool,
) -> str:
    named = {kind for row in rows for kind in row.findings}
    content = {
        "has_text": has_text,
        "noun": noun,
        "sides": list(rows[0].sides) if rows else [],
        "fields": [
            {"id": field, "label": one_line(metric_of(field).label, 60)} for field in fields
        ],
        "findings": [
            {"kind": one_line(kind, 60), "title": one_line(title, 60)}
            for kind, title in titles.items()
            if kind in named
        ],
        "rows": [
            {
                "reasons": [one_line(why, 80) for why in row.reasons],
                "findings": [one_line(kind, 60) for kind in titles if kind in row.findings],
                "evidence": [
                    one_line(row.findings[kind], 200) for kind in titles if kind in row.findings
                ],
                "place": one_line(row.place, 120),
                **{name: _side(one, fields, characters) for name, one in row.sides.items()},
            }
            for row in rows
        ],
    }
    return dumps(content, separators=(",", ":")).translate(_SPECIAL)


def _side(side: ExploredSide, fields: Sequence[str], characters: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": one_line(side.id, 80),
        "row": side.row,
        "turn": side.turn,
        "status": one_line(side.status, 40),
        "instruction": _cut(side.instruction, characters),
        "numbers": [_rounded(side.numbers.get(field)) for field in fields],
    }
    if side.percentiles:
        found["percentiles"] = [_tenths(side.percentiles.get(field)) for field in fields]
    if not side.tokens:
        return {**found, "response": _cut(side.response, characters)}
    tokens = _cut_tokens(_whole(side), characters)
    return {
        **found,
        "tokens": [token.text for token in tokens],
        "given": [_tenths(token.nll) for token in tokens],
        "alone": [_tenths(token.nll_direct) for token in tokens],
    }


def _tenths(x: float | None) -> float | None:
    return None if x is None else round(x, 1)


def _whole(side: ExploredSide) -> list[ShadedToken]:
    """The tokens, then the rest of the response as one piece that was not scored."""
    covered = "".join(token.text for token in side.tokens)
    rest = side.response[len(covered) :] if side.response.startswith(covered) else ""
    return [*side.tokens, *([ShadedToken(rest, None)] if rest else [])]


def _cut_tokens(tokens: Sequence[ShadedToken], characters: int) -> list[ShadedToken]:
    kept: list[ShadedToken] = []
    left = characters
    for token in tokens:
        text = _cut(token.text, left)
        kept.append(replace(token, text=text))
        left -= len(text)
        if left <= 0:
            break
    if len(kept) < len(tokens) and not kept[-1].text.endswith("…"):
        kept.append(ShadedToken("…", None))
    return kept


def _cut(text: str, characters: int) -> str:
    shown = visible(text[: characters + 1])
    is_whole = len(text) <= characters and len(shown) <= characters
    return shown if is_whole else shown[:characters] + "…"


def _rounded(x: float | None) -> float | None:
    """Five digits, which are more than the page shows; counts of tokens stay exact."""
    return x if x is None or x == int(x) else float(f"{x:.5g}")
