"""How many rows per second the host prepares for a device: everything but the model.

    python -m benchmarks.pipeline ../shared/data/alpaca_1k.json --against ../other-checkout

The model is a stub that returns numbers for nothing, so what is measured is reading, tokenising,
looking up, planning, storing, the arithmetic of the metrics and writing.  Every measurement is a
process of its own: it scores a file with an empty store (cold), and once more (seen).
Start-up, which `benchmarks.startup` measures, is left out.  The trees take turns in every round,
because the speed of a machine drifts; the best round counts.  Writes `reports/pipeline.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

_TREE = Path(__file__).parents[1]
_COMMON = """
import dataclasses, sys, time
from pathlib import Path
import numpy as np
from ifdkit.data.atomic import OutputFiles
from ifdkit.data.options import ReadOptions
from ifdkit.engine.batching import Budget
from ifdkit.scoring.formats import row_writer
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings

class Stub:
    budget = Budget(tokens=16384, packs=True)
    def nll(self, requests):
        return [np.full(one.n_scored, 1.5, np.float32) for one in requests]

data, protocol, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
if sys.argv[4] == "rarely":
    from ifdkit.__main__ import collect_rarely
    collect_rarely()
# With a dtype no advice about it is given, for which a run imports torch.
settings = Settings(
    protocol=protocol, metrics=("ppl", "ifd"), dtype="float32", store=str(folder / "store")
)
"""
RUN = (
    _COMMON
    + """
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.run import Run

for name in sys.argv[5:] or ("cold", "seen"):
    if name == "stored":  # NLLs are known, but no finished row: another metric's window
        settings = dataclasses.replace(settings, window=32, metrics=("ppl", "ifd", "ifd_window"))
    with Scorer(settings) as scorer, OutputFiles(folder / f"{name}.jsonl") as files:
        scorer._backend = Stub()
        scorer.align([])
        wall, cpu = time.perf_counter(), time.process_time()
        dataset = open_data(data, ReadOptions())
        run = Run(dataset, ReadOptions(), scorer)
        with row_writer(files, token_nll=False) as writer:
            for rows in run.blocks(Progress()):
                writer.write(rows)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(name, dataset.n_rows, wall, cpu, scorer.work.tokens_scored)
"""
)
"""Program; its arguments: data, protocol, folder, collector, then any of cold, stored and seen."""
_STAGES = (
    _COMMON
    + """
from ifdkit.data.read_log import ReadLog
from ifdkit.scoring.finished import FinishedRows
from ifdkit.scoring.run import blocks

def timed(stage, work):
    wall, cpu = time.perf_counter(), time.process_time()
    found = work()
    print(stage, time.perf_counter() - wall, time.process_time() - cpu, sep="\\t")
    return found

with Scorer(settings) as scorer, OutputFiles(folder / "stages.jsonl") as files:
    scorer._backend = Stub()
    scorer.align([])
    rust = scorer.tokenizer._tokenizer.backend_tokenizer
    dataset = timed("open the file: count, find columns", lambda: open_data(data, ReadOptions()))
    read = timed("read examples", lambda: list(blocks(dataset, ReadLog())))
    texts = [[f"{e.instruction}\\n{e.response}" for e in one.examples] for one in read]
    timed("(the bare tokenizer, each text once)", lambda: [rust.encode_batch(t) for t in texts])
    passes = timed("tokenise and align", lambda: [scorer.align(one.examples) for one in read])
    both = list(zip(read, passes))
    def score():
        return [scorer.score(one.examples, each) for one, each in both]
    rows = timed("look up, plan, store, compute metrics", score)
    timed("(the same if all NLLs are in the store)", score)
    finished = FinishedRows(scorer.store, "scope")
    timed("store finished rows",
          lambda: [finished.put(b.examples, r, p) for (b, p), r in zip(both, rows)])
    timed("(look up finished rows)", lambda: [finished.get(one.examples) for one in read])
    with row_writer(files, token_nll=False) as writer:
        timed("write JSON Lines", lambda: [writer.write(one) for one in rows])
"""
)


def write_rows(source: Path, n: int, folder: Path) -> Path:
    """A file of n distinct rows, made from those of a dataset by numbering its repetitions."""
    rows, path = json.loads(source.read_text(encoding="utf-8")), folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            row, k = dict(rows[i % len(rows)]), i // len(rows)
            if k:
                row["instruction"] = f"{row['instruction']} ({k})"
                row["output"] = f"{k}. {row['output']}"
            file.write(json.dumps(row) + "\n")
    return path


def _run(
    tree: Path, script: str, data: Path, protocol: str, collector: str = "rarely"
) -> list[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", script, str(data), protocol, folder, collector],
            cwd=tree,  # where python -c looks first
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=True,
        )
    separator = "\t" if script is _STAGES else None
    return [line.split(separator) for line in done.stdout.splitlines()]


def whole_runs(
    trees: dict[str, tuple[Path, str]], data: Path, protocol: str, rounds: int
) -> list[list[Any]]:
    """One line for each tree and store: rows/s by the clock and per CPU second, tokens/s.

    `trees`: name → folder, and how often cycles are searched, `rarely` as a command does.
    """
    best: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for tree, (path, collector) in trees.items():
            for name, *numbers in _run(path, RUN, data, protocol, collector):
                n, wall_s, cpu_s, tokens = map(float, numbers)
                found = [n / wall_s, n / cpu_s, tokens / wall_s]
                known = best.setdefault((tree, name), found)
                best[tree, name] = [max(pair) for pair in zip(known, found, strict=True)]
    return [[protocol, tree, name, *numbers] for (tree, name), numbers in best.items()]


def stages(data: Path, protocol: str, rounds: int) -> list[tuple[str, float, float]]:
    """Stage, seconds by the clock and of CPU: the least of all rounds."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, wall_s, cpu_s in _run(_TREE, _STAGES, data, protocol):
            known = best.get(name, (float("inf"), float("inf")))
            best[name] = (min(known[0], float(wall_s)), min(known[1], float(cpu_s)))
    return [(name, *seconds) for name, seconds in best.items()]


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="A .json array of Alpaca rows.")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--protocols", default="aligned,superfiltering")
    parser.add_argument("--against", type=Path, help="Another checkout.")
    parser.add_argument(
        "--collector", action="store_true", help="Also with Python's thresholds of collection."
    )
    parser.add_argument("--output", type=Path, default=Path("reports/pipeline.md"))
    arguments = parser.parse_args()
    trees = {"this tree": (_TREE, "rarely")}
    if arguments.against:
        trees["the other tree"] = (arguments.against.resolve(), "by default")
    if arguments.collector:
        trees["this tree, Python's collector"] = (_TREE, "by default")
    protocols, load = arguments.protocols.split(","), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        data = write_rows(arguments.data, arguments.rows, Path(folder))
        runs = [line for p in protocols for line in whole_runs(trees, data, p, arguments.rounds)]
        parts = {p: stages(data, p, arguments.rounds) for p in protocols}
    typed = " ".join(["../other-checkout" if arguments.against and one == str(arguments.against)
                      else one for one in sys.argv[1:]])  # fmt: skip
    lines = [
        "# What the host can feed",
        f"Made by `python -m benchmarks.pipeline {typed}`: {arguments.rows:,} distinct rows in JSON"
        f" Lines, metrics ppl and ifd, tokenizer of SmolLM2-135M, a model that costs nothing, on"
        f" {machine()}; load average at the start {load:.1f}. Best of {arguments.rounds} rounds."
        " From a file of rows to a file of scores, without start-up. Rows per CPU second are those"
        " of one core, and depend less on what else the machine does; the processes that tokenise"
        " in a long run have CPU time of their own, which is not counted.",
        "## Whole runs",
        "`cold`: nothing is in the store. `seen`: every row was scored before. Tokens/s is the"
        " speed of a device that the host can keep busy.",
        "| protocol | tree | store | rows/s | rows/s of CPU | tokens/s |\n"
        "|---|---|---|--:|--:|--:|\n"
        + "\n".join(
            f"| {protocol} | {tree} | {name} | {rows:,.0f} | {cpu:,.0f} |"
            f" {f'{tokens:,.0f}' if tokens else ''} |"
            for protocol, tree, name, rows, cpu, tokens in runs
        ),
        "## Stages",
        "Each stage on its own, over all rows; in a run, reading and tokenising the next block"
        " overlap with the rest. Stages in brackets are no part of a cold run: the bare tokenizer"
        " is one call of the Rust library for all texts of a block, each row's texts joined.",
    ]
    for protocol, found in parts.items():
        lines.append(
            f"| {protocol} | µs/row | CPU µs/row | rows/s |\n|---|--:|--:|--:|\n"
            + "\n".join(
                f"| {name} | {1e6 * wall_s / arguments.rows:.1f} |"
                f" {1e6 * cpu_s / arguments.rows:.1f} | {arguments.rows / wall_s:,.0f} |"
                for name, wall_s, cpu_s in found
            )
        )
    arguments.output.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
