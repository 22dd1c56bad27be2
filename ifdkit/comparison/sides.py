"""The two sides of a comparison: a dataset is scored, a scores file is read as it is.

    dataset       ─ Scorer ─▶ numbers, per-token NLLs, texts
    scores file   ─ columns ─▶ numbers; texts from the dataset behind it, per-token NLLs from the
                    file or the store, each where it is still to be had

Both sides must have been scored alike.  That is checked before anything is scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ifdkit.data.dataset import Dataset
from ifdkit.data.options import ReadOptions
from ifdkit.errors import IfdkitError, InputError
from ifdkit.findings.finding import SideName
from ifdkit.scoring.comparability import (
    SETTINGS,
    contradictions,
    differences,
    facts_of,
    is_made_by,
    settings_of,
)
from ifdkit.scoring.dataset import GivenScores, Texts, blocks_of, given_scores, score_dataset
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.ragged import Ragged, RaggedBuilder
from ifdkit.scoring.scorer import METRICS, Progress, Scorer, Settings
from ifdkit.scoring.table import (
    ScoreTable,
)

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data


@dataclass(frozen=True, eq=False, kw_only=True)
class Side:
    """One side, ready to be compared."""

    name: str
    scores: ScoreTable
    manifest: Mapping[str, Any]
    texts: Texts | None = None
    """None where the dataset behind a scores file is gone."""
    scorer: Scorer | None = None
    """Whose tokenizer cut the texts; None where it is not to be had."""
    notes: tuple[str, ...] = ()
    """What a reader must know of this side."""


_Opened = GivenScores | Dataset


class Sides:
    """Opens both sides and holds their stores open until they are compared."""

    def __init__(
        self,
        given: Mapping[str, Any],
        read_options: ReadOptions,
        progress: Progress,
        *,
        force: bool,
    ) -> None:
        """`given`: the settings that were asked for, which beat those of a scores file."""
        self._given, self._read_options, self._progress = given, read_options, progress
        self._force = force
        self._scorers: dict[Settings, Scorer] = {}
        self._scoring: Scorer | None = None
        self._exits = ExitStack()
        self.warnings: list[str] = []

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def open(self, before: Data, after: Data) -> tuple[Side, Side]:
        """Both sides with their numbers; datasets are scored.

        Raises InputError where the sides were not scored alike and that is not forced.
        """
        first, second = self._open(before), self._open(after)
        if not (isinstance(first, GivenScores) and isinstance(second, GivenScores)):
            self._scoring = self._scorer(self._settings([first, second]))
        self._check_alike({"before": first, "after": second})
        return self._finish("before", first), self._finish("after", second)

    def _finish(self, word: SideName, opened: _Opened) -> Side:
        if isinstance(opened, GivenScores):
            return self._read(word, opened)
        return self._score(word, opened)

    def _open(self, data: Data) -> _Opened:
        return given_scores(data) or open_data(data, self._read_options)

    def _settings(self, opened: Iterable[_Opened]) -> Settings:
        """Those of a scores file where there is one, with what was asked for on top."""
        given = (one for one in opened if isinstance(one, GivenScores))
        manifests = [one.manifest for one in given if one.manifest]
        base = settings_of(manifests[0]) if manifests else {"metrics": METRICS}
        return Settings(**{**base, **self._given})

    def _check_alike(self, sides: Mapping[str, _Opened]) -> None:
        """Refuse unlike sides before anything is scored. Raises InputError."""
        found: list[str] = []
        facts: list[Mapping[str, Any] | None] = []
        for word, one in sides.items():
            if not isinstance(one, GivenScores):
                assert self._scoring is not None, "there is a dataset to score"
                facts.append(facts_of(self._scoring))
                continue
            if one.manifest is None:
                found.append(
                    f"{word} ({one.name}) has no manifest that fits it, so nothing says what made"
                    " its scores"
                )
            elif self._scoring is None:  # else the flags show as differences of the other side
                found += contradictions(word, one.manifest, self._given)
            facts.append(one.manifest)
        if facts[0] is not None and facts[1] is not None:
            found += differences(facts[0], facts[1])
        if found and not self._force:
            raise InputError(
                f"before and after do not compare: {'; '.join(found)}. Score them alike, or go on"
                " with --force"
            )
        self.warnings += [f"compared all the same (--force): {one}" for one in found]

    def _scorer(self, settings: Settings) -> Scorer:
        if settings not in self._scorers:
            scorer = Scorer(settings, self._progress)
            self._scorers[settings] = self._exits.enter_context(scorer)
        return self._scorers[settings]

    def _score(self, word: SideName, dataset: Dataset) -> Side:
        """Score a dataset; what the store knows costs nothing."""
        assert self._scoring is not None, "there is a dataset to score"
        self._progress.note(
            f"{word}: {dataset.name}: {dataset.columns.describe()}, {dataset.n_rows:,} rows"
        )
        done = score_dataset(
            dataset, self._read_options, self._scoring, self._progress, token_nlls=True
        )
        return Side(
            name=dataset.name,
            scores=done.scores,
            manifest=done.manifest,
            texts=done.texts,
            scorer=self._scoring,
        )

    def _read(self, word: SideName, scores: GivenScores) -> Side:
        """Add to a scores file what else is still to be had."""
        self._progress.note(f"{word}: {scores.name}: {len(scores.table):,} rows of scores")
        manifest = scores.manifest or {"input": scores.name, "input_sha256": None}
        side = Side(name=scores.name, scores=scores.table, manifest=manifest)
        if scores.manifest is None:
            return replace(side, notes=(f"{word}: no texts, because no manifest names their file",))
        try:
            dataset = scores.dataset(scores.manifest)
        except InputError as error:
            return replace(side, notes=(f"{word}: numbers alone, for {error}",))
        side = replace(side, scorer=self._scorer_like(scores.manifest))
        return self._with_texts(side, word, dataset)

    def _with_texts(self, side: Side, word: SideName, dataset: Dataset) -> Side:
        """Read the dataset behind the scores, and look its tokens' NLLs up in the store."""
        known = side.scores
        needs_nlls = known.token_nll_direct is None or known.token_nll_conditional is None
        scorer = side.scorer if needs_nlls and "ifd" in known.numbers else None
        texts, direct, conditional = Texts(), RaggedBuilder(), RaggedBuilder()
        places: list[tuple[int, int]] = []
        for block in blocks_of(dataset):
            for example in block:
                texts.append(example)
                places.append((example.row, example.turn))
            for nlls in scorer.stored_token_nlls(block) if scorer else ():
                direct.append(nlls.get("response_direct"))
                conditional.append(nlls.get("response_conditional"))
        if places != list(zip(known.rows.tolist(), known.turns.tolist(), strict=True)):
            note = f"{word}: numbers alone, for {dataset.name} reads otherwise than when scored"
            return replace(side, scorer=None, notes=(note,))
        if scorer is not None:
            known = replace(
                known,
                token_nll_direct=_any(direct.finish()),
                token_nll_conditional=_any(conditional.finish()),
            )
        return replace(side, scores=known, texts=texts)

    def _scorer_like(self, manifest: Mapping[str, Any]) -> Scorer | None:
        """The Scorer that made these scores; None where its model is not here any more."""
        for scorer in self._scorers.values():
            if is_made_by(scorer, manifest):
                return scorer
        kept = {k: v for k, v in self._given.items() if k not in SETTINGS}
        try:
            settings = Settings(**{**settings_of(manifest), **kept, "metrics": ("ifd",)})
            scorer = self._scorer(settings)
        except (IfdkitError, TypeError):
            return None
        return scorer if is_made_by(scorer, manifest) else None


def _any(nlls: Ragged) -> Ragged | None:
    """None where not one entry is there."""
    return nlls if nlls.lengths.any() else None
