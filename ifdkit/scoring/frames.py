"""Scores in memory: `ifdkit.score`, and what is in a DataFrame of scores at a glance.

data ─ Run ─▶ rows of scores ─▶ a DataFrame, one row per example
           └▶ joined ─▶ a table of the kind of the data: its own rows, with more columns
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

import numpy as np

from ifdkit.data.dataset import Dataset, Reasoning, Turns
from ifdkit.data.frames import OtherFrame, kind_of
from ifdkit.data.options import ReadKeywords, ReadOptions
from ifdkit.data.views import MetricView
from ifdkit.data.where import expression_of
from ifdkit.errors import InputError
from ifdkit.format import plural
from ifdkit.scoring.documents import settings_for
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.joining import score_into_memory
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.progress import Progress, default_progress
from ifdkit.scoring.rows import ScoreRow, score_columns
from ifdkit.scoring.run import Run
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings, SettingsKeywords, given_settings
from ifdkit.scoring.summary import ScoreSummary
from ifdkit.scoring.table import has_score_columns
from ifdkit.stats.columns import Column, Description, describe
from ifdkit.tracking import TrackerName, check_tracker, track

if TYPE_CHECKING:
    import pandas as pd

    from ifdkit.scoring.inputs import Data

Frame = TypeVar("Frame", bound=OtherFrame)


class ScoreKeywords(ReadKeywords, SettingsKeywords, total=False):
    """Keywords of `ifdkit.score` but `join`, for its overloads."""

    where: str | None
    log: TrackerName | None
    progress: Progress | None


# They overlap, because any `Data` may be a table of another library.
@overload
def score(  # type: ignore[overload-overlap]
    data: Frame, *, join: Literal[True] | None = None, **keywords: Unpack[ScoreKeywords]
) -> Frame: ...


@overload
def score(
    data: Data, *, join: bool | None = None, **keywords: Unpack[ScoreKeywords]
) -> pd.DataFrame: ...


def score(
    data: Data,
    *,
    join: bool | None = None,
    columns: Mapping[str, str] | None = None,
    turns: Turns | None = None,
    reasoning: Reasoning = "keep",
    lines: bool = False,
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    where: str | None = None,
    log: TrackerName | None = None,
    progress: Progress | None = None,
    **settings: Unpack[SettingsKeywords],
) -> Any:
    """Score a dataset into a DataFrame, one row per example, columns as in a scores file.

    `data` is a path, `-`, a table (a DataFrame, whose index is kept, a polars DataFrame, a
    `datasets.Dataset`, an Arrow table), or any iterable of dictionaries; with `lines`, each line of
    a text file is a document.  `where` is an expression about the columns of the rows, and only
    rows for which it is true are scored.

    With `join` the result is the rows of `data` with their scores as more columns, in a table of
    the same kind: those of the last turn of a conversation, or lists with `turns="all"`.  This is
    the default for tables of polars, `datasets` and pyarrow; `join=False` gives a DataFrame of
    scores for them too, with all turns.

    `settings` are those of :class:`ifdkit.Settings` (`model`, `protocol`, …), metrics also as
    `"ifd,rifd"` or `"all"`, `model` also as a model of transformers that is in memory, with its
    `tokenizer`, and `embedder` also as a function.  `frame.attrs` of a DataFrame contains the
    `manifest` and the `rejects`.  With `log`, the settings and the numbers of the whole dataset go
    to a tracker: `trackio`, `wandb`, `tensorboard` or `mlflow`.  Raises IfdkitError.
    """
    begin = time.perf_counter()
    if log is not None:
        check_tracker(log)
    progress = progress or default_progress()
    kind = kind_of(data)
    joins = (kind is not None and not kind.has_attributes) if join is None else join
    read_options = ReadOptions(
        columns=columns,
        turns=turns or ("last" if joins else "all"),
        reasoning=reasoning,
        lines=lines,
        limit=limit,
        sample=sample,
        seed=seed,
        where=expression_of(where),
    )
    chosen = Settings(**given_settings("score", settings))
    dataset = open_data(data, read_options)
    chosen = settings_for(dataset, chosen, progress)
    if joins:
        frame, summary = _joined(data, dataset, chosen, read_options, progress)
        if log is not None:
            track(log, summary.tracked())
        return frame
    with Scorer(chosen, progress) as scorer:
        run = Run(dataset, read_options, scorer)
        rows = [row for block in run.blocks(progress) for row in block]
        summary = run.summary(elapsed_s=time.perf_counter() - begin)
    names = score_columns(
        token_nll=chosen.token_nll,
        documents=dataset.has_documents,
        has_sources=dataset.has_sources,
        optional=chosen.optional,
    )
    frame = frame_of(rows, names)
    keep_index(data, frame)
    frame.attrs["manifest"] = summary.manifest.as_json()
    frame.attrs["rejects"] = [reject.as_json() for reject in run.rejects]
    if log is not None:
        track(log, summary.tracked())
    return frame


def _joined(
    data: Any,
    dataset: Dataset,
    settings: Settings,
    read_options: ReadOptions,
    progress: Progress,
) -> tuple[Any, ScoreSummary]:
    """The rows with their scores, in a table of the kind of `data`, or else in a DataFrame."""
    import pandas as pd

    positions, columns, run, summary = score_into_memory(dataset, settings, read_options, progress)
    kind = kind_of(data)
    if kind is None:
        values = (raw.value for raw in dataset.raw_rows())
        data = pd.DataFrame([one if isinstance(one, Mapping) else {} for one in values])
        kind, positions = kind_of(data), list(range(len(data)))
        assert kind is not None, "pandas is a kind"
    joined = kind.add(kind.take(data, positions), columns)
    if kind.has_attributes:
        joined.attrs["manifest"] = summary.manifest.as_json()
        joined.attrs["rejects"] = [reject.as_json() for reject in run.rejects]
    return joined, summary


@dataclass(frozen=True, eq=False, repr=False)
class FrameSummary(MetricView):
    """What `ifdkit.summary` returns: its notebook view is a table, `plot()` a histogram."""

    n_examples: int
    statuses: Mapping[str, int]
    """Status → examples, the most frequent first."""
    metrics: Mapping[str, Description]
    columns: Mapping[str, Column]
    """Metric → its defined values."""

    def __repr__(self) -> str:
        """One line: examples and metrics."""
        return f"<Scores of {plural(self.n_examples, 'example')}: {', '.join(self.metrics)}>"


def summary(scores: pd.DataFrame) -> FrameSummary:
    """Describe a DataFrame that `ifdkit.score` made. Raises InputError if it is none."""
    if not has_score_columns([str(name) for name in scores]):
        raise InputError("this DataFrame has no scores: make it with ifdkit.score")
    columns: dict[str, Column] = {}
    for name in METRICS:
        if name in scores:
            values = scores[name].to_numpy(dtype=np.float64, na_value=np.nan)
            columns[name] = values[np.isfinite(values)]
    counts = scores["status"].value_counts()
    return FrameSummary(
        n_examples=len(scores),
        statuses={str(name): int(n) for name, n in counts.items()},
        metrics={name: describe(column) for name, column in columns.items() if len(column)},
        columns={name: column for name, column in columns.items() if len(column)},
    )


def keep_index(data: object, scores: pd.DataFrame) -> None:
    """Give scores the index of the DataFrame that was scored; one that only counts is left out."""
    import pandas as pd

    if isinstance(data, pd.DataFrame) and not isinstance(data.index, pd.RangeIndex):
        scores.index = data.index.take(scores["row"].to_numpy(dtype=int))


def frame_of(rows: Sequence[ScoreRow], names: Sequence[str]) -> pd.DataFrame:
    """Rows of scores as a DataFrame with these columns."""
    import pandas as pd

    cells = [[row.column(name) for name in names] for row in rows]
    frame: pd.DataFrame = pd.DataFrame(cells, columns=list(names))
    metrics = [metric for name, metric in METRICS.items() if name in names]
    frame = frame.astype({one.name: "float64" for one in metrics if not one.is_integer})
    # pandas' own type for integers of which some are missing, as those of an instruction can be.
    missing = [one.name for one in metrics if one.is_integer and frame[one.name].isna().any()]
    frame = frame.astype(dict.fromkeys(missing, "Int64"))
    return frame
