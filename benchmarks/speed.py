"""Examples a second, ours and the published recipe's, on the same rows and machine.

    python -m benchmarks.speed ../shared/data/alpaca_1k.json --rows 16 --rounds 3

The ways take turns, round after round, because machines drift; ratios are taken within a round and
their median is reported.  Runs unchanged on a CUDA machine (`--device cuda`).  Writes a table to
`reports/speed.md`.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.recipe import Recipe
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import DEFAULT_MODEL, resolve
from ifdkit.inputs import Selection
from ifdkit.planning import computed_tokens, plan
from ifdkit.records import Request
from ifdkit.scorer import Scorer, Settings

PROTOCOLS = {"superfiltering": ("ifd",), "reflection": ("ifd", "rifd")}
"""Protocol → metrics: two passes an example, and all four."""


@dataclass(frozen=True)
class Timing:
    """One way over all rounds."""

    name: str
    seconds: list[float]
    means: list[float]

    def ratio_to(self, baseline: Timing) -> float:
        """How many times faster, the median over rounds."""
        pairs = zip(baseline.seconds, self.seconds, strict=True)
        return statistics.median(theirs / ours for theirs, ours in pairs)


def requests_of(data: str, rows: int, protocol: str, model: str) -> tuple[int, list[Request]]:
    """Number of examples, and the Requests of a seeded sample."""
    examples = [
        example
        for found in Selection(sample=rows).open(data)
        if isinstance(found, list)
        for example in found
    ]
    settings = Settings(model=model, protocol=protocol, metrics=PROTOCOLS[protocol], store="off")
    with Scorer(settings) as scorer:
        return len(examples), scorer.requests(examples)


def batched(backend: HuggingFaceBackend, requests: Sequence[Request]) -> list[float]:
    """Mean nats of each span, through the plan that a run would make."""
    means = [0.0] * len(requests)
    for batch in plan(requests, backend.budget):
        for i, nll in zip(batch, backend.nll([requests[i] for i in batch]), strict=True):
            means[i] = float(nll.mean(dtype=np.float64))
    return means


def measure(ways: dict[str, Callable[[], list[float]]], rounds: int) -> list[Timing]:
    """Every way once a round, in turn, after one round that is not counted."""
    timings = {name: Timing(name, [], []) for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            means = way()
            elapsed_s = time.perf_counter() - begin
            print(f"round {number}  {name:20} {elapsed_s:7.1f} s", file=sys.stderr)
            if number:
                timings[name].seconds.append(elapsed_s)
                timings[name].means[:] = means
    return list(timings.values())


def gemm_peak(dtype: torch.dtype, device: str) -> float:
    """Best rate of a large matrix product here, FLOP/s."""
    x, weight = (torch.randn(2048, 2048, dtype=dtype, device=device) for _ in range(2))
    best_s = float("inf")
    for _ in range(8):
        begin = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best_s = min(best_s, time.perf_counter() - begin)
    return float(2 * 2048**3 / best_s)


def useful_flops(backend: HuggingFaceBackend, requests: Sequence[Request]) -> float:
    """What scoring must compute at least: two operations a weight and token; the head, a span."""
    embeddings = backend.model.get_input_embeddings().weight.numel()
    total = sum(p.numel() for p in backend.model.parameters())
    is_tied = bool(getattr(backend.model.config, "tie_word_embeddings", False))
    body = total - embeddings * (1 if is_tied else 2)
    n_tokens = sum(request.stop for request in requests)
    n_scored = sum(request.n_scored for request in requests)
    return float(2 * (body * n_tokens + embeddings * n_scored))


def table(protocol: str, arguments: argparse.Namespace) -> str:
    """One protocol, all ways, as Markdown."""
    n, requests = requests_of(arguments.data, arguments.rows, protocol, arguments.model)
    weights = resolve(arguments.model)
    recipe = Recipe(weights.folder, arguments.device)
    backends = {
        dtype: HuggingFaceBackend(weights, device=arguments.device, dtype=dtype)
        for dtype in ("float32", "bfloat16")
    }
    ways: dict[str, Callable[[], list[float]]] = {"recipe": lambda: recipe.mean_nll(requests)}
    for dtype, backend in backends.items():
        ways[f"ifdkit {dtype}"] = lambda backend=backend: batched(backend, requests)  # type: ignore[misc]
    baseline, *ours = measure(ways, arguments.rounds)
    n_tokens = sum(request.stop for request in requests)
    budget = backends["float32"].budget
    computed = sum(computed_tokens(requests, b, budget) for b in plan(requests, budget))
    lines = [
        f"## `{protocol}`: {n} examples, {len(requests)} passes, {n_tokens:,} tokens,"
        f" {computed:,} of them computed",
        "",
        "| way | examples/s | tokens/s | × recipe | share of GEMM peak | largest Δ NLL |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for timing in (baseline, *ours):
        elapsed_s = statistics.median(timing.seconds)
        dtype = timing.name.split()[-1] if timing is not baseline else "float32"
        peak = gemm_peak(getattr(torch, dtype), arguments.device)
        share = useful_flops(backends[dtype], requests) / elapsed_s / peak
        worst = max(abs(a - b) for a, b in zip(timing.means, baseline.means, strict=True))
        lines.append(
            f"| {timing.name} | {n / elapsed_s:.2f} | {n_tokens / elapsed_s:,.0f}"
            f" | {timing.ratio_to(baseline):.2f} | {share:.0%} | {worst:.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path("reports/speed.md"))
    arguments = parser.parse_args()
    head = (
        "# Scoring speed\n\n"
        f"Made by `python -m benchmarks.speed {' '.join(sys.argv[1:])}`: {arguments.model}, sample"
        f" of {arguments.rows} rows with seed 0, {arguments.rounds} rounds of every way in turn,"
        f" median. {platform.machine()}, {torch.get_num_threads()} threads, torch"
        f" {torch.__version__}, device {arguments.device}. The recipe is the published scripts'"
        " (batch 1, float32, all logits). Timings are of the passes alone: no loading, no"
        " tokenising, no store.\n"
    )
    tables = [table(protocol, arguments) for protocol in PROTOCOLS]
    arguments.output.write_text(
        "\n".join([head, *(f"{one}\n" for one in tables)]), encoding="utf-8"
    )
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
