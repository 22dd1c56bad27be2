"""Two sides and their pairs: every part of their comparison, put together.

pairs ─ each metric ─ Holm ─▶ table
      ├▶ length control, findings ─▶ headline
      └▶ pairs to explore
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.comparison.by_source import changes_by_label, labels_by_column, labels_by_source
from ifdkit.comparison.caveats import list_caveats
from ifdkit.comparison.diversity import find_diversity
from ifdkit.comparison.exploring import explore
from ifdkit.comparison.headline import headline
from ifdkit.comparison.length_control import WINDOW, ScoredSide, length_control
from ifdkit.comparison.length_control.cutting import ifd_of_first, scored_tokens, tokens_skipped
from ifdkit.comparison.length_control.residuals import length_of_metrics, mostly_length
from ifdkit.comparison.options import CompareOptions
from ifdkit.comparison.pair_texts import paired_texts
from ifdkit.comparison.positions import position_points
from ifdkit.comparison.reference import PUBLISHED
from ifdkit.comparison.relatedness import with_overlap
from ifdkit.comparison.result import (
    COMPARISON_SCHEMA,
    Comparison,
    LengthControl,
    PositionPoint,
    SourceChange,
    Summary,
    TopicChange,
)
from ifdkit.comparison.sampling import about_all_rows, caveats_of
from ifdkit.comparison.sides import ComparedSide
from ifdkit.comparison.topics import Topics, find_topics, topic_changes
from ifdkit.comparison.verdict import short_verdict
from ifdkit.data.chosen_part import ChosenPart
from ifdkit.data.pairing import Keys, Pairs, Positions, fingerprint, pair, worded_for_documents
from ifdkit.errors import InputError
from ifdkit.findings import find
from ifdkit.findings.finding import Finding
from ifdkit.format import plural
from ifdkit.scoring.dataset import Texts
from ifdkit.scoring.metrics import METRICS, table_metrics
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import command_line
from ifdkit.stats.paired import MetricChange, compare_metric, with_holm
from ifdkit.version import VERSION

if TYPE_CHECKING:
    import pandas as pd


def pair_sides(
    before: ComparedSide,
    after: ComparedSide,
    options: CompareOptions,
    part: ChosenPart,
    progress: Progress,
) -> PairedSides:
    """Pair two sides. Raises InputError if no pair is found."""
    pairs = pair(_keys(before), _keys(after), options.pair_by)
    if before.has_documents:
        note = worded_for_documents(pairs.pairing.note)
        pairs = replace(pairs, pairing=replace(pairs.pairing, note=note))
    progress.note(f"{plural(len(pairs), 'pair')} by {pairs.pairing.by}: {pairs.pairing.note}")
    if not len(pairs):
        within = "" if part.limit is None else f" in the first {plural(part.limit, 'row')} of each"
        raise InputError(
            f"no row of {before.name} has the same {pairs.pairing.by} as one of {after.name}"
            f"{within}: choose another key with --pair-by id, row or instruction"
        )
    if before.texts is not None and after.texts is not None:
        texts = [_own_texts(side, side.texts) for side in (before, after) if side.texts]
        pairs = with_overlap(pairs, texts[0], texts[1], options.seed)
    return PairedSides(before, after, pairs, options, part)


def _keys(side: ComparedSide) -> Keys:
    instructions = None
    if side.texts is not None:
        prints = (fingerprint(text) for text in _own_texts(side, side.texts).instructions)
        instructions = np.fromiter(prints, dtype=np.uint64, count=len(side.scores))
    scores = side.scores
    return Keys(scores.ids, scores.rows, scores.turns, side.n_rows, instructions)


def _own_texts(side: ComparedSide, texts: Texts) -> Texts:
    """The texts of a side; a document, which has no instruction to pair by, is its own."""
    return replace(texts, instructions=texts.responses) if side.has_documents else texts


class PairedSides:
    """Two sides and their pairs, and every part of their comparison."""

    def __init__(
        self,
        before: ComparedSide,
        after: ComparedSide,
        pairs: Pairs,
        options: CompareOptions,
        part: ChosenPart,
    ) -> None:
        self._before, self._after, self._pairs, self._options = before, after, pairs, options
        self._part = part
        common = before.scores.numbers.keys() & after.scores.numbers.keys()
        self._fields = [name for name in table_metrics() if name in common]
        self._has_text = before.texts is not None and after.texts is not None

    def compare(
        self, warnings: Sequence[str], metrics: Mapping[str, MetricChange] | None = None
    ) -> Comparison:
        """Put the parts together; `warnings` come before those found here.

        `metrics` are those of `metrics()`, corrected for more tests than those of this comparison.
        """
        before, after, options = self._before, self._after, self._options
        metrics = with_holm(self.metrics()) if metrics is None else metrics
        controls, common_ifd = self._length_control()
        findings, is_unchanged = self._findings(), self._is_unchanged()
        topics = find_topics(
            before, after, self._pairs, seed=options.seed, layout=options.map_layout
        )
        diversity, covered = find_diversity(before, after, self._pairs, seed=options.seed)
        lengths = length_of_metrics({n: self._values(n) for n in self._fields}, options.seed)
        caveats = [
            *caveats_of(self._part),
            *list_caveats(before, after, self._pairs, options.min_tokens),
            *mostly_length(lengths),
        ]
        if before.has_documents:
            caveats = list(map(worded_for_documents, caveats))
        summary = Summary(
            schema=COMPARISON_SCHEMA,
            version=VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command_line("compare"),
            before=before.manifest,
            after=after.manifest,
            name_before=before.name,
            name_after=after.name,
            pairing=self._pairs.pairing,
            verdict=short_verdict(
                self._pairs.pairing,
                metrics,
                controls.get("ifd"),
                findings,
                is_unchanged=is_unchanged,
            ),
            headline=headline(
                self._pairs.pairing,
                metrics,
                controls.get("ifd"),
                is_unchanged=is_unchanged,
                controlled=self._controlled(controls.get("ifd"), common_ifd),
            ),
            metrics=metrics,
            length_control=controls,
            length_of_metrics=lengths,
            findings=findings,
            reference=() if before.has_documents else PUBLISHED,
            warnings=(*warnings, *before.notes, *after.notes, *caveats),
            statuses={
                "before": dict(Counter(before.scores.statuses).most_common()),
                "after": dict(Counter(after.scores.statuses).most_common()),
            },
            seed=options.seed,
            sources=self._by_group(),
            limit=self._part.limit,
            group_by=options.group_by,
            topics=self._topic_changes(topics, common_ifd),
            map_layout="" if options.map_layout == "pca" else options.map_layout,
            diversity=diversity,
            coverage=covered,
            positions=self._positions(),
            texts_compared=self._has_text,
        )
        explored = explore(before, after, self._pairs, self._fields, findings, options.seed)
        comparison = Comparison(summary, self._rows(common_ifd, topics), explored, has_text=True)
        # The texts of one side alone are not a comparison.
        return comparison if self._has_text else comparison.without_text()

    def _values(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A metric on both sides, one entry per pair; NaN if undefined."""
        old, new = self._before.scores.numbers[name], self._after.scores.numbers[name]
        return old[self._pairs.before], new[self._pairs.after]

    def metrics(self) -> dict[str, MetricChange]:
        """The metrics that a pair has on both sides, without `p_holm`."""
        changes = {
            name: compare_metric(
                *self._values(name),
                geometric=METRICS[name].is_multiplicative,
                seed=self._options.seed,
            )
            for name in self._fields
        }
        if self._part.drawn is not None:
            rows = self._before.scores.rows[self._pairs.before]
            for name, one in changes.items():
                old, new = self._values(name)
                changes[name] = about_all_rows(one, new - old, rows, self._part.drawn)
        return {name: one for name, one in changes.items() if one.before.n}

    def _by_group(self) -> tuple[SourceChange, ...]:
        """The changes by the values of a column, or by input if both sides have several."""
        before, after = self._before.scores, self._after.scores
        if self._options.group_by is None:
            labels = labels_by_source(before, after, self._pairs)
        else:
            labels = labels_by_column(self._before, self._after, self._pairs)
        if labels is None:
            return ()
        return changes_by_label(
            before, after, self._pairs, self._fields, labels, seed=self._options.seed
        )

    def _is_unchanged(self) -> bool:
        columns = (self._values(name) for name in self._fields)
        return all(np.array_equal(old, new, equal_nan=True) for old, new in columns)

    def _scored_sides(self) -> tuple[ScoredSide, ScoredSide]:
        return (
            _scored_side(self._before, self._pairs.before),
            _scored_side(self._after, self._pairs.after),
        )

    def _positions(self) -> tuple[PositionPoint, ...]:
        if "ifd" not in self._fields:
            return ()
        return position_points(*self._scored_sides(), len(self._pairs), seed=self._options.seed)

    def _length_control(
        self,
    ) -> tuple[dict[str, LengthControl], tuple[NDArray[np.float64], ...] | None]:
        """The length control of IFD, and the IFDs of each pair cut to its shorter side."""
        if "ifd" not in self._fields:
            return {}, None
        sides = self._scored_sides()
        min_tokens, manifest = self._options.min_tokens, self._before.manifest
        window = max(2, manifest.window if manifest else WINDOW)
        control = length_control(
            *sides, window=window, min_tokens=min_tokens, seed=self._options.seed
        )
        pairs = np.arange(len(self._pairs))
        counts = np.minimum(*(scored_tokens(side, pairs) for side in sides))
        if not counts.any():
            return {"ifd": control}, None
        counts = np.where(counts >= min_tokens, counts, 0)
        return {"ifd": control}, tuple(ifd_of_first(side, pairs, counts) for side in sides)

    def _controlled(
        self, control: LengthControl | None, common_ifd: tuple[NDArray[np.float64], ...] | None
    ) -> MetricChange | None:
        """The change in IFD over the pairs that the sentence of length control is about."""
        if control is None:
            return None
        is_used = np.minimum(*self._values("response_tokens")) >= control.min_tokens
        if common_ifd is not None and control.common_length_change is not None:
            is_used &= np.isfinite(common_ifd).all(axis=0)
        old, new = (one[is_used] for one in self._values("ifd"))
        return compare_metric(old, new, geometric=False, seed=self._options.seed)

    def _findings(self) -> tuple[Finding, ...]:
        if not self._has_text:
            return ()
        undefined = np.full(len(self._pairs), np.nan)
        ifds = self._values("ifd") if "ifd" in self._fields else (undefined, undefined)
        texts = paired_texts(self._before, self._after, self._pairs, ifds, self._options.seed)
        return find(texts)

    def _topic_changes(
        self, topics: Topics | None, common_ifd: tuple[NDArray[np.float64], ...] | None
    ) -> tuple[TopicChange, ...]:
        if topics is None or "ifd" not in self._fields:
            return ()
        return topic_changes(
            topics.titles,
            topics.labels,
            self._values("ifd"),
            self._values("response_tokens"),
            (common_ifd[0], common_ifd[1]) if common_ifd is not None else None,
            seed=self._options.seed,
        )

    def _rows(
        self, common_ifd: tuple[NDArray[np.float64], ...] | None, topics: Topics | None
    ) -> pd.DataFrame:
        """One row per pair: its positions, its statuses, each metric before and after."""
        import pandas as pd

        old, new, pairs = self._before.scores, self._after.scores, self._pairs
        columns: dict[str, Any] = {
            "id": [old.ids[i] for i in pairs.before.tolist()],
            "row_before": old.rows[pairs.before],
            "turn_before": old.turns[pairs.before],
            "row_after": new.rows[pairs.after],
            "turn_after": new.turns[pairs.after],
            "status_before": [old.statuses[i] for i in pairs.before.tolist()],
            "status_after": [new.statuses[i] for i in pairs.after.tolist()],
        }
        for name in self._fields:
            columns[f"{name}_before"], columns[f"{name}_after"] = self._values(name)
        if common_ifd is not None:
            columns["ifd_common_before"], columns["ifd_common_after"] = common_ifd
        if topics is not None:
            columns |= topics.columns()
        return pd.DataFrame(columns)


def _scored_side(side: ComparedSide, positions: Positions) -> ScoredSide:
    """The input of length control from one side, in the order of the pairs."""
    scores = side.scores
    direct, conditional = scores.token_nll_direct, scores.token_nll_conditional
    scored = ScoredSide(
        ifd=scores.numbers["ifd"][positions],
        response_tokens=scores.numbers["response_tokens"][positions],
    )
    if direct is None or conditional is None:
        return scored
    return replace(
        scored,
        token_nll_direct=direct.take(positions),
        token_nll_conditional=conditional.take(positions),
        # Decided by the whole side, not only by the rows that have a pair.
        skipped_direct=tokens_skipped(scores.scored_tokens, direct.lengths),
        skipped_conditional=tokens_skipped(scores.scored_tokens, conditional.lengths),
    )
