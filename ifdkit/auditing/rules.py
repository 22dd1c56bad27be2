"""The rules of an audit: severity, largest share that passes, check, and what to do.

A new rule is one entry here.  `text_rule` makes one from a text check of `findings`; the other
checks are in `numbers` (scores) and `repeats` (examples compared with each other).  `applies_to`
says whether a rule is about instruction–response pairs, text documents or both; the rules about
documents alone are in `document_rules`.

Few rules are errors: what no training run should contain, whatever its purpose.  The others warn,
because they depend on the purpose (a set of refusals is fine for training refusals).  A project
that knows its purpose changes the severity in `ifdkit.toml`.
"""

from __future__ import annotations

import math

from ifdkit.auditing import numbers, repeats
from ifdkit.auditing.checking import Rule, text_rule
from ifdkit.auditing.document_rules import DOCUMENT_RULES
from ifdkit.auditing.templates import unstable_verdict
from ifdkit.findings.incomplete import (
    cut_off,
    empty_instruction,
    empty_response,
    repeated_instruction,
    unclosed_code_block,
)
from ifdkit.findings.languages import language_mismatch
from ifdkit.findings.leftovers import continued_conversation, special_token, template_marker
from ifdkit.findings.markup import encoding_errors, leftover_html
from ifdkit.findings.personal import personal_data
from ifdkit.findings.placeholders import (
    error_response,
    placeholder_input,
    placeholder_response,
    repeated_words,
)
from ifdkit.findings.secrets import secret
from ifdkit.findings.stock_phrases import ai_disclaimer, prompt_leak, refusal

RULES = (
    Rule(
        name="nothing_measured",
        title="missing evidence",
        severity="error",
        most=0.0,
        check=numbers.nothing_measured,
        found="Nothing could be measured.",
        fix="Fix what the reasons name: a gate without evidence must not pass.",
        applies_to="both",
    ),
    Rule(
        name="unreadable_row",
        title="unreadable rows",
        severity="error",
        most=0.0,
        check=numbers.unreadable_row,
        unit="row",
        found="The row cannot be read as an example.",
        fix="Fix or remove the rows. Most trainers stop at the first one or skip it silently.",
        applies_to="both",
    ),
    text_rule(
        empty_response,
        name="empty_response",
        severity="error",
        most=0.0,
        fix="Remove the rows. They teach the model to stop immediately.",
        applies_to="both",
    ),
    Rule(
        name="invalid",
        title="examples that the template refuses",
        severity="error",
        most=0.0,
        check=numbers.invalid,
        found="The example could not be scored.",
        fix="Fix or remove the rows, or choose a template that can express them. A trainer with the"
        " same template fails on them or drops them.",
        applies_to="both",
    ),
    text_rule(
        secret,
        severity="error",
        most=0.0,
        fix="Revoke real ones and replace them with placeholders. Models can repeat them verbatim.",
        applies_to="both",
    ),
    Rule(
        name="contamination",
        title="rows of an evaluation set",
        severity="error",
        most=0.0,
        check=repeats.contamination,
        found="The instruction is in an evaluation set.",
        fix="Remove the rows. Otherwise the model's score on that set is meaningless.",
    ),
    text_rule(
        prompt_leak,
        severity="error",
        most=0.0,
        fix="Remove the framing or generate the text again. Otherwise the model learns it.",
    ),
    text_rule(
        special_token,
        severity="error",
        most=0.0,
        fix="Remove the tokens. The tokenizer reads them as the end of a turn or of the text.",
        applies_to="both",
    ),
    text_rule(
        error_response,
        severity="error",
        most=0.0,
        fix="Generate the responses again, or remove the rows.",
    ),
    text_rule(
        continued_conversation,
        severity="warning",
        most=0.0,
        fix="Cut the response before the next turn. Otherwise the model answers itself.",
    ),
    text_rule(
        placeholder_response,
        severity="warning",
        most=0.0,
        fix="Remove the rows, unless the placeholder is the right answer.",
    ),
    text_rule(
        placeholder_input,
        severity="warning",
        most=0.0,
        fix="Clear the input. Otherwise the word becomes part of the instruction.",
    ),
    text_rule(
        template_marker,
        severity="warning",
        most=0.0,
        fix="Remove the template's words. The trainer adds its own template.",
    ),
    text_rule(
        repeated_words,
        severity="warning",
        most=0.0,
        fix="Generate the responses again, or remove the rows. Otherwise the model learns to loop.",
    ),
    text_rule(
        empty_instruction,
        severity="warning",
        most=0.0,
        fix="Remove the rows, unless the model is meant to open the conversation.",
    ),
    Rule(
        name="over_long_prompt",
        title="prompts that leave no room for a response",
        severity="warning",
        most=0.0,
        check=numbers.over_long_prompt,
        found="The prompt fills the maximum length, so no part of the response is trained on.",
        fix="Shorten the prompt, raise the maximum length, or remove the rows.",
    ),
    Rule(
        name="truncated_response",
        title="responses cut at the maximum length",
        severity="warning",
        most=0.01,
        check=numbers.truncated_response,
        found="The response runs past the maximum length.",
        fix="Raise the maximum length for training or shorten the rows. Otherwise the model never"
        " sees where they end.",
        applies_to="both",
    ),
    text_rule(
        refusal,
        severity="warning",
        most=0.01,
        fix="Remove the rows, unless you want to train refusals.",
    ),
    text_rule(
        ai_disclaimer,
        severity="warning",
        most=0.01,
        fix="Remove the phrase or the rows. Otherwise the model picks up another model's persona.",
    ),
    text_rule(
        cut_off,
        severity="warning",
        most=0.02,
        fix="Generate them again with a higher token limit, or remove them.",
    ),
    text_rule(
        unclosed_code_block,
        severity="warning",
        most=0.01,
        fix="Close the block. If the code is cut off, generate it again.",
    ),
    text_rule(
        leftover_html,
        severity="warning",
        most=0.01,
        fix="Convert the pages to text before you make examples of them.",
        applies_to="both",
    ),
    text_rule(
        encoding_errors,
        severity="warning",
        most=0.0,
        fix="Read the source again as UTF-8. What shows as U+FFFD cannot be restored.",
        applies_to="both",
    ),
    text_rule(
        language_mismatch,
        severity="warning",
        most=0.02,
        fix="Check whether the instruction asks for it. If not, generate the response again.",
    ),
    text_rule(
        personal_data,
        severity="warning",
        most=0.01,
        fix="Replace it with a placeholder, or make sure that you may use it.",
        applies_to="both",
    ),
    text_rule(
        repeated_instruction,
        severity="warning",
        most=0.0,
        fix="Generate the response again, or remove the row.",
    ),
    Rule(
        name="exact_duplicate",
        title="duplicate examples",
        severity="warning",
        most=0.01,
        check=repeats.exact_duplicate,
        compares_rows=True,
        found="An earlier example is the same except for whitespace and case.",
        fix="Keep one of each. A duplicate counts twice in training.",
        applies_to="both",
    ),
    Rule(
        name="duplicate_id",
        title="rows with the id of another row",
        severity="warning",
        most=0.0,
        check=repeats.duplicate_id,
        compares_rows=True,
        found="An earlier row has the same id.",
        fix="Give every row an id of its own. Otherwise scores and pairs refer to the wrong row.",
        applies_to="both",
    ),
    Rule(
        name="near_duplicate",
        title="near-duplicate responses",
        severity="warning",
        most=0.02,
        check=repeats.near_duplicate,
        compares_rows=True,
        found="The response has almost the same words as an earlier one.",
        fix="Keep the best of each group, unless the small differences matter.",
        applies_to="both",
    ),
    Rule(
        name="duplicate_instruction",
        title="instructions with several responses",
        severity="warning",
        most=0.01,
        check=repeats.duplicate_instruction,
        compares_rows=True,
        found="An earlier example answers the same instruction differently.",
        fix="Keep the best response to each, unless the model should learn several.",
    ),
    Rule(
        name="recurring_opening",
        title="recurring openings",
        severity="warning",
        most=0.02,
        check=repeats.recurring_opening,
        threshold=0.01,
        bounds=(0.0, 1.0),
        found="The response starts with words that {percent} of the responses or more start with.",
        fix="Cut the phrase if it adds nothing. Otherwise the model learns to start with it.",
    ),
    Rule(
        name="recurring_closing",
        title="recurring closings",
        severity="warning",
        most=0.02,
        check=repeats.recurring_closing,
        threshold=0.01,
        bounds=(0.0, 1.0),
        found="The response ends with words that {percent} of the responses or more end with.",
        fix="Cut the phrase if it adds nothing. Otherwise the model learns to end with it.",
    ),
    Rule(
        name="recurring_phrase",
        title="recurring phrases",
        severity="warning",
        most=0.05,
        check=repeats.recurring_phrase,
        threshold=0.02,
        bounds=(0.0, 1.0),
        found="The response contains a phrase that {percent} of the responses or more contain.",
        fix="Look at the phrases. Many come from one prompt or one author and become a habit of the"
        " model.",
    ),
    Rule(
        name="ifd_above_one",
        title="IFD of 1 or more",
        severity="warning",
        most=0.05,
        check=numbers.ifd_above_one,
        threshold=1.0,
        bounds=(0.0, math.inf),
        found="IFD is {threshold} or more: the instruction does not make the response more likely.",
        fix="Check whether response and instruction belong together. If most rows show it, the"
        " model may not know the template: try another --template.",
    ),
    Rule(
        name="low_coherence",
        title="off-topic responses",
        severity="warning",
        most=0.01,
        check=numbers.low_coherence,
        threshold=0.1,
        bounds=(-1.0, 1.0),
        found="The cosine similarity of instruction and response is below {threshold}.",
        fix="Check whether the rows are mixed up. One-word answers and code often score low.",
    ),
    Rule(
        name="low_perplexity",
        title="unusually low perplexity",
        severity="warning",
        most=0.01,
        check=numbers.low_perplexity,
        threshold=3.5,
        bounds=(0.0, math.inf),
        found="The direct perplexity of the response is {threshold} robust standard deviations or"
        " more below the median.",
        fix="Look for loops, lists and boilerplate, and for texts that the model has memorized.",
        applies_to="both",
    ),
    Rule(
        name="high_perplexity",
        title="unusually high perplexity",
        severity="warning",
        most=0.01,
        check=numbers.high_perplexity,
        threshold=5.0,
        bounds=(0.0, math.inf),
        found="The direct perplexity of the response is {threshold} robust standard deviations or"
        " more above the median.",
        fix="Look for gibberish, encoding errors and languages that the model does not know.",
        applies_to="both",
    ),
    Rule(
        name="unstable_verdict",
        title="template-dependent results",
        severity="warning",
        most=0.05,
        check=unstable_verdict,
        threshold=0.8,
        bounds=(-1.0, 1.0),
        found="Under the other template, IFD is on the other side of 1.",
        fix="Score with the template that the model will be trained with.",
    ),
    *DOCUMENT_RULES,
)
"""Every rule, in the order of report: what spoils training most comes first."""
