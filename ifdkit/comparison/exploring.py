"""The pairs of the report's explorer: a few hundred, each with the reason why it was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ifdkit.comparison.result import ExploredPair
from ifdkit.comparison.sides import ComparedSide
from ifdkit.data.pairing import Pairs, Positions
from ifdkit.findings.finding import Finding
from ifdkit.scoring.explored import ExploredSide, ShadedToken
from ifdkit.scoring.shading import shaded_tokens

MAX_EXPLORED = 300
_PER_REASON = 30
_PER_FINDING = 12
_MAX_NAMED = 100
"""Pairs that are chosen because findings name them; the others get the findings as tags only."""
_DRAWN = "drawn at random"
Columns = Mapping[str, NDArray[np.float64]]
"""Metric → values of the pairs, shape (pairs,); NaN if undefined."""


def explore(
    before: ComparedSide,
    after: ComparedSide,
    pairs: Pairs,
    metrics: Sequence[str],
    findings: Sequence[Finding],
    seed: int,
) -> tuple[ExploredPair, ...]:
    """At most MAX_EXPLORED pairs, ordered by their first reason."""
    kinds = _kinds_of(findings, before, after, pairs)
    named = _first_named(kinds)
    reasons = choose(
        _columns(before, pairs.before, metrics),
        _columns(after, pairs.after, metrics),
        named,
        len(pairs),
        seed,
    )
    return tuple(
        ExploredPair(
            before=_side(before, int(pairs.before[i]), metrics),
            after=_side(after, int(pairs.after[i]), metrics),
            why=whys[0],
            reasons=whys,
            findings=kinds.get(i, ()),
        )
        for i, whys in reasons.items()
    )


def _columns(side: ComparedSide, positions: Positions, metrics: Sequence[str]) -> Columns:
    return {name: side.scores.numbers[name][positions] for name in metrics}


def choose(
    before: Columns, after: Columns, named: Mapping[int, str], n_pairs: int, seed: int
) -> dict[int, tuple[str, ...]]:
    """Position of a pair → the reasons to choose it, at least one.

    `named`: the pairs that a finding names, each with its reason.
    """
    reasons: dict[int, list[str]] = {}
    for why, score in _rankings(before, after):
        # The sort is stable: of equal pairs the first in the file is chosen.
        order = np.argsort(-score, kind="stable")
        for i in order[np.isfinite(score[order]) & (score[order] > 0)][:_PER_REASON].tolist():
            reasons.setdefault(i, []).append(why)
    for i, why in named.items():
        if i in reasons or len(reasons) < MAX_EXPLORED:
            reasons.setdefault(i, []).append(why)
    chosen = np.fromiter(reasons, dtype=np.int64, count=len(reasons))
    left = np.setdiff1d(np.arange(n_pairs), chosen)
    n_drawn = min(MAX_EXPLORED - len(reasons), len(left))
    drawn = np.random.default_rng(seed).choice(left, n_drawn, replace=False)
    reasons |= {i: [_DRAWN] for i in np.sort(drawn).tolist()}
    return {i: tuple(whys) for i, whys in reasons.items()}


def _rankings(before: Columns, after: Columns) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Reasons, each with a number per pair: the largest positive ones are chosen."""
    with np.errstate(over="ignore", invalid="ignore"):
        if "ifd" in after:
            rise = after["ifd"] - before["ifd"]
            yield "largest rise in IFD", rise
            yield "largest fall in IFD", -rise
            yield "IFD of 1 or more after", np.where(after["ifd"] >= 1, after["ifd"], np.nan)
        if "ppl_response_conditional" in after:
            name = "ppl_response_conditional"
            yield "largest rise in response perplexity", after[name] - before[name]
        if "response_tokens" in after:
            longer = after["response_tokens"] - before["response_tokens"]
            yield "response grew most", longer
            yield "response shrank most", -longer


def _kinds_of(
    findings: Sequence[Finding], before: ComparedSide, after: ComparedSide, pairs: Pairs
) -> dict[int, tuple[str, ...]]:
    """Position of a pair → kinds of the findings that name it, in the order of the findings."""
    kinds: dict[tuple[bool, str], list[str]] = {}
    for finding in findings:
        for name in finding.row_ids:
            kinds.setdefault((finding.side == "before", name), []).append(finding.kind)
    found: dict[int, list[str]] = {}
    for is_before, side, positions in ((True, before, pairs.before), (False, after, pairs.after)):
        wanted = {name for was_before, name in kinds if was_before is is_before}
        for i, position in enumerate(positions.tolist()) if wanted else ():
            if (name := side.scores.ids[position]) in wanted:
                found.setdefault(i, []).extend(kinds[is_before, name])
    order = list(dict.fromkeys(finding.kind for finding in findings))
    return {i: tuple(sorted(set(names), key=order.index)) for i, names in found.items()}


def _first_named(kinds: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """The first pairs of each finding, each with its first finding as the reason."""
    taken: dict[str, int] = {}
    named: dict[int, str] = {}
    for i in sorted(kinds):
        for kind in kinds[i]:
            if taken.get(kind, 0) < _PER_FINDING and len(named) < _MAX_NAMED:
                named.setdefault(i, f"finding: {kind.replace('_', ' ')}")
            taken[kind] = taken.get(kind, 0) + 1
    return named


def _side(side: ComparedSide, i: int, metrics: Sequence[str]) -> ExploredSide:
    scores, texts = side.scores, side.texts
    values = {name: float(scores.numbers[name][i]) for name in metrics}
    return ExploredSide(
        id=scores.ids[i],
        row=int(scores.rows[i]),
        turn=int(scores.turns[i]),
        status=scores.statuses[i],
        instruction=texts.instructions[i] if texts else "",
        response=texts.responses[i] if texts else "",
        numbers={name: value if np.isfinite(value) else None for name, value in values.items()},
        tokens=_tokens(side, i),
    )


def _tokens(side: ComparedSide, i: int) -> tuple[ShadedToken, ...]:
    """The tokens of a response; empty if its text, NLLs or tokenizer are not available."""
    scores = side.scores
    conditional, direct = (
        None if nlls is None else nlls[i]
        for nlls in (scores.token_nll_conditional, scores.token_nll_direct)
    )
    if side.scorer is None or side.texts is None or (conditional is None and direct is None):
        return ()
    return shaded_tokens(
        side.texts.responses[i],
        side.scorer.tokenizer,
        int(scores.scored_tokens[i]),
        conditional=conditional,
        direct=direct,
    )
