"""Text checks: what single numbers hide, such as leaked prompts, refusals and duplicates.

    checks, pairs    what a check is: of one dataset, of a comparison
    texts, ngrams    words, quotations, equality; n-grams as numbers

checks of `ifdkit compare` (listed in CHECKS), some of which `ifdkit audit` applies too:

    stock_phrases    refusals, AI disclaimers, leaked prompts
    incomplete       empty, cut-off and unclosed responses
    phrases          shared openings and closings
    scripts          responses in a different script
    rewrites, near   copies, duplicates, lost scores; near duplicates

checks of `ifdkit audit` only:

    personal, secrets, masking   personal data, keys and passwords
    markup, languages            leftover HTML, encoding errors; responses in a different language
    recurring, shared_ngrams     openings, closings and phrases of many responses
    contamination                instructions of an evaluation set
"""

from __future__ import annotations

from collections.abc import Sequence

from ifdkit.findings.finding import Finding
from ifdkit.findings.incomplete import cut_off, empty_response, unclosed_code_block
from ifdkit.findings.pairs import PairedTexts, TextPair, on_both_sides
from ifdkit.findings.phrases import shared_closing, shared_instruction_opening, shared_opening
from ifdkit.findings.rewrites import (
    copied_across,
    copied_from_other_row,
    copied_instruction,
    exact_duplicate,
    exact_duplicate_instruction,
    got_worse,
    near_duplicate,
    nearly_copied_across,
    no_longer_scored,
    response_repeats_instruction,
)
from ifdkit.findings.scripts import language_switch
from ifdkit.findings.stock_phrases import ai_disclaimer, prompt_leak, refusal

__all__ = ["CHECKS", "KINDS", "TITLES", "PairedTexts", "TextPair", "find"]

CHECKS = (
    on_both_sides(prompt_leak),
    shared_opening,
    shared_closing,
    shared_instruction_opening,
    on_both_sides(refusal),
    on_both_sides(ai_disclaimer),
    on_both_sides(empty_response),
    no_longer_scored,
    got_worse,
    on_both_sides(cut_off),
    on_both_sides(unclosed_code_block),
    language_switch,
    on_both_sides(response_repeats_instruction),
    copied_from_other_row,
    copied_across,
    nearly_copied_across,
    copied_instruction,
    on_both_sides(exact_duplicate),
    near_duplicate,
    on_both_sides(exact_duplicate_instruction),
)
"""The checks of a comparison in the order of report: what spoils training most comes first."""
KINDS = tuple(check.kind for check in CHECKS)
"""The kinds of finding, in the order of report."""
TITLES = {check.kind: check.title for check in CHECKS}
"""Kind → a plural noun phrase as it reads inside a sentence: "refusals"."""


def find(pairs: Sequence[TextPair] | PairedTexts, *, seed: int = 0) -> tuple[Finding, ...]:
    """The findings in these pairs, by kind in the order of KINDS, the largest first.

    Ids are those of the finding's side, and of the after side if it is `both`; rows that the other
    side does not show come first.  `seed` draws the sample in which near duplicates are searched
    if there are more texts than :data:`near.MAX_TEXTS`.  A dataset compared with itself gives only
    `copied_across`.
    """
    if not pairs:
        return ()
    texts = pairs if isinstance(pairs, PairedTexts) else PairedTexts.of(pairs, seed)
    found = [
        sorted(check(texts), key=lambda finding: (-finding.count, finding.text)) for check in CHECKS
    ]
    return tuple(finding for findings in found for finding in findings)
