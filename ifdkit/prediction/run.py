"""The verb *predict*: which score predicts which of two answers is preferred?

    annotations ─ both answers of each pair ─ Scorer ─▶ scores ─ second − first ─▶ changes
                ─ AUC, partial correlation, combination ─ Holm ─▶ Prediction

Preferences of models and people favour long answers, and IFD depends on length too.  A score is
therefore compared with length alone, on pairs of equal length, and with length removed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ifdkit.data.annotations import (
    TIE,
    Annotation,
    Annotations,
    part_of,
    preferences_of,
    read_annotations,
)
from ifdkit.data.chosen_part import ChosenPart
from ifdkit.data.dataset import open_dataset
from ifdkit.data.options import ReadOptions
from ifdkit.data.report_folder import check_report_folder
from ifdkit.errors import InputError, OutputError
from ifdkit.format import plural
from ifdkit.prediction.combination import combine
from ifdkit.prediction.result import Prediction, Predictor, is_markdown
from ifdkit.prediction.verdict import verdict
from ifdkit.scoring.dataset import ScoredDataset, score_dataset
from ifdkit.scoring.metrics import METRICS, groups, table_metrics
from ifdkit.scoring.output_names import output_stem
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.run import command_line
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings, SettingsKeywords, given_settings
from ifdkit.stats.columns import Column, holm
from ifdkit.stats.discrimination import (
    Clusters,
    Labels,
    auc,
    cluster_codes,
    partial_correlation,
)
from ifdkit.version import VERSION

Source = str | PathLike[str] | Iterable[Mapping[str, Any]]
LENGTH = "response_tokens"
MAX_LENGTH_DIFFERENCE = 0.12
"""Of the mean length of a pair, in characters: up to it the pair is length-matched."""
LENGTH_MATCHED = "lengths in characters differ by at most 12 % of their mean"
_COLUMNS = {"instruction": "instruction", "response": "output"}


def predict(
    annotations: Source,
    *,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Unpack[SettingsKeywords],
) -> Prediction:
    """Measure which score predicts the preferences of an annotation file.

    `annotations` is a file in AlpacaEval's format or an output of `ifdkit judge`, or any iterable
    of such rows; `limit` and `sample` choose some of its pairs.  `settings` are those of
    :class:`ifdkit.Settings`, by default with all metrics; `seed` is that of the sample and of the
    folds of the combination.  Raises IfdkitError.
    """
    given = given_settings("predict", settings)
    read_options = ReadOptions(limit=limit, sample=sample, seed=seed)
    return predict_preferences(annotations, given, read_options, progress)


def default_folder(data: Source) -> Path:
    """`reports/annotations-prediction` for `some/folder/annotations.json`."""
    return Path("reports") / f"{output_stem(data)}-prediction"


def check_folder(folder: Path) -> None:
    """Refuse, before anything is scored, a folder with files that are no report of a prediction.

    Raises OutputError.
    """
    if is_markdown(folder):
        if folder.is_dir():
            raise OutputError(f"-o {folder} is a folder: name a file, or a folder without .md")
        return
    check_report_folder(
        folder, "earlier prediction", file="prediction.json", schema="ifdkit.prediction"
    )


def predict_preferences(
    data: Source,
    settings: Mapping[str, Any],
    read_options: ReadOptions,
    progress: Progress | None = None,
) -> Prediction:
    """Score both answers of every pair, and relate the changes to the preferences.

    `settings` are the fields of `Settings` that the caller has set.  Of `read_options` the limit,
    the sample and the seed are used, which the folds have too.  Scores that are in the store are
    not computed again.  Raises IfdkitError.
    """
    begin = time.perf_counter()
    progress = progress or default_progress()
    whole = read_annotations(data)
    annotations, part = part_of(whole, read_options)
    if not annotations.known:
        raise InputError(f"{annotations.name} has no preference: every one is missing")
    decided = _decided(annotations)
    n_in_all = len(decided) if annotations is whole else len(_decided(whole))
    with Scorer(Settings(**{"metrics": groups(), **settings}), progress) as scorer:
        # With ties alone there is nothing to relate, but still a result that says so.
        pairs = decided or list(annotations.known[:1])
        scored = _score(pairs, n_in_all, part, scorer, progress)
    found = _related(annotations, decided, scored, read_options.seed)
    return replace(
        found,
        limit=part.limit,
        sample=part.sample,
        warnings=tuple(part.caveats("")),
        elapsed_s=round(time.perf_counter() - begin, 3),
    )


def _decided(annotations: Annotations) -> list[Annotation]:
    """The pairs of which one answer is preferred."""
    return [row for row in annotations.known if row.preference != TIE]


def _score(
    pairs: list[Annotation],
    n_in_all: int,
    part: ChosenPart,
    scorer: Scorer,
    progress: Progress,
) -> ScoredDataset:
    """Both answers of each pair, as rows 2k and 2k + 1 of a dataset.

    If the pairs are a `part` of `n_in_all`, their numbers are not stored for the whole file.
    """
    rows = [
        {"instruction": pair.instruction, "output": output}
        for pair in pairs
        for output in pair.outputs
    ]
    dataset = replace(open_dataset(rows, columns=_COLUMNS), name="the answers")
    dataset = dataset.as_part_of(max(2 * n_in_all, len(rows)))
    progress.note(f"{plural(len(pairs), 'pair')}, {len(rows):,} answers to score")
    options = ReadOptions(
        columns=_COLUMNS,
        limit=None if part.limit is None else len(rows),
        sample=None if part.sample is None else len(rows),
    )
    return score_dataset(dataset, options, scorer, progress, notes_reading=False)


def _related(
    annotations: Annotations,
    pairs: list[Annotation],
    scored: ScoredDataset,
    seed: int,
) -> Prediction:
    """The prediction but for the time, and for which part of the file it is about."""
    labels: Labels = preferences_of(pairs) > TIE
    clusters = cluster_codes([pair.instruction for pair in pairs])
    lengths_of = [[len(text) for text in pair.outputs] for pair in pairs]
    characters = np.array(lengths_of, np.float64).reshape(-1, 2)
    is_matched = _is_length_matched(characters)
    changes = _changes(scored, len(pairs))
    in_characters = _change(characters, is_log=True)
    lengths = _controls(changes.get(LENGTH), in_characters)
    found = {
        name: _predictor(name, change, labels, clusters, is_matched, lengths)
        for name, change in changes.items()
    }
    length = found.pop(LENGTH, Predictor(n=0, is_log=True))
    scores = _by_strength(_with_holm(found))
    used = {name: one for name, one in changes.items() if name == LENGTH or name in scores}
    combination = combine(used, LENGTH, labels, clusters, is_matched, seed=seed)
    n_missing = len(annotations) - len(annotations.known)
    assert scored.manifest is not None, "a model has scored the answers"
    return Prediction(
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line("predict"),
        input=annotations.name,
        input_sha256=annotations.sha256,
        generators=annotations.generators,
        rows=len(annotations),
        n=len(pairs),
        n_length_matched=int(is_matched.sum()),
        length_matched=LENGTH_MATCHED,
        n_tied=len(annotations.known) - len(pairs),
        n_missing=n_missing,
        n_instructions=len(np.unique(clusters)),
        share_second=float(labels.mean()) if pairs else None,
        length_field=LENGTH,
        baseline=length,
        baseline_characters=_predictor(LENGTH, in_characters, labels, clusters, is_matched, ()),
        scores=scores,
        combination=combination,
        verdict=verdict(length, scores, combination, int(is_matched.sum())),
        seed=seed,
        manifest=scored.manifest,
        elapsed_s=0.0,
    )


def _is_length_matched(characters: NDArray[np.float64]) -> Labels:
    """Of lengths of shape (pairs, 2)."""
    difference = np.abs(characters[:, 1] - characters[:, 0])
    matched: Labels = difference <= MAX_LENGTH_DIFFERENCE * characters.mean(axis=1)
    return matched


def _controls(in_tokens: Column | None, in_characters: Column) -> list[Column]:
    """What is removed for a partial correlation: length, and tokens per character.

    Text of equally many characters can differ in tokens: lists, numbers and code have more.  The
    ratio is a control of its own, because the ranks of both lengths do not determine it.
    """
    return [in_characters] if in_tokens is None else [in_tokens, in_tokens - in_characters]


def _changes(scored: ScoredDataset, n: int) -> dict[str, Column]:
    """The change of each metric of the table, shape (n,), NaN if undefined.

    A metric of the instruction alone, which both answers share, is left out.
    """
    scores = scored.scores
    found: dict[str, Column] = {}
    for name in table_metrics() if n else ():
        # Rounding differs between batches, so that the two numbers of one instruction may too.
        if name not in scores.numbers or METRICS[name].passes == ("instruction_direct",):
            continue
        sides = np.full(2 * n, np.nan)
        sides[scores.rows] = scores.numbers[name]
        change = _change(sides.reshape(n, 2), is_log=_is_log(name))
        if np.nansum(np.abs(change)) > 0:
            found[name] = change
    return found


def _is_log(name: str) -> bool:
    return METRICS[name].is_multiplicative or METRICS[name].scale == "log"


def _change(sides: NDArray[np.float64], *, is_log: bool) -> Column:
    """Second − first of shape (n, 2), or the log of their ratio, NaN if a side is not positive."""
    if is_log:
        sides = np.log(np.where(sides > 0, sides, np.nan))
    return sides[:, 1] - sides[:, 0]


def _predictor(
    name: str,
    change: Column,
    labels: Labels,
    clusters: Clusters,
    is_matched: Labels,
    lengths: Sequence[Column],
) -> Predictor:
    """`lengths` are the changes to remove for the partial correlation; none for length itself."""
    whole = auc(change, labels, clusters)
    matched = auc(change[is_matched], labels[is_matched], clusters[is_matched])
    found = Predictor(
        n=whole.n,
        is_log=_is_log(name),
        auc=whole.value,
        ci95=whole.ci95,
        p=whole.p,
        n_length_matched=matched.n,
        auc_length_matched=matched.value,
        ci95_length_matched=matched.ci95,
        p_length_matched=matched.p,
    )
    if name == LENGTH or not lengths:
        return found
    partial = partial_correlation(change, labels, lengths, clusters)
    on_matched = partial_correlation(
        change[is_matched],
        labels[is_matched],
        [one[is_matched] for one in lengths],
        clusters[is_matched],
    )
    return replace(
        found,
        partial=partial.value,
        partial_ci95=partial.ci95,
        partial_p=partial.p,
        partial_length_matched=on_matched.value,
        partial_length_matched_p=on_matched.p,
    )


def _with_holm(scores: Mapping[str, Predictor]) -> dict[str, Predictor]:
    """The same, with each kind of p corrected for the number of scores."""
    p = holm({name: one.p for name, one in scores.items()})
    matched = holm({name: one.p_length_matched for name, one in scores.items()})
    partial = holm({name: one.partial_p for name, one in scores.items()})
    on_matched = holm({name: one.partial_length_matched_p for name, one in scores.items()})
    return {
        name: replace(
            one,
            p_holm=p[name],
            p_length_matched_holm=matched[name],
            partial_p_holm=partial[name],
            partial_length_matched_p_holm=on_matched[name],
        )
        for name, one in scores.items()
    }


def _by_strength(scores: Mapping[str, Predictor]) -> dict[str, Predictor]:
    order = sorted(scores, key=lambda name: -abs((scores[name].auc or 0.5) - 0.5))
    return {name: scores[name] for name in order}
