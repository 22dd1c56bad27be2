"""The verb *compare*: two sides in, what changed between them out.

    sides ─ pairing ─▶ pairs ─▶ each metric ─ Holm ─▶ table
                             ├▶ length control, findings ─▶ headline
                             └▶ pairs to look at

Works on numbers that were scored before it; what it says of texts needs the datasets behind them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.comparison.caveats import list_caveats
from ifdkit.comparison.exploring import explore
from ifdkit.comparison.headline import headline
from ifdkit.comparison.length_control import MIN_TOKENS, WINDOW, ScoredSide, length_control
from ifdkit.comparison.length_control.cutting import ifd_of_first, scored_tokens
from ifdkit.comparison.pairing import BYS, By, Keys, Pairs, Positions, fingerprint, pair
from ifdkit.comparison.reference import PUBLISHED
from ifdkit.comparison.result import COMPARISON_SCHEMA, ExploredPair, LengthControl, Summary
from ifdkit.comparison.sides import Side, Sides
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError, UsageError
from ifdkit.findings import TextPair, find
from ifdkit.findings.finding import Finding
from ifdkit.scoring.ragged import Ragged
from ifdkit.scoring.run import command_line
from ifdkit.scoring.scorer import Progress
from ifdkit.stats.paired import MetricChange, compare_metric, with_holm
from ifdkit.version import VERSION

if TYPE_CHECKING:
    import pandas as pd

    from ifdkit.scoring.inputs import Data

TABLE = (
    "instruction_tokens",
    "response_tokens",
    "ppl_instruction_direct",
    "ppl_response_direct",
    "ppl_response_conditional",
    "coherence",
    "ifd",
    "rifd",
    "ifd_window",
    "ifd_loss",
    "rifd_loss",
    "ppl_instruction_conditional",
    "bits_per_byte_response",
)
"""Metrics in the order of the table: the papers' first, then the rest."""
_RATIO_SCALES = ("ppl_", "ifd", "rifd")
"""Positive and multiplicative: the geometric mean says something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to compare, whatever the numbers were made with."""

    pair_by: By | None = None
    """None: the best key there is."""
    force: bool = False
    """Compare sides that were not scored alike."""
    min_tokens: int = MIN_TOKENS
    """Shortest response admitted where length is held fixed."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot be meant."""
        if self.pair_by is not None and self.pair_by not in BYS:
            raise UsageError(f"--pair-by {self.pair_by}: choose {', '.join(BYS)}")
        if self.min_tokens < 2:
            raise UsageError(f"--min-tokens {self.min_tokens}: at least two")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: not negative")


@dataclass(frozen=True, eq=False)
class Comparison:
    """All that was found, for the reports to draw."""

    summary: Summary
    rows: pd.DataFrame
    """One row a pair."""
    explored: tuple[ExploredPair, ...]
    has_text: bool
    """Whether the texts of both sides were to be had."""


def compare_sides(
    before: Data,
    after: Data,
    settings: Mapping[str, Any],
    read_options: ReadOptions,
    options: Options,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two datasets or scores files.

    `settings` holds what was asked for of `Settings`; the rest comes from a scores file where a
    side is one.  Raises IfdkitError; what was scored before stays in the store.
    """
    progress = progress or Progress()
    with Sides(settings, read_options, progress, force=options.force) as sides:
        old, new = sides.open(before, after)
        pairs = pair(_keys(old), _keys(new), options.pair_by)
        progress.note(f"{len(pairs):,} pairs by {pairs.pairing.by}: {pairs.pairing.note}")
        if not len(pairs):
            raise InputError(
                f"no row of {old.name} stands against one of {new.name} by {pairs.pairing.by};"
                " --pair-by id, row or instruction chooses another key"
            )
        return _Pairwise(old, new, pairs, options).compare(sides.warnings)


def _keys(side: Side) -> Keys:
    instructions = None
    if side.texts is not None:
        prints = (fingerprint(text) for text in side.texts.instructions)
        instructions = np.fromiter(prints, dtype=np.uint64, count=len(side.scores))
    scores = side.scores
    rows_in = side.manifest.get("rows_in")
    n_rows = rows_in if isinstance(rows_in, int) else int(scores.rows.max(initial=-1)) + 1
    return Keys(scores.ids, scores.rows, scores.turns, n_rows, instructions)


class _Pairwise:
    """Two sides and their pairs, looked at in every way."""

    def __init__(self, before: Side, after: Side, pairs: Pairs, options: Options) -> None:
        self._before, self._after, self._pairs, self._options = before, after, pairs, options
        there = (set(side.scores.numbers) for side in (before, after))
        common = set.intersection(*there)
        self._fields = [name for name in TABLE if name in common]

    def compare(self, warnings: Sequence[str]) -> Comparison:
        """Everything, once."""
        before, after, options = self._before, self._after, self._options
        metrics = self._metrics()
        controls, common_ifd = self._length_control()
        findings = self._findings()
        caveats = list_caveats(before, after, self._pairs, options.min_tokens, TABLE)
        summary = Summary(
            schema=COMPARISON_SCHEMA,
            version=VERSION,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command_line("compare"),
            before=dict(before.manifest),
            after=dict(after.manifest),
            name_before=before.name,
            name_after=after.name,
            pairing=self._pairs.pairing,
            headline=headline(
                len(self._pairs), metrics, controls.get("ifd"), is_unchanged=self._is_unchanged
            ),
            metrics=metrics,
            length_control=controls,
            findings=findings,
            reference=PUBLISHED,
            warnings=(*warnings, *before.notes, *after.notes, *caveats),
            statuses={
                "before": dict(Counter(before.scores.statuses).most_common()),
                "after": dict(Counter(after.scores.statuses).most_common()),
            },
            seed=options.seed,
            texts_compared=self._has_text,
        )
        return Comparison(
            summary,
            self._rows(common_ifd),
            explore(before, after, self._pairs, self._fields, findings, options.seed),
            self._has_text,
        )

    @property
    def _has_text(self) -> bool:
        return self._before.texts is not None and self._after.texts is not None

    def _values(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A field on both sides, one entry a pair; NaN where undefined."""
        old, new = self._before.scores.numbers[name], self._after.scores.numbers[name]
        return old[self._pairs.before], new[self._pairs.after]

    def _metrics(self) -> dict[str, MetricChange]:
        found = {
            name: compare_metric(
                *self._values(name),
                geometric=name.startswith(_RATIO_SCALES),
                seed=self._options.seed,
            )
            for name in self._fields
        }
        return with_holm({name: one for name, one in found.items() if one.before.n})

    @property
    def _is_unchanged(self) -> bool:
        columns = (self._values(name) for name in self._fields)
        return all(np.array_equal(old, new, equal_nan=True) for old, new in columns)

    def _length_control(
        self,
    ) -> tuple[dict[str, LengthControl], tuple[NDArray[np.float64], ...] | None]:
        """The control of IFD, and the IFDs of each pair cut to its shorter side."""
        if "ifd" not in self._fields:
            return {}, None
        old, new = (
            _scored(self._before, self._pairs.before),
            _scored(self._after, self._pairs.after),
        )
        options, window = self._options, self._before.manifest.get("window") or WINDOW
        control = length_control(
            old, new, window=max(2, window), min_tokens=options.min_tokens, seed=options.seed
        )
        everyone = np.arange(len(self._pairs))
        counts = np.minimum(scored_tokens(old, everyone), scored_tokens(new, everyone))
        if not counts.any():
            return {"ifd": control}, None
        counts = np.where(counts >= options.min_tokens, counts, 0)
        return {"ifd": control}, tuple(ifd_of_first(one, everyone, counts) for one in (old, new))

    def _findings(self) -> tuple[Finding, ...]:
        if not self._has_text:
            return ()
        return find(list(self._text_pairs()), seed=self._options.seed)

    def _text_pairs(self) -> Iterator[TextPair]:
        before, after = self._before, self._after
        assert before.texts is not None
        assert after.texts is not None
        pairs = self._pairs
        undefined = np.full(len(pairs), np.nan)
        ifds = self._values("ifd") if "ifd" in self._fields else (undefined, undefined)
        for i, j, ifd_before, ifd_after in zip(
            pairs.before.tolist(), pairs.after.tolist(), *(c.tolist() for c in ifds), strict=True
        ):
            yield TextPair(
                id_before=before.scores.ids[i],
                id_after=after.scores.ids[j],
                instruction_before=before.texts.instructions[i],
                response_before=before.texts.responses[i],
                instruction_after=after.texts.instructions[j],
                response_after=after.texts.responses[j],
                ifd_before=None if np.isnan(ifd_before) else ifd_before,
                ifd_after=None if np.isnan(ifd_after) else ifd_after,
                status_before=before.scores.statuses[i],
                status_after=after.scores.statuses[j],
            )

    def _rows(self, common_ifd: tuple[NDArray[np.float64], ...] | None) -> pd.DataFrame:
        """One row a pair: where it comes from, its statuses, each field before and after."""
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
        return pd.DataFrame(columns)


def _scored(side: Side, positions: Positions) -> ScoredSide:
    """What length control needs of one side, in the order of the pairs."""
    scores = side.scores
    direct, conditional = scores.token_nll_direct, scores.token_nll_conditional
    has_nlls = direct is not None and conditional is not None
    return ScoredSide(
        ifd=scores.numbers["ifd"][positions],
        response_tokens=scores.numbers["response_tokens"][positions],
        token_nll_direct=direct.take(positions) if direct and has_nlls else None,
        token_nll_conditional=conditional.take(positions) if conditional and has_nlls else None,
        skipped_direct=_skipped(side, direct),
        skipped_conditional=_skipped(side, conditional),
    )


def _skipped(side: Side, nlls: Ragged | None) -> int:
    """Response tokens before the first one that a pass scores: 0, or 1 where it is context.

    A scores file does not say, but the number of its NLLs does.  The median row decides: where
    prompt and response were joined before they were cut, some rows have a token more or less.
    """
    if nlls is None:
        return 0
    has_nlls = nlls.lengths > 0
    missing = (side.scores.scored_tokens - nlls.lengths)[has_nlls]
    return int(len(missing) > 0 and np.median(missing) >= 1)
