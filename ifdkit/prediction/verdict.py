"""The conclusion of a prediction in one sentence, whichever way it comes out."""

from __future__ import annotations

from collections.abc import Mapping

from ifdkit.format import correlation, fixed, interval, p_value, plural, signed
from ifdkit.prediction.result import Combination, Predictor
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.columns import MIN_PAIRS, Interval


def verdict(
    length: Predictor,
    scores: Mapping[str, Predictor],
    combination: Combination | None,
    n_length_matched: int,
) -> str:
    """Whether any score says more about the preference than the length of the answers does.

    A score is said to do so if its partial correlation, length removed, differs from zero over all
    pairs and over the length-matched ones, in the same direction, each at 5 % after Holm's
    correction.
    """
    if length.auc is None or length.ci95 is None or not scores:
        return (
            f"Nothing can be concluded: {plural(length.n, 'pair')} with a preference"
            f" {'is' if length.n == 1 else 'are'} too few (at least {MIN_PAIRS}, with both sides"
            " preferred), or no score was measured."
        )
    strongest, best = next(iter(scores.items()))
    matched = length.auc_length_matched
    still = f", and still {fixed(matched, 2)} on pairs of equal length in characters"
    basis = (
        f"Length in tokens alone has AUC {_auc(length.auc, length.ci95)}"
        f"{'' if matched is None else still}; the"
        f" strongest score ({_label(strongest)}) {_auc(best.auc, best.ci95)}"
    )
    adding = {name: one for name, one in scores.items() if one.adds_to_length}
    holding = [name for name, one in adding.items() if one.holds_when_matched]
    gain = _gain(combination)
    if holding:
        return (
            f"{_listed(holding)} {'says' if len(holding) == 1 else 'say'} more than length:"
            f" with length removed {_partials(holding, scores)}, also on the"
            f" {n_length_matched:,} length-matched pairs. {basis}{gain}."
        )
    if adding:
        return (
            "No score is shown to say more than length both on all pairs and on the"
            f" {plural(n_length_matched, 'length-matched pair')}; on all pairs, with length"
            f" removed, {_partials(list(adding), scores)}. {basis}{gain}."
        )
    return f"No score is shown to say more than length. {basis}{gain}."


def _label(name: str) -> str:
    return METRICS[name].label if name in METRICS else name


def _listed(names: list[str]) -> str:
    labels = [_label(name) for name in names]
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _partials(names: list[str], scores: Mapping[str, Predictor]) -> str:
    found = (
        f"{_label(name)} correlates {correlation(scores[name].partial)} (p"
        f" {_p(scores[name].partial_p_holm)})"
        for name in names
    )
    return ", ".join(found)


def _p(p: float | None) -> str:
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _gain(combination: Combination | None) -> str:
    """What the combination adds, as the rest of a sentence."""
    if combination is None or combination.difference is None:
        return ""
    ends = interval(combination.difference_ci95, _three_decimals)
    change = f"{_three_decimals(combination.difference)} ({ends})"
    return f"; all scores together change the AUC of length by {change} on unseen instructions"


def _three_decimals(x: float) -> str:
    return signed(x, 3)


def _auc(value: float | None, ci95: Interval | None) -> str:
    return f"{fixed(value, 2)} ({interval(ci95, lambda x: fixed(x, 2))})"
