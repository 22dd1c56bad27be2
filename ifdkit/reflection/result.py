"""The result of a reflection."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ifdkit.data.parts import InputRecord
from ifdkit.data.views import NotebookView
from ifdkit.records import plain
from ifdkit.scoring.manifest import save_manifest

SCHEMA = "ifdkit.reflection/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recycled(NotebookView):
    """What a run did: the manifest beside the output, and the result of `ifdkit.reflect`."""

    schema: str = SCHEMA
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
    seed: int | None
    where: str | None
    """The expression that chose the rows; None if all were read."""
    output: str
    output_sha256: str
    provenance: str
    journal: str
    oracle: str
    endpoint: str
    prompt_version: str
    sampling: dict[str, Any]
    stages: list[str]
    student: str | None
    """The model that chose; None if everything that was rewritten was accepted."""
    student_hash: str | None
    rows: int
    rows_changed: int
    rows_rejected: int
    """Rows without a readable example; they are copied unchanged."""
    rows_left_out: int
    """Rejected rows that cannot be copied either, and are not in the output."""
    examples: int
    outcomes: dict[str, dict[str, int]]
    """Stage → outcome → calls."""
    in_output: dict[str, int]
    """Stage → new texts in the output."""
    variants: dict[str, int]
    """Variant → examples whose output it is."""
    prompt_tokens: int
    """Spent by this run; replies from the journal cost nothing."""
    completion_tokens: int
    cost: float | None
    """In the currency of the prices; None if no prices are given."""
    stopped: str | None
    """The cap that ended the run early, or None."""
    elapsed_s: float

    inputs: list[InputRecord] = field(default_factory=list)
    """Every input, if there are several; `columns` are then those that they have in common."""

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return plain(self)

    def save(self) -> Path:
        """Write the manifest, `OUT.manifest.json`, and return its path."""
        return save_manifest(self.output, self.as_json())
