"""What a million Alpaca-length rows and ten billion tokens cost, from the counts of `score --plan`.

    python -m benchmarks.cost ../shared/data/alpaca_1k.json

The counts are exact for the data; times on GPUs are computed from peak rates, not measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.machine import machine
from ifdkit.data.options import ReadOptions
from ifdkit.engine.flops import GPUS, UTILISATION, ModelSize, gpu_seconds
from ifdkit.engine.loading import model_size
from ifdkit.engine.models import DEFAULT_MODEL, resolve
from ifdkit.format import duration
from ifdkit.scoring import cost
from ifdkit.scoring.settings import Settings

OTHERS = {
    "Llama-3.2-1B": ModelSize(973_146_112, 16, 2048, 128_256 * 2048),
    "Llama-3.1-8B": ModelSize(6_979_588_096, 32, 4096, 128_256 * 4096),
}
"""Sizes from the published configs: parameters without embeddings and LM head."""
ROWS, TOKENS = 1_000_000, 10_000_000_000


def table(data: Path) -> list[str]:
    """The rows of the report."""
    cost.PROBE_S = 0.0
    settings = Settings(metrics=("ifd",), store="off")
    plan = cost.cost_plan(data, settings, ReadOptions())
    sizes = {DEFAULT_MODEL.split("/")[1]: model_size(resolve(DEFAULT_MODEL)), **OTHERS}
    own = next(iter(sizes.values()))
    rest = plan.flops - own.flops(plan.computed_tokens, plan.scored_tokens, 0)
    pairs = round(rest / own.flops(0, 0, 1))
    per_row = plan.computed_tokens / plan.examples
    lines = [
        f"{plan.examples:,} rows: {per_row:.0f} tokens a row through the model (two passes, IFD),"
        f" {plan.scored_tokens / plan.examples:.0f} of them scored.",
        "| model | work | operations | " + " | ".join(GPUS) + " |\n|---|---|--:|"
        + "--:|" * len(GPUS),
    ]  # fmt: skip
    rows = []
    for name, size in sizes.items():
        flops = size.flops(plan.computed_tokens, plan.scored_tokens, pairs)
        for what, scale in ((f"{ROWS:,} rows", ROWS / plan.examples),
                            (f"{TOKENS:,} tokens", TOKENS / plan.computed_tokens)):  # fmt: skip
            seconds = gpu_seconds(flops * scale).values()
            cells = " | ".join(map(duration, seconds))
            rows.append(f"| {name} | {what} | {flops * scale:.2g} | {cells} |")
    lines[-1] += "\n" + "\n".join(rows)
    return lines


def main() -> None:
    """Compute and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--output", type=Path, default=Path("reports/cost.md"))
    arguments = parser.parse_args()
    text = [
        "# What large runs cost, computed",
        f"Made by `python -m benchmarks.cost {' '.join(sys.argv[1:])}` on {machine()}. Tokens and"
        " operations are counted. **Times are computed** from the peak rate of one GPU at"
        f" {UTILISATION:.0%} of it; no GPU was measured.",
        *table(arguments.data),
    ]
    arguments.output.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
