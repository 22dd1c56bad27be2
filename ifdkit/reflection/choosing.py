"""The student's choice among the four variants of a pair (Selective Reflection-Tuning, 2402.10110).

    original      x,  y        as in the dataset
    instruction   x', y        new instruction, old response
    response      x,  y_x      old instruction, new response to it
    both          x', y_x'     new instruction, new response to it

    1.  Accept x' if  IFD(x', y) > IFD(x, y): it is harder to follow.
    2.  Accept y' if  r-IFD(x*, y') < r-IFD(x*, y), where x* is the result of 1: x* is easier to
        infer from it.
    3.  Reject both if the resulting variant has an IFD or an r-IFD of 1 or more: its halves do not
        fit each other.

The published selection differs in two points.  It discards rows that fail 3 or whose response is
not new, where here the original stays.  It scores x' with the answer that its rewriting prompt
gives beside x', which the prompts here do not ask for.  A tie keeps the original.  An undefined
score or a failed rewrite is never accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Variant = Literal["original", "instruction", "response", "both"]
VARIANTS: tuple[Variant, ...] = ("original", "instruction", "response", "both")

_MAX_RATIO = 1.0
"""At this IFD or r-IFD or above, one half of a pair does not help to predict the other."""


@dataclass(frozen=True, slots=True)
class VariantScores:
    """The student's scores of one variant, both > 0; None if undefined."""

    ifd: float | None
    rifd: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen variant, and why."""

    variant: Variant
    why_instruction: str | None = None
    """One sentence; None if there was no new instruction to judge."""
    why_response: str | None = None
    """One sentence; None if there was no new response to judge."""

    @property
    def accepts_instruction(self) -> bool:
        """Whether the new instruction is accepted."""
        return self.variant in ("instruction", "both")

    @property
    def accepts_response(self) -> bool:
        """Whether the new response is accepted."""
        return self.variant in ("response", "both")


def choose(scores: Mapping[Variant, VariantScores]) -> Choice:
    """The variant that the student accepts.

    `original` must be among the scores; a variant that is missing is a rewrite that failed.
    """
    original = scores["original"]
    variant: Variant = "original"
    why_instruction = why_response = None
    if new := scores.get("instruction"):
        is_accepted, why_instruction = _judged("IFD", new.ifd, original.ifd, wants_more=True)
        variant = "instruction" if is_accepted else "original"
    answer: Variant = "both" if variant == "instruction" else "response"
    if new := scores.get(answer):
        is_accepted, why_response = _judged("r-IFD", new.rifd, scores[variant].rifd,
                                            wants_more=False)  # fmt: skip
        variant = answer if is_accepted else variant
    if variant != "original" and (misfit := _misfit(scores[variant])):
        return Choice("original", why_instruction and misfit, why_response and misfit)
    return Choice(variant, why_instruction, why_response)


def _judged(
    name: str, new: float | None, old: float | None, *, wants_more: bool
) -> tuple[bool, str]:
    """Whether the new score is better than the old one, and a sentence that says so."""
    if new is None or old is None:
        which = "new" if new is None else "original"
        return False, f"{name} of the {which} pair is undefined"
    if new == old:
        return False, f"{name} is unchanged at {new:.4g}: a tie keeps the original"
    if wants_more and new >= _MAX_RATIO:
        return False, f"{name} is {new:.4g}: at 1 or above, the instruction does not help"
    word = "rises" if new > old else "falls"
    return (new > old) == wants_more, f"{name} {word} from {old:.4g} to {new:.4g}"


def _misfit(scores: VariantScores) -> str | None:
    """Why a rewritten pair is rejected whatever the original scores, or None."""
    for name, value in (("IFD", scores.ifd), ("r-IFD", scores.rifd)):
        if value is None:
            return f"{name} of the rewritten pair is undefined"
        if value >= _MAX_RATIO:
            return (
                f"{name} of the rewritten pair is {value:.4g}: at 1 or above, its halves do not fit"
                " each other"
            )
    return None
