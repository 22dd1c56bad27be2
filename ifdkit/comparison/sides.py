"""The two sides of a comparison: a dataset is scored, a scores file is read as it is.

    dataset       ─ Scorer ─▶ numbers, NLLs of tokens, texts
    scores file   ─ columns ─▶ numbers; if they can be found, texts from the dataset behind it and
                    NLLs of tokens from the file or the store

Both sides must be scored the same way, which is checked before anything is scored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ifdkit.comparison.sampling import part_of_scores, part_of_sides
from ifdkit.data.chosen_part import ChosenPart
from ifdkit.data.dataset import Dataset
from ifdkit.data.groups import FLAG, RowGroups, row_groups
from ifdkit.data.options import ReadOptions
from ifdkit.errors import IfdkitError, InputError, UsageError
from ifdkit.format import plural
from ifdkit.scoring.comparability import (
    SETTINGS_IN_MANIFEST,
    contradictions,
    differences,
    gives_same_requests,
    lookup_settings,
    settings_of,
)
from ifdkit.scoring.dataset import ScoredDataset, ScoresFile, Texts, open_scores, score_dataset
from ifdkit.scoring.documents import settings_for
from ifdkit.scoring.inputs import note_dataset, open_data
from ifdkit.scoring.manifest import Manifest, ScoringSetup
from ifdkit.scoring.metrics import available_metrics, groups
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.table import ScoreTable

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data


@dataclass(frozen=True, eq=False, kw_only=True)
class ComparedSide:
    """One side, ready to be compared."""

    data: ScoredDataset | ScoresFile
    """Scores without texts if the dataset behind a scores file was not found."""
    scorer: Scorer | None = None
    """The scorer whose tokenizer cut the texts; None if it is not available."""
    notes: tuple[str, ...] = ()
    """Warnings about this side for readers of the report."""
    groups: RowGroups | None = None
    """The groups of its rows, if the pairs are grouped by a column of this side."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.data.name

    @property
    def scores(self) -> ScoreTable:
        """Its numbers."""
        return self.data.scores

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the scores; None if there is none that matches."""
        return self.data.manifest

    @property
    def n_rows(self) -> int:
        """The rows that its examples are from, rejected ones included."""
        return (self.data.dataset if isinstance(self.data, ScoredDataset) else self.data).n_rows

    @property
    def has_documents(self) -> bool:
        """Whether its examples are known to be documents, which have no instruction."""
        return isinstance(self.data, ScoredDataset) and self.data.has_documents

    @property
    def has_embeddings(self) -> bool:
        """Whether embeddings of its texts may be in the store."""
        return (
            self.texts is not None
            and not self.has_documents
            and self.scorer is not None
            and self.scorer.embeddings is not None
        )

    @property
    def texts(self) -> Texts | None:
        """None if the dataset behind a scores file was not found."""
        return self.data.texts if isinstance(self.data, ScoredDataset) else None


_Opened = ScoresFile | Dataset


class Sides:
    """Opens both sides and keeps their stores open until they are compared."""

    def __init__(
        self,
        given: Mapping[str, Any],
        read_options: ReadOptions,
        progress: Progress,
        *,
        force: bool,
    ) -> None:
        """`given`: the fields of `Settings` that the caller has set; they override a manifest."""
        self._given, self._read_options, self._progress = given, read_options, progress
        self._force = force
        self._scorers: dict[Settings, Scorer] = {}
        self._behind: dict[ScoresFile, Dataset] = {}
        self._scoring: Scorer | None = None
        self._exits = ExitStack()
        self._forced: list[tuple[int, str]] = []
        self.part = ChosenPart()
        """The rows that are compared, once the sides are open."""

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def open(
        self, data: Sequence[Data], needed: Collection[str] = (), group_by: str | None = None
    ) -> list[ComparedSide]:
        """All sides with their numbers, the first one before; datasets are scored.

        Raises, before anything is scored, InputError if the sides are not comparable (unless that
        is forced), UsageError if a metric of `needed` will not be measured, and either if no row
        has the column `group_by`.
        """
        sides: dict[str, _Opened] = {
            word: open_scores(one) or open_data(one, self._read_options)
            for word, one in zip(_side_names(len(data)), data, strict=True)
        }
        self._check_same_kind(sides)
        self.part = part_of_sides(list(sides.values()), self._read_options)
        datasets = [one for one in sides.values() if isinstance(one, Dataset)]
        if datasets:
            settings = self._settings(sides.values())
            self._scoring = self._scorer(settings_for(datasets[0], settings, self._progress))
        self._check_comparable(sides)
        self._check_needed(sides, needed)
        groups = {} if group_by is None else self._groups(sides, group_by)
        read = {
            word: self._read(word, one) if isinstance(one, ScoresFile) else self._score(word, one)
            for word, one in sides.items()
        }
        return [replace(one, groups=groups.get(word)) for word, one in read.items()]

    def warnings_of(self, number: int) -> list[str]:
        """Why the first side and another one, counted from 1, were compared only by force."""
        return [
            f"compared anyway (--force): {text}"
            for place, text in self._forced
            if place in {0, number}
        ]

    def _check_same_kind(self, sides: Mapping[str, _Opened]) -> None:
        """Refuse documents on one side and pairs on the other. Raises InputError."""
        kinds = {_has_documents(one) for one in sides.values()}
        if {True, False} <= kinds:
            raise InputError(
                f"{_all_of(sides)} are not comparable: one contains documents, the other"
                " instruction–response pairs"
            )

    def _settings(self, opened: Iterable[_Opened]) -> Settings:
        """The settings of a scores file if there is one, overridden by what the caller has set."""
        manifests = [one.manifest for one in opened if isinstance(one, ScoresFile) and one.manifest]
        base = settings_of(manifests[0]) if manifests else {"metrics": groups()}
        return Settings(**{**base, **self._given})

    def _check_comparable(self, sides: Mapping[str, _Opened]) -> None:
        """Refuse sides that were not scored the same way. Raises InputError."""
        found: list[tuple[int, str]] = []
        setups: list[ScoringSetup | None] = []
        for place, (word, one) in enumerate(sides.items()):
            setup: ScoringSetup | None = None
            if isinstance(one, Dataset):
                assert self._scoring is not None, "there is a dataset to score"
                setup = self._scoring.setup_of(one)
            elif one.manifest is None:
                found.append(
                    (
                        place,
                        f"{word} ({one.name}) has no manifest that matches it, so it is unknown"
                        " how it was scored",
                    )
                )
            else:
                if self._scoring is None:  # else they are differences from the other side
                    wrong = contradictions(one.manifest, self._given)
                    found += [(place, f"{word} was {problem}") for problem in wrong]
                setup = one.manifest.setup
            setups.append(setup)
        for place, setup in enumerate(setups):
            if place and setup is not None and setups[0] is not None:
                which = f"{list(sides)[place]}: " if len(sides) > 2 else ""
                found += [(place, f"{which}{one}") for one in differences(setups[0], setup)]
        if found and not self._force:
            problems = "; ".join(text for _, text in found)
            raise InputError(
                f"{_all_of(sides)} are not comparable: {problems}. Score"
                f" {'both' if len(sides) == 2 else 'all'} the same way, or use --force"
            )
        self._forced += found

    def _check_needed(self, sides: Mapping[str, _Opened], needed: Collection[str]) -> None:
        for word, one in sides.items():
            if isinstance(one, ScoresFile):
                present: Collection[str] = one.scores.numbers
            else:
                assert self._scoring is not None, "there is a dataset to score"
                settings = self._scoring.settings
                present = available_metrics(
                    settings.passes,
                    with_embedder=settings.needs_embedder,
                    documents=one.has_documents,
                    optional=settings.optional,
                )
            missing = [name for name in needed if name not in present]
            if missing:
                raise UsageError(
                    f"--fail-if needs {missing[0]}, which {word} does not measure: add it to"
                    " --metrics, or score the dataset with it"
                )

    def _groups(self, sides: Mapping[str, _Opened], column: str) -> dict[str, RowGroups]:
        """The groups of the first side, or of each other if only those have the column.

        Raises InputError if the rows are not available, and UsageError as :func:`row_groups`.
        """
        first, *others = sides
        try:
            return {first: self._groups_of(sides[first], column)}
        except UsageError as error:
            try:
                return {word: self._groups_of(sides[word], column) for word in others}
            except UsageError:
                raise error from None

    def _groups_of(self, one: _Opened, column: str) -> RowGroups:
        if isinstance(one, Dataset):
            return row_groups(one, column)
        try:
            rows = self._rows_of(one)
        except InputError as error:
            raise InputError(
                f"{FLAG} {column}: {one.name} contains scores without their rows: give the dataset"
                " itself"
            ) from error
        return row_groups(rows, column)

    def _rows_of(self, scores: ScoresFile) -> Dataset:
        """The part that is compared of the dataset behind a scores file. Raises InputError."""
        if scores not in self._behind:
            self._behind[scores] = self._read_options.narrow(scores.open_dataset())
        return self._behind[scores]

    def _scorer(self, settings: Settings) -> Scorer:
        if settings not in self._scorers:
            scorer = Scorer(settings, self._progress)
            self._scorers[settings] = self._exits.enter_context(scorer)
        return self._scorers[settings]

    def _score(self, word: str, dataset: Dataset) -> ComparedSide:
        assert self._scoring is not None, "there is a dataset to score"
        note_dataset(dataset, self._progress, f"{word}: ")
        scored = score_dataset(
            dataset, self._read_options, self._scoring, self._progress, token_nlls=True
        )
        return ComparedSide(data=scored, scorer=self._scoring)

    def _read(self, word: str, scores: ScoresFile) -> ComparedSide:
        """A scores file, with its texts and the NLLs of its tokens if they can be found."""
        self._progress.note(f"{word}: {scores.name}: {plural(len(scores.scores), 'row')} of scores")
        try:
            dataset = self._rows_of(scores)
            has_coherence = "coherence" in scores.scores.numbers
            scorer = self._scorer_of(scores.manifest, with_embedder=has_coherence)
            data = scores.join(dataset, scorer if "ifd" in scores.scores.numbers else None)
        except InputError as error:
            scores = part_of_scores(scores, self._read_options)
            return ComparedSide(data=scores, notes=(f"{word}: numbers only: {error}",))
        return ComparedSide(data=data, scorer=scorer)

    def _scorer_of(self, manifest: Manifest | None, *, with_embedder: bool) -> Scorer | None:
        """The scorer that made these scores; None if its model is no longer available.

        `with_embedder` opens the embeddings too, if that model is available.
        """
        if manifest is None:
            return None
        for scorer in self._scorers.values():
            if gives_same_requests(scorer.setup, manifest.setup):
                return scorer
        kept = {k: v for k, v in self._given.items() if k not in SETTINGS_IN_MANIFEST}
        for metrics in ((("ifd", "coherence"),) if with_embedder else ()) + (("ifd",),):
            try:
                scorer = self._scorer(Settings(**lookup_settings(manifest, kept, metrics)))
            except (IfdkitError, TypeError):
                continue
            return scorer if gives_same_requests(scorer.setup, manifest.setup) else None
        return None


def _has_documents(one: _Opened) -> bool | None:
    """Whether a side contains documents; None if that is not known."""
    if isinstance(one, Dataset):
        return one.has_documents
    return None if one.manifest is None else "text" in one.manifest.columns


def _side_names(n: int) -> list[str]:
    """What messages call the sides: `before` and `after`, or `before`, `after 1`, `after 2`, …"""
    return ["before", "after"] if n == 2 else ["before", *(f"after {i}" for i in range(1, n))]


def _all_of(sides: Mapping[str, _Opened]) -> str:
    return "before and after" if len(sides) == 2 else f"the {len(sides)} datasets"
