"""The verdict of a rule on what its check found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ifdkit.auditing.checking import CheckResult, Rule
from ifdkit.auditing.result import Interval, Place, RuleResult
from ifdkit.data.dataset import Dataset
from ifdkit.data.groups import RowGroups
from ifdkit.scoring.dataset import ScoredDataset
from ifdkit.stats.sampling import design_effect, wilson

_SAMPLE_ONLY = (
    "Rows of the sample were compared only with each other. The whole file contains more, so this"
    " share has no interval."
)

_TOO_FEW = "The share is above the limit, but so few rows can exceed it by chance."


def judge(
    rule: Rule, result: CheckResult, *, is_sample: bool, rows: NDArray[np.int64] | None = None
) -> RuleResult:
    """Whether what a check found passes the rule.

    A rule of severity `error` passes if the share in the checked rows is at most `most`.  A
    warning needs evidence: it is given only if a share this large would come up in at most 5 % of
    files of this size with a true share of `most` (:func:`exceeds`), so that one row of 41 does not
    exceed a limit of 1 %.  If nothing is allowed, one row is enough for both.  The interval of a
    sample says how far the whole file may be from the share; `rows` are those of the examples,
    since the turns of a row were drawn together.  A rule with nothing to check is skipped.
    """
    verdict = RuleResult(
        name=rule.name,
        title=rule.title,
        severity=rule.severity,
        passed=True,
        unit=rule.unit,
        most=rule.most,
        threshold=rule.threshold,
        fix=rule.fix,
    )
    if rule.severity == "off":
        return verdict
    if result.skipped is not None or not result.checked:
        return replace(verdict, skipped=result.skipped or "nothing to check")
    share = result.count / result.checked
    is_sample = is_sample or result.is_sample
    has_interval = is_sample and not rule.compares_rows
    is_shown = result.count > 0 or not result.also_passes
    sentences = [result.found or rule.sentence] if is_shown else []
    is_within = share <= rule.most
    if not is_within and rule.severity == "warning":
        is_within = not exceeds(result.count, result.checked, rule.most)
        sentences += [_TOO_FEW] if is_within else []
    sentences += [_SAMPLE_ONLY] if is_sample and rule.compares_rows else []
    return replace(
        verdict,
        passed=is_within and result.also_passes,
        checked=result.checked,
        count=result.count,
        share=share,
        share_ci95=_share_ci95(result, rows) if has_interval else None,
        found=" ".join(sentences),
        places=result.places,
        details=result.details,
        quotes_text=result.quotes_text,
    )


ALPHA = 0.05


def exceeds(count: int, n: int, most: float) -> bool:
    """Whether the share `count` ÷ `n` is significantly above `most`.

    One-sided exact binomial test at level ALPHA: the lower 95 % confidence bound of the share by
    Clopper and Pearson (Biometrika 26, 1934) is above `most`.
    """
    if count <= most * n:
        return False
    if most <= 0:
        return True
    from scipy.special import betainc  # in a tenth of the time of scipy.stats

    return float(betainc(count, n - count + 1, most)) <= ALPHA  # P(X ≥ count), X binomial


def with_evidence(results: Sequence[RuleResult]) -> tuple[RuleResult, ...]:
    """The results, in which the rule `nothing_measured` fails if all others were skipped.

    Rules that are off are not counted: who switches every rule off has decided.
    """
    others = [one for one in results if one.name != NOTHING_MEASURED and one.severity != "off"]
    if not others or any(one.skipped is None for one in others):
        return tuple(results)
    reasons = list(dict.fromkeys(one.skipped for one in others if one.skipped))
    found = f"Nothing could be measured: no check could be applied ({'; '.join(reasons)})."

    def failed(one: RuleResult) -> RuleResult:
        if one.name != NOTHING_MEASURED or one.severity == "off" or not one.passed:
            return one
        return replace(one, passed=False, found=found, count=one.checked, share=1.0)

    return tuple(map(failed, results))


NOTHING_MEASURED = "nothing_measured"


def with_sources(
    result: RuleResult, found: CheckResult, scored: ScoredDataset, groups: RowGroups | None
) -> RuleResult:
    """The result with its count by group, or by input if the dataset has several."""
    if not result.count or (groups is None and not scored.dataset.has_sources):
        return result
    rows = scored.scores.rows[list(found.indices)].tolist() if found.indices else []
    if not rows and result.count == len(scored.rejects):
        rows = [one.row for one in scored.rejects]
    if groups is None:
        counts = Counter(scored.dataset.source_of(row) or "" for row in rows)
        return replace(result, sources=dict(counts.most_common()))
    counts = Counter(map(groups.of, rows))
    return replace(result, sources=dict(counts.most_common()), group_by=groups.column)


def _share_ci95(result: CheckResult, rows: NDArray[np.int64] | None) -> Interval:
    """The interval of a share, by the rows of the examples if some rows have several.

    Not every example need be checked, and which were is not known: those that were not count as
    checked ones without a hit for the design effect, by which the sample is smaller than it seems.
    """
    if rows is None or not result.indices or len(np.unique(rows)) == len(rows):
        return wilson_ci95(result.count, result.checked)
    flags = np.zeros(len(rows), dtype=bool)
    flags[list(result.indices)] = True
    effect = max(1.0, design_effect(flags, rows))
    return wilson(result.count / result.checked, result.checked / effect)


def wilson_ci95(count: int, n: int) -> Interval:
    """The 95 % interval of a share by Wilson (JASA 22, 1927), both ends in 0…1.

    It assumes independent draws with replacement, so a sample that is a good part of the file is
    closer to the file than the interval says.
    """
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


def in_order(results: Iterable[RuleResult]) -> tuple[RuleResult, ...]:
    """Failed errors first, then warnings, then passed rules, then skipped ones and those off."""

    def rank(result: RuleResult) -> int:
        if result.skipped is not None or result.severity == "off":
            return 3
        return 0 if result.fails else 1 if result.warns else 2

    return tuple(sorted(results, key=rank))


def with_lines(results: Sequence[RuleResult], dataset: Dataset) -> tuple[RuleResult, ...]:
    """The results with the input and the line of every place, if there are several and lines."""
    rows = {place.row for result in results for place in result.places if place.line is None}
    if not rows and not dataset.has_sources:
        return tuple(results)
    lines = {raw.row: raw.line for raw in dataset.choose(rows).raw_rows()}

    def lined(place: Place) -> Place:
        line = lines.get(place.row) if place.line is None else place.line
        return replace(place, line=line, source=dataset.source_of(place.row))

    return tuple(replace(one, places=tuple(map(lined, one.places))) for one in results)
