"""What the metrics cost, how they go with length and each other, and what they predict.

    python -m benchmarks.metrics cost ../shared/data/alpaca_1k.json --rows 6
    python -m benchmarks.metrics length ../shared/data/alpaca_1k.json --rows 200 --dtype bfloat16
    python -m benchmarks.metrics predict ../shared/data/alpacaeval_preferences_dev.json --pairs 100

Metrics of texts are measured on all rows; those of a model on the first `--rows`, because a CPU
takes an hour for all, and those with several passes (`--slow-metrics`) on the first `--slow-rows`.
A store keeps what was computed, so that an interrupted run goes on.  Writes
`reports/token-statistics.md`, `reports/metrics-and-length.md` with `docs/images/metrics.png`, and
`reports/which-score-predicts.md`; the last two add to `reports/metrics.json`, from which
docs/metrics.md shows the evidence for each metric.  `predict` keeps what an earlier run said of
metrics that this one does not compute.  `--reference-model tuned` was made by

    ifdkit train ../shared/data/alpaca_1k.json --sample 200 --preset laptop --max-length 128 \\
        --dtype bfloat16 -o tuned
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import ifdkit
from benchmarks.machine import machine
from benchmarks.speed import requests_of
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import DEFAULT_MODEL, resolve
from ifdkit.prediction.result import Predictor
from ifdkit.records import Request
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.noise import NOISE_COPIES
from ifdkit.stats.columns import holm, spearman

EVIDENCE = Path("reports/metrics.json")
LENGTH = "response_tokens"
MODEL_METRICS = ("ppl", "ifd", "coherence", "tokens", "text")
MATCHED = 0.12
"""As `ifdkit.prediction.run.MAX_LENGTH_DIFFERENCE`."""
FIGURE = Path("docs/images/metrics.png")


# Cost


def cost(data: str, rows: int, rounds: int, dtype: str, output: Path) -> None:
    """Time the same batches with and without statistics, in turns."""
    n, requests = requests_of(data, rows, "superfiltering", DEFAULT_MODEL)
    backend = HuggingFaceBackend(resolve(DEFAULT_MODEL), device="cpu", dtype=dtype)
    detailed = [replace(one, with_statistics=True) for one in requests]
    batches = [range(i, min(i + 4, len(requests))) for i in range(0, len(requests), 4)]

    def seconds(kind: Sequence[Request]) -> float:
        begin = time.process_time()  # of this process alone: others share the machine
        for batch in batches:
            backend.nll([kind[i] for i in batch])
        return time.process_time() - begin

    seconds(requests), seconds(detailed)
    pairs = [(seconds(requests), seconds(detailed)) for _ in range(rounds)]
    more = [100 * (b / a - 1) for a, b in pairs]
    tokens = sum(one.n_scored for one in requests)
    low, middle, high = min(more), statistics.median(more), max(more)
    write(
        output,
        f"# Cost of token statistics\n\nRank, entropy and spread of every scored token add"
        f" **{middle:.1f} %** to the CPU time of the NLLs alone ({low:.1f} to {high:.1f} % in"
        f" {rounds} rounds in turns; target: at most 15 %). NLLs alone take"
        f" {statistics.median(a for a, _ in pairs):.2f} s for {tokens:,} scored tokens of {n}"
        " rows.\n\n"
        f"Made by `python -m benchmarks.metrics cost {data} --rows {rows} --rounds {rounds}"
        f" --dtype {dtype}`: {DEFAULT_MODEL}, {dtype}, {machine()}, {torch.get_num_threads()}"
        " thread(s). Seconds"
        " of CPU time of the process; loading and tokenizing are not timed.\n",
    )


# Length and each other


Part = tuple[Sequence[str], int]
"""Metrics, and the number of first rows that are scored by them."""


def scored(data: str, parts: Sequence[Part], **settings: Any) -> pd.DataFrame:
    """All rows with the metrics of texts, the first ones with those of each part."""
    whole = ifdkit.score(data, metrics="text", store=settings["store"])
    for metrics, rows in parts:
        if not rows:
            continue
        first = ifdkit.score(data, metrics=",".join(metrics), limit=rows,
                             **settings_for(metrics, settings))  # fmt: skip
        new = [name for name in METRICS if name in first and first[name].notna().any()]
        added = [name for name in new if name not in whole or whole[name].isna().all()]
        whole = whole.drop(columns=added, errors="ignore").merge(
            first[["id", *added]], on="id", how="left"
        )
    return whole


def settings_for(metrics: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without a second model where no metric has one, which is refused."""
    unused = set() if "reference" in metrics else {"reference_model"}
    return {name: value for name, value in settings.items() if name not in unused}


def correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlations of all metrics that vary, over the rows in which both are defined."""
    names = [name for name in METRICS if name in frame and frame[name].nunique() > 1]
    return frame[names].astype("float64").corr(method="spearman", min_periods=20)


def interval_of(r: float, n: int) -> tuple[float, float]:
    """95 % interval of a rank correlation (Bonett and Wright 2000)."""
    z, width = np.arctanh(np.clip(r, -0.999, 0.999)), 1.96 * np.sqrt((1 + r * r / 2) / (n - 3))
    return float(np.tanh(z - width)), float(np.tanh(z + width))


def length(data: str, parts: Sequence[Part], output: Path, **settings: Any) -> None:
    """Write the report and the figure."""
    frame = scored(data, parts, **settings)
    found = correlations(frame)
    counts = frame[list(found)].notna().sum()
    evidence, lines = read_evidence(), []
    # Exact powers of each other, such as NLL and perplexity, are one row.
    for name in map(str, found.columns):
        r = spearman_of(frame, name)
        if r is None:
            continue
        n = int(counts[name])
        low, high = interval_of(r, n)
        alike = found[name].drop([name, LENGTH], errors="ignore").abs().sort_values()
        nearest = alike.index[-1] if len(alike) else ""
        evidence.setdefault(name, {}).update(length_n=n, length=r, length_ci95=(low, high))
        lines.append(
            f"| {METRICS[name].label} | `{name}` | {n:,} | {r:+.2f} ({low:+.2f} to {high:+.2f}) |"
            f" {f'`{nearest}` {found[name][nearest]:+.2f}' if nearest else '–'} |"
        )
    draw(found)
    save_evidence(evidence)
    write(
        output,
        "# Metrics, length and each other\n\nRank correlation (Spearman) of every metric with the"
        " response's length in tokens, and the other metric that goes with it most. A metric whose"
        " correlation with length is large mostly ranks by length.\n\n"
        "| metric | field | rows | with length (95 %) | most like |\n|---|---|--:|--:|---|\n"
        + "\n".join(lines)
        + "\n\n![Rank correlations of all pairs of metrics](../docs/images/metrics.png)\n\n"
        f"Made by `python -m benchmarks.metrics {typed()}`: metrics of texts on"
        f" all {len(frame):,} rows, those of the model ({DEFAULT_MODEL}, {settings['dtype']}) on"
        f" the first {' or '.join(f'{rows:,}' for _, rows in parts)}. {machine()}.\n",
    )


def spearman_of(frame: pd.DataFrame, name: str) -> float | None:
    """Rank correlation of a metric and length."""
    both = frame[[name, LENGTH]].dropna().astype("float64")
    return None if name == LENGTH else spearman(both[name].tolist(), both[LENGTH].tolist())


def draw(found: pd.DataFrame) -> None:
    """The correlations as a heat map."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 10), layout="constrained")
    image = axes.imshow(found.to_numpy(), vmin=-1, vmax=1, cmap="RdBu_r")
    axes.set_xticks(range(len(found)), found.columns.tolist(), rotation=90, fontsize=7)
    axes.set_yticks(range(len(found)), found.columns.tolist(), fontsize=7)
    figure.colorbar(image, shrink=0.6, label="Spearman's correlation")
    axes.set_title("Rank correlations of the metrics")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=80)
    plt.close(figure)


# Preferences


def chosen_pairs(rows: Sequence[Mapping[str, Any]], n: int) -> list[Mapping[str, Any]]:
    """A seeded choice: two thirds length-matched pairs, so that these have enough."""
    sizes = np.array([[len(row["output_1"]), len(row["output_2"])] for row in rows], np.float64)
    is_matched = np.abs(sizes[:, 1] - sizes[:, 0]) <= MATCHED * sizes.mean(axis=1)
    generator = np.random.default_rng(0)
    matched = generator.permutation(np.flatnonzero(is_matched))[: n * 2 // 3]
    others = generator.permutation(np.flatnonzero(~is_matched))[: n - len(matched)]
    return [rows[i] for i in sorted([*matched.tolist(), *others.tolist()])]


def predict(data: str, pairs: int, earlier: Path, output: Path, **settings: Any) -> None:
    """Predict with texts on all pairs, with the model on some, and join the tables."""
    rows = json.loads(Path(data).read_text(encoding="utf-8"))
    whole = ifdkit.predict(rows, metrics="text", store=settings["store"])
    scores, origin = dict(whole.scores), dict.fromkeys(whole.scores, "texts, all pairs")
    if pairs:
        part = ifdkit.predict(chosen_pairs(rows, pairs), **settings)
        scores |= {name: one for name, one in part.scores.items() if name not in scores}
        origin |= {name: f"{settings['dtype']}, {pairs} pairs" for name in part.scores
                   if name not in origin}  # fmt: skip
    # What the model says of all pairs comes from an earlier report over all of them.
    if earlier.exists():
        for name, one in json.loads(earlier.read_text(encoding="utf-8"))["scores"].items():
            scores[name] = Predictor(**tuples(one))
            origin[name] = "bfloat16, all pairs"
    evidence = read_evidence()
    for name, one in evidence.items():
        fields = {key.removeprefix("predict_"): value for key, value in one.items()
                  if key.startswith("predict_")}  # fmt: skip
        source = fields.pop("from", f"bfloat16, {fields.get('n')} pairs")
        if fields and name not in scores:
            scores[name], origin[name] = Predictor(**tuples(fields)), source
    corrected = with_holm(scores)
    for name, found in corrected.items():
        evidence.setdefault(name, {}).update(
            {f"predict_{key}": value for key, value in asdict(found).items()},
            predict_from=origin[name],
        )
    save_evidence(evidence)
    write(output, prediction_report(whole.baseline, corrected, origin))


def tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as JSON has them, with tuples for its arrays."""
    return {key: tuple(value) if isinstance(value, list) else value
            for key, value in fields.items()}  # fmt: skip


def with_holm(scores: Mapping[str, Predictor]) -> dict[str, Predictor]:
    """Every kind of p corrected over all scores."""
    kinds = ("p", "p_length_matched", "partial_p", "partial_length_matched_p")
    tables = {kind: holm({name: getattr(one, kind) for name, one in scores.items()})
              for kind in kinds}  # fmt: skip
    corrected: dict[str, dict[str, Any]] = {
        name: {f"{kind}_holm": tables[kind][name] for kind in kinds} for name in scores
    }
    return {name: replace(one, **corrected[name]) for name, one in scores.items()}


def prediction_report(
    baseline: Predictor, scores: Mapping[str, Predictor], origin: Mapping[str, str]
) -> str:
    """The table and its conclusion as Markdown."""
    ranked = sorted(scores, key=lambda name: -abs((scores[name].auc_length_matched or 0.5) - 0.5))
    lines = [table_row("*Length in tokens*", "", baseline, "all pairs")]
    lines += [table_row(METRICS[n].label, f"`{n}`", scores[n], origin[n]) for n in ranked]
    reaching = [name for name in ranked if reaches(scores[name])]
    beyond = [
        name for name in ranked if scores[name].adds_to_length and scores[name].holds_when_matched
    ]
    conclusion = (
        f"On length-matched pairs {listed(reaching)} reach an AUC of 0.60 with an interval that"
        " leaves 0.5 out after Holm's correction over the table"
        if reaching
        else "No score reaches an AUC of 0.60 on length-matched pairs with an interval that leaves"
        " 0.5 out after Holm's correction over the table"
    )
    conclusion += (
        "; with length in tokens and tokens per character removed, what predicts over all pairs and"
        f" over the length-matched ones is {listed(beyond) or 'nothing'}."
    )
    return (
        "# Which score predicts the preference?\n\n"
        f"**{conclusion}** Length in tokens alone has {auc_text(baseline, matched=True)} there.\n\n"
        "| score | field | AUC | p, Holm | AUC, length-matched | p, Holm | partial | p, Holm |"
        " partial, length-matched | p, Holm | pairs | from |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n" + "\n".join(lines) + "\n\n"
        "AUC: the probability that the change of a score, second answer − first, is larger where"
        " the second is preferred; 95 % intervals of DeLong's method with instructions as clusters."
        " An AUC below 0.5 predicts the other answer. Partial: rank correlation with length in"
        " tokens and tokens per character removed. Length-matched: lengths in characters differ by"
        " at most 12 % of their mean. Sorted by the length-matched AUC. Holm's correction is over"
        " all rows of the table, for each kind of test apart.\n\n"
        "Scores from “bfloat16, all pairs” were made by `ifdkit predict` with `--dtype bfloat16`"
        " over all pairs ([its report](which-score-predicts/report.md)); those from fewer pairs"
        " have wide intervals, and say little where they are near 0.5.\n\n"
        f"Made by `python -m benchmarks.metrics {typed()}`: {DEFAULT_MODEL},"
        f" aligned protocol, {machine()}. Scores that this run did not compute are from earlier"
        " runs of the same command, kept in `metrics.json`.\n"
    )


def reaches(one: Predictor) -> bool:
    """Whether the AUC on length-matched pairs is 0.60 or more, in either direction."""
    value, p = one.auc_length_matched, one.p_length_matched_holm
    return value is not None and p is not None and abs(value - 0.5) >= 0.1 and p < 0.05


def table_row(label: str, field: str, one: Predictor, source: str) -> str:
    """One score."""
    cells = (
        label, field, auc_text(one, matched=False), p_text(one.p_holm),
        auc_text(one, matched=True), p_text(one.p_length_matched_holm),
        signed(one.partial), p_text(one.partial_p_holm),
        signed(one.partial_length_matched), p_text(one.partial_length_matched_p_holm),
        f"{one.n}, {one.n_length_matched}", source,
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def auc_text(one: Predictor, *, matched: bool) -> str:
    """`0.64 (0.56 to 0.71)`."""
    value = one.auc_length_matched if matched else one.auc
    interval = one.ci95_length_matched if matched else one.ci95
    if value is None:
        return "–"
    return f"{value:.2f} ({interval[0]:.2f} to {interval[1]:.2f})" if interval else f"{value:.2f}"


def p_text(p: float | None) -> str:
    """A p-value with three digits."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def signed(value: float | None) -> str:
    """A correlation with its sign."""
    return "–" if value is None else f"{value:+.2f}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    labels = [METRICS[name].label for name in names]
    return " and ".join(filter(None, [", ".join(labels[:-1]), *labels[-1:]]))


# Files


def read_evidence() -> dict[str, dict[str, Any]]:
    """Field → what is known of it."""
    if not EVIDENCE.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(EVIDENCE.read_text(encoding="utf-8"))
    return found


def save_evidence(evidence: Mapping[str, Any]) -> None:
    """Write it with four digits, so that the last bits of a machine do not show."""
    short = json.loads(json.dumps(evidence), parse_float=lambda text: round(float(text), 4))
    EVIDENCE.write_text(json.dumps(short, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def typed() -> str:
    """The arguments; a file that is not beside the repository by its name alone."""
    words = [Path(one).name if Path(one).is_absolute() else one for one in sys.argv[1:]]
    return shlex.join(words)


def write(path: Path, text: str) -> None:
    """Write a report."""
    path.write_text(text, encoding="utf-8")
    print(f"→ {path}")


def main() -> None:
    """Parse the arguments and write one report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["cost", "length", "predict"])
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=0, help="rows that a model scores")
    parser.add_argument("--pairs", type=int, default=0, help="pairs that a model scores")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--metrics", default=",".join(MODEL_METRICS))
    parser.add_argument("--slow-metrics", default="", help="of several passes, for `length`")
    parser.add_argument("--slow-rows", type=int, default=200)
    parser.add_argument("--noise-copies", type=int, default=NOISE_COPIES)
    parser.add_argument("--reference-model", help="for --metrics reference, such as a trained one")
    parser.add_argument("--store", default="off")
    parser.add_argument(
        "--earlier", type=Path, default=Path("reports/which-score-predicts/prediction.json")
    )
    given = parser.parse_args()
    settings = {
        "dtype": given.dtype, "store": given.store, "drift": 0,
        "noise_copies": given.noise_copies,
        **({"reference_model": given.reference_model} if given.reference_model else {}),
    }  # fmt: skip
    metrics = tuple(given.metrics.split(","))
    reports = Path("reports")
    if given.what == "cost":
        cost(given.data, given.rows, given.rounds, given.dtype, reports / "token-statistics.md")
    elif given.what == "length":
        slow = tuple(filter(None, given.slow_metrics.split(",")))
        parts = [(metrics, given.rows)] + ([(slow, given.slow_rows)] if slow else [])
        length(given.data, parts, reports / "metrics-and-length.md", **settings)
    else:
        predict(given.data, given.pairs, given.earlier, reports / "which-score-predicts.md",
                metrics=metrics, **settings)  # fmt: skip


if __name__ == "__main__":
    main()
