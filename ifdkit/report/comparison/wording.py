"""What the reports call things, and how they write changes: one wording for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ifdkit.comparison.result import LengthControl
from ifdkit.report.format import number
from ifdkit.report.visible import one_line
from ifdkit.stats.columns import Interval

Scale = Literal["log", "linear"]
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Wording:
    """The names of one metric and the axis it is drawn on."""

    label: str
    short: str
    """At most 18 characters, for a terminal."""
    unit: str
    """What the axis counts."""
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
    """The names of a metric; a field that is not known here goes by its own name."""
    plain = Wording(field, field[:18], "value", "linear", "A column of the scores file.")
    return WORDING.get(field, plain)


def finding_kind(kind: str) -> str:
    """`refusal` → `Refusals`; a kind not known here goes by its own name."""
    return _FINDING_KINDS.get(kind, kind.replace("_", " ").capitalize())


def value(x: float | None, digits: int = 3) -> str:
    """A number with so many significant digits and a true minus sign; `–` for None."""
    return number(x, digits).replace("-", "−")


def signed(x: float | None) -> str:
    """A change: `+0.29`, `−0.05`, `+0.0005`, `+312`; `–` for None.

    Below one, two significant digits within two to four decimals; above, three digits.
    """
    if x is None:
        return NOTHING
    if abs(x) >= 0.995 or x == 0:
        return f"+{value(x)}" if x > 0 else value(x)
    decimals = min(4, 1 - math.floor(math.log10(max(abs(x), 1e-9))))
    shown = f"{x:+.{max(2, decimals)}f}".replace("-", "−")
    return shown if shown.strip("+−0.") else "0.0000"


def printed(x: float | None) -> str:
    """A published number with the digits it was published with; `–` for None."""
    return NOTHING if x is None else f"{x:,.6g}"


def sentence(text: str) -> str:
    """A note in one line, with a capital and a full stop whether it came with them or not."""
    text = one_line(text, 600)
    return text[:1].upper() + text[1:] + ("" if text[-1:] in {"", ".", "!", "?", "…"} else ".")


def interval(ci: Interval | None) -> str:
    """`+0.25 to +0.33`; `–` for None."""
    return NOTHING if ci is None else f"{signed(ci[0])} to {signed(ci[1])}"


def p_value(p: float | None) -> str:
    """`< 0.001`, else three decimals."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def effect(r: float | None) -> str:
    """A correlation-like number, two decimals, signed."""
    return NOTHING if r is None else f"{r:+.2f}".replace("-", "−")


def percent(share: float | None) -> str:
    """`63 %`; one decimal below one per cent."""
    if share is None:
        return NOTHING
    small = 0 < abs(share) < 0.01
    return f"{100 * share:.{1 if small else 0}f} %".replace("-", "−")


@dataclass(frozen=True, slots=True)
class Estimate:
    """One way to look at a change in IFD, as a row of a small table or figure."""

    name: str
    change: float | None
    ci95: Interval | None
    n: int | None
    """Pairs it rests on."""
    meaning: str


def estimates(control: LengthControl) -> tuple[Estimate, ...]:
    """The raw change and the three with length held fixed, in the order they are told."""
    window = f"First {control.window} tokens" if control.window else "First tokens"
    return (
        Estimate(
            "As it stands",
            control.raw_change,
            control.raw_ci95,
            control.n_pairs,
            "Median paired change, lengths free to differ.",
        ),
        Estimate(
            window,
            control.window_change,
            control.window_ci95,
            control.n_window,
            "IFD over the same number of first response tokens on both sides.",
        ),
        Estimate(
            "Common length",
            control.common_length_change,
            control.common_length_ci95,
            control.n_common_length,
            "Each pair cut to the length of its shorter response.",
        ),
        Estimate(
            "Matched lengths",
            control.matched_change,
            control.matched_ci95,
            None,
            "Both sides reweighted to the distribution of lengths that they share; a difference"
            " of weighted medians.",
        ),
    )
