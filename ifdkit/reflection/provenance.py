"""Where every text of a recycled dataset comes from: lines for a file, and counts for a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ifdkit.records import Example
from ifdkit.reflection.choosing import Choice, Marks, Variant
from ifdkit.reflection.outcomes import Answer, Outcome, Stage

_STAGE_OF: dict[Variant, Stage] = {
    "instruction": Stage.INSTRUCTION,
    "response": Stage.RESPONSE,
    "both": Stage.RESPONSE,
}


@dataclass(frozen=True, slots=True)
class Source:
    """Who wrote the new texts."""

    oracle: str
    endpoint: str
    prompt_version: str


@dataclass(frozen=True, slots=True)
class Settled:
    """One example with everything that was had for it, and what stands in the output."""

    example: Example
    answers: Mapping[Variant, Answer]
    variants: Mapping[Variant, Example]
    choice: Choice
    marks: Mapping[Variant, Marks] | None = None
    """The student's scores; None where no student was asked."""

    def is_taken(self, variant: Variant) -> bool:
        """Whether the text that was asked for under this name stands in the output."""
        if variant == "instruction":
            return self.choice.takes_instruction
        return self.choice.variant == variant


def lines(source: Source, settled: Settled) -> Iterator[dict[str, Any]]:
    """One line per stage that was asked about, and one of the student's choice.

    In `select` runs the response stage has two: an answer to the old instruction and one to the
    new.
    """
    example = settled.example
    place = {"id": example.id, "row": example.row, "turn": example.turn}
    for variant, answer in settled.answers.items():
        stage = _STAGE_OF[variant]
        why = (
            settled.choice.why_instruction
            if stage is Stage.INSTRUCTION
            else settled.choice.why_response
        )
        was_had = answer.outcome is Outcome.REWRITTEN
        yield {
            **place,
            "stage": str(stage),
            "answers_instruction": {"both": "new", "response": "old"}.get(variant),
            **asdict(source),
            **asdict(answer),
            "in_output": settled.is_taken(variant),
            "accepted": settled.is_taken(variant) if settled.marks and was_had else None,
            "why": why if was_had else None,
        }
    if settled.marks is not None:
        yield {**place, "stage": "choice", **_choice(settled, settled.marks)}


def _choice(settled: Settled, marks: Mapping[Variant, Marks]) -> dict[str, Any]:
    return {
        "variant": settled.choice.variant,
        "why_instruction": settled.choice.why_instruction,
        "why_response": settled.choice.why_response,
        "variants": {
            name: {
                "instruction": one.instruction,
                "response": one.response,
                "ifd": marks[name].ifd,
                "rifd": marks[name].rifd,
            }
            for name, one in settled.variants.items()
        },
    }


@dataclass(slots=True)
class Tally:
    """What became of the rows so far."""

    rows: int = 0
    rows_changed: int = 0
    rows_rejected: int = 0
    """Passed through as they were."""
    rows_left_out: int = 0
    """Of these, what could not even be copied."""
    examples: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """Stage → outcome → calls, or examples that there was nothing to ask about."""
    in_output: Counter[str] = field(default_factory=Counter)
    """Stage → new texts that stand in the output."""
    variants: Counter[str] = field(default_factory=Counter)
    """Variant → examples that it stands for in the output."""

    def add(self, settled: Settled) -> None:
        """Count one example."""
        self.examples += 1
        self.variants[settled.choice.variant] += 1
        for variant, answer in settled.answers.items():
            stage = str(_STAGE_OF[variant])
            self.outcomes.setdefault(stage, Counter())[str(answer.outcome)] += 1
            self.in_output[stage] += settled.is_taken(variant)
