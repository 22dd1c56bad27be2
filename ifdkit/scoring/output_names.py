"""The names of output files that the user did not name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ifdkit.data.dataset import Dataset
from ifdkit.data.many_inputs import ManyInputs
from ifdkit.data.row_files import ROW_ENDINGS
from ifdkit.data.sources import COMPRESSED, DATA_ENDINGS, suffix
from ifdkit.data.text_files import TEXT_ENDING
from ifdkit.errors import OutputError
from ifdkit.regular import read_regular
from ifdkit.scoring.manifest import MANIFEST

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data
    from ifdkit.scoring.shards import Shard


NAME_OF_SEVERAL = "ifdkit"
"""Stands for several inputs that have no folder in common but the working folder."""
REJECTS = ".rejects.jsonl"
"""Appended to the name of an output: the file of the rows that could not be read."""


def default_output(data: Data, shard: Shard | None = None) -> Path:
    """`data.scores.jsonl` in the working folder for `some/folder/data.json.gz`.

    Several inputs are named after their folder: `shards.scores.jsonl`; a shard also after its
    number: `data.scores.3-of-8.jsonl`.
    """
    part = f".{shard.number}-of-{shard.count}" if shard else ""
    return Path(f"{output_stem(data)}.scores{part}.jsonl")


def default_joined_output(data: Data) -> Path:
    """`data.scored.json.gz` in the working folder for `some/folder/data.json.gz`.

    The ending is that of the dataset if columns can be appended in its format, else `.jsonl`.
    """
    if isinstance(data, ManyInputs):
        endings = {_endings(str(one.path)) for one in data.inputs}
        return Path(f"{output_stem(data)}.scored{endings.pop() if len(endings) == 1 else '.jsonl'}")
    return Path(f"{output_stem(data)}.scored{_endings(_name(data))}")


def _endings(name: str) -> str:
    """The endings of a file of rows in the format of another file."""
    path = Path(name)
    can_append = suffix(path) in ROW_ENDINGS and suffix(path) != TEXT_ENDING
    endings = suffix(path) if can_append and not path.is_dir() else ".jsonl"
    if path.suffix.lower() in COMPRESSED and endings != ".parquet":
        endings += path.suffix.lower()
    return endings


def check_default_output(output: Path, dataset: Dataset) -> None:
    """Refuse a default name that the scores of another dataset have. Raises OutputError.

    `en/train.jsonl` and `de/train.jsonl` have the same default name.
    """
    if not output.exists():
        return
    try:
        manifest = json.loads(read_regular(f"{output}{MANIFEST}", 2**24))
        name, digest = str(manifest["input"]), manifest["input_sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if digest == dataset.sha256:
        return
    own = Path(dataset.name) if dataset.has_sources else dataset.path
    if own is None or Path(name).resolve() != own.resolve():
        raise OutputError(
            f"{output} holds the scores of {name}: choose another name with -o, or delete it"
        )


def _name(data: Data) -> str:
    return "stdin" if data == "-" else str(data).rstrip("/")


def output_stem(data: Data) -> str:
    """`data` for `some/folder/data.json.gz`; for several inputs, the name of their folder."""
    if isinstance(data, ManyInputs):
        return data.folder.name if data.folder else NAME_OF_SEVERAL
    path = Path(_name(data))
    while path.suffix.lower() in DATA_ENDINGS:
        path = path.with_suffix("")
    return path.name
