"""The rules of an audit: what each looks for, how grave it is, how much of it passes, the fix.

A new rule is one more entry here and one check beside its like: `numbers` (scores), `repeats`
(rows against rows), `texts` (one row by itself).

Errors are few: what no training run should meet, whatever the data are for.  The rest is a matter
of the purpose (a set of refusals is nothing wrong where refusing is to be learnt) and warns; a
project that knows its purpose makes an error of it in `ifdkit.toml`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ifdkit.auditing.result import Severity, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, as `ifdkit.toml` may have changed it."""

    name: str
    title: str
    """A noun phrase for a table: "refusals"."""
    severity: Severity
    most: float
    """Largest share of what was checked that passes, 0…1."""
    found: str
    """What a row shows that breaks it, in one sentence; `{threshold}` stands for the number, and
    `{percent}` for it in per cent."""
    fix: str
    threshold: float | None = None
    """The number that divides good from bad; None for rules without one."""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    """What the threshold may be, both ends included."""
    unit: Unit = "example"
    compares_rows: bool = False
    """Whether rows are held against each other, so that a sample shows too few."""

    @property
    def sentence(self) -> str:
        """`found` with the threshold in it."""
        number = self.threshold or 0.0
        return self.found.format(threshold=f"{number:g}", percent=f"{100 * number:g} %")


RULES = (
    Rule(
        name="unreadable_row",
        title="unreadable rows",
        severity="error",
        most=0.0,
        unit="row",
        found="The row cannot be read as an example.",
        fix="Repair or remove the rows; most trainers stop at the first, or skip it unsaid.",
    ),
    Rule(
        name="empty_response",
        title="empty responses",
        severity="error",
        most=0.0,
        found="The response holds no text.",
        fix="Remove the rows: they teach the model to stop at once.",
    ),
    Rule(
        name="secret",
        title="keys, tokens and passwords",
        severity="error",
        most=0.0,
        found="The text holds what looks like a key or a token.",
        fix="Revoke what is real, and replace it by a placeholder: a model repeats it verbatim.",
    ),
    Rule(
        name="contamination",
        title="rows of the evaluation set",
        severity="error",
        most=0.0,
        found="The instruction is one of the evaluation set.",
        fix="Remove the rows, or what the model scores on that set afterwards says nothing.",
    ),
    Rule(
        name="prompt_leak",
        title="leaks of a rewriting prompt",
        severity="error",
        most=0.0,
        found="The text speaks of its own rewriting: the prompt has leaked.",
        fix="Cut the framing off, or ask the oracle again; the model learns to open this way.",
    ),
    Rule(
        name="empty_instruction",
        title="empty instructions",
        severity="warning",
        most=0.0,
        found="No instruction precedes the response.",
        fix="Remove the rows, unless the model is to open the conversation.",
    ),
    Rule(
        name="over_long_prompt",
        title="prompts that leave no room",
        severity="warning",
        most=0.0,
        found="The prompt fills the maximum length: nothing of the response can be trained on.",
        fix="Shorten the prompt, raise the maximum length, or remove the rows.",
    ),
    Rule(
        name="truncated_response",
        title="responses cut at the maximum length",
        severity="warning",
        most=0.01,
        found="The end of the response lies beyond the maximum length.",
        fix="Raise the maximum length of training, or shorten the rows: the model never sees them"
        " end.",
    ),
    Rule(
        name="refusal",
        title="refusals",
        severity="warning",
        most=0.01,
        found="The response opens by declining what is asked.",
        fix="Remove the rows, unless refusing is to be learnt.",
    ),
    Rule(
        name="ai_disclaimer",
        title="“as an AI language model”",
        severity="warning",
        most=0.01,
        found="The response calls its writer an AI.",
        fix="Remove the phrase or the rows: the model takes over another one's persona.",
    ),
    Rule(
        name="cut_off",
        title="responses that stop inside a sentence",
        severity="warning",
        most=0.02,
        found="The response stops inside a sentence.",
        fix="Generate them again with more tokens, or remove them.",
    ),
    Rule(
        name="unbalanced_code_fence",
        title="code blocks without an end",
        severity="warning",
        most=0.01,
        found="A code block begins and does not end.",
        fix="Close the fence; where the code is cut off, generate it again.",
    ),
    Rule(
        name="html_remains",
        title="HTML remains",
        severity="warning",
        most=0.01,
        found="The text holds remains of HTML.",
        fix="Turn the pages into text before they become examples.",
    ),
    Rule(
        name="mojibake",
        title="wrongly decoded characters",
        severity="warning",
        most=0.0,
        found="Characters were decoded wrongly (â€™ for ’), or lost (U+FFFD).",
        fix="Read the source again as UTF-8; what shows as U+FFFD cannot be restored.",
    ),
    Rule(
        name="language_mismatch",
        title="responses in another language",
        severity="warning",
        most=0.02,
        found="The response is in another language than the instruction.",
        fix="Look whether the instruction asks for it; else generate the response again.",
    ),
    Rule(
        name="personal_data",
        title="personal data",
        severity="warning",
        most=0.01,
        found="The text holds what looks like somebody's address or number.",
        fix="Replace it by a placeholder, or make sure that it may be used.",
    ),
    Rule(
        name="repeated_instruction",
        title="responses that only repeat the instruction",
        severity="warning",
        most=0.0,
        found="The response only repeats its instruction.",
        fix="Generate the response again, or remove the row.",
    ),
    Rule(
        name="exact_duplicate",
        title="repeated examples",
        severity="warning",
        most=0.01,
        compares_rows=True,
        found="An earlier example is the same but for whitespace and case.",
        fix="Keep one of each: a repeated row counts double in training.",
    ),
    Rule(
        name="near_duplicate",
        title="nearly repeated responses",
        severity="warning",
        most=0.02,
        compares_rows=True,
        found="The response has nearly the words of an earlier one.",
        fix="Keep the best of each group, unless the small differences are the point.",
    ),
    Rule(
        name="duplicate_instruction",
        title="instructions with several responses",
        severity="warning",
        most=0.01,
        compares_rows=True,
        found="An earlier example answers the same instruction otherwise.",
        fix="Keep the best response of each, unless several are meant to be learnt.",
    ),
    Rule(
        name="recurring_opening",
        title="recurring openings",
        severity="warning",
        most=0.02,
        threshold=0.01,
        bounds=(0.0, 1.0),
        found="The response opens with words that {percent} of the responses or more open with.",
        fix="Cut the phrase off where it says nothing: the model learns to open every answer so.",
    ),
    Rule(
        name="recurring_closing",
        title="recurring closings",
        severity="warning",
        most=0.02,
        threshold=0.01,
        bounds=(0.0, 1.0),
        found="The response ends with words that {percent} of the responses or more end with.",
        fix="Cut the phrase off where it says nothing: the model learns to end every answer so.",
    ),
    Rule(
        name="recurring_phrase",
        title="recurring phrases",
        severity="warning",
        most=0.05,
        threshold=0.02,
        bounds=(0.0, 1.0),
        found="The response holds a phrase that {percent} of the responses or more hold.",
        fix="Look at the phrases: many come from one prompt or one writer, and become a habit.",
    ),
    Rule(
        name="ifd_above_one",
        title="IFD of 1 or more",
        severity="warning",
        most=0.05,
        threshold=1.0,
        bounds=(0.0, math.inf),
        found="IFD is {threshold} or more: the instruction makes the response no likelier.",
        fix="Look whether response and instruction belong together; where most rows show it, the"
        " template is foreign to the model: try another --template.",
    ),
    Rule(
        name="low_coherence",
        title="responses about something else",
        severity="warning",
        most=0.01,
        threshold=0.1,
        bounds=(-1.0, 1.0),
        found="The cosine of instruction and response is below {threshold}.",
        fix="Look whether the rows are mixed up; one-word answers and code are often low.",
    ),
    Rule(
        name="low_perplexity",
        title="responses that are too easy",
        severity="warning",
        most=0.01,
        threshold=3.5,
        bounds=(0.0, math.inf),
        found="The perplexity of the response alone lies {threshold} robust standard deviations"
        " under the median.",
        fix="Look for loops, lists and boilerplate, and for texts that the model knows by heart.",
    ),
    Rule(
        name="high_perplexity",
        title="responses that are too strange",
        severity="warning",
        most=0.01,
        threshold=5.0,
        bounds=(0.0, math.inf),
        found="The perplexity of the response alone lies {threshold} robust standard deviations"
        " over the median.",
        fix="Look for gibberish, wrong encodings and languages that the model does not know.",
    ),
    Rule(
        name="unstable_verdict",
        title="verdicts that hang on the template",
        severity="warning",
        most=0.05,
        threshold=0.8,
        bounds=(-1.0, 1.0),
        found="Under the other template IFD lies on the other side of 1.",
        fix="Score with the template that the model will be trained with.",
    ),
)
"""Every rule, what spoils training most first."""
