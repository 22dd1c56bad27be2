"""The dataset a command works on: `data` itself, or the dataset behind a scores file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ifdkit.data.atomic import OutputFiles
from ifdkit.data.columns import SLOTS
from ifdkit.data.containers import locate
from ifdkit.data.dataset import Dataset, open_dataset
from ifdkit.data.many_inputs import ManyInputs, NamedInput, expand
from ifdkit.data.options import ReadOptions
from ifdkit.data.parts import InputRecord
from ifdkit.data.places import check_different
from ifdkit.data.sources import sha256
from ifdkit.errors import InputError
from ifdkit.expressions.syntax import parse
from ifdkit.scoring.manifest import manifest_beside
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.table import is_scores_file
from ifdkit.scoring.where import score_fields

if TYPE_CHECKING:
    import pandas as pd

    from ifdkit.data.frames import OtherFrame

    Data = (
        str
        | PathLike[str]
        | Iterable[str | PathLike[str]]
        | Iterable[Mapping[str, Any]]
        | ManyInputs
        | pd.DataFrame
        | OtherFrame
    )


class ReadRecord(Protocol):
    """What a manifest says about a file and how it was read."""

    @property
    def input(self) -> str:
        """Path of the file, or what the dataset was called."""
        ...

    @property
    def input_sha256(self) -> str | None:
        """Digest of the file; None if there was none, or several."""
        ...

    @property
    def inputs(self) -> Sequence[InputRecord]:
        """Each of several inputs."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """Slot → column."""
        ...

    @property
    def until(self) -> str | None:
        """As in ReadOptions."""
        ...

    @property
    def turns(self) -> str:
        """`all` or `last`."""
        ...

    @property
    def reasoning(self) -> str:
        """`keep` or `drop`."""
        ...

    @property
    def lines(self) -> bool:
        """Whether each line of a text file was a row."""
        ...

    @property
    def limit(self) -> int | None:
        """Only the first rows."""
        ...

    @property
    def sample(self) -> int | None:
        """Only so many random rows."""
        ...

    @property
    def seed(self) -> int | None:
        """Of the sample."""
        ...

    @property
    def where(self) -> str | None:
        """Only rows for which it was true."""
        ...


_SCORED = "contains scores without texts, and {}, their source,"


def open_data(data: Data, read_options: ReadOptions) -> Dataset:
    """Open a dataset, or the dataset behind a scores file, and choose its rows.

    Raises InputError if it cannot be read or is no longer what was scored, UsageError if the
    options do not fit it.
    """
    data = expand(data)
    if isinstance(data, ManyInputs):
        for path in data.paths:
            if is_scores_file(path):
                raise InputError(f"{path} is a scores file, which cannot be one of several inputs")
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


def read_options_of(manifest: ReadRecord, read_options: ReadOptions | None = None) -> ReadOptions:
    """The options with which the dataset behind a scores file was read.

    Columns of `read_options`, and its `turns` if they are `"last"`, take precedence. Reasoning is
    read as it was then.
    """
    asked = read_options or ReadOptions()
    return ReadOptions(
        # Of several inputs, `source_of` knows the columns of each.
        columns=asked.columns or (None if manifest.inputs else _every_slot(manifest.columns)),
        turns="last" if "last" in (asked.turns, manifest.turns) else "all",
        reasoning="drop" if manifest.reasoning == "drop" else "keep",
        lines=manifest.lines,
        limit=manifest.limit,
        sample=manifest.sample,
        seed=manifest.seed or 0,
        until=manifest.until,
        where=None if manifest.where is None else parse(manifest.where, "where of a manifest"),
    )


def _every_slot(columns: Mapping[str, str]) -> dict[str, str]:
    """Every slot is given, if only as "", so that nothing is detected anew."""
    return {slot: columns.get(slot, "") for slot in SLOTS}


def source_of(data: Data, manifest: ReadRecord, role: str = _SCORED) -> Path | ManyInputs:
    """The dataset that a scores file was made from; every file of it is as it was then.

    `role` is what `data` says of the file `{}`, for errors.  Raises InputError if one is gone or
    has changed.
    """
    if not manifest.inputs:
        return _as_it_was(data, manifest.input, manifest.input_sha256, role)
    inputs = []
    for one in manifest.inputs:
        path = _as_it_was(data, one.path, one.sha256, role)
        columns = _every_slot(one.columns)
        inputs.append(NamedInput(str(path), one.source, locate(str(path))[0], columns))
    return ManyInputs(manifest.input, tuple(inputs))


def _as_it_was(data: Data, name: str, digest: str | None, role: str) -> Path:
    # The path is as it was typed, relative to the working folder of that run, which may have been
    # the folder of the scores.
    places = [Path(name)]
    if isinstance(data, (str, PathLike)):
        places.append(Path(data).parent / name)
    present = [path for path in places if digest and locate(str(path))[0].exists()]
    for path in present:
        if sha256(locate(str(path))[0]) == digest:
            return path
    what = "has changed since" if present else "is not here"
    raise InputError(f"{data} {role.format(Path(name))} {what}")


def check_not_input(data: Data, files: OutputFiles, flag: str = "-o") -> None:
    """Raise OutputError, which names the flag, if one of `files` is read."""
    data = expand(data)
    paths = data.paths if isinstance(data, ManyInputs) else [data]
    inputs = [one for one in paths if isinstance(one, (str, PathLike))]
    check_different(files.paths, inputs, flag)


def note_dataset(dataset: Dataset, progress: Progress, begin: str = "") -> None:
    """Tell the user what is read, and which of several inputs could not be."""
    progress.note(f"{begin}{dataset.describe()}")
    for problem in dataset.problems():
        progress.note(f"{begin}{problem}")
