"""What `ifdkit.generate` returns: the manifest beside the answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ifdkit.data.parts import InputRecord
from ifdkit.data.views import NotebookView
from ifdkit.records import plain
from ifdkit.scoring.manifest import save_manifest

GENERATION_SCHEMA = "ifdkit.generation/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated(NotebookView):
    """What was answered, by which model, and how."""

    schema: str
    version: str
    created: str
    command: str
    input: str
    input_sha256: str | None
    columns: dict[str, str]
    turns: str
    reasoning: str
    limit: int | None
    sample: int | None
    where: str | None
    output: str
    output_sha256: str
    journal: str
    model: str
    model_source: str
    weights_hash: str
    tokenizer_hash: str
    protocol: str
    template: str
    template_text: str
    template_date: str | None
    dtype: str
    device: str
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    """None if greedy."""
    rows: int
    """Rows of the input."""
    answered: int
    """Rows of the output."""
    left_out: dict[str, int]
    """Why other rows have no answer, with counts; each is in `OUTPUT.rejects.jsonl`."""
    cut: int
    """Answers that reached the limit of new tokens."""
    empty: int
    """Answers without text."""
    generated: int
    """Answers that this call generated; equal prompts share one."""
    from_journal: int
    """Answers that an earlier call generated."""
    tokens: int
    """Tokens that this call generated."""
    elapsed_s: float
    lines: bool = False
    """Whether each line of a text file was a row."""
    inputs: list[InputRecord] = field(default_factory=list)
    """Every input, if there are several; `columns` are then those that they have in common."""

    def as_json(self) -> dict[str, Any]:
        """The object of the manifest and of `--json`."""
        return plain(self)

    def save(self) -> Path:
        """Write the manifest beside the output, and return its path."""
        return save_manifest(self.output, self.as_json())
