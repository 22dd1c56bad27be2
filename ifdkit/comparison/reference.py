"""Rows of a published table, for orientation: the numbers are of other models.

Selective Reflection-Tuning, arXiv 2402.10110, appendix E.1, table 6.  Perplexities and IFD are of
Llama-2-7B, coherence is of a SentenceBERT; each number is a mean over the dataset.  The r-IFD of
the table is left out.
"""

from __future__ import annotations

from ifdkit.comparison.result import ReferenceRow

_MODEL = "Llama-2-7B"
_SOURCE = "arXiv 2402.10110, appendix E.1, table 6 (means)"
_COLUMNS = (
    "instruction_tokens",
    "response_tokens",
    "ppl_instruction_direct",
    "ppl_response_direct",
    "ppl_response_conditional",
    "coherence",
    "ifd",
)
_ROWS = {
    "Alpaca, original": (20.7, 65.5, 34.3, 82.6, 49.2, 0.53, 0.71),
    "Alpaca, recycled": (37.9, 377.2, 13.6, 4.5, 2.9, 0.67, 0.84),
    "WizardLM, original": (123.0, 348.5, 12.3, 17.0, 7.5, 0.65, 0.71),
    "WizardLM, recycled": (66.9, 518.7, 10.0, 3.2, 2.5, 0.73, 0.83),
}

PUBLISHED = tuple(
    ReferenceRow(
        name=name, model=_MODEL, source=_SOURCE, values=dict(zip(_COLUMNS, row, strict=True))
    )
    for name, row in _ROWS.items()
)
"""Original and recycled rows, in the order of the table."""
