"""Where the time of a pass goes, operator by operator, and what would be the most to win.

    python -m benchmarks.profile ../shared/data/alpaca_1k.json

The engine scores the same rows as `benchmarks.speed` under torch's profiler.  Writes
`reports/profile.md`: the share of each operator, how near to the machine's best product the
products run, and two ceilings: every product at that best, and nothing but products.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import machine
from benchmarks.speed import METRICS, gemm_peak, requests_of, useful_flops
from benchmarks.ways import Task, ours, recipe
from ifdkit.engine.models import DEFAULT_MODEL, resolve

_SHOWN = 12
_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear_pointwise")


def seconds_of(score: Any) -> float:
    """One round after one to warm up."""
    score()
    begin = time.perf_counter()
    score()
    return time.perf_counter() - begin


def operators(score: Any) -> list[tuple[str, float, int]]:
    """Operators with their own seconds and calls, most time first."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        score()
    rows = [(e.key, e.self_cpu_time_total / 1e6, e.count) for e in found.key_averages()]
    return sorted(rows, key=lambda row: -row[1])


def section(dtype: str, task: Task, recipe_s: float, flops: float) -> str:
    """One precision as Markdown."""
    peak = gemm_peak(dtype, task.device)
    score = ours(task)
    elapsed_s = seconds_of(score)
    rows = operators(score)
    total_s = sum(row[1] for row in rows)
    products_s = sum(row[1] for row in rows if row[0] in _PRODUCTS)
    ideal_s = flops / peak
    lines = [
        f"## {dtype}",
        f"{elapsed_s:.2f} s without the profiler, {recipe_s / elapsed_s:.2f} × the recipe. The"
        f" operations that scoring cannot do without would take {ideal_s:.2f} s at the fastest"
        f" product of this machine ({peak / 1e9:.0f} GFLOP/s): {ideal_s / elapsed_s:.0%} of peak."
        f" At 100 % of peak and nothing else to do it would be {recipe_s / ideal_s:.2f} × the"
        f" recipe; with today's products and everything else free,"
        f" {recipe_s / elapsed_s * total_s / products_s:.2f} ×.",
        "| operator | own time | share | calls |\n|---|--:|--:|--:|\n"
        + "\n".join(
            f"| `{name}` | {own_s:.2f} s | {own_s / total_s:.1%} | {calls:,} |"
            for name, own_s, calls in rows[:_SHOWN]
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
