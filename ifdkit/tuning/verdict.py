"""What tuned weights are worth: against random selections, and against each score alone.

The question is whether a random selection could have done as well.  The standard deviation s of n
random selections, each trained with a seed of its own, contains what the rows and what the seed do.
Another one differs from their mean by more than t · s · √(1 + 1/n) in 5 % of cases (t: Student's, n
− 1 degrees of freedom), and so does, at most, a selection by weights that mean nothing: its mean
over several seeds varies less.  Neither may the held-out rows explain it: the interval over them
has to leave out 0, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ifdkit.format import fixed
from ifdkit.selection.tuned import Contender, Distinguished
from ifdkit.stats.columns import mean_ci95

TUNED, RANDOM = "tuned", "random"
_DECIMALS = 4

Nlls = NDArray[np.float64]
"""Shape (seeds, held-out rows); NaN if undefined."""


def compared(
    measured: Mapping[str, tuple[Mapping[str, float], Nlls]], *, seed: int
) -> tuple[Contender, ...]:
    """Describe each way to select, given its weights and NLLs by name; RANDOM is among them."""
    whole = np.concatenate([nlls for _, nlls in measured.values()])
    defined = np.isfinite(whole).all(axis=0)
    found = {name: (dict(weights), nlls[:, defined]) for name, (weights, nlls) in measured.items()}
    random = found[RANDOM][1]
    half = student(len(random)) * float(random.mean(axis=1).std(ddof=1))
    margin = half * math.sqrt(1 + 1 / len(random))
    return tuple(
        _contender(name, weights, nlls, random, margin, seed)
        for name, (weights, nlls) in found.items()
    )


def _contender(
    name: str, weights: dict[str, float], nlls: Nlls, random: Nlls, margin: float, seed: int
) -> Contender:
    means = nlls.mean(axis=1)
    found = Contender(
        name=name,
        weights=weights,
        nlls=tuple(means.tolist()),
        nll=float(means.mean()),
    )
    if name == RANDOM:
        return found
    gaps = nlls.mean(axis=0) - random.mean(axis=0)  # (held-out rows,)
    difference, ci95 = float(gaps.mean()), mean_ci95(gaps, seed=seed)
    verdict: Distinguished = "not distinguishable"
    if ci95 is not None:
        low, high = ci95
        if difference < -margin and high < 0:
            verdict = "better"
        elif difference > margin and low > 0:
            verdict = "worse"
    return Contender(
        name=name,
        weights=weights,
        nlls=found.nlls,
        nll=found.nll,
        versus_random=difference,
        margin=margin,
        ci95_rows=ci95,
        verdict=verdict,
    )


def student(n: int) -> float:
    """Student's t with n − 1 degrees of freedom that is exceeded in either direction in 5 %."""
    from scipy import stats

    return float(stats.t.ppf(0.975, n - 1))


def remarks(contenders: Sequence[Contender]) -> Iterator[str]:
    """Sentences for the user: the tuned weights against random, then against single scores."""
    by_name = {one.name: one for one in contenders}
    tuned, random = by_name[TUNED], by_name[RANDOM]
    assert tuned.margin is not None, "only random has none"
    numbers = (
        f"a held-out NLL of {fixed(tuned.nll, _DECIMALS)}, against {fixed(random.nll, _DECIMALS)} ±"
        f" {fixed(tuned.margin, _DECIMALS)} of {len(random.nlls)} random selections, on rows that"
        " no trial saw"
    )
    if tuned.verdict == "better":
        yield f"The tuned weights are better than random: {numbers}."
    elif tuned.verdict == "worse":
        yield f"The tuned weights are worse than random: {numbers}. Do not select by them."
    else:
        yield (
            f"The tuned weights are not distinguishable from random: {numbers}. --method random is"
            " as good, as far as these runs can tell."
        )
    if len(tuned.weights) == 1:
        yield f"No combination did better in the trials than {_alone(tuned.weights)}."
        return
    singles = [one for one in contenders if one.name not in (TUNED, RANDOM)]
    best = min(singles, key=lambda one: one.nll)
    # Two fixed selections differ by chance more than one does from the mean of many.
    noise = tuned.margin / math.sqrt(1 + 1 / len(random.nlls)) * math.sqrt(2)
    if tuned.verdict == "better" and best.nll - tuned.nll <= noise:
        yield (
            f"One score does as well: {_alone(best.weights)} has"
            f" {fixed(best.nll, _DECIMALS)}, which these runs cannot tell from the combination."
        )


def _alone(weights: Mapping[str, float]) -> str:
    """`coherence alone, lowest first`."""
    ((name, weight),) = weights.items()
    return f"{name} alone, {'highest' if weight > 0 else 'lowest'} first"
