"""CPU time of `ifdkit reflect` per call, with a server that answers at once.

    python -m benchmarks.oracle

10,000 rows, one call each, 64 in flight, and a scripted server in another process.  Includes
reading, prompting, sending, parsing, the journal on disk and writing.  Writes `reports/oracle.md`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import ifdkit
from benchmarks.machine import machine
from tests.oracle_server import OracleServer

_WORDS = 100


Judge = Callable[[str, str], str]
"""Two responses → the winner: `1`, `2` or `tie`."""


def serve(ready: Connection, judge: Judge | None) -> None:
    """Answer until the parent sends a message."""
    with OracleServer(keep=False, judge=judge) as server:
        ready.send(server.base_url)
        ready.recv()


@contextmanager
def scripted_server(judge: Judge | None = None) -> Iterator[str]:
    """The URL of a server in another process; `judge` is a function of a module."""
    here, there = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=serve, args=(there, judge), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def write_rows(path: Path, n: int) -> None:
    """Distinct rows with responses of a hundred words."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            row = {"instruction": f"Write about the number {i}.", "output": f"{i} " * _WORDS}
            file.write(json.dumps(row) + "\n")


def measure(rows: int, in_flight: int, folder: Path) -> list[str]:
    """Lines of a table."""
    data = folder / "data.jsonl"
    write_rows(data, rows)
    lines = ["| run | calls | elapsed | CPU time of ifdkit per call |", "|:--|--:|--:|--:|"]
    with scripted_server() as url:
        for name in ("first", "second, from the journal"):
            begin, cpu = time.perf_counter(), time.process_time()
            done = ifdkit.reflect(
                data,
                folder / "new.jsonl",
                oracle="scripted",
                base_url=url,
                api_key_env="off",
                stages="response",
                concurrency=in_flight,
            )
            elapsed_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
            assert done.rows_changed == rows, done
            lines.append(f"| {name} | {rows:,} | {elapsed_s:.1f} s | {cpu_s / rows * 1e3:.2f} ms |")
    return lines


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("reports/oracle.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        lines = measure(arguments.rows, arguments.in_flight, Path(name))
    command = " ".join(["python -m benchmarks.oracle", *sys.argv[1:]])
    text = [
        "# Cost of a call to the oracle",
        f"Made by `{command}`: {arguments.in_flight} calls in flight, a scripted server that"
        f" answers at once, on {machine()}.",
        "\n".join(lines),
    ]
    arguments.output.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
