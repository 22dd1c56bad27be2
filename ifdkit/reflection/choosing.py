"""The student's choice among the four variants of a pair (Selective Reflection-Tuning, 2402.10110).

    original      x,  y        as it stands in the dataset
    instruction   x', y        new instruction, old response
    response      x,  y_x      old instruction, new response to it
    both          x', y_x'     new instruction, new response to it

    1.  x' where   IFD(x', y) > IFD(x, y)                             harder to follow, and
    2.  y' where   r-IFD(x*, y') < r-IFD(x*, y),  x* the choice of 1  easier to guess x* from
    3.  neither where the variant so found has an IFD or an r-IFD of 1 or more: no fit

The published selection is the same but in two points: it discards rows that fail 3 or whose
response is not new, where here the original stands; and it scores x' with the answer that its
rewriting prompt gives beside x', which ours does not ask for.  A tie keeps the original; a score
that is undefined and a rewrite that was not had never win.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Variant = Literal["original", "instruction", "response", "both"]
VARIANTS: tuple[Variant, ...] = ("original", "instruction", "response", "both")

_LIMIT = 1.0
"""From here on one half does not help with the other."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What the student makes of one variant; None is undefined."""

    ifd: float | None
    rifd: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which variant stands, and why."""

    variant: Variant
    why_instruction: str | None = None
    """One sentence; None where there was no new instruction to judge."""
    why_response: str | None = None

    @property
    def takes_instruction(self) -> bool:
        """Whether the new instruction stands."""
        return self.variant in ("instruction", "both")

    @property
    def takes_response(self) -> bool:
        """Whether the new response stands."""
        return self.variant in ("response", "both")


def choose(marks: Mapping[Variant, Marks]) -> Choice:
    """The variant that the student takes, of those that were had; `original` is always one.

    A variant that is missing is a rewrite that failed.
    """
    original = marks["original"]
    found: Variant = "original"
    why_instruction = why_response = None
    if new := marks.get("instruction"):
        is_taken, why_instruction = _judged("IFD", new.ifd, original.ifd, wants_more=True)
        found = "instruction" if is_taken else "original"
    answer: Variant = "both" if found == "instruction" else "response"
    if new := marks.get(answer):
        is_taken, why_response = _judged("r-IFD", new.rifd, marks[found].rifd, wants_more=False)
        found = answer if is_taken else found
    if found != "original" and (misfit := _misfit(marks[found])):
        return Choice("original", why_instruction and misfit, why_response and misfit)
    return Choice(found, why_instruction, why_response)


def _judged(
    name: str, new: float | None, old: float | None, *, wants_more: bool
) -> tuple[bool, str]:
    """Whether the new score beats the old one, and a sentence that says so."""
    if new is None or old is None:
        which = "new" if new is None else "original"
        return False, f"{name} of the {which} pair is undefined"
    if new == old:
        return False, f"{name} is {new:.4g}, as before: a tie keeps the original"
    if wants_more and new >= _LIMIT:
        return False, f"{name} is {new:.4g}: from 1 on the instruction does not help"
    word = "rises" if new > old else "falls"
    return (new > old) == wants_more, f"{name} {word} from {old:.4g} to {new:.4g}"


def _misfit(marks: Marks) -> str | None:
    """Why a rewritten pair cannot stand whatever it was compared with, or None."""
    for name, value in (("IFD", marks.ifd), ("r-IFD", marks.rifd)):
        if value is None:
            return f"{name} of the rewritten pair is undefined"
        if value >= _LIMIT:
            return f"{name} of the rewritten pair is {value:.4g}: from 1 on its halves do not fit"
    return None
