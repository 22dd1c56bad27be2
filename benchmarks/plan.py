"""How well `score --plan` predicts the time of a run on this machine.

    python -m benchmarks.plan ../shared/data/alpaca_1k.json

Plans and runs alternate, because other programs of the machine change its speed.  Time by the clock
is what is predicted; the time of the processor is beside it, which others change less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine


def command(arguments: list[str], folder: Path) -> tuple[dict[str, Any], float, float]:
    """What `ifdkit score --json` prints, its seconds by the clock, and those of the processor."""
    before, begin = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ifdkit", "score", *arguments, "--json", "-q", "--store", "off"],
        capture_output=True, check=True, cwd=folder,
    )  # fmt: skip
    elapsed_s, after = time.perf_counter() - begin, os.times()
    processor_s = after.children_user - before.children_user
    return json.loads(done.stdout), elapsed_s, processor_s


def measure(data: Path, flags: list[str], folder: Path) -> str:
    """One line of the report: a plan, and the run that it is about."""
    plan, _, _ = command([str(data), *flags, "--plan"], folder)
    run, elapsed_s, processor_s = command([str(data), *flags, "-o", "out.jsonl"], folder)
    said, made = plan["time"], run["manifest"]
    assert plan["computed_tokens"] == made["tokens_scored"], "the counts are exact"
    scoring_s = made["scoring_s"] - made["embedding_s"]
    predicted_s = said["scoring_s"] + said["embedding_s"]
    error = predicted_s / made["scoring_s"] - 1
    alone = said["scoring_s"] / scoring_s - 1
    return (
        f"| `{' '.join(flags)}` | {plan['computed_tokens']:,} | {said['probed_batches']}"
        f" | {predicted_s:.0f} s | {made['scoring_s']:.0f} s | {error:+.0%} | {alone:+.0%}"
        f" | {said['total_s']:.0f} s | {elapsed_s:.0f} s | {processor_s:.0f} s |"
    )


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--limits", type=int, nargs="+", default=[100, 200])
    parser.add_argument("--flags", default="--metrics ifd", help="for every plan and run")
    parser.add_argument("--output", type=Path, default=Path("reports/plan.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            measure(
                arguments.data.resolve(),
                [*arguments.flags.split(), "--limit", str(limit)],
                Path(folder),
            )
            for limit in arguments.limits
        ]
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    text = [
        "# A plan against the run that it is about",
        f"Made by `python -m benchmarks.plan {' '.join(sys.argv[1:])}` with the embedded model on"
        f" {machine()}; load of the machine at the end: {load} (1, 5, 15 minutes). A plan is made,"
        " then the run, each by a process of its own.",
        "| flags | tokens computed | batches timed | scoring predicted | scoring took | error"
        " | error of the passes alone | whole run predicted | whole run took | processor |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n" + "\n".join(rows),
    ]
    arguments.output.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
