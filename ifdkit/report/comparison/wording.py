"""Names of metrics, findings and estimates: the same in every form of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ifdkit.comparison.result import LengthControl
from ifdkit.stats.columns import Interval

Scale = Literal["log", "linear"]


@dataclass(frozen=True, slots=True)
class Wording:
    """The names of one metric and the axis it is drawn on."""

    label: str
    short: str
    """For a terminal, at most 18 characters."""
    unit: str
    """Label of the axis."""
    scale: Scale
    definition: str
    """One sentence."""


WORDING = {
    "instruction_tokens": Wording(
        "Instruction length",
        "instruction tokens",
        "tokens",
        "log",
        "Tokens of the bare instruction.",
    ),
    "response_tokens": Wording(
        "Response length",
        "response tokens",
        "tokens",
        "log",
        "Tokens of the bare response.",
    ),
    "ppl_instruction_direct": Wording(
        "Instruction perplexity",
        "ppl instruction",
        "perplexity",
        "log",
        "exp of the mean negative log-likelihood of the instruction's tokens, with no context.",
    ),
    "ppl_response_direct": Wording(
        "Response perplexity, direct",
        "ppl response",
        "perplexity",
        "log",
        "exp of the mean negative log-likelihood of the response's tokens, without the"
        " instruction.",
    ),
    "ppl_response_conditional": Wording(
        "Response perplexity, conditional",
        "ppl resp. | instr.",
        "perplexity",
        "log",
        "The same with the instruction before the response.",
    ),
    "ppl_instruction_conditional": Wording(
        "Instruction perplexity, conditional",
        "ppl instr. | resp.",
        "perplexity",
        "log",
        "Perplexity of the instruction with the response before it.",
    ),
    "coherence": Wording(
        "Coherence",
        "coherence",
        "cosine",
        "linear",
        "Cosine of the sentence embeddings of instruction and response, −1 to 1.",
    ),
    "ifd": Wording(
        "IFD",
        "IFD",
        "ratio",
        "linear",
        "Response perplexity, conditional ÷ direct. Below 1 the instruction helps the model to"
        " foresee the response (Selective Reflection-Tuning, arXiv 2402.10110).",
    ),
    "ifd_loss": Wording(
        "IFD (loss)",
        "IFD (loss)",
        "ratio",
        "linear",
        "The same ratio of mean losses in place of perplexities (Cherry LLM, arXiv 2308.12032).",
    ),
    "rifd": Wording(
        "r-IFD",
        "r-IFD",
        "ratio",
        "linear",
        "Instruction perplexity, conditional on the response ÷ direct (arXiv 2402.10110).",
    ),
    "rifd_loss": Wording(
        "r-IFD (loss)",
        "r-IFD (loss)",
        "ratio",
        "linear",
        "r-IFD as a ratio of mean losses.",
    ),
    "ifd_window": Wording(
        "IFD, first tokens only",
        "IFD (window)",
        "ratio",
        "linear",
        "IFD over a fixed number of first response tokens; undefined where the response is"
        " shorter.",
    ),
    "bits_per_byte_response": Wording(
        "Bits per byte, response",
        "bits per byte",
        "bits per byte",
        "linear",
        "Direct negative log-likelihood of the response in bits per UTF-8 byte: comparable across"
        " tokenizers.",
    ),
}
"""Field of a scores row → its wording, in the order of the papers' table, then the rest."""

PAPER_FIELDS = (
    "instruction_tokens",
    "response_tokens",
    "ppl_instruction_direct",
    "ppl_response_direct",
    "ppl_response_conditional",
    "coherence",
    "ifd",
    "rifd",
)
"""The columns of table 6 of 2402.10110."""

_FINDING_KINDS = {
    "ai_disclaimer": "AI disclaimers",
    "copied_across": "Responses copied across",
    "copied_from_other_row": "Copied from another row",
    "copied_instruction": "Instructions kept",
    "cut_off": "Cut-off responses",
    "exact_duplicate": "Exact duplicates",
    "exact_duplicate_instruction": "Duplicate instructions",
    "got_worse": "Rows that got worse",
    "language_switch": "Language switches",
    "near_duplicate": "Near duplicates",
    "nearly_copied_across": "Responses hardly changed",
    "no_longer_scored": "No longer scored",
    "prompt_leak": "Leaked prompts",
    "refusal": "Refusals",
    "response_repeats_instruction": "Responses that repeat the instruction",
    "unbalanced_code_fence": "Open code blocks",
}


def wording(field: str) -> Wording:
    """The names of a metric; an unknown field is labelled with its own name."""
    unknown = Wording(field, field, "value", "linear", "A column of the scores file.")
    return WORDING.get(field, unknown)


def finding_kind(kind: str) -> str:
    """`refusal` → `Refusals`; an unknown kind is labelled with its own name."""
    return _FINDING_KINDS.get(kind, kind.replace("_", " ").capitalize())


RAW = "Raw"
"""Name of the estimate in which lengths are free to differ."""


@dataclass(frozen=True, slots=True)
class LengthEstimate:
    """One estimate of a change in IFD, as a row of a small table or figure."""

    name: str
    change: float | None
    ci95: Interval | None
    n: int | None
    """Pairs used; None if the pairs are weighted."""
    meaning: str


def estimates(control: LengthControl) -> tuple[LengthEstimate, ...]:
    """The raw change, then the three with length held fixed."""
    window = f"First {control.window} tokens" if control.window else "First tokens"
    return (
        LengthEstimate(
            RAW,
            control.raw_change,
            control.raw_ci95,
            control.n_pairs,
            "Median paired change, lengths free to differ.",
        ),
        LengthEstimate(
            window,
            control.window_change,
            control.window_ci95,
            control.n_window,
            "IFD over the same number of first response tokens on both sides.",
        ),
        LengthEstimate(
            "Equal length",
            control.common_length_change,
            control.common_length_ci95,
            control.n_common_length,
            "Each pair cut to the length of its shorter response.",
        ),
        LengthEstimate(
            "Matched lengths",
            control.matched_change,
            control.matched_ci95,
            None,
            "Both sides reweighted to the lengths that they share; a difference of weighted"
            " medians.",
        ),
    )
