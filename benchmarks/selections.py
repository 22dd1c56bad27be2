"""What every method of `select` keeps of one dataset, beside a random choice.

    python -m benchmarks.selections ../shared/data/alpaca_1k.json --rows 1000 --dtype bfloat16

Scores the first `--rows` rows once with the embedded model, and selects from these scores.  Writes
`reports/selections.md` and `docs/images/selections.png`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import ifdkit
from benchmarks.machine import machine
from ifdkit.data.options import ReadOptions
from ifdkit.diversity.measures import DIVERSITY
from ifdkit.engine.models import DEFAULT_MODEL
from ifdkit.format import number, percent
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.selection.set_diversity import COVERAGE, SetDiversity
from ifdkit.topics.layouts import Vectors

METHODS: Mapping[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "longest": {"by": "response_tokens"},
    "highest IFD": {"by": "ifd"},
    "cherry": {"method": "cherry"},
    "superfiltering": {"method": "superfiltering"},
    "superfiltering, diverse": {"method": "superfiltering", "diversity": True, "pool": "30%"},
    "length-controlled": {"method": "length-controlled"},
    "IFD, clusters equal": {"by": "ifd", "per": "cluster", "quota": "equal"},
    "IFD + coherence": {"weights": "ifd=1,coherence=1"},
    "highest coherence": {"by": "coherence"},
    "diverse": {"method": "diverse"},
    "quality-diverse (IFD)": {"method": "quality-diverse", "by": "ifd"},
}
"""Name in the report → keywords of `ifdkit.select`. Of `selective` there is no reflected file."""
FIGURE = Path("docs/images/selections.png")
DRAWS = 200


@dataclass(frozen=True)
class Kept:
    """One selection."""

    rows: frozenset[int]
    tokens: float
    """Median response tokens."""
    ifd: float
    measures: dict[str, float]


def main() -> None:
    """Score, select and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--top", default="10%")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--store", default=None, help="as for ifdkit score")
    parser.add_argument("--output", type=Path, default=Path("reports/selections.md"))
    arguments = parser.parse_args()
    settings = {"dtype": arguments.dtype}
    if arguments.store:
        settings["store"] = arguments.store
    with tempfile.TemporaryDirectory() as folder:
        scores = Path(folder, "scores.parquet")
        chosen = Settings(**settings)
        score_to_file(arguments.data, scores, chosen, ReadOptions(limit=arguments.rows))
        found = select_all(scores, Path(folder, "kept.json"), arguments.top, chosen)
    draw(found)
    arguments.output.write_text(report(found, arguments), encoding="utf-8")
    print(f"→ {arguments.output}")


def select_all(scores: Path, output: Path, top: str, settings: Settings) -> dict[str, Kept]:
    """Every method on the same scores, and the ends of 95 % of random choices."""
    import pandas as pd

    frame = pd.read_parquet(scores)
    tokens, ifds = (frame[name].to_numpy(dtype=np.float64) for name in ("response_tokens", "ifd"))
    chosen = {
        name: ifdkit.select(scores, output, top=top, store=settings.store, **options).kept_rows
        for name, options in METHODS.items()
    }
    vectors, responses = embedded(scores, settings)
    measure = SetDiversity(vectors, responses, len(chosen["random"]), seed=0)

    def kept(rows: Sequence[int]) -> Kept:
        places = np.array(sorted(rows), dtype=np.int64)
        values = {name: measure.statistic(name)(places) for name in measure.names}
        return Kept(
            rows=frozenset(rows),
            tokens=float(np.median(tokens[places])),
            ifd=float(np.nanmedian(ifds[places])),
            measures={name: float("nan") if x is None else x for name, x in values.items()},
        )

    found = {name: kept(rows) for name, rows in chosen.items()}
    generator = np.random.default_rng(0)
    n = len(found["random"].rows)
    draws = [kept(generator.choice(len(frame), n, replace=False).tolist()) for _ in range(DRAWS)]
    for end, share in (("low", 2.5), ("high", 97.5)):
        found[f"random, {end}"] = Kept(
            rows=frozenset(),
            tokens=float(np.percentile([one.tokens for one in draws], share)),
            ifd=float(np.percentile([one.ifd for one in draws], share)),
            measures={
                name: float(np.percentile([one.measures[name] for one in draws], share))
                for name in measure.names
            },
        )
    return found


def embedded(scores: Path, settings: Settings) -> tuple[Vectors, list[str]]:
    """Embeddings of the rows, each of whose texts are one, and the responses."""
    from ifdkit.scoring.dataset import open_scores

    opened = open_scores(scores)
    assert opened is not None, "scores were written there"
    texts = opened.join(ReadOptions().narrow(opened.open_dataset())).texts
    pairs = [f"{a}\n{b}" for a, b in zip(texts.instructions, texts.responses, strict=True)]
    with Scorer(settings) as scorer:
        assert scorer.embeddings is not None, "coherence is measured"
        vectors = scorer.embeddings.embed(pairs)
    rows = np.stack([vectors[text] for text in pairs])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), list(texts.responses)


def overlap(a: Kept, b: Kept) -> float:
    """Share of the rows of one selection that the other has too."""
    return len(a.rows & b.rows) / len(a.rows)


def draw(found: Mapping[str, Kept]) -> None:
    """The overlaps as a heat map."""
    import matplotlib.pyplot as plt

    names = list(METHODS)
    table = np.array([[overlap(found[a], found[b]) for b in names] for a in names])
    figure, axes = plt.subplots(figsize=(8, 7), layout="constrained")
    image = axes.imshow(table, vmin=0, vmax=1, cmap="viridis")
    for i, line in enumerate(table):
        for j, share in enumerate(line):
            axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=7,
                      color="white" if share < 0.6 else "black")  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title("Rows that two selections share, %")
    figure.colorbar(image, shrink=0.6)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=80)
    plt.close(figure)


def report(found: Mapping[str, Kept], arguments: argparse.Namespace) -> str:
    """The table and the overlaps as Markdown."""
    names = [*DIVERSITY, COVERAGE]
    labels = [DIVERSITY[name].short for name in DIVERSITY] + ["input covered"]
    head = ["method", "response tokens", "IFD", *labels, "shared with highest IFD"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'--:|' * (len(head) - 1)}"]
    for name in METHODS:
        one = found[name]
        cells = [name, number(one.tokens), number(one.ifd)]
        cells += [number(one.measures[each]) for each in names]
        lines.append(f"| {' | '.join([*cells, percent(overlap(one, found['highest IFD']))])} |")
    low, high = found["random, low"], found["random, high"]
    ends = [(low.tokens, high.tokens), (low.ifd, high.ifd)]
    ends += [(low.measures[each], high.measures[each]) for each in names]
    cells = [f"{number(a)} to {number(b)}" for a, b in ends]
    lines.append(f"| *95 % of {DRAWS} random choices* | {' | '.join(cells)} | |")
    n = len(found["random"].rows)
    return (
        f"# What every method keeps: {n:,} of {arguments.rows:,} rows\n\n"
        + "\n".join(lines)
        + "\n\nMedians of response tokens and of IFD over the rows kept; the measures of diversity"
        " are described in [Metrics](../docs/metrics.md#diversity-of-a-dataset), self-repetition is"
        " smaller for more diverse rows. *Input covered* is the mean cosine of a row of the input"
        " with the nearest row kept.\n\n"
        "![Rows that two selections share](../docs/images/selections.png)\n\n"
        f"Two random choices share {percent(n / arguments.rows)} on average. Both texts of a row"
        " are embedded as one. `selective` needs the output of `ifdkit reflect` and is"
        " left out.\n\n"
        f"Made by `python -m benchmarks.selections {arguments.data} --rows {arguments.rows} --top"
        f" {arguments.top} --dtype {arguments.dtype}`: {DEFAULT_MODEL}, aligned protocol,"
        f" {machine()}.\n"
    )


if __name__ == "__main__":
    main()
