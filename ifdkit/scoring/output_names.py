"""The names of output files that the user did not name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ifdkit.data.dataset import Dataset
from ifdkit.data.row_files import ROW_ENDINGS
from ifdkit.data.sources import COMPRESSED, DATA_ENDINGS, suffix
from ifdkit.errors import OutputError

if TYPE_CHECKING:
    from ifdkit.scoring.inputs import Data


def default_output(data: Data) -> Path:
    """`data.scores.jsonl` in the working folder for `some/folder/data.json.gz`."""
    return Path(f"{output_stem(data)}.scores.jsonl")


def default_joined_output(data: Data) -> Path:
    """`data.scored.json.gz` in the working folder for `some/folder/data.json.gz`.

    The ending is that of the dataset if rows can be written in its format, else `.jsonl`.
    """
    path = Path(_name(data))
    endings = suffix(path) if suffix(path) in ROW_ENDINGS and not path.is_dir() else ".jsonl"
    if path.suffix.lower() in COMPRESSED and endings != ".parquet":
        endings += path.suffix.lower()
    return Path(f"{output_stem(data)}.scored{endings}")


def check_default_output(output: Path, dataset: Dataset) -> None:
    """Refuse a default name that the scores of another dataset have. Raises OutputError.

    `en/train.jsonl` and `de/train.jsonl` have the same default name.
    """
    if not output.exists():
        return
    try:
        manifest = json.loads(Path(f"{output}.manifest.json").read_bytes())
        name, digest = str(manifest["input"]), manifest["input_sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if digest == dataset.sha256:
        return
    if dataset.path is None or Path(name).resolve() != dataset.path.resolve():
        raise OutputError(
            f"{output} holds the scores of {name}: choose another name with -o, or delete it"
        )


def _name(data: Data) -> str:
    return "stdin" if data == "-" else str(data).rstrip("/")


def output_stem(data: Data) -> str:
    """`data` for `some/folder/data.json.gz`."""
    path = Path(_name(data))
    while path.suffix.lower() in DATA_ENDINGS:
        path = path.with_suffix("")
    return path.name
