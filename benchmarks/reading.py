"""Rows per CPU second of reading a dataset, of this tree and of another one, in turns.

    python -m benchmarks.reading --rounds 5 --against ../other-checkout

Every measurement is a process of its own that opens a generated file and reads all its examples.
The trees take turns in every round, because the speed of a machine drifts; the best round counts.
CPU time rather than wall time, so that other programs on the machine matter less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TREE = Path(__file__).parents[1]
_READ = """
import sys, time
from ifdkit.data.dataset import open_dataset
begin = time.process_time()
dataset = open_dataset(sys.argv[1])
opened_s = time.process_time()
examples = 0
for found in dataset.read(make_log()) if make_log else dataset:
    examples += len(found)
print(dataset.n_rows, examples, opened_s - begin, time.process_time() - opened_s)
"""
_WITHOUT_LOG = "make_log = None"
_WITH_LOG = "from ifdkit.data.read_log import ReadLog as make_log"
_WORDS = ("the", "sea", "is", "wide", "and", "blue", "while", "ships", "carry", "grain", "past")


def _text(generator: random.Random, n_words: int) -> str:
    return " ".join(generator.choices(_WORDS, k=n_words))


def _alpaca(n: int) -> Iterator[dict[str, Any]]:
    generator = random.Random(0)
    for number in range(n):
        yield {
            "id": number,
            "instruction": _text(generator, 12),
            "input": _text(generator, 20) if number % 3 == 0 else "",
            "output": _text(generator, 60),
        }


def _conversations(n: int) -> Iterator[dict[str, Any]]:
    generator = random.Random(0)
    for number in range(n):
        messages = [{"role": "system", "content": _text(generator, 8)}]
        for _ in range(1 + number % 4):
            messages.append({"role": "user", "content": _text(generator, 20)})
            messages.append({"role": "assistant", "content": _text(generator, 60)})
        yield {"messages": messages, "source": "web"}


def _files(folder: Path) -> dict[str, Path]:
    """The generated files, by what they contain."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"alpaca": list(_alpaca(100_000)), "conversations": list(_conversations(20_000))}
    files = {}
    for name, values in rows.items():
        files[f"{name} .jsonl"] = folder / f"{name}.jsonl"
        files[f"{name} .jsonl"].write_text("".join(json.dumps(row) + "\n" for row in values))
        files[f"{name} .json"] = folder / f"{name}.json"
        files[f"{name} .json"].write_text(json.dumps(values))
        files[f"{name} .parquet"] = folder / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(values), files[f"{name} .parquet"])
    return files


def _measure(tree: Path, file: Path, *, with_log: bool) -> tuple[int, float, float]:
    """Rows of the file, CPU seconds to open it, and to read its examples."""
    script = (_WITH_LOG if with_log else _WITHOUT_LOG) + _READ
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)],
        cwd=tree,  # where python -c looks first
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=True,
    )
    n_rows, _, opened_s, read_s = done.stdout.split()
    return int(n_rows), float(opened_s), float(read_s)


def main() -> None:
    """Print a table of rows per second."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="Another checkout, measured without a log.")
    arguments = parser.parse_args()
    trees = {"this tree": (_TREE, False), "this tree, with a log": (_TREE, True)}
    if arguments.against:
        trees["the other tree"] = (arguments.against.resolve(), False)
    print("| file | tree | open, rows/s | read, rows/s |\n|---|---|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, file in _files(Path(folder)).items():
            best = dict.fromkeys(trees, (0.0, 0.0))
            for _ in range(arguments.rounds):
                for tree, (path, with_log) in trees.items():
                    n_rows, opened_s, read_s = _measure(path, file, with_log=with_log)
                    opened, read = best[tree]
                    best[tree] = (max(opened, n_rows / opened_s), max(read, n_rows / read_s))
            for tree, (opened, read) in best.items():
                print(f"| {name} | {tree} | {opened:,.0f} | {read:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
