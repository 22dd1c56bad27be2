"""The dataset a command works on: `data` itself, or the dataset behind a scores file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.layouts import SLOTS
from ifdkit.data.options import ReadOptions
from ifdkit.data.sources import sha256
from ifdkit.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    Data = str | PathLike[str] | Iterable[Mapping[str, Any]] | pd.DataFrame

SCORES_SCHEMA = "ifdkit.scores/1"


def open_data(data: Data, read_options: ReadOptions) -> Dataset:
    """Open a dataset, or the dataset behind a scores file, and choose its rows.

    Raises InputError if it cannot be read or is no longer what was scored, UsageError if the
    options do not fit it.
    """
    if (manifest := manifest_of(data)) is not None:
        as_scored = read_options_of(manifest, read_options)
        scored = open_data(source_of(data, manifest), as_scored)
        return read_options.narrow(scored)
    dataset = open_dataset(data, columns=read_options.columns, turns=read_options.turns)
    return read_options.narrow(dataset)


def read_options_of(
    manifest: Mapping[str, Any], read_options: ReadOptions | None = None
) -> ReadOptions:
    """The options with which the dataset behind a scores file was read.

    Columns of `read_options`, and its `turns` if they are `"last"`, take precedence.
    """
    asked = read_options or ReadOptions()
    columns = manifest.get("columns") or {}
    return ReadOptions(
        # Every slot is given, if only as "", so that nothing is detected anew.
        columns=asked.columns or {slot: columns.get(slot, "") for slot in SLOTS},
        turns="last" if asked.turns == "last" else manifest.get("turns", "all"),
        limit=manifest.get("limit"),
        sample=manifest.get("sample"),
        seed=manifest.get("seed") or 0,
    )


def manifest_of(data: Data) -> dict[str, Any] | None:
    """The manifest beside a scores file; None for anything else.

    Also None if the manifest describes another file, because the scores changed since.
    """
    if not isinstance(data, (str, PathLike)):
        return None
    try:
        manifest = json.loads(Path(f"{data}.manifest.json").read_bytes())
        if manifest["schema"] != SCORES_SCHEMA or manifest["output_sha256"] != sha256(Path(data)):
            return None
        has_source = isinstance(manifest["input"], str) and "input_sha256" in manifest
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not a scores file, or one without its manifest: opening it will say so
    return manifest if has_source else None


def source_of(data: Data, manifest: Mapping[str, Any]) -> Path:
    """The dataset that a scores file was made from.

    Raises InputError if it is gone or has changed.
    """
    name, digest = Path(manifest["input"]), manifest["input_sha256"]
    # The path is as it was typed, relative to the working folder of that run, which may have been
    # the folder of the scores.
    places = [name, Path(data).parent / name] if isinstance(data, (str, PathLike)) else [name]
    present = [path for path in places if digest and path.exists()]
    for path in present:
        if sha256(path) == digest:
            return path
    what = "has changed since" if present else "is not here"
    raise InputError(f"{data} holds scores without texts, and {name}, their source, {what}")
