"""Time and memory of `score`, `audit`, `compare`, `select` and `judge` by number of rows.

    python -m benchmarks.scale ../shared/data/alpaca_1k.json

Every run is the whole command in a process of its own; `score` is the program of
`benchmarks.pipeline`, whose model costs nothing.  Rows are made from those of the file
(`benchmarks.many_rows`); their scores are drawn at random, so that no model is needed.  Memory is
the largest sum over the command and its child processes, looked at five times a second.  Writes
`reports/scale.md`; the rows of earlier runs stay in it, so that one size can be run at a time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.machine import machine
from benchmarks.many_rows import many_rows, write_rows
from benchmarks.oracle import scripted_server
from benchmarks.pipeline import RUN

ROWS = (10_000, 100_000, 1_000_000)
_HEAD = "| command | rows | seconds | CPU seconds | peak memory |\n|---|--:|--:|--:|--:|"


@dataclass(frozen=True)
class Cost:
    """One run of a command."""

    elapsed_s: float
    cpu_s: float
    peak_bytes: int


Measure = Callable[[Path, list[dict[str, str]], int], Cost]


def run(arguments: Sequence[str], folder: Path) -> Cost:
    """Run a command of ifdkit in a folder; one that fails its gate has run too."""
    return cost_of(["-m", "ifdkit", *arguments], folder)


def cost_of(arguments: Sequence[str], folder: Path) -> Cost:
    """Run Python in a folder."""
    command = [sys.executable, *arguments]
    begin, peak, cpu = time.perf_counter(), 0, {0: 0.0}
    with (folder / "log").open("wb") as log:
        process = psutil.Popen(command, cwd=folder, stdout=log, stderr=log)
        while process.poll() is None:
            used = 0
            for one in _tree(process):
                try:
                    used += one.memory_info().rss
                    times = one.cpu_times()
                    cpu[one.pid] = times.user + times.system
                except psutil.Error:
                    continue
            peak = max(peak, used)
            time.sleep(0.2)
    elapsed_s = time.perf_counter() - begin
    if process.returncode not in (0, 1):
        raise SystemExit((folder / "log").read_text(encoding="utf-8"))
    return Cost(elapsed_s, sum(cpu.values()), peak)


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def write_scores(path: Path, n: int, seed: int) -> None:
    """Scores of `n` rows drawn at random, as Parquet, with the ids of the rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(seed)
    tokens = draw.integers(5, 400, size=n)
    nll = draw.gamma(8, 0.3, size=n)
    ratio = draw.beta(12, 6, size=n)
    columns = {
        "id": [hashlib.sha256(b"%d" % i).hexdigest()[:16] + "-0" for i in range(n)],
        "row": np.arange(n),
        "turn": np.zeros(n, dtype=np.int64),
        "status": ["ok"] * n,
        "reason": pa.nulls(n, pa.string()),
        "instruction_tokens": draw.integers(5, 60, size=n),
        "response_tokens": tokens,
        "truncated_tokens": np.zeros(n, dtype=np.int64),
        "nll_response_direct": nll,
        "nll_response_conditional": nll + np.log(ratio),
        "ppl_response_direct": np.exp(nll),
        "ppl_response_conditional": np.exp(nll) * ratio,
        "ifd": ratio,
        "ifd_loss": 1 + np.log(ratio) / nll,
        "coherence": draw.beta(6, 3, size=n),
    }
    pq.write_table(pa.table(columns), path)


def score_with(store: str) -> Measure:
    """JSON Lines to a scores file, with a store in one of the states of `benchmarks.pipeline`."""

    def score(folder: Path, source: list[dict[str, str]], n: int) -> Cost:
        data, kept = rows_file(folder, source, n), folder / f"{n}-store"
        kept.mkdir(exist_ok=True)
        return cost_of(["-c", RUN, data.name, "aligned", kept.name, "rarely", store], folder)

    return score


def rows_file(folder: Path, source: list[dict[str, str]], n: int) -> Path:
    """`n` rows as JSON Lines, made once."""
    data = folder / f"{n}.jsonl"
    if not data.exists():
        write_rows(data, source, n)
    return data


def audit(folder: Path, source: list[dict[str, str]], n: int) -> Cost:
    """`audit --no-model` of JSON Lines."""
    return run(["audit", rows_file(folder, source, n).name, "--no-model", "-q"], folder)


def compare(folder: Path, source: list[dict[str, str]], n: int) -> Cost:
    """`compare` of two scores files without their texts."""
    del source
    for name, seed in (("before", 1), ("after", 2)):
        write_scores(folder / f"{name}.parquet", n, seed)
    return run(["compare", "before.parquet", "after.parquet", "--force", "-q", "-o", "out"], folder)


def select(folder: Path, source: list[dict[str, str]], n: int) -> Cost:
    """`select --by response_words --top 10%` of JSON Lines."""
    return run(["select", rows_file(folder, source, n).name, "--by", "response_words", "--top",
                "10%", "-q", "-o", "kept.jsonl"], folder)  # fmt: skip


def write_answers(folder: Path, source: list[dict[str, str]], n: int) -> tuple[str, str, str]:
    """Two files with answers to the same instructions, and both as annotations; their names."""
    names = f"{n}-first.jsonl", f"{n}-second.jsonl", f"{n}-annotations.jsonl"
    if all((folder / name).exists() for name in names):
        return names
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("w", encoding="utf-8")) for name in names]
        for number, row in enumerate(many_rows(source, n)):
            instruction, first = row["instruction"], row["output"]
            second = " ".join(reversed(first.split()[number % 3 :])) or "Nothing."
            pair = {"output_1": first, "output_2": second, "preference": 1 + number % 2}
            values: tuple[dict[str, Any], ...] = ({"output": first}, {"output": second}, pair)
            for file, value in zip(files, values, strict=True):
                file.write(json.dumps({"instruction": instruction, **value}) + "\n")
    return names


def judge_annotations(folder: Path, source: list[dict[str, str]], n: int) -> Cost:
    """`judge --from` a file of annotations."""
    _, _, annotations = write_answers(folder, source, n)
    return run(["judge", "--from", annotations, "-q"], folder)


def judge(folder: Path, source: list[dict[str, str]], n: int) -> Cost:
    """`judge` of two files; a scripted server in a process of its own names the longer answer."""
    first, second, _ = write_answers(folder, source, n)
    with scripted_server(longer) as url:
        return run(["judge", first, second, "--oracle", "scripted", "--base-url", url,
                    "--api-key-env", "off", "--concurrency", "64", "-q", "-o", f"{n}-judged.json"],
                   folder)  # fmt: skip


def longer(first: str, second: str) -> str:
    """The winner that the scripted server names."""
    return "1" if len(first) > len(second) else "2"


MEASURES: dict[str, Measure] = {
    "score, nothing in the store": score_with("cold"),
    "score, NLLs in the store": score_with("stored"),
    "score, rows seen before": score_with("seen"),
    "audit --no-model": audit,
    "compare, scores only": compare,
    "select --by response_words": select,
    "judge --from": judge_annotations,
    "judge, scripted server": judge,
}
MAX_ROWS = {"judge, scripted server": 40_000}
"""Where more rows would take hours: two calls for each pair."""


def lines_of(report: Path) -> dict[tuple[str, int], str]:
    """The measurements in an earlier report."""
    found: dict[tuple[str, int], str] = {}
    for line in report.read_text(encoding="utf-8").splitlines() if report.exists() else ():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].strip("`") in MEASURES and len(cells) == 5:
            found[cells[0].strip("`"), int(cells[1].replace(",", ""))] = line
    return found


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--only", choices={name.split()[0].strip(",") for name in MEASURES})
    parser.add_argument("--folder", type=Path, help="keep the rows that are made here")
    parser.add_argument("--output", type=Path, default=Path("reports/scale.md"))
    arguments = parser.parse_args()
    source = json.loads(arguments.data.read_bytes())
    found = lines_of(arguments.output)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for name, measure in MEASURES.items():
            if arguments.only and not name.startswith(arguments.only):
                continue
            for n in (n for n in arguments.rows if n <= MAX_ROWS.get(name, n)):
                cost = measure(folder, source, n)
                found[name, n] = (
                    f"| `{name}` | {n:,} | {cost.elapsed_s:,.0f} | {cost.cpu_s:,.0f}"
                    f" | {cost.peak_bytes / 1e6:,.0f} MB |"
                )
                print(found[name, n], file=sys.stderr)
    order = list(MEASURES)
    ordered = sorted(found, key=lambda one: (order.index(one[0]), one[1]))
    text = [
        "# Time and memory by number of rows",
        f"Made by `python -m benchmarks.scale {arguments.data}` on {machine()}. Whole commands:"
        " starting, reading, computing, writing. Rows are made from those of the file, with"
        " responses of 116 words on average; scores are drawn at random. `score` has a model that"
        " costs nothing (`benchmarks.pipeline`). Memory is the largest sum over the command and its"
        " child processes. CPU seconds are those of all processes.",
        "\n".join([_HEAD, *(found[key] for key in ordered)]),
    ]
    missing = [name for name in MEASURES if name not in MAX_ROWS and (name, max(ROWS)) not in found]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        text.append(f"Not measured yet with {max(ROWS):,} rows: {names}.")
    arguments.output.write_text("\n\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
