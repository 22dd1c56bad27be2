"""The pairs of the report's explorer: a few hundred, each with the reason why it was chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ifdkit.comparison.result import ExploredPair, ExploredSide, ShadedToken
from ifdkit.comparison.sides import ComparedSide
from ifdkit.data.pairing import Pairs, Positions
from ifdkit.findings.finding import Finding
from ifdkit.scoring.inspect import token_texts

MAX_EXPLORED = 300
_PER_REASON = 40
_PER_FINDING = 3
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
    """At most MAX_EXPLORED pairs, ordered by reason."""
    reasons = choose(
        _columns(before, pairs.before, metrics),
        _columns(after, pairs.after, metrics),
        _named_in(findings, before, after, pairs),
        len(pairs),
        seed,
    )
    return tuple(
        ExploredPair(
            before=_side(before, int(pairs.before[i]), metrics),
            after=_side(after, int(pairs.after[i]), metrics),
            why=why,
        )
        for i, why in reasons.items()
    )


def _columns(side: ComparedSide, positions: Positions, metrics: Sequence[str]) -> Columns:
    return {name: side.scores.numbers[name][positions] for name in metrics}


def choose(
    before: Columns, after: Columns, named: Mapping[int, str], n_pairs: int, seed: int
) -> dict[int, str]:
    """Position of a pair → the first reason to choose it.

    `named`: the pairs that a finding names, each with its reason.
    """
    chosen: dict[int, str] = {}
    for why, score in _rankings(before, after):
        # The sort is stable: of equal pairs the first in the file is chosen.
        order = np.argsort(-score, kind="stable")
        for i in order[np.isfinite(score[order]) & (score[order] > 0)][:_PER_REASON].tolist():
            chosen.setdefault(i, why)
    for i, why in named.items():
        if len(chosen) < MAX_EXPLORED:
            chosen.setdefault(i, why)
    left = np.setdiff1d(np.arange(n_pairs), np.fromiter(chosen, dtype=np.int64, count=len(chosen)))
    n_drawn = min(MAX_EXPLORED - len(chosen), len(left))
    drawn = np.random.default_rng(seed).choice(left, n_drawn, replace=False)
    return chosen | dict.fromkeys(np.sort(drawn).tolist(), _DRAWN)


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


def _named_in(
    findings: Sequence[Finding], before: ComparedSide, after: ComparedSide, pairs: Pairs
) -> dict[int, str]:
    """Pairs named by a finding, a few for each."""
    kinds: dict[tuple[bool, str], str] = {}
    for finding in findings:
        for name in finding.row_ids[:_PER_FINDING]:
            kinds.setdefault((finding.side == "before", name), finding.kind)
    found: dict[int, str] = {}
    for is_before, side, positions in ((True, before, pairs.before), (False, after, pairs.after)):
        wanted = {name for was_before, name in kinds if was_before is is_before}
        for i, position in enumerate(positions.tolist()) if wanted else ():
            if (name := side.scores.ids[position]) in wanted:
                found.setdefault(i, f"finding: {kinds[is_before, name].replace('_', ' ')}")
    return found


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
    """The response cut at its tokens, each with its conditional NLL.

    Empty if the NLLs or the tokenizer are not available, or if the response had other tokens when
    it was scored behind its prompt.  A token has no NLL if it is only context or was truncated.
    """
    nlls = side.scores.token_nll_conditional
    nll = nlls[i] if nlls is not None else None
    if nll is None or side.scorer is None or side.texts is None:
        return ()
    texts = token_texts(side.texts.responses[i], side.scorer.tokenizer)
    cut_off = len(texts) - int(side.scores.scored_tokens[i])
    skipped = len(texts) - cut_off - len(nll)
    if skipped not in (0, 1) or cut_off < 0:
        return ()
    nats = [None] * skipped + [float(value) for value in nll] + [None] * cut_off
    return tuple(ShadedToken(text, value) for text, value in zip(texts, nats, strict=True))
