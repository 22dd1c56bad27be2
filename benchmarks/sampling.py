"""How many rows an interval of a given width needs, and whether it keeps its coverage.

    python -m benchmarks.sampling reports/alpaca-7b-vs-recycled-wizardlm/rows.parquet

The dataset is simulated: 100,000 rows whose IFD is drawn from the real ones of the file, with a
little noise so that no two are equal, 100,000 conversations whose turns share most of their IFD,
and skewed values of the same standard deviation.  No model is run: what is measured is the share of
the rows, and so of the model's work, that `score --until` needs.  Every figure is of so many runs
with different seeds.  Writes `reports/sampling.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from ifdkit.stats.sampling import MeanEstimate, mean_estimate
from ifdkit.stats.sequential import ALPHA, run_until

ROWS = 100_000
WIDTHS = (0.03, 0.02, 0.01, 0.005)
RUNS = 400
PEEKING_RUNS = 1_000
_FIRST_PEEK = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """A dataset: a number of each example, and where the examples of each row begin."""

    name: str
    values: Floats
    starts: NDArray[np.int64]
    """Shape (rows + 1,)."""

    def sample(self, rows: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
        """The values of these rows, and the row of each value."""
        sizes = np.diff(self.starts)[rows]
        clusters = np.repeat(rows, sizes)
        within = np.arange(len(clusters)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self.values[np.repeat(self.starts[rows], sizes) + within], clusters


def populations(real: Floats, rng: np.random.Generator) -> list[Population]:
    """One example per row, and conversations."""
    pairs = rng.choice(real, ROWS) + rng.normal(0, 0.01, ROWS)
    turns = rng.integers(1, 9, ROWS)
    starts = np.concatenate([[0], np.cumsum(turns)])
    shared = np.repeat(rng.choice(real, ROWS), turns)
    conversations = shared + rng.normal(0, 0.05, len(shared))
    singles = {
        "one example per row": pairs,
        "log-normal, like a perplexity": pairs.std() * lognormal(1.0, rng),
        "log-normal, heavy tail": pairs.std() * lognormal(1.5, rng),
    }
    return [
        *(Population(name, values, np.arange(ROWS + 1)) for name, values in singles.items()),
        Population("conversations of 1 to 8 turns", conversations, starts),
    ]


def lognormal(sigma: float, rng: np.random.Generator) -> Floats:
    """Values whose logarithms have this standard deviation; their own is 1."""
    values: Floats = np.exp(rng.normal(0, sigma, ROWS))
    values /= values.std()
    return values


@dataclass(frozen=True)
class Run:
    """One run of a rule."""

    rows: int
    covers: bool
    looks: int


Rule = Callable[[Population, NDArray[np.int64], float], tuple[MeanEstimate, int, int]]


def fixed_looks(
    population: Population, order: NDArray[np.int64], width: float
) -> tuple[MeanEstimate, int, int]:
    """The rule of `--until`."""

    def estimate(rows: int) -> MeanEstimate:
        return mean_estimate(*population.sample(order[:rows]), rows / ROWS, ALPHA)

    found = run_until(width, ROWS, estimate)
    return found.estimate, found.rows, found.looks


def peeking(
    population: Population, order: NDArray[np.int64], width: float
) -> tuple[MeanEstimate, int, int]:
    """The naive rule: a 95 % interval looked at after every row."""
    looks = 0
    for rows in range(_FIRST_PEEK, ROWS):
        looks += 1
        one = mean_estimate(*population.sample(order[:rows]), rows / ROWS)
        if one.half_width <= width:
            break
    return one, rows, looks


def fixed_sample(
    population: Population, order: NDArray[np.int64], width: float
) -> tuple[MeanEstimate, int, int]:
    """`--sample` of a hundredth of the rows, whatever width that gives."""
    del width
    n = ROWS // 100
    return mean_estimate(*population.sample(order[:n]), n / ROWS), n, 1


def turns_as_rows(
    population: Population, order: NDArray[np.int64], width: float
) -> tuple[MeanEstimate, int, int]:
    """The rule of `--until` with turns taken for independent."""

    def estimate(rows: int) -> MeanEstimate:
        values, _ = population.sample(order[:rows])
        return mean_estimate(values, np.arange(len(values)), rows / ROWS, ALPHA)

    found = run_until(width, ROWS, estimate)
    return found.estimate, found.rows, found.looks


def measure(rule: Rule, population: Population, width: float, runs: int) -> list[Run]:
    """So many runs with the seeds 0, 1, …."""
    true = float(population.values.mean())
    found = []
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(ROWS)
        one, rows, looks = rule(population, order, width)
        found.append(Run(rows, abs(one.mean - true) <= one.half_width, looks))
    return found


def line(name: str, population: Population, width: float, runs: list[Run]) -> str:
    """A row of the table."""
    rows = float(np.median([one.rows for one in runs]))
    covers = np.mean([one.covers for one in runs])
    error = 1.96 * (covers * (1 - covers) / len(runs)) ** 0.5
    looks = np.median([one.looks for one in runs])
    return (
        f"| {name} | {population.name} | ± {width:g} | {rows:,.0f} | {ROWS / rows:,.0f} ×"
        f" | {looks:,.0f} | {100 * covers:.1f} % ± {100 * error:.1f} |"
    )


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("rows", type=Path, help="rows.parquet of a comparison")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--output", type=Path, default=Path("reports/sampling.md"))
    arguments = parser.parse_args()
    import pandas as pd

    real = pd.read_parquet(arguments.rows)["ifd_before"].dropna().to_numpy()
    every = populations(real, np.random.default_rng(0))
    single, conversations = every[0], every[-1]
    begin, runs = time.perf_counter(), arguments.runs
    lines = [
        line("`--until`", population, width, measure(fixed_looks, population, width, runs))
        for population in every
        for width in WIDTHS
    ]
    for population in every:
        first, _, _ = fixed_sample(population, np.random.default_rng(0).permutation(ROWS), 0)
        measured = measure(fixed_sample, population, 0, runs)
        lines.append(line("`--sample 1000`", population, round(first.half_width, 4), measured))
    lines.append(
        line("naive: looks after every row at a 95 % interval", single, 0.1,
             measure(peeking, single, 0.1, PEEKING_RUNS))
    )  # fmt: skip
    lines.append(
        line("naive: turns taken for independent", conversations, 0.01,
             measure(turns_as_rows, conversations, 0.01, runs))
    )  # fmt: skip
    print(f"{time.perf_counter() - begin:.0f} s", file=sys.stderr)
    text = [
        "# What `score --until` costs, and whether its interval can be believed",
        f"Made by `python -m benchmarks.sampling {arguments.rows}` on {machine()}: {arguments.runs}"
        f" runs each ({PEEKING_RUNS:,} of the rule that looks after every row) over {ROWS:,}"
        f" simulated rows, whose IFD is drawn from the {len(real):,} real ones of the file"
        f" (standard deviation {single.values.std():.3f}). No model is run; the"
        " saving is rows of the dataset ÷ rows scored. Nominal coverage is 95 %.",
        "| rule | dataset | width | rows scored (median) | saving | looks | coverage |\n"
        "|---|---|--:|--:|--:|--:|--:|\n" + "\n".join(lines),
    ]
    arguments.output.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
