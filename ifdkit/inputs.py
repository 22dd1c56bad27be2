"""Which rows of which dataset a command works on; a scores file stands for its dataset."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.errors import InputError, UsageError
from ifdkit.reading import Dataset, Turns, open_dataset
from ifdkit.reading.sources import sha256

if TYPE_CHECKING:
    import pandas as pd

    Data = str | PathLike[str] | Iterable[Mapping[str, Any]] | pd.DataFrame

SCORES_SCHEMA = "ifdkit.scores/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows of a dataset to take, and how to read them."""

    columns: Mapping[str, str] | None = None
    turns: Turns = "all"
    limit: int | None = None
    """The first so many rows."""
    sample: int | None = None
    """So many rows at random, after the limit, in the order of the file."""
    seed: int = 0

    def open(self, data: Data) -> Dataset:
        """The dataset, with these rows. Raises InputError or UsageError."""
        for name, value in (("limit", self.limit), ("sample", self.sample)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: at least one row")
        if (scores := _manifest_of(data)) is not None:
            return self._behind(scores).open(scores.input)
        dataset = open_dataset(data, columns=self.columns, turns=self.turns)
        rows = range(min(dataset.n_rows, self.limit or dataset.n_rows))
        if self.sample is not None and self.sample < len(rows):
            generator = np.random.default_rng(self.seed)
            return dataset.choose(generator.choice(len(rows), self.sample, replace=False).tolist())
        return dataset.choose(rows) if len(rows) < dataset.n_rows else dataset

    def _behind(self, scores: _Scores) -> Selection:
        """The rows that a scores file was made from, read as they were read then."""
        made = scores.manifest
        return Selection(
            columns=self.columns or made.get("columns"),
            turns=made.get("turns", self.turns),
            limit=self.limit or made.get("limit"),
            sample=self.sample or made.get("sample"),
            seed=self.seed if self.sample else made.get("seed") or 0,
        )


@dataclass(frozen=True, slots=True)
class _Scores:
    """A scores file's manifest, and the dataset behind it."""

    manifest: dict[str, Any]
    input: Path


def _manifest_of(data: Data) -> _Scores | None:
    """What stands beside a scores file; None for anything else.

    Raises InputError where the dataset behind it is gone or has changed.
    """
    if not isinstance(data, (str, PathLike)):
        return None
    try:
        manifest = json.loads(Path(f"{data}.manifest.json").read_bytes())
        if manifest["schema"] != SCORES_SCHEMA:
            return None
        name, digest = manifest["input"], manifest["input_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no scores file of ours, or one whose manifest is lost: the reader will tell
    # The path is as it was typed: from the folder of that day, perhaps that of the scores.
    for path in (Path(name), Path(data).parent / name):
        if digest and path.exists():
            if sha256(path) != digest:
                raise InputError(f"{data} was made from {name}, which has changed since")
            return _Scores(manifest, path)
    raise InputError(f"{data} holds scores without texts, and {name}, their source, is not here")
