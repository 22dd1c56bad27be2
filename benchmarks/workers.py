"""One process with all threads against `--workers`, and `--workers` against Ray on one machine.

    python -m benchmarks.workers ../shared/data/alpaca_1k.json --rows 16 48 --rounds 3

Each way scores a smaller and a larger part of the same rows, in turns.  What the larger one takes
longer is the work on the further rows alone: starting processes, importing torch and loading the
model are in both.  Writes `reports/workers.md`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import load, machine
from ifdkit.engine.models import DEFAULT_MODEL
from ifdkit.engine.threads import available_threads

BASELINES = {"--workers": "one process", "Ray": "--workers"}
"""A way → the one that it is compared with."""


def ways(n: int) -> dict[str, list[str]]:
    """Label → flags, for so many cores."""
    return {
        "one process": ["--threads", str(n)],
        "--workers": ["--workers", str(n)],
        "Ray": ["--workers", str(n), "--backend", "ray"],
    }


def elapsed_s(data: Path, rows: int, flags: list[str], given: argparse.Namespace) -> float:
    """Seconds of one run without a store."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "ifdkit", "score", str(data), "--limit", str(rows)),
                *("--metrics", "ifd", "--model", given.model, "--dtype", given.dtype),
                *("--store", "off", "--drift", "0", "--quiet", "-o", str(Path(folder, "o.jsonl"))),
                *flags,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - begin


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, nargs=2, default=(16, 48), metavar=("FEW", "MANY"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--output", type=Path, default=Path("reports/workers.md"))
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    few, many = given.rows
    flags, before = ways(available_threads()), load()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in flags}
    for number in range(given.rounds):
        for name, more in flags.items():
            small, large = (elapsed_s(given.data, rows, more, given) for rows in (few, many))
            found[name].append((small, large - small))
            print(f"round {number + 1}: {name}: {small:.1f} s, {large:.1f} s", file=sys.stderr)
    lines = [
        "# Processes and Ray against one process",
        "",
        f"Made by `python -m benchmarks.workers {' '.join(sys.argv[1:])}`: {given.model},"
        f" {given.dtype}, {given.rounds} rounds with everything in turn, medians. {machine()};"
        f" {available_threads()} cores; load average {before:.1f} before. The speed is that of"
        f" {many - few} further rows, so that start-up is not in it; ratios are within a round.",
        "",
        f"| | {few} rows | {many - few} further rows | speed against |",
        "|---|--:|--:|--:|",
    ]
    for name, runs in found.items():
        against = ""
        if name in BASELINES:
            pairs = zip(found[BASELINES[name]], runs, strict=True)
            ratio = statistics.median(base / own for (_, base), (_, own) in pairs)
            against = f"{ratio:.2f} × {BASELINES[name]}"
        small, further = (statistics.median(column) for column in zip(*runs, strict=True))
        lines.append(f"| {name} | {small:.1f} s | {further:.1f} s | {against} |")
    given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(given.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
