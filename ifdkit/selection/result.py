"""The result of a selection: what `ifdkit.select` returns, and the manifest beside the output."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from ifdkit.data.atomic import OutputFiles, json_file
from ifdkit.data.parts import InputRecord
from ifdkit.data.sources import suffix
from ifdkit.data.views import NotebookView
from ifdkit.errors import InputError, UsageError
from ifdkit.format import plural
from ifdkit.records import plain
from ifdkit.scoring.manifest import MANIFEST, Manifest
from ifdkit.selection.effect import Effect
from ifdkit.selection.groups import GroupShare
from ifdkit.selection.ranking import Band
from ifdkit.selection.training_formats import add_to_info
from ifdkit.selection.tuned import TunedWeights
from ifdkit.visible import one_line

SELECTION_SCHEMA = "ifdkit.selection/1"
ROW_LOG = ".rows.jsonl"
"""Appended to the name of the output: the log with one line for every row of the input."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Selected(NotebookView):
    """What a selection kept and dropped, and how the kept rows differ from the input."""

    schema: str
    version: str
    created: str
    command: str
    input: str
    input_sha256: str | None
    columns: dict[str, str]
    turns: str
    reasoning: str
    lines: bool
    limit: int | None
    sample: int | None
    seed: int
    """Of the sample, of `random`, and of the random choices in `effect`."""
    where: str | None
    """The expression that chose the rows to select from; None if all were read."""
    output: str
    output_sha256: str
    rows: str
    """The row log: a file with one line for every row of the input."""
    method: str | None
    """None if the rows were ranked by a field."""
    method_source: str | None
    """The paper that the method is from."""
    field: str | None
    """What the rows were ranked by; None if they were not ranked."""
    parameters: dict[str, Any]
    wanted: int | None
    """Rows asked for; None for all that qualify."""
    rows_in: int
    """Rows of the input: kept and dropped together."""
    kept: int
    dropped: dict[str, int]
    """Reason → rows."""
    undefined: dict[str, int]
    """Status → rows, of those dropped as undefined."""
    bands: tuple[Band, ...]
    """Bands of response length; empty unless the method is `length-controlled`."""
    groups: tuple[GroupShare, ...] = ()
    """Groups of `--per`, and what each contributed."""
    effect: Effect
    tuning: TunedWeights | None = None
    """How the weights were found; None unless they were tuned."""
    scores: Manifest | None
    """Manifest of the scores; None if no scores were used."""
    elapsed_s: float
    inputs: list[InputRecord] = dataclass_field(default_factory=list)
    """Every input, if there are several; `columns` are then those that they have in common."""
    kept_rows: tuple[int, ...] = dataclass_field(repr=False)
    """0-based positions in the input, ascending; not in the manifest, but in the row log."""

    def __repr__(self) -> str:
        """One line: how many rows of which input were kept."""
        of = f"{self.kept:,} of {plural(self.rows_in, 'row')} of {one_line(self.input, 60)}"
        return f"<Selected {of} by {self.method or self.field or 'condition'}>"

    def as_json(self) -> dict[str, Any]:
        """The object of the manifest and of `--json`."""
        found = plain(replace(self, kept_rows=()))
        del found["kept_rows"]
        return found

    def save(self, path: str | Path) -> Path:
        """Copy the kept rows, the row log and the manifest to `path`, and return it.

        It ends as the output does: the format stays.  Raises UsageError if it does not, InputError
        if the output is gone or has changed since, and OutputError.
        """
        output, place = Path(self.output), Path(path)
        if _ending(place) != _ending(output):
            raise UsageError(f"{place}: the kept rows are in {output}; end it in {_ending(output)}")
        with OutputFiles(place, ROW_LOG, MANIFEST) as files:
            try:
                for companion, source in (("", output), (ROW_LOG, Path(self.rows))):
                    with source.open("rb") as rows:
                        shutil.copyfileobj(rows, files.open(companion))
            except FileNotFoundError as error:
                raise InputError(f"{error.filename} is gone: select again") from error
            if files.sha256() != self.output_sha256:
                raise InputError(f"{output} has changed since the selection: select again")
            made = replace(self, output=str(place), rows=f"{place}{ROW_LOG}")
            files.write(MANIFEST, json_file(made.as_json()))
        if self.parameters.get("to") == "llamafactory":
            add_to_info(place)
        return place


def _ending(path: Path) -> str:
    """The ending that names the format, with that of a compression: `.json.gz`."""
    kind, last = suffix(path), path.suffix.lower()
    return kind if kind == last else kind + last
