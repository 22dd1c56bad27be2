"""The cost of facility location: 1,000 of 50,000 rows.

    OMP_NUM_THREADS=1 python -m benchmarks.facility

Each case runs in a process of its own.  Writes `reports/facility.md`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import machine
from ifdkit.selection.facility import Vectors, facility_location

CASES = {
    "clustered": "2,000 topics, the largest a hundred times the smallest; a common direction",
    "uniform": "directions drawn at random: no structure, the worst case",
}


@dataclass(frozen=True)
class Cost:
    """One choice."""

    cpu_s: float
    """CPU seconds of all threads: the elapsed time on an idle machine with one core."""
    bytes_before: int
    """Peak memory of the process with the vectors loaded."""
    bytes_peak: int
    cover: float
    """Mean similarity of a row to the most similar chosen row, 0…1."""
    cover_random: float
    """The same for a random choice of as many rows."""


def vectors_of(case: str, rows: int, dims: int, seed: int) -> Vectors:
    """Unit vectors, float32 of shape (rows, dims)."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, dims), dtype=np.float32)
    if case == "clustered":
        topics = rng.standard_normal((2_000, dims), dtype=np.float32)
        topics += 0.5 * rng.standard_normal(dims, dtype=np.float32)
        sizes = np.geomspace(100, 1, len(topics))
        topic = rng.choice(len(topics), rows, p=sizes / sizes.sum())
        for start in range(0, rows, 1_000):
            vectors[start : start + 1_000] += topics[topic[start : start + 1_000]]
    for start in range(0, rows, 1_000):
        part = vectors[start : start + 1_000]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def cover(vectors: Vectors, chosen: list[int]) -> float:
    """f of :mod:`ifdkit.selection.facility` per row."""
    best = [
        np.maximum(vectors[start : start + 1_000] @ vectors[chosen].T, 0).max(axis=1)
        for start in range(0, len(vectors), 1_000)
    ]
    return float(np.concatenate(best).mean())


def measure(case: str, rows: int, dims: int, n: int, seed: int) -> Cost:
    """Choose once."""
    vectors = vectors_of(case, rows, dims, seed)
    before = _peak()
    begin = time.process_time()
    chosen = facility_location(vectors, n)
    cpu_s = time.process_time() - begin
    peak = _peak()
    random = np.random.default_rng(seed + 1).choice(rows, n, replace=False).tolist()
    return Cost(cpu_s, before, peak, cover(vectors, chosen), cover(vectors, random))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dims", type=int, default=384)
    parser.add_argument("--choose", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--output", type=Path, default=Path("reports"), help="folder")
    arguments = parser.parse_args()
    rows, dims, n, seed = arguments.rows, arguments.dims, arguments.choose, arguments.seed
    lines = [
        "| vectors | CPU seconds | memory with the vectors | peak while choosing | cover"
        " | of a random choice |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for case, what in CASES.items():
        if arguments.only not in (None, case):
            continue
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            cost = pool.submit(measure, case, rows, dims, n, seed).result()
        lines.append(
            f"| {case}: {what} | {cost.cpu_s:.0f} | {cost.bytes_before / 2**20:,.0f} MiB"
            f" | {cost.bytes_peak / 2**20:,.0f} MiB | {cost.cover:.3f} | {cost.cover_random:.3f} |"
        )
        print(lines[-1], file=sys.stderr)
    text = [
        f"# Facility location: {n:,} of {rows:,} rows of {dims} dimensions",
        f"Made by `{' '.join(['python -m benchmarks.facility', *sys.argv[1:]])}`"
        f" with OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')} on {machine()}."
        f" Synthetic vectors, seed {seed}.",
        "\n".join(lines),
        f"All similarities at once would need {rows**2 * 4 / 2**30:.1f} GiB. Cover is the mean"
        " similarity of a row to the most similar chosen row.",
    ]
    path = arguments.output / "facility.md"
    path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
