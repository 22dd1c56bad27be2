"""How the cost of `ifdkit score` grows with rows and response length, and what a second run costs.

    python -m benchmarks.growth ../shared/data/alpaca_1k.json

Every run is the whole command in a process of its own with a new store: reading, tokenising,
loading, scoring, storing and writing.  Rows are cut from real ones and numbered, so that no two are
equal.  Writes `reports/growth-rows.md`, `growth-length.md` and `growth-twice.md`; `--only` selects
one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

Row = dict[str, str]
ROWS = (1_000, 4_000, 16_000)
LENGTHS = (32, 128, 512, 2_048)
WORDS_PER_TEXT = 3
TOKENS_PER_LENGTH = 16_384


@dataclass(frozen=True)
class Cost:
    """One run of the command."""

    elapsed_s: float
    peak_bytes: int
    manifest: dict[str, Any]


def run(rows: list[Row], folder: Path, *flags: str) -> Cost:
    """Score rows with the command, in a process of its own."""
    data, scores = folder / "data.json", folder / "scores.jsonl"
    data.write_text(json.dumps(rows), encoding="utf-8")
    store = ["--store", str(folder / "store.sqlite")]
    command = [sys.executable, "-m", "ifdkit", "score", str(data), "-o", str(scores), *store]
    begin = time.perf_counter()
    process = subprocess.Popen([*command, "--quiet", "--drift", "0", *flags],
                               stdout=subprocess.DEVNULL)  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    elapsed_s = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    manifest = json.loads(Path(f"{scores}.manifest.json").read_bytes())
    print(f"{len(rows)} rows {flags}: {elapsed_s:.1f} s", file=sys.stderr)
    return Cost(elapsed_s, used.ru_maxrss * 1024, manifest)


def numbered(source: list[Row]) -> Iterator[Row]:
    """An endless stream of short, distinct rows."""
    for i, row in enumerate(cycle(source)):
        words = row["output"].split()[:WORDS_PER_TEXT] or ["nothing"]
        yield {
            "instruction": f"{i} " + " ".join(row["instruction"].split()[:WORDS_PER_TEXT]),
            "output": f"{i} " + " ".join(words),
        }


def of_length(source: list[Row], tokens: int) -> list[Row]:
    """Rows with responses of about `tokens` tokens, TOKENS_PER_LENGTH in total."""
    words = cycle(" ".join(row["output"] for row in source).split())
    per_word = 1.35  # tokens per English word with the default tokenizer
    return [
        {
            "instruction": f"{i} Write about {next(words)}",
            "output": " ".join(next(words) for _ in range(int(tokens / per_word))),
        }
        for i in range(TOKENS_PER_LENGTH // tokens)
    ]


def by_rows(source: list[Row], flags: list[str]) -> list[str]:
    """Time and memory by number of rows."""
    lines = [
        "| rows | first run | × the first | peak memory | scored tokens/s | second run |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    first: Cost | None = None
    for n in ROWS:
        with tempfile.TemporaryDirectory() as name:
            rows = [row for row, _ in zip(numbered(source), range(n), strict=False)]
            cost = run(rows, Path(name), *flags)
            again = run(rows, Path(name), *flags)
        first = first or cost
        lines.append(
            f"| {n:,} | {cost.elapsed_s:.1f} s | {cost.elapsed_s / first.elapsed_s:.2f}"
            f" | {cost.peak_bytes / 2**20:,.0f} MiB ({cost.peak_bytes / first.peak_bytes:.3f} ×)"
            f" | {cost.manifest['tokens_per_s']:,.0f} | {again.elapsed_s:.1f} s |"
        )
    return lines


def by_length(source: list[Row], flags: list[str]) -> list[str]:
    """Speed by length of the responses."""
    lines = [
        "| response tokens | rows | scoring | tokens/s | peak memory |",
        "|--:|--:|--:|--:|--:|",
    ]
    for tokens in LENGTHS:
        rows = of_length(source, tokens)
        with tempfile.TemporaryDirectory() as name:
            cost = run(rows, Path(name), *flags)
        made = cost.manifest
        lines.append(
            f"| {tokens:,} | {len(rows):,} | {made['scoring_s']:.1f} s"
            f" | {made['tokens_per_s']:,.0f} | {cost.peak_bytes / 2**20:,.0f} MiB |"
        )
    return lines


def twice(source: list[Row], flags: list[str]) -> list[str]:
    """All real rows, then the same rows from the store."""
    with tempfile.TemporaryDirectory() as name:
        first, second = (run(source, Path(name), *flags) for _ in range(2))
    assert second.manifest["requests_scored"] == second.manifest["model_load_s"] == 0
    made = first.manifest
    return [
        f"All {len(source):,} rows of the file, default metrics: {first.elapsed_s:.1f} s, then"
        f" {second.elapsed_s:.1f} s from the store with no model loaded,"
        f" {first.elapsed_s / second.elapsed_s:.0f} × as fast. Peak memory"
        f" {first.peak_bytes / 2**20:,.0f} and {second.peak_bytes / 2**20:,.0f} MiB. In the first"
        f" run, loading the models took {made['model_load_s']:.1f} s and embedding"
        f" {made['texts_embedded']:,} texts {made['embedding_s']:.1f} s; the language model"
        f" processed {made['tokens_per_s']:,.0f} tokens/s."
    ]


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=["rows", "length", "twice"])
    parser.add_argument("--dtype", default="bfloat16", help="for rows and length; twice uses auto")
    parser.add_argument("--output", type=Path, default=Path("reports"), help="folder")
    arguments = parser.parse_args()
    source = json.loads(arguments.data.read_bytes())
    passes = ["--metrics", "ifd", "--dtype", arguments.dtype]
    parts = {
        "rows": (f"Cost by number of rows, {WORDS_PER_TEXT} real words per text", by_rows, passes),
        "length": ("Cost by response length", by_length, [*passes, "--max-length", "2048"]),
        "twice": ("Cost of a second run", twice, []),
    }
    made = (
        f"Made by `python -m benchmarks.growth {' '.join(sys.argv[1:])}`: whole runs of"
        f" `ifdkit score` with the embedded model on {machine()}."
    )
    for name, (title, measure, flags) in parts.items():
        if arguments.only in (None, name):
            shown = f"Flags: `{' '.join(flags) or 'none'}`."
            text = [f"# {title}", made, shown, "\n".join(measure(source, flags))]
            path = arguments.output / f"growth-{name}.md"
            path.write_text("\n\n".join(text) + "\n", encoding="utf-8")
            print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
