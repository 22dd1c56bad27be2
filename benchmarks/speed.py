"""Examples per second of ifdkit, the published recipe and peers, on the same rows and machine.

    make benchmark-tools
    .venv-peers/bin/python -m benchmarks.speed ../shared/data/alpaca_1k.json --rows 96 --rounds 3

The scorers take turns in every round, because the speed of a machine drifts.  Ratios are computed
within a round, and their median is reported.  A peer that is not installed or fails is listed with
the reason.  `--device cuda` runs the same on a GPU.  Writes a table to `reports/speed.md`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from benchmarks.machine import governor, load, machine
from benchmarks.scorers import Task, ratios
from benchmarks.turns import Timing, take_turns
from ifdkit.data.options import ReadOptions
from ifdkit.engine.batching import Budget, computed_tokens, plan
from ifdkit.engine.models import DEFAULT_MODEL, Weights, resolve
from ifdkit.engine.precision import fast_float32
from ifdkit.records import Request
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings

METRICS = {"superfiltering": ("ifd",), "reflection": ("ifd", "rifd")}
"""Protocol → metrics: two passes per example, and all four."""
SCORERS_OF = {
    "superfiltering": ("ifdkit", "lm-eval", "minicons", "data-juicer"),
    "reflection": ("ifdkit", "lm-eval"),
}
"""Protocol → scorers beside the recipe; minicons and Data-Juicer have no reverse pass."""
BFLOAT16 = ("ifdkit", "lm-eval")
"""Scorers that are also measured in bfloat16."""


def requests_of(data: str, rows: int, protocol: str, model: str) -> tuple[int, list[Request]]:
    """Number of examples in a seeded sample, and their Requests."""
    examples = [
        example
        for found in open_data(data, ReadOptions(sample=rows))
        if isinstance(found, list)
        for example in found
    ]
    settings = Settings(
        model=model, protocol=protocol, metrics=METRICS.get(protocol, ("ifd",)), store="off"
    )
    with Scorer(settings) as scorer:
        passes = scorer.align(examples)
        return len(examples), [request for each in passes for request in each.requests]


def gemm_peak(dtype: str, device: str) -> float:
    """Best rate of a large matrix product here, FLOP/s, by the fastest accurate route."""
    kind = getattr(torch, dtype)
    x, weight = (torch.randn(2048, 2048, dtype=kind, device=device) for _ in range(2))
    best_s = float("inf")
    with fast_float32(torch.device(device), kind):
        for _ in range(10):
            begin = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            best_s = min(best_s, time.perf_counter() - begin)
    return float(2 * 2048**3 / best_s)


def useful_flops(weights: Weights, requests: list[Request]) -> float:
    """Operations that scoring cannot avoid: two per weight and token, of the head per scored token.

    Tokens that a plan shares between Requests count once.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(weights.folder)
    embeddings = model.get_input_embeddings().weight.numel()
    total = sum(p.numel() for p in model.parameters())
    is_tied = bool(getattr(model.config, "tie_word_embeddings", False))
    body = total - embeddings * (1 if is_tied else 2)
    budget = Budget(512, packs=True)
    tokens = sum(computed_tokens(requests, batch, budget) for batch in plan(requests, budget))
    return float(2 * (body * tokens + embeddings * sum(r.n_scored for r in requests)))


def agreement(timing: Timing, baseline: Timing) -> str:
    """How close a scorer's numbers are to the recipe's, as three cells of the table."""
    if len(timing.means) == len(baseline.means):
        gap = np.abs(np.array(timing.means) - baseline.means)
        ours, theirs = ratios(timing.means), ratios(baseline.means)
        rank = stats.spearmanr(ours, theirs).statistic
        change = np.median(np.abs(np.array(ours) - theirs))
        return f"{gap.max():.1e} | {change:.1e} | {rank:.4f}"
    pairs = zip(baseline.means[::2], baseline.means[1::2], strict=True)
    losses = [conditional / direct for direct, conditional in pairs]
    change = np.median(np.abs(np.array(timing.means) - losses))
    rank = stats.spearmanr(timing.means, losses).statistic
    return f"– | {change:.1e} (losses) | {rank:.4f}"


def command_s(protocol: str, dtype: str, arguments: argparse.Namespace) -> float:
    """Seconds of the whole command: start-up, loading, precision check, passes, store, output."""
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "--sample": str(arguments.rows),
            "--protocol": protocol,
            "--metrics": ",".join(METRICS[protocol]),
            "--model": arguments.model,
            "--device": arguments.device,
            "--dtype": dtype,
            "--store": str(Path(folder, "store.sqlite")),
            "--output": str(Path(folder, "scores.jsonl")),
        }
        words = [word for pair in flags.items() for word in pair]
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "ifdkit", "score", arguments.data, *words, "--quiet"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - begin


def whole_commands(protocol: str, recipe_s: float, arguments: argparse.Namespace) -> str:
    """The command in both dtypes, in turns, against the passes of the recipe alone."""
    found: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(arguments.rounds):
        for dtype, times_s in found.items():
            times_s.append(command_s(protocol, dtype, arguments))
    parts = (
        f"{dtype} {(seconds := statistics.median(times_s)):.1f} s"
        f" ({recipe_s / seconds:.2f} × the recipe's passes)"
        for dtype, times_s in found.items()
    )
    return f"The whole command `ifdkit score`, medians: {', '.join(parts)}."


def table(protocol: str, arguments: argparse.Namespace) -> str:
    """One protocol, all scorers, as Markdown."""
    n, requests = requests_of(arguments.data, arguments.rows, protocol, arguments.model)
    weights = resolve(arguments.model)
    wanted = [("recipe", "float32")]
    wanted += [(name, "float32") for name in SCORERS_OF[protocol] if name in arguments.scorers]
    wanted += [(name, "bfloat16") for name in BFLOAT16 if name in arguments.scorers]
    tasks = {
        (name, dtype): Task(weights.folder, requests, arguments.device, dtype)
        for name, dtype in wanted
    }
    timings = take_turns(tasks, arguments.rounds)
    peak = {d: gemm_peak(d, arguments.device) for d in ("float32", "bfloat16")}
    baseline, flops = timings[0], useful_flops(weights, requests)
    n_tokens = sum(request.stop for request in requests)
    lines = [
        f"## `{protocol}`: {n} examples, {len(requests)} passes, {n_tokens:,} tokens",
        "",
        f"GEMM peak: {peak['float32'] / 1e9:.0f} GFLOP/s float32,"
        f" {peak['bfloat16'] / 1e9:.0f} bfloat16.",
        "",
        "| scorer | dtype | examples/s | tokens/s | × recipe | peak memory | share of GEMM peak"
        " | largest Δ NLL | median Δ IFD | Spearman IFD |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for timing in timings:
        if timing.problem:
            lines.append(f"| {timing.name} | {timing.dtype} | {timing.problem} |||||||||")
            continue
        seconds = timing.median_s
        lines.append(
            f"| {timing.name} | {timing.dtype} | {n / seconds:.2f} | {n_tokens / seconds:,.0f}"
            f" | {timing.times_faster_than(baseline):.2f} | {timing.peak_bytes / 2**20:,.0f} MiB"
            f" | {flops / seconds / peak[timing.dtype]:.0%} | {agreement(timing, baseline)} |"
        )
    lines += ["", whole_commands(protocol, baseline.median_s, arguments)]
    return "\n".join(lines)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scorers", nargs="+", default=SCORERS_OF["superfiltering"])
    parser.add_argument("--protocols", nargs="+", choices=METRICS, default=METRICS)
    parser.add_argument("--output", type=Path, default=Path("reports/speed.md"))
    arguments = parser.parse_args()
    before = load()
    head = (
        "# Scoring speed\n\n"
        f"Made by `python -m benchmarks.speed {' '.join(sys.argv[1:])}`: {arguments.model}, a"
        f" sample of {arguments.rows} rows with seed 0, {arguments.rounds} rounds with all scorers"
        f" in turn, medians. {machine()}; {governor()}, {torch.get_num_threads()} threads, device"
        f" {arguments.device}; load average {before:.1f} before. The recipe is that of the"
        " published scripts (batch 1, float32, all logits). Timings of tables cover the passes"
        " alone: no loading, no tokenising, no store. Peak memory is that of the process,"
        " including libraries. The share of the GEMM peak counts the operations that scoring"
        " cannot avoid.\n"
    )
    tables = [table(protocol, arguments) for protocol in arguments.protocols]
    arguments.output.write_text(
        "\n".join([head, *(f"{one}\n" for one in tables)]), encoding="utf-8"
    )
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
