"""Where every text of the output comes from: lines of a file, and counts for the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ifdkit.records import Example
from ifdkit.reflection.choosing import Choice, Variant, VariantScores
from ifdkit.reflection.outcomes import Answer, Outcome, Stage

PROVENANCE = ".provenance.jsonl"
"""Appended to the name of the output: where each of its texts comes from."""
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
class FinalExample:
    """One example with its answers, its variants, and the variant that is in the output."""

    example: Example
    answers: Mapping[Variant, Answer]
    variants: Mapping[Variant, Example]
    choice: Choice
    scores: Mapping[Variant, VariantScores] | None = None
    """The student's scores; None if no student chose."""

    def is_in_output(self, variant: Variant) -> bool:
        """Whether the text that was asked for under this name is in the output."""
        if variant == "instruction":
            return self.choice.accepts_instruction
        return self.choice.variant == variant


def provenance_lines(source: Source, final: FinalExample) -> Iterator[dict[str, Any]]:
    """One line per call, and one for the student's choice.

    In runs with `select` the response stage has two calls: an answer to the old instruction and
    one to the new.
    """
    example = final.example
    place = {"id": example.id, "row": example.row, "turn": example.turn}
    for variant, answer in final.answers.items():
        stage = _STAGE_OF[variant]
        is_instruction = stage is Stage.INSTRUCTION
        why = final.choice.why_instruction if is_instruction else final.choice.why_response
        is_rewritten = answer.outcome is Outcome.REWRITTEN
        is_in_output = final.is_in_output(variant)
        yield {
            **place,
            "stage": str(stage),
            "answers_instruction": {"both": "new", "response": "old"}.get(variant),
            **asdict(source),
            **asdict(answer),
            "in_output": is_in_output,
            "accepted": is_in_output if final.scores and is_rewritten else None,
            "why": why if is_rewritten else None,
        }
    if final.scores is not None:
        yield {**place, "stage": "choice", **_choice(final, final.scores)}


def _choice(final: FinalExample, scores: Mapping[Variant, VariantScores]) -> dict[str, Any]:
    return {
        "variant": final.choice.variant,
        "why_instruction": final.choice.why_instruction,
        "why_response": final.choice.why_response,
        "variants": {
            name: {
                "instruction": one.instruction,
                "response": one.response,
                "ifd": scores[name].ifd,
                "rifd": scores[name].rifd,
            }
            for name, one in final.variants.items()
        },
    }


@dataclass(slots=True)
class Tally:
    """Counts over the rows written so far."""

    rows: int = 0
    rows_changed: int = 0
    rows_rejected: int = 0
    """Rows without a readable example; they are copied unchanged."""
    rows_left_out: int = 0
    """Rejected rows that cannot be copied either."""
    examples: int = 0
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    """Stage → outcome → calls, including examples that could not be asked about."""
    in_output: Counter[str] = field(default_factory=Counter)
    """Stage → new texts in the output."""
    variants: Counter[str] = field(default_factory=Counter)
    """Variant → examples whose output it is."""

    def add(self, final: FinalExample) -> None:
        """Count one example."""
        self.examples += 1
        self.variants[final.choice.variant] += 1
        for variant, answer in final.answers.items():
            stage = str(_STAGE_OF[variant])
            self.outcomes.setdefault(stage, Counter())[str(answer.outcome)] += 1
            self.in_output[stage] += final.is_in_output(variant)
