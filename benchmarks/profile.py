"""Where the time of a pass goes, operator by operator, and how much faster it could be.

    python -m benchmarks.profile ../shared/data/alpaca_1k.json

The engine scores the same rows as `benchmarks.speed` under torch's profiler.  Writes
`reports/profile.md`: the share of each operator, the speed of the matrix products relative to the
best that this machine reaches, and two upper bounds: every product at that speed and no other work,
and the products as they are and no other work.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import machine
from benchmarks.scorers import Task, engine, recipe
from benchmarks.speed import METRICS, gemm_peak, requests_of, useful_flops
from ifdkit.engine.models import DEFAULT_MODEL, resolve

OPERATORS_SHOWN = 12
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear_pointwise")


def seconds_of(score: Any) -> float:
    """Seconds of one round, after one to warm up."""
    score()
    begin = time.perf_counter()
    score()
    return time.perf_counter() - begin


def operators(score: Any) -> list[tuple[str, float, int]]:
    """Operators with their own seconds and calls, the slowest first."""
    # The engine computes batches in threads of its own, which are not recorded by default.
    in_all_threads = _ExperimentalConfig(profile_all_threads=True)
    with profile(activities=[ProfilerActivity.CPU], experimental_config=in_all_threads) as found:
        score()
    rows = [(e.key, e.self_cpu_time_total / 1e6, e.count) for e in found.key_averages()]
    return sorted(rows, key=lambda row: -row[1])


def section(dtype: str, task: Task, recipe_s: float, flops: float) -> str:
    """One dtype as Markdown."""
    peak = gemm_peak(dtype, task.device)
    score = engine(task)
    elapsed_s = seconds_of(score)
    rows = operators(score)
    total_s = sum(row[1] for row in rows)
    products_s = sum(row[1] for row in rows if row[0] in PRODUCTS)
    ideal_s = flops / peak
    lines = [
        f"## {dtype}",
        f"{elapsed_s:.2f} s without the profiler, {recipe_s / elapsed_s:.2f} × as fast as the"
        f" recipe. The operations that scoring cannot avoid would take {ideal_s:.2f} s at the speed"
        f" of this machine's fastest matrix product ({peak / 1e9:.0f} GFLOP/s), so scoring reaches"
        f" {ideal_s / elapsed_s:.0%} of that peak. At 100 % of it, and with no other work, scoring"
        f" would be {recipe_s / ideal_s:.2f} × as fast as the recipe; with the present products and"
        f" no other work, {recipe_s / elapsed_s * total_s / products_s:.2f} ×.",
        "| operator | own time | share | calls |\n|---|--:|--:|--:|\n"
        + "\n".join(
            f"| `{name}` | {own_s:.2f} s | {own_s / total_s:.1%} | {calls:,} |"
            for name, own_s, calls in rows[:OPERATORS_SHOWN]
        ),
    ]
    return "\n\n".join(lines)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--protocol", choices=list(METRICS), default="superfiltering")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("reports/profile.md"))
    arguments = parser.parse_args()
    n, requests = requests_of(arguments.data, arguments.rows, arguments.protocol, arguments.model)
    weights = resolve(arguments.model)
    flops = useful_flops(weights, requests)
    tasks = {
        dtype: Task(weights.folder, requests, arguments.device, dtype)
        for dtype in ("float32", "bfloat16")
    }
    recipe_s = seconds_of(recipe(tasks["float32"]))
    head = [
        "# Where the time of scoring goes",
        f"Made by `python -m benchmarks.profile {' '.join(sys.argv[1:])}`: {n} examples,"
        f" {len(requests)} passes of the `{arguments.protocol}` protocol, {arguments.model}, on"
        f" {machine()}; {torch.get_num_threads()} threads, device {arguments.device}. The recipe"
        f" took {recipe_s:.2f} s for the same rows.",
    ]
    parts = [section(dtype, task, recipe_s, flops) for dtype, task in tasks.items()]
    arguments.output.write_text("\n\n".join([*head, *parts]) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
