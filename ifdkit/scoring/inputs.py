"""Which rows of which dataset a command works on; a scores file stands for its dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.data.dataset import Dataset, Turns, open_dataset
from ifdkit.data.layouts import SLOTS
from ifdkit.data.sources import sha256
from ifdkit.errors import InputError, UsageError
from ifdkit.scoring.manifest import Manifest, manifest_beside

if TYPE_CHECKING:
    import pandas as pd

    Data = str | PathLike[str] | Iterable[Mapping[str, Any]] | pd.DataFrame


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
        self._check()
        made = manifest_beside(data) if isinstance(data, (str, PathLike)) else None
        if made is not None:
            dataset = self.behind(made).open(source_of(data, made))
        else:
            dataset = open_dataset(data, columns=self.columns, turns=self.turns)
        return self.narrow(dataset)

    def narrow(self, dataset: Dataset) -> Dataset:
        """The dataset with the rows of the limit and the sample. Raises UsageError."""
        self._check()
        rows = dataset.rows[: self.limit]
        if self.sample is not None and self.sample < len(rows):
            generator = np.random.default_rng(self.seed)
            chosen = generator.choice(len(rows), self.sample, replace=False)
            return dataset.choose(rows[i] for i in chosen)
        return dataset.choose(rows) if len(rows) < dataset.n_rows else dataset

    def account(self, dataset: Dataset) -> dict[str, Any]:
        """What a manifest says of the rows: which file, which of its columns, which choice."""
        return {
            "input": dataset.name,
            "input_sha256": dataset.sha256,
            "columns": {slot: key for slot, key in asdict(dataset.columns).items() if key},
            "turns": self.turns,
            "limit": self.limit,
            "sample": self.sample,
            "seed": None if self.sample is None else self.seed,
        }

    def _check(self) -> None:
        for name, value in (("limit", self.limit), ("sample", self.sample)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value}: at least one row")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed}: not negative")

    def behind(self, made: Manifest) -> Selection:
        """The rows that a scores file was made from, read as they were read then."""
        turns: Turns = "last" if "last" in (self.turns, made.turns) else "all"
        return Selection(
            columns=self.columns or {slot: made.columns.get(slot, "") for slot in SLOTS},
            turns=turns,
            limit=made.limit,
            sample=made.sample,
            seed=made.seed or 0,
        )


def source_of(data: Data, manifest: Manifest) -> Path:
    """The dataset that a scores file was made from, as it was then.

    Raises InputError if it is gone or has changed.
    """
    name, digest = Path(manifest.input), manifest.input_sha256
    # The path is as it was typed: relative to the folder of that run, or to that of the scores.
    places = [name, Path(data).parent / name] if isinstance(data, (str, PathLike)) else [name]
    found = [path for path in places if digest and path.exists()]
    for path in found:
        if sha256(path) == digest:
            return path
    what = "has changed since" if found else "is not here"
    raise InputError(f"{data} contains scores without texts, and {name}, their source, {what}")


def describe(dataset: Dataset) -> str:
    """`data.json: Alpaca: instruction + input → output, 1,000 rows`, for a note to the user."""
    rows = "1 row" if dataset.n_rows == 1 else f"{dataset.n_rows:,} rows"
    return f"{dataset.name}: {dataset.columns.describe()}, {rows}"
