"""Which score predicts what training on a dataset does to held-out responses?

    training results ─ datasets ─ Scorer ─▶ mean scores ┐
                     └ change of held-out NLL ──────────┴ rank correlation ─▶ TrainingPrediction

The unit is a dataset: its mean score against the change that training on it makes, averaged over
seeds.  A change of a held-out row says nothing about the score of a training row, and rows of one
run are not independent trials of its data.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from typing import Any, Unpack

import numpy as np

from ifdkit.data.chosen_part import ChosenPart
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError
from ifdkit.format import correlation, p_value, plural, signed
from ifdkit.prediction.training_prediction import RunPredictor, RunScores, TrainingPrediction
from ifdkit.prediction.training_results import TrainingRun, read_training
from ifdkit.scoring.dataset import ScoredDataset, score_dataset
from ifdkit.scoring.inputs import open_data, read_options_of, source_of
from ifdkit.scoring.metrics import METRICS, groups, table_metrics
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings, SettingsKeywords, given_settings
from ifdkit.stats.columns import Column, holm, side_stats
from ifdkit.stats.permutation import least_rows, partial_rank_correlation, rank_correlation
from ifdkit.version import VERSION
from ifdkit.visible import one_line

_LENGTH = "response_tokens"
_AS_TRAINED = ("model", "protocol", "template", "template_date", "max_length")
_ROLE = "names {} as what was trained on, which"


def predict_training(
    results: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Unpack[SettingsKeywords],
) -> TrainingPrediction:
    """Relate the mean scores of datasets to what training on them did to held-out responses.

    `results` are outputs of `ifdkit train --eval`: a folder, its `training.json`, or several.  The
    datasets are scored with the base model and as they were trained; `limit` and `sample` choose
    some of the rows of each.  `settings` are those of :class:`ifdkit.Settings`, and take
    precedence.  `seed` is that of the samples and of the permutations.  Raises IfdkitError.
    """
    paths = [results] if isinstance(results, (str, PathLike)) else list(results)
    given = given_settings("predict_training", settings)
    read_options = ReadOptions(limit=limit, sample=sample, seed=seed)
    return predict_from_training(paths, given, read_options, progress)


def predict_from_training(
    paths: Sequence[str | PathLike[str]],
    settings: Mapping[str, Any],
    read_options: ReadOptions,
    progress: Progress | None = None,
) -> TrainingPrediction:
    """The same with the fields of `Settings` that the caller has set. Raises IfdkitError.

    Of `read_options` the limit, the sample and the seed are used.
    """
    begin = time.perf_counter()
    progress = progress or default_progress()
    runs = sorted(read_training(paths), key=lambda run: run.change)
    seed = read_options.seed
    scored, part = _scored(runs, settings, read_options, progress)
    assert scored[0].manifest is not None, "a model has scored the datasets"
    tables = [_means(one) for one in scored]
    described = tuple(map(_described, runs, tables))
    baseline, tokens, scores = _predictors(described, seed)
    needed = least_rows(len(scores))
    return TrainingPrediction(
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("predict"),
        n=len(runs),
        n_needed=needed,
        held_out=runs[0].held_out,
        runs=described,
        baseline=baseline,
        baseline_tokens=tokens,
        scores=scores,
        verdict=training_verdict(described, baseline, scores, needed),
        seed=seed,
        manifest=scored[0].manifest,
        elapsed_s=round(time.perf_counter() - begin, 3),
        limit=part.limit,
        sample=part.sample,
        warnings=part.caveats,
    )


@dataclass(frozen=True, slots=True)
class _ScoredPart:
    """Which rows of the datasets are scored; None if no dataset is cut."""

    limit: int | None
    sample: int | None
    seed: int

    @classmethod
    def of(cls, sizes: Sequence[int], options: ReadOptions) -> _ScoredPart:
        limit, sample = options.limit, options.sample
        most = max(sizes)
        limit = limit if limit is not None and limit < most else None
        is_drawn = sample is not None and sample < min(limit or most, most)
        return cls(limit, sample if is_drawn else None, options.seed)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader must know."""
        found = ChosenPart(self.limit).caveats(" of each dataset")
        if self.sample is not None:
            rows = plural(self.sample, "row")
            found.append(f"a sample: {rows} of each dataset, drawn at random with seed {self.seed}")
        return tuple(found)


def _scored(
    runs: Sequence[TrainingRun],
    settings: Mapping[str, Any],
    read_options: ReadOptions,
    progress: Progress,
) -> tuple[list[ScoredDataset], _ScoredPart]:
    """Each dataset with its scores, made by the base model, and which rows these are of."""
    setup = runs[0].setup
    as_trained = {name: setup[name] for name in _AS_TRAINED if setup[name] is not None}
    found, sizes = [], []
    with Scorer(Settings(**{"metrics": groups(), **as_trained, **settings}), progress) as scorer:
        if "model" not in settings and scorer.weights_hash != setup["weights_hash"]:
            raise InputError(
                f"{runs[0].data.place}: model {setup['model']} is no longer the one that was"
                " trained: name it with --model"
            )
        for run in runs:
            options = read_options_of(run.data)
            dataset = open_data(source_of(run.data.place, run.data, _ROLE), options)
            sizes.append(dataset.n_rows)
            dataset = read_options.narrow(dataset)
            progress.note(dataset.describe())
            options = _of_both(options, read_options)
            found.append(score_dataset(dataset, options, scorer, progress, notes_reading=False))
    return found, _ScoredPart.of(sizes, read_options)


def _of_both(trained: ReadOptions, asked: ReadOptions) -> ReadOptions:
    """How a dataset was read for training, and of which part of that the scores are."""
    limit = trained.limit if asked.limit is None else asked.limit
    if asked.sample is None:
        return replace(trained, limit=limit)
    return replace(trained, limit=limit, sample=asked.sample, seed=asked.seed, until=None)


def _means(scored: ScoredDataset) -> dict[str, float | None]:
    """The mean of each metric of the table over a dataset."""
    found: dict[str, float | None] = {}
    for name in table_metrics():
        if name in scored.scores.numbers:
            is_ratio = METRICS[name].is_multiplicative
            one = side_stats(scored.scores.numbers[name], geometric=is_ratio)
            found[name] = one.geometric_mean if is_ratio else one.mean
    return found


def _described(run: TrainingRun, scores: Mapping[str, float | None]) -> RunScores:
    return RunScores(
        input=run.data.input,
        training=run.data.place,
        examples=run.examples,
        steps=run.steps,
        tokens_trained=run.tokens_trained,
        change=run.change,
        per_seed=run.per_seed,
        ci95=run.ci95,
        scores=scores,
    )


def _predictors(
    runs: Sequence[RunScores], seed: int
) -> tuple[RunPredictor, RunPredictor, dict[str, RunPredictor]]:
    """Length, trained tokens, and each score, the strongest first."""
    changes = np.array([run.change for run in runs])
    names = list(dict.fromkeys(name for run in runs for name in run.scores))
    columns = {name: _column([run.scores.get(name) for run in runs]) for name in names}
    lengths = columns.pop(_LENGTH, np.full(len(runs), np.nan))
    tokens = np.array([run.tokens_trained for run in runs])
    found = {}
    for name, column in columns.items():
        alone = rank_correlation(column, changes, seed=seed)
        partial = partial_rank_correlation(column, changes, [lengths, tokens], seed=seed)
        found[name] = RunPredictor(
            n=alone.n, correlation=alone.value, p=alone.p, partial=partial.value,
            partial_p=partial.p,
        )  # fmt: skip
    p = holm({name: one.p for name, one in found.items()})
    partial_p = holm({name: one.partial_p for name, one in found.items()})
    order = sorted(found, key=lambda name: -abs(found[name].correlation or 0))
    scores = {
        name: replace(found[name], p_holm=p[name], partial_p_holm=partial_p[name]) for name in order
    }
    return _baseline(lengths, changes, seed), _baseline(tokens, changes, seed), scores


def _column(values: Sequence[float | None]) -> Column:
    return np.array([np.nan if value is None else value for value in values])


def _baseline(column: Column, changes: Column, seed: int) -> RunPredictor:
    found = rank_correlation(column, changes, seed=seed)
    return RunPredictor(n=found.n, correlation=found.value, p=found.p)


def training_verdict(
    runs: Sequence[RunScores],
    baseline: RunPredictor,
    scores: Mapping[str, RunPredictor],
    needed: int,
) -> str:
    """The conclusion in words: none for few datasets."""
    extremes = list(dict.fromkeys((0, len(runs) - 1)))
    ends = ", ".join(
        f"{signed(runs[i].change, 3)} after {one_line(runs[i].input, 80)}" for i in extremes
    )
    basis = f"held-out NLL changes by {ends}"
    if len(runs) < needed:
        return (
            f"Nothing can be concluded: {plural(len(runs), 'dataset')}"
            f" {'was' if len(runs) == 1 else 'were'} trained on, and to tell a rank correlation of"
            f" any of {plural(len(scores), 'score')} from chance takes at least {needed};"
            f" {basis}."
        )
    length = f"length in tokens correlates {correlation(baseline.correlation)}"
    shown = [name for name, one in scores.items() if one.p_holm is not None and one.p_holm < 0.05]
    if not shown:
        name, best = next(iter(scores.items()))
        return (
            f"No score is shown to predict what training on a dataset does: over"
            f" {len(runs):,} datasets the strongest, {METRICS[name].label}, correlates"
            f" {correlation(best.correlation)} (p = {p_value(best.p_holm)}), {length}; {basis}."
        )
    beyond = [name for name in shown if (scores[name].partial_p_holm or 1) < 0.05]
    parts = ", ".join(
        f"{METRICS[name].label} {correlation(scores[name].correlation)}" for name in shown
    )
    removed = "with length and trained tokens removed"
    if beyond:
        removed += f" too for {', '.join(METRICS[name].label for name in beyond)}"
    else:
        removed += " none of them is shown to"
    return (
        f"Over {len(runs):,} datasets a score goes along with the change of held-out NLL: {parts}"
        f" (below zero, a higher score goes with a larger fall); {removed}; {length}; {basis}."
    )
