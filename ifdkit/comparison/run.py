"""`ifdkit compare`: what changed between two or more datasets, and whether it is real.

    sides ─ pairing ─▶ pairs ─▶ each metric ─ Holm ─▶ table
                             ├▶ length control, findings ─▶ headline
                             └▶ pairs to explore

A comparison uses scores that exist already; datasets are scored first.  Findings need the texts of
both sides.  Of several datasets the first is the baseline: each of the others is paired with it
and compared as two datasets are, and Holm's correction is over all metrics of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from ifdkit.comparison.length_control import MIN_TOKENS
from ifdkit.comparison.options import CompareOptions
from ifdkit.comparison.overview import Comparisons, paired_overview, unpaired_overview
from ifdkit.comparison.paired_sides import pair_sides
from ifdkit.comparison.result import Comparison
from ifdkit.comparison.sampling import caveats_of
from ifdkit.comparison.sides import Sides
from ifdkit.comparison.tracked import tracked
from ifdkit.comparison.unpaired_sides import UnpairedSides
from ifdkit.data.dataset import Reasoning, Turns
from ifdkit.data.many_inputs import expand
from ifdkit.data.options import ReadOptions
from ifdkit.data.pairing import By
from ifdkit.errors import UsageError
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.settings import SettingsKeywords, given_settings
from ifdkit.stats.paired import MetricChange, with_holm
from ifdkit.topics.layouts import LayoutName
from ifdkit.tracking import TrackerName, check_tracker, track

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data


def compare(
    before: Data,
    after: Data,
    *,
    pair_by: By | None = None,
    group_by: str | None = None,
    force: bool = False,
    min_tokens: int = MIN_TOKENS,
    limit: int | None = None,
    map_layout: LayoutName = "pca",
    sample: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    reasoning: Reasoning = "keep",
    lines: bool = False,
    log: TrackerName | None = None,
    progress: Progress | None = None,
    **settings: Unpack[SettingsKeywords],
) -> Comparison:
    """Compare two datasets, or two sets of scores: what changed, and whether it is real.

    Each side is a path (a dataset or a scores file), any iterable of dictionaries, or a DataFrame,
    such as that of `ifdkit.score`.  Datasets are scored first, with `settings` as `ifdkit.score`
    takes them, and with all metrics unless some are named; if a side is scored already, its
    settings are used.  `pair_by` is `id`, `row` or `instruction`; `group_by` is a column of the
    rows for a table of changes by its values; `force` compares sides that were scored differently;
    length control leaves out responses under `min_tokens` tokens; `map_layout`, `pca` or `umap`, is
    that of the map of topics; `limit` compares only the first rows of each side, and `sample` so
    many random rows of them, the same positions of both sides; `seed` is that of the sample, of the
    bootstrap and of the map; `log` names a tracker for the numbers and settings, as for
    `ifdkit.score`.  Raises IfdkitError.
    """
    if log is not None:
        check_tracker(log)
    options = CompareOptions(
        pair_by=pair_by,
        group_by=group_by,
        force=force,
        min_tokens=min_tokens,
        map_layout=map_layout,
        seed=seed,
    )
    read_options = ReadOptions(
        columns=columns,
        turns=turns,
        reasoning=reasoning,
        lines=lines,
        limit=limit,
        sample=sample,
        seed=seed,
    )
    given = given_settings("compare", settings)
    result = compare_sides(before, after, given, read_options, options, progress)
    if log is not None:
        track(log, tracked(result))
    return result


def compare_several(
    baseline: Data,
    others: Sequence[Data],
    *,
    unpaired: bool = False,
    pair_by: By | None = None,
    group_by: str | None = None,
    force: bool = False,
    min_tokens: int = MIN_TOKENS,
    limit: int | None = None,
    map_layout: LayoutName = "pca",
    sample: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    turns: Turns = "all",
    reasoning: Reasoning = "keep",
    lines: bool = False,
    log: TrackerName | None = None,
    progress: Progress | None = None,
    **settings: Unpack[SettingsKeywords],
) -> Comparisons:
    """Compare each of several datasets with a baseline, corrected for the number of all tests.

    The arguments are those of `ifdkit.compare`.  With `unpaired`, rows are not paired, so that the
    datasets may have nothing in common and any size; this takes none of `pair_by`, `group_by` and
    `sample`.  Raises IfdkitError.
    """
    if log is not None:
        check_tracker(log)
    options = CompareOptions(
        pair_by=pair_by,
        group_by=group_by,
        force=force,
        min_tokens=min_tokens,
        map_layout=map_layout,
        seed=seed,
        unpaired=unpaired,
    )
    read_options = ReadOptions(
        columns=columns,
        turns=turns,
        reasoning=reasoning,
        lines=lines,
        limit=limit,
        sample=sample,
        seed=seed,
    )
    given = given_settings("compare_several", settings)
    result = compare_with_baseline(baseline, others, given, read_options, options, progress)
    if log is not None:
        track(log, tracked(result))
    return result


def compare_sides(
    before: Data,
    after: Data,
    settings: Mapping[str, Any],
    read_options: ReadOptions,
    options: CompareOptions,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two datasets or scores files.

    `settings` are the fields of `Settings` that the caller has set; the others come from the
    manifest if a side is a scores file.  Raises IfdkitError; what was scored before stays in the
    store.
    """
    progress = progress or default_progress()
    before, after = expand(before), expand(after)
    with Sides(settings, read_options, progress, force=options.force) as sides:
        old, new = sides.open((before, after), options.needed, options.group_by)
        paired = pair_sides(old, new, options, sides.part, progress)
        return paired.compare(sides.warnings_of(1))


def compare_with_baseline(
    baseline: Data,
    others: Sequence[Data],
    settings: Mapping[str, Any],
    read_options: ReadOptions,
    options: CompareOptions,
    progress: Progress | None = None,
) -> Comparisons:
    """Compare each of several datasets or scores files with the first one.

    As :func:`compare_sides`.  All sides are in memory at once.
    """
    if not others:
        raise UsageError("nothing to compare the baseline with: name another dataset")
    if options.unpaired and read_options.sample is not None:
        raise UsageError("--sample draws the same rows of all sides, so it needs pairs: leave it"
                         " out, or leave out --unpaired")  # fmt: skip
    progress = progress or default_progress()
    data = tuple(expand(one) for one in (baseline, *others))
    with Sides(settings, read_options, progress, force=options.force) as sides:
        first, *rest = sides.open(data, options.needed, options.group_by)
        warnings = [sides.warnings_of(i) for i in range(1, len(data))]
        if options.unpaired:
            warnings = [[*warned, *caveats_of(sides.part)] for warned in warnings]
            unpaired = [UnpairedSides(first, one, options) for one in rest]
            corrected = _holm_over_all([one.metrics() for one in unpaired])
            return unpaired_overview(
                first.name,
                first.manifest,
                [
                    one.compare(warned, metrics)
                    for one, warned, metrics in zip(unpaired, warnings, corrected, strict=True)
                ],
                [one.columns() for one in unpaired],
                seed=options.seed,
                limit=sides.part.limit,
            )
        paired = [pair_sides(first, one, options, sides.part, progress) for one in rest]
        corrected = _holm_over_all([one.metrics() for one in paired])
        note = _corrected_for(corrected)
        return paired_overview(
            [
                one.compare([*warned, *note], metrics)
                for one, warned, metrics in zip(paired, warnings, corrected, strict=True)
            ],
            seed=options.seed,
        )


def _holm_over_all(groups: Sequence[Mapping[str, MetricChange]]) -> list[dict[str, MetricChange]]:
    """The metrics of several comparisons, with p corrected for the number of all of them."""
    together = with_holm(
        {f"{i} {name}": one for i, group in enumerate(groups) for name, one in group.items()}
    )
    return [{name: together[f"{i} {name}"] for name in group} for i, group in enumerate(groups)]


def _corrected_for(groups: Sequence[Mapping[str, MetricChange]]) -> list[str]:
    if len(groups) < 2:
        return []
    n_tests = sum(one.change.p is not None for group in groups for one in group.values())
    return [
        f"one of {len(groups):,} comparisons with the same baseline: p is corrected for all"
        f" {n_tests:,} tests"
    ]
