"""The dataset a command works on: `data` itself, or the dataset behind a scores file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifdkit.data.columns import SLOTS
from ifdkit.data.containers import locate
from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.options import ReadOptions
from ifdkit.data.sources import sha256
from ifdkit.errors import InputError, OutputError
from ifdkit.expressions.syntax import parse
from ifdkit.scoring.manifest import Manifest, manifest_beside
from ifdkit.scoring.where import score_fields

if TYPE_CHECKING:
    import pandas as pd

    Data = str | PathLike[str] | Iterable[Mapping[str, Any]] | pd.DataFrame


def open_data(data: Data, read_options: ReadOptions) -> Dataset:
    """Open a dataset, or the dataset behind a scores file, and choose its rows.

    Raises InputError if it cannot be read or is no longer what was scored, UsageError if the
    options do not fit it.
    """
    manifest = manifest_beside(data) if isinstance(data, (str, PathLike)) else None
    if manifest is not None:
        as_scored = read_options_of(manifest, read_options)
        return read_options.narrow(open_data(source_of(data, manifest), as_scored), score_fields())
    dataset = open_dataset(
        data,
        columns=read_options.columns,
        turns=read_options.turns,
        reasoning=read_options.reasoning,
        lines=read_options.lines,
    )
    return read_options.narrow(dataset, score_fields())


def read_options_of(manifest: Manifest, read_options: ReadOptions | None = None) -> ReadOptions:
    """The options with which the dataset behind a scores file was read.

    Columns of `read_options`, and its `turns` if they are `"last"`, take precedence. Reasoning is
    read as it was then.
    """
    asked = read_options or ReadOptions()
    return ReadOptions(
        # Every slot is given, if only as "", so that nothing is detected anew.
        columns=asked.columns or {slot: manifest.columns.get(slot, "") for slot in SLOTS},
        turns="last" if "last" in (asked.turns, manifest.turns) else "all",
        reasoning="drop" if manifest.reasoning == "drop" else "keep",
        lines=manifest.lines,
        limit=manifest.limit,
        sample=manifest.sample,
        seed=manifest.seed or 0,
        where=None if manifest.where is None else parse(manifest.where, "where of a manifest"),
    )


def source_of(data: Data, manifest: Manifest) -> Path:
    """The dataset that a scores file was made from.

    Raises InputError if it is gone or has changed.
    """
    name, digest = Path(manifest.input), manifest.input_sha256
    # The path is as it was typed, relative to the working folder of that run, which may have been
    # the folder of the scores.
    places = [name, Path(data).parent / name] if isinstance(data, (str, PathLike)) else [name]
    present = [path for path in places if digest and locate(str(path))[0].exists()]
    for path in present:
        if sha256(locate(str(path))[0]) == digest:
            return path
    what = "has changed since" if present else "is not here"
    raise InputError(f"{data} contains scores without texts, and {name}, their source, {what}")


def check_not_input(data: Data, output: Path) -> None:
    """Raise OutputError if `output` is the file that is read."""
    try:
        is_input = isinstance(data, (str, PathLike)) and output.samefile(data)
    except OSError:
        return  # one of them does not exist
    if is_input:
        raise OutputError(f"-o {output} is the input itself: choose another name")


def describe(dataset: Dataset) -> str:
    """`data.json: Alpaca: instruction + input → output, 1,000 rows`, for a note to the user."""
    return dataset.describe()
