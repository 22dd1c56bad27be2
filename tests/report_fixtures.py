"""A made-up comparison of any size for the tests of the reports.

Numbers are distributed like real ones (log-normal lengths and perplexities, IFD that rises with
length), so that figures look realistic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

import ifdkit.report  # noqa: F401  # registers the files of reports
from ifdkit.comparison.result import (
    COMPARISON_SCHEMA,
    ExploredPair,
    LengthControl,
    ReferenceRow,
    Summary,
)
from ifdkit.data.pairing import Pairing
from ifdkit.findings.finding import Finding
from ifdkit.scoring.explored import ExploredSide, ShadedToken
from ifdkit.stats.columns import Distance, SideStats
from ifdkit.stats.paired import Change, MetricChange
from tests.manifests import make_manifest

FIELDS = (
    "instruction_tokens",
    "response_tokens",
    "ppl_instruction_direct",
    "ppl_response_direct",
    "ppl_response_conditional",
    "coherence",
    "ifd",
    "rifd",
    "ifd_window",
    "bits_per_byte_response",
)
_INSTRUCTIONS = (
    "Name three ways to keep bread fresh for longer.",
    "Explain to a child why the moon seems to change its shape.",
    "Rewrite the sentence in the passive voice.\nThe committee approved the plan.",
    "What is the difference between weather and climate?",
    "Write a short letter that declines an invitation politely.",
)
_SHORT = (
    "Keep it in a paper bag, freeze what you do not need, and never put it in the fridge.",
    "The moon does not change. We see more or less of the side that the sun shines on.",
    "The plan was approved by the committee.",
    "Weather is what happens today; climate is what usually happens over many years.",
    "Thank you for the kind invitation. I am sorry that I cannot come.",
)
_OPENING = "Here is a new and more detailed answer:"


def rows_frame(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """One row per pair, as `comparison` makes it."""
    rng = np.random.default_rng(seed)
    data: dict[str, Any] = {
        "id": [f"row-{i}" for i in range(n)],
        "row_before": np.arange(n),
        "turn_before": np.zeros(n, int),
        "row_after": np.arange(n),
        "turn_after": np.zeros(n, int),
        "status_before": np.where(rng.random(n) < 0.02, "truncated", "ok"),
        "status_after": np.where(rng.random(n) < 0.05, "truncated", "ok"),
    }
    for side, shift in (("before", 0.0), ("after", 1.0)):
        length = np.exp(rng.normal(4.1 + 1.3 * shift, 0.8 - 0.3 * shift, n)).round() + 1
        ifd = np.clip(0.25 + 0.08 * np.log(length) + rng.normal(0, 0.12, n), 0.02, None)
        direct = np.exp(rng.normal(3.2 - 1.6 * shift, 0.6, n)) + 1
        data |= {
            f"instruction_tokens_{side}": np.exp(rng.normal(2.9 + 0.5 * shift, 0.6, n)).round() + 1,
            f"response_tokens_{side}": length,
            f"ppl_instruction_direct_{side}": np.exp(rng.normal(3.3 - 0.8 * shift, 0.7, n)) + 1,
            f"ppl_response_direct_{side}": direct,
            f"ppl_response_conditional_{side}": direct * ifd,
            f"coherence_{side}": np.clip(rng.normal(0.55 + 0.1 * shift, 0.17, n), -1, 1),
            f"ifd_{side}": ifd,
            f"rifd_{side}": np.exp(rng.normal(-0.4 + 0.1 * shift, 0.25, n)),
            f"ifd_window_{side}": np.where(length >= 64, ifd - 0.05, np.nan),
            f"bits_per_byte_response_{side}": rng.normal(1.2 - 0.4 * shift, 0.2, n),
        }
    frame = pd.DataFrame(data)
    frame.loc[frame.index[: n // 50], ["ifd_after", "rifd_after"]] = np.nan
    return frame


def _side(column: Any, *, geometric: bool) -> SideStats:
    mean_of_logs = float(np.exp(np.log(column).mean())) if geometric else None
    return SideStats(
        n=len(column),
        mean=float(column.mean()),
        median=float(column.median()),
        sd=float(column.std()),
        geometric_mean=mean_of_logs,
    )


def _metric(rows: pd.DataFrame, field: str) -> MetricChange:
    both = rows[[f"{field}_before", f"{field}_after"]].dropna()
    before, after = both.iloc[:, 0], both.iloc[:, 1]
    change = after - before
    error = 1.96 * float(change.std()) / len(change) ** 0.5
    mean, median = float(change.mean()), float(change.median())
    geometric = field.startswith("ppl") or "ifd" in field
    return MetricChange(
        before=_side(before, geometric=geometric),
        after=_side(after, geometric=geometric),
        change=Change(
            mean=mean,
            mean_ci95=(mean - error, mean + error),
            median=median,
            median_ci95=(median - error, median + error),
            p=1e-9,
            p_holm=3e-8,
            effect=0.62 if median > 0 else -0.62,
            share_up=float((change > 0).mean()),
        ),
        distance=Distance(ks=0.41, wasserstein=abs(mean)),
    )


MANIFEST = make_manifest(
    command="ifdkit score before.json",
    input="before.json",
    input_sha256="5a" * 32,
    model="smollm2-135m",
    weights_hash="c0ffee" * 10,
    tokenizer_hash="beef" * 16,
    embedder="all-minilm-l6-v2",
    template_text="{instruction}\n{input}\n",
    metrics=["ppl", "ifd", "coherence"],
)

LENGTH_CONTROL = LengthControl(
    min_tokens=5,
    n_pairs=388,
    raw_change=0.291,
    raw_ci95=(0.262, 0.318),
    window=64,
    window_change=0.021,
    window_ci95=(-0.011, 0.048),
    n_window=171,
    common_length_change=0.052,
    common_length_ci95=(0.031, 0.078),
    n_common_length=388,
    matched_change=0.063,
    matched_ci95=(0.012, 0.118),
    overlap=0.42,
    share_due_to_length=0.82,
    ci95=(0.74, 0.89),
    spearman_before=0.83,
    spearman_after=0.61,
    sentence="Of the change of +0.29, longer responses alone account for 0.24.",
    notes=("12 pairs with a response under 5 tokens are left out",),
)

FINDINGS = (
    Finding(
        kind="shared_opening",
        side="after",
        count=212,
        share=0.53,
        text=_OPENING,
        row_ids=("row-0", "row-1", "row-9"),
        other_count=0,
        examples=(f"{_OPENING} Keep it in a paper bag", f"{_OPENING} The moon"),
        quotes_text=True,
    ),
    Finding(
        kind="refusal",
        side="before",
        count=3,
        share=0.0075,
        text="The response declines the request.",
        row_ids=("row-17", "row-230"),
        other_count=1,
        examples=("I am sorry, but as an AI language model I cannot",),
    ),
    Finding(
        kind="unchanged",
        side="both",
        count=4,
        share=0.01,
        text="Pairs with the same instruction and response on both sides.",
        row_ids=("row-3",),
    ),
)

REFERENCE = (
    ReferenceRow(
        name="Alpaca, original",
        model="Llama-2-7B",
        source="arXiv 2402.10110, table 6",
        values={
            "instruction_tokens": 20.7,
            "response_tokens": 65.5,
            "ppl_instruction_direct": 34.3,
            "ppl_response_direct": 82.6,
            "ppl_response_conditional": 49.2,
            "coherence": 0.53,
            "ifd": 0.71,
        },
    ),
    ReferenceRow(
        name="Alpaca, recycled",
        model="Llama-2-7B",
        source="arXiv 2402.10110, table 6",
        values={
            "instruction_tokens": 37.9,
            "response_tokens": 377.2,
            "ppl_instruction_direct": 13.6,
            "ppl_response_direct": 4.5,
            "ppl_response_conditional": 2.9,
            "coherence": 0.67,
            "ifd": 0.84,
        },
    ),
)


def make_summary(rows: pd.DataFrame) -> Summary:
    """The summary of a comparison of these rows."""
    return Summary(
        schema=COMPARISON_SCHEMA,
        version="0.1.0",
        created="2025-11-22T17:00:00+00:00",
        command="ifdkit compare before.json after.json",
        before=MANIFEST,
        after=replace(MANIFEST, input="after.json", command="ifdkit score after.json"),
        name_before="before.json",
        name_after="after.json",
        pairing=Pairing(
            by="id",
            n_pairs=len(rows),
            unmatched_before=2,
            unmatched_after=1,
            ids_unmatched_before=("row-x1", "row-x2"),
            ids_unmatched_after=("row-y1",),
            note="Both sides have ids.",
        ),
        headline=(
            "Median response length rose from 61 to 227 tokens. IFD rose by a median of 0.29 (95 %"
            f" CI +0.26 to +0.32, p < 0.001); 91 % of {len(rows):,} pairs rose."
        ),
        metrics={field: _metric(rows, field) for field in FIELDS},
        length_control={"ifd": LENGTH_CONTROL},
        findings=FINDINGS,
        reference=REFERENCE,
        warnings=("8 pairs have no IFD on one side and are left out of its row.",),
        statuses={"before": {"ok": 392, "truncated": 8}, "after": {"ok": 380, "truncated": 20}},
        seed=7,
    )


def _shaded(text: str, rng: np.random.Generator) -> tuple[ShadedToken, ...]:
    words = text.split(" ")
    pieces = [words[0], *(f" {word}" for word in words[1:])]
    nlls = rng.gamma(1.2, 1.8, len(pieces))
    return tuple(
        ShadedToken(piece, *((None, None) if i == 0 else (float(nll), float(nll) * (0.5 + i % 3))))
        for i, (piece, nll) in enumerate(zip(pieces, nlls, strict=True))
    )


def _numbers(row: Any, side: str) -> dict[str, float | None]:
    found = {field: row[f"{field}_{side}"] for field in FIELDS}
    return {field: None if np.isnan(x) else float(x) for field, x in found.items()}


def make_explored(rows: pd.DataFrame, n: int = 40, seed: int = 0) -> tuple[ExploredPair, ...]:
    """The first pairs, with texts and tokens."""
    rng = np.random.default_rng(seed)
    whys = ("largest rise in IFD", "largest fall in IFD", "random")
    pairs = []
    for i in range(min(n, len(rows))):
        row = rows.iloc[i]
        short = _SHORT[i % len(_SHORT)]
        texts = {"before": short, "after": f"{_OPENING}\n\n" + " ".join([short] * (3 + i % 4))}
        sides = {
            side: ExploredSide(
                id=row["id"],
                row=int(row[f"row_{side}"]),
                turn=0,
                status=str(row[f"status_{side}"]),
                instruction=_INSTRUCTIONS[i % len(_INSTRUCTIONS)],
                response=text,
                numbers=_numbers(row, side),
                tokens=_shaded(text, rng),
            )
            for side, text in texts.items()
        }
        pairs.append(
            ExploredPair(
                before=sides["before"],
                after=sides["after"],
                why=whys[i % len(whys)],
                reasons=(whys[i % len(whys)], *(("IFD of 1 or more after",) if i % 5 == 0 else ())),
                findings=("shared_opening",) if i in (0, 1, 9) else (),
            )
        )
    return tuple(pairs)


def with_text_everywhere(
    summary: Summary, explored: tuple[ExploredPair, ...], text: Callable[[str], str]
) -> tuple[Summary, tuple[ExploredPair, ...]]:
    """The same comparison with `text(field)` in place of all words of a dataset or a user."""

    def side(one: ExploredSide, name: str) -> ExploredSide:
        return replace(
            one,
            id=text(f"{name}.id"),
            instruction=text(f"{name}.instruction"),
            response=text(f"{name}.response"),
            tokens=(ShadedToken(text(f"{name}.token"), 2.5), ShadedToken(" end", None)),
        )

    pairs = tuple(
        replace(pair, before=side(pair.before, "before"), after=side(pair.after, "after"))
        for pair in explored
    )
    findings = tuple(
        replace(
            one,
            text=text("finding.text") if one.quotes_text else one.text,
            row_ids=(text("finding.id"),),
            examples=(text("finding.example"),),
        )
        for one in summary.findings
    )
    changed = replace(
        summary,
        name_before=text("name"),
        name_after=text("name"),
        command=text("command"),
        warnings=(text("warning"),),
        before=replace(MANIFEST, input=text("input"), template_text=text("template")),
        pairing=replace(summary.pairing, ids_unmatched_before=(text("unmatched"),)),
        findings=findings,
    )
    return changed, pairs
