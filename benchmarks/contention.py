"""What other processes on the same cores cost: throughput beside them, as a share of that alone.

    python -m benchmarks.contention ../shared/data/alpaca_1k.json --rows 8 --rounds 3

Three ways of using the cores score the same rows, alone and beside each neighbour, in turns.  The
share is the time alone divided by the time beside the neighbour, within a round.  CPU seconds tell
two causes apart: a neighbour takes time on the cores, but only waiting by spinning makes the same
work cost more of it.  Writes `reports/contention.md`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.machine import load, machine
from benchmarks.scorers import Task

# Imports torch before ifdkit's engine can set how idle threads wait: each variant sets its own.
from benchmarks.speed import requests_of
from benchmarks.turns import Round, Scoring
from ifdkit.engine.models import DEFAULT_MODEL, resolve
from ifdkit.engine.threads import WAIT_POLICY, available_threads

ALONE = "alone"
_BUSY = "while True: pass"
_TORCH = """
import torch
torch.set_num_threads({threads})
layers = [torch.nn.Linear(1024, 1024) for _ in range(8)]
x = torch.randn(256, 1024)
print(flush=True)
with torch.inference_mode():
    while True:
        for layer in layers:
            layer(x)
"""
NEIGHBOURS = {
    ALONE: None,
    "one busy loop": f"print(flush=True)\n{_BUSY}",
    "a torch program": _TORCH,
}
"""Name → its code, which prints a line when it is under way."""
VARIANTS: dict[str, tuple[str, Mapping[str, str | None]]] = {
    "lanes (the default)": ("ifdkit", WAIT_POLICY),
    "one batch at a time, idle threads sleep": ("barriers", WAIT_POLICY),
    "one batch at a time, idle threads spin": ("barriers", dict.fromkeys(WAIT_POLICY)),
}
"""Label → scorer and environment; the last is what torch does by itself."""


@contextmanager
def neighbour(code: str | None, threads: int) -> Iterator[None]:
    """Run a neighbour during the block."""
    if code is None:
        yield
        return
    environment = {k: v for k, v in os.environ.items() if k not in WAIT_POLICY}
    process = subprocess.Popen(
        [sys.executable, "-c", code.replace("{threads}", str(threads))],
        env=environment,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def fair(name: str, threads: int) -> float:
    """The share of the cores that equal treatment of all threads would give."""
    others = {ALONE: 0, "one busy loop": 1}.get(name, threads)
    return min(1.0, threads / (threads + others))


def commands_s(n: int, arguments: argparse.Namespace) -> float:
    """Seconds until the last of `n` commands that begin at the same time has ended."""
    words = ["--protocol", "superfiltering", "--metrics", "ppl,ifd", "--dtype", arguments.dtype,
             "--model", arguments.model, "--sample", str(arguments.rows), "--quiet"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "ifdkit", "score", arguments.data, *words, "--store",
                 f"{folder}/store-{i}", "-o", f"{folder}/scores-{i}.jsonl"],
                stdout=subprocess.DEVNULL,
            )
            for i in range(n)
        ]  # fmt: skip
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit(f"ifdkit score ended with {codes}")
        return time.perf_counter() - begin


def together(arguments: argparse.Namespace) -> str:
    """Two commands at a time against one, as a sentence."""
    rounds = [(commands_s(1, arguments), commands_s(2, arguments)) for _ in range(arguments.rounds)]
    one_s, two_s = (statistics.median(times_s) for times_s in zip(*rounds, strict=True))
    times = statistics.median(two / one for one, two in rounds)
    return (
        f"Two whole commands `ifdkit score` over {arguments.rows} rows that begin at the same time"
        f" take {times:.2f} times as long as one: {two_s:.1f} s against {one_s:.1f} s, medians of"
        f" {arguments.rounds} rounds in turn."
    )


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--output", type=Path, default=Path("reports/contention.md"))
    arguments = parser.parse_args()
    _, requests = requests_of(arguments.data, arguments.rows, "superfiltering", arguments.model)
    task = Task(resolve(arguments.model).folder, requests, "cpu", arguments.dtype)
    scorings = {
        label: Scoring(name, task, environment) for label, (name, environment) in VARIANTS.items()
    }
    threads = available_threads()
    loads = [load()]
    rounds: dict[tuple[str, str], list[Round]] = {}
    for number in range(arguments.rounds):
        for name, code in NEIGHBOURS.items():
            with neighbour(code, threads):
                for label, scoring in scorings.items():
                    done = scoring.score()
                    rounds.setdefault((label, name), []).append(done)
                    print(f"round {number + 1}: {label}, {name}: {done.elapsed_s:.1f} s,"
                          f" {done.cpu_s:.1f} CPU s", file=sys.stderr)  # fmt: skip
        loads.append(load())
    for scoring in scorings.values():
        scoring.close()
    at_once = together(arguments)
    n_tokens = sum(request.stop for request in requests)
    lines = [
        "# Beside other processes",
        "",
        f"Made by `python -m benchmarks.contention {' '.join(sys.argv[1:])}`: {arguments.model},"
        f" {arguments.dtype}, {len(requests)} passes of {n_tokens:,} tokens, {arguments.rounds}"
        f" rounds with everything in turn, medians. {machine()}; {threads} threads. Load average"
        f" before and after each round: {', '.join(f'{one:.1f}' for one in loads)}, the benchmark"
        " itself included. The share is the time alone divided by the time beside the neighbour,"
        f" in the same round; a torch program has {threads} threads and torch's own settings. The"
        " fair share is that of equal treatment of all threads.",
        "",
        "| | neighbour | seconds | CPU seconds | share of the speed alone | fair share |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for label in VARIANTS:
        for name in NEIGHBOURS:
            found, alone = rounds[label, name], rounds[label, ALONE]
            shares = [a.elapsed_s / b.elapsed_s for a, b in zip(alone, found, strict=True)]
            lines.append(
                f"| {label} | {name} | {statistics.median(r.elapsed_s for r in found):.1f}"
                f" | {statistics.median(r.cpu_s for r in found):.1f}"
                f" | {statistics.median(shares):.2f} | {fair(name, threads):.2f} |"
            )
    lines += ["", at_once]
    arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
