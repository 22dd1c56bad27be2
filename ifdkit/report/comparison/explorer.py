"""The rows of the explorer in the HTML report: JSON of bounded size that is safe inside a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ifdkit.comparison.result import ExploredPair, ExploredSide, ShadedToken
from ifdkit.data.atomic import dumps
from ifdkit.findings import KINDS
from ifdkit.report.comparison.wording import finding_title, metric_of
from ifdkit.visible import one_line, visible

MAX_PAIRS = 300
MAX_BYTES = 2_000_000
"""Of the JSON: with the figures the page stays below 3 MB."""
_CHARACTER_LIMITS = (4000, 2000, 1200, 800, 500, 300, 150, 60)
_SPECIAL = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class ExplorerData:
    """What the page's script reads."""

    json: str
    """No `<`, `>` or `&` in it, so that it cannot end its script element."""
    n_pairs: int
    characters: int
    """Length at which each text is cut."""
    has_tokens: bool


def explorer_data(
    explored: Sequence[ExploredPair], fields: Sequence[str], *, has_text: bool
) -> ExplorerData:
    """The first MAX_PAIRS pairs, their texts cut until the JSON fits into MAX_BYTES."""
    pairs = explored[:MAX_PAIRS]
    for characters in _CHARACTER_LIMITS:
        text = _json(pairs, fields, characters, has_text=has_text)
        if len(text.encode()) <= MAX_BYTES:
            break
    while len(text.encode()) > MAX_BYTES:  # ids and numbers alone are too much: fewer pairs
        pairs = pairs[: len(pairs) // 2]
        text = _json(pairs, fields, characters, has_text=has_text)
    has_tokens = any(side.tokens for pair in pairs for side in (pair.before, pair.after))
    return ExplorerData(text, len(pairs), characters, has_tokens)


def _json(
    pairs: Sequence[ExploredPair], fields: Sequence[str], characters: int, *, has_text: bool
) -> str:
    content = {
        "has_text": has_text,
        "fields": [
            {"id": field, "label": one_line(metric_of(field).label, 60)} for field in fields
        ],
        "findings": _kinds(pairs),
        "pairs": [
            {
                "reasons": [one_line(why, 80) for why in pair.reasons or (pair.why,)],
                "findings": list(pair.findings),
                "before": _side(pair.before, fields, characters),
                "after": _side(pair.after, fields, characters),
            }
            for pair in pairs
        ],
    }
    return dumps(content, separators=(",", ":")).translate(_SPECIAL)


def _kinds(pairs: Sequence[ExploredPair]) -> list[dict[str, str]]:
    """The kinds of the findings that name a pair, in the order of report."""
    named = {kind for pair in pairs for kind in pair.findings}
    kinds = [kind for kind in KINDS if kind in named] + sorted(named.difference(KINDS))
    return [{"kind": kind, "title": one_line(finding_title(kind), 60)} for kind in kinds]


def _side(side: ExploredSide, fields: Sequence[str], characters: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": one_line(side.id, 80),
        "row": side.row,
        "turn": side.turn,
        "status": one_line(side.status, 40),
        "instruction": _cut(side.instruction, characters),
        "numbers": [_rounded(side.numbers.get(field)) for field in fields],
    }
    if not side.tokens:
        return {**found, "response": _cut(side.response, characters)}
    tokens = _cut_tokens(_whole(side), characters)
    return {
        **found,
        "tokens": [token.text for token in tokens],
        "given": [_tenths(token.nll) for token in tokens],
        "alone": [_tenths(token.nll_direct) for token in tokens],
    }


def _tenths(nats: float | None) -> float | None:
    return None if nats is None else round(nats, 1)


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
