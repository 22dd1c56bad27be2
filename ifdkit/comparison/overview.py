"""The result of comparing several datasets with one: `Comparisons` and the types it is made of.

`summary.json` of an overview is :class:`Overview` field by field (schema "ifdkit.comparisons/1"):
renaming a field breaks scripts of users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ifdkit.comparison.folders import part_folder
from ifdkit.comparison.result import Comparison, DiversityChange, LengthControl, SetCoverage
from ifdkit.data.atomic import json_file
from ifdkit.data.pairing import Pairing
from ifdkit.data.report_folder import renders, save_report
from ifdkit.data.views import MetricView
from ifdkit.findings.finding import Finding
from ifdkit.format import plural
from ifdkit.records import plain
from ifdkit.scoring.manifest import Manifest
from ifdkit.scoring.run import command_line
from ifdkit.stats.columns import Column
from ifdkit.stats.paired import MetricChange
from ifdkit.version import VERSION
from ifdkit.visible import one_line

OVERVIEW_SCHEMA = "ifdkit.comparisons/1"
OVERVIEW_FILES = ("index.html", "summary.json", "report.md")

SideColumns = Mapping[str, tuple[Column, Column]]
"""Metric → its values before and after, of shapes (n,) and (m,); of pairs, n = m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One dataset against the baseline, in numbers."""

    name: str
    folder: str | None
    """The folder of its own report, inside that of the overview; None if it is unpaired."""
    manifest: Manifest | None
    """That of its scores; None if a scores file has none that matches."""
    n_before: int
    """Examples of the baseline, paired or not."""
    n_after: int
    pairing: Pairing | None
    """None if it is unpaired."""
    verdict: str
    """The result in one or two short sentences."""
    metrics: Mapping[str, MetricChange]
    """In the order of the table; `p_holm` is corrected over all metrics of all comparisons.

    Unpaired changes are those of :func:`ifdkit.stats.unpaired.unpaired_change`.
    """
    length_control: Mapping[str, LengthControl] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    texts_compared: bool = False
    """Whether findings were looked for."""
    diversity: Mapping[str, DiversityChange] = field(default_factory=dict)
    """Measure of diversity → its change; empty if it is unpaired or without stored embeddings."""
    coverage: SetCoverage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Several datasets, each compared with the same baseline."""

    schema: str
    version: str
    created: str
    command: str
    baseline: str
    baseline_manifest: Manifest | None
    is_paired: bool
    """Whether rows of the others were paired with rows of the baseline."""
    n_tests: int
    """Tests that Holm's correction is over."""
    others: tuple[Compared, ...]
    seed: int = 0
    """Seed of bootstrap and permutations."""
    limit: int | None = None
    """Only so many rows of each dataset were compared, the first; None for all of them."""

    @property
    def fields(self) -> list[str]:
        """The metrics that at least one comparison has, in the order of the table."""
        return list(dict.fromkeys(name for one in self.others for name in one.metrics))


@dataclass(frozen=True, eq=False, repr=False)
class Comparisons(MetricView):
    """What `ifdkit.compare_several` returns."""

    overview: Overview
    """Everything that the overview shows: the object of its `summary.json`."""
    comparisons: tuple[Comparison, ...] = ()
    """The comparison of each of the others with the baseline; empty if they are unpaired."""
    columns: tuple[SideColumns, ...] = ()
    """The values behind the figures, one entry for each of the others."""

    def __repr__(self) -> str:
        """One line: the baseline, the others, and their number."""
        made = self.overview
        how = "" if made.is_paired else "unpaired, "
        names = ", ".join(one_line(one.name, 40) for one in made.others[:4])
        count = plural(len(made.others), "dataset")
        return f"<Comparisons {how}{one_line(made.baseline, 60)} with {count}: {names}>"

    def without_text(self) -> Comparisons:
        """The same without any text of the datasets: only numbers, ids and ifdkit's sentences."""
        comparisons = tuple(one.without_text() for one in self.comparisons)
        if not comparisons:
            return self  # an unpaired comparison has none
        others = tuple(
            replace(one, findings=made.summary.findings)
            for one, made in zip(self.overview.others, comparisons, strict=True)
        )
        return Comparisons(replace(self.overview, others=others), comparisons, self.columns)

    def as_json(self) -> dict[str, Any]:
        """The object of `summary.json`."""
        return plain(self.overview)

    def save(self, folder: str | Path, *, text: bool = True) -> Path:
        """Write the overview into `folder`, and return the folder.

        The files are index.html, summary.json and report.md.  Each comparison of pairs has a folder
        of its own in it, with the files of `Comparison.save`; they are written after the overview.
        With `text=False` none of them contains text of the datasets.  Raises OutputError.
        """
        result = self if text else self.without_text()
        place = save_report(result, folder, OVERVIEW_FILES)
        for one, made in zip(result.overview.others, result.comparisons, strict=False):
            assert one.folder is not None, "pairs have reports of their own"
            made.save(place / one.folder)
        return place


def paired_overview(comparisons: Sequence[Comparison], *, seed: int) -> Comparisons:
    """The overview of comparisons that have the same side before."""
    first = comparisons[0].summary
    others = [
        Compared(
            name=one.summary.name_after,
            folder=part_folder(i, one.summary.name_after),
            manifest=one.summary.after,
            n_before=sum(one.summary.statuses["before"].values()),
            n_after=sum(one.summary.statuses["after"].values()),
            pairing=one.summary.pairing,
            verdict=one.summary.verdict,
            metrics=one.summary.metrics,
            length_control=one.summary.length_control,
            findings=one.summary.findings,
            warnings=one.summary.warnings,
            texts_compared=one.summary.texts_compared,
            diversity=one.summary.diversity,
            coverage=one.summary.coverage,
        )
        for i, one in enumerate(comparisons, 1)
    ]
    overview = _overview(
        first.name_before, first.before, others, is_paired=True, seed=seed, limit=first.limit
    )
    return Comparisons(overview, tuple(comparisons), tuple(map(_columns_of, comparisons)))


def unpaired_overview(
    baseline: str,
    manifest: Manifest | None,
    others: Sequence[Compared],
    columns: Sequence[SideColumns],
    *,
    seed: int,
    limit: int | None,
) -> Comparisons:
    """The overview of datasets whose rows do not belong to those of the baseline."""
    overview = _overview(baseline, manifest, others, is_paired=False, seed=seed, limit=limit)
    return Comparisons(overview, (), tuple(columns))


def _overview(
    baseline: str,
    manifest: Manifest | None,
    others: Sequence[Compared],
    *,
    is_paired: bool,
    seed: int,
    limit: int | None,
) -> Overview:
    tested = [one for other in others for one in other.metrics.values()]
    return Overview(
        schema=OVERVIEW_SCHEMA,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("compare"),
        baseline=baseline,
        baseline_manifest=manifest,
        is_paired=is_paired,
        n_tests=sum(one.change.p is not None for one in tested),
        others=tuple(others),
        seed=seed,
        limit=limit,
    )


def _columns_of(comparison: Comparison) -> SideColumns:
    rows, found = comparison.rows, {}
    for name in comparison.summary.metrics:
        sides = rows[[f"{name}_before", f"{name}_after"]].to_numpy(dtype=np.float64).T
        before, after = sides[:, np.isfinite(sides).all(axis=0)]
        found[name] = (before, after)
    return found


@renders(Comparisons, "summary.json")
def _overview_json(result: Comparisons) -> bytes:
    return json_file(result.as_json())
