"""A section for a dataset card in Markdown, as on the Hugging Face Hub."""

from __future__ import annotations

from ifdkit.format import correlation, number, percent, plural
from ifdkit.report.comparison.markdown import code, prose
from ifdkit.report.comparison.wording import definition, metric_of
from ifdkit.scoring.card import Card
from ifdkit.scoring.summary import FOLLOWS_LENGTH
from ifdkit.visible import one_line


def render_card(card: Card) -> str:
    """The section, with a table of the metrics, their protocol and their limits."""
    made = card.manifest
    lines = [
        "## Scores",
        "",
        f"{plural(card.n_examples, 'example')} scored by ifdkit"
        f" {prose(made.version, 40)} with {code(made.model, 80)}. Higher IFD: the instruction helps"
        " less to predict the response.",
        "",
        "| metric | n | median | mean | 5 % | 95 % |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    for name, one in card.metrics.items():
        cells = (number(one.median), number(one.mean), number(one.p5), number(one.p95))
        lines.append(f"| {prose(metric_of(name).label, 60)} | {one.n:,} | {' | '.join(cells)} |")
    lines += ["", "### How it was measured", ""]
    facts = {
        "Model": f"{code(made.model, 80)}, weights {code(made.weights_hash[:16])}",
        "Tokenizer": code(made.tokenizer_hash[:16]),
        "Protocol": f"{code(made.protocol)}, template {code(made.template, 80)}",
        "Precision": f"{code(made.dtype)}, at most {made.max_length:,} tokens",
        "Embedder": code(made.embedder, 80) if made.embedder else "none",
        "Input": code(made.input_sha256[:16]) if made.input_sha256 else "not a file",
    }
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "### Limits", "", *(f"- {one}" for one in _limits(card)), "", "### Metrics", ""]
    lines += [
        f"- **{prose(metric_of(name).label, 60)}:** {one_line(definition(name), 1000)}"
        for name in card.metrics  # definitions are Markdown
    ]
    return "\n".join(lines) + "\n"


def _limits(card: Card) -> list[str]:
    found = [
        f"The numbers are those of {code(card.manifest.model, 80)}: another model ranks the"
        " examples differently."
    ]
    not_ok = {name: n for name, n in card.statuses.items() if name != "ok"}
    if not_ok:
        counts = ", ".join(f"{n:,} {code(name, 40)}" for name, n in not_ok.items())
        found.append(f"Not every example has every number: {counts}.")
    if card.manifest.rows_rejected:
        found.append(f"{plural(card.manifest.rows_rejected, 'row')} could not be read.")
    share = card.share_misaligned
    if share:
        found.append(f"{percent(share)} of the examples have an IFD of 1 or more: their instruction"
                     " does not help to predict their response.")  # fmt: skip
    length = card.length_correlation
    if length is not None and abs(length) >= FOLLOWS_LENGTH:
        found.append(f"IFD follows response length here (rank correlation {correlation(length)}):"
                     " a threshold on it also selects by length.")  # fmt: skip
    if card.manifest.dtype != "float32":
        found.append("Scored in 16 bits; numbers can differ from those of float32.")
    return found
