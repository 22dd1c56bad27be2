"""What many numbers hide: shared phrases, refusals, leaks, duplicates, rows that got worse.

    texts      the nouns; cutting into words, equality, quotation
    runs       runs of words as numbers
    phrases    openings and closings of one side
    signs      what a single row shows by itself
    scripts    responses that change script
    near       near duplicates
    changes    copies, duplicates, lost scores

and what only an audit asks, of one side alone:

    personal   addresses, phone numbers, cards, accounts
    secrets    keys, tokens, passwords
    markup     remains of HTML, characters decoded wrongly
    languages  responses in another language
    recurring  openings, closings and phrases of many responses; by `shared_runs`
    contamination  instructions of an evaluation set

A comparison is about differences: what both sides of every pair show is not reported.  So a
dataset against itself gives `copied_across` and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from ifdkit.findings.changes import (
    copies,
    duplicates,
    repeated_instructions,
    worse_scores,
)
from ifdkit.findings.finding import Finding
from ifdkit.findings.phrases import shared_phrases
from ifdkit.findings.scripts import language_switches
from ifdkit.findings.signs import shown_signs
from ifdkit.findings.texts import TextPair, sides

__all__ = ["KINDS", "TextPair", "find"]

KINDS = (
    "prompt_leak",
    "shared_opening",
    "shared_closing",
    "shared_instruction_opening",
    "refusal",
    "ai_disclaimer",
    "empty",
    "no_longer_scored",
    "got_worse",
    "cut_off",
    "unbalanced_code_fence",
    "language_switch",
    "response_repeats_instruction",
    "copied_from_other_row",
    "copied_across",
    "nearly_copied_across",
    "copied_instruction",
    "exact_duplicate",
    "near_duplicate",
    "exact_duplicate_instruction",
)
"""Every kind of finding, in the order of report: what spoils training most comes first."""


def find(pairs: Sequence[TextPair], *, seed: int = 0) -> tuple[Finding, ...]:
    """Everything found in these pairs, by kind in the order of KINDS, most rows first.

    Ids are those of the side named, of the after side where it is `both`; rows that the other
    side does not share come first among them.  `seed` draws the sample in which near duplicates
    are searched where there are more texts than :data:`near.MOST_TEXTS`.
    """
    if not pairs:
        return ()
    before, after = sides(pairs)
    found = [
        *shown_signs(before, after),
        *shared_phrases(before, after),
        *worse_scores(pairs, after),
        *language_switches(before, after),
        *repeated_instructions(before, after),
        *copies(before, after),
        *duplicates(before, after, seed),
    ]
    return tuple(sorted(found, key=lambda one: (KINDS.index(one.kind), -one.count, one.text)))
