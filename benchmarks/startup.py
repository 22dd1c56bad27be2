"""How long a command takes that has little to do, and what it imports meanwhile.

    python -m benchmarks.startup ../shared/data/alpaca_1k.json --against ../other-checkout

Every measurement is a process of its own; the trees take turns in every round, and the least of all
rounds counts.  CPU time includes that of all threads.  Writes `reports/startup.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import machine

_TREE = Path(__file__).parents[1]
_HEAVY = ("torch", "transformers", "sentence_transformers", "sklearn", "scipy", "pandas", "pyarrow")
_COMMAND = f"""
import atexit, sys
from ifdkit.__main__ import run
sys.argv = ["ifdkit", *sys.argv[1:]]
atexit.register(lambda: print("END", *[n for n in {_HEAVY} if n in sys.modules], flush=True))
run()
"""
_PPL_IFD = ("--metrics", "ppl,ifd")
CASES: dict[str, tuple[str, ...]] = {
    "`ifdkit --help`": ("--help",),
    "5 rows, all scored before": (),
    "5 rows, NLLs in the store, another `--window`": ("--window", "32"),
    "5 rows, nothing in the store, `--metrics ppl,ifd`": ("--store", "NEW", *_PPL_IFD),
    "5 rows, nothing in the store": ("--store", "NEW"),
}
"""What is measured → options. `NEW` is a store that does not exist."""
_PACKAGES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Taken:
    """What one process took."""

    first_line_s: float
    end_s: float
    cpu_s: float
    heavy: tuple[str, ...]

    def least(self, other: Taken) -> Taken:
        """The smaller of each number."""
        return Taken(
            min(self.first_line_s, other.first_line_s),
            min(self.end_s, other.end_s),
            min(self.cpu_s, other.cpu_s),
            self.heavy,
        )


def _arguments(case: str, data: Path, store: Path) -> list[str]:
    if case == "`ifdkit --help`":
        return ["--help"]
    options = [f"{store}-{time.monotonic_ns()}" if one == "NEW" else one for one in CASES[case]]
    given = [] if "--store" in options else ["--store", str(store)]
    return ["score", str(data), "-o", f"{store}.jsonl", *given, *options]


def _environment(tree: Path) -> dict[str, str]:
    """That of this process, but with the bytecode that an installed package has."""
    found = {**os.environ, "PYTHONPATH": str(tree)}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


def run(tree: Path, arguments: list[str]) -> Taken:
    """One command in a process of its own."""
    begin = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *arguments],
        cwd=tree,  # where python -c looks first
        env=_environment(tree),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines, first_s = [], 0.0
        for line in process.stdout:
            first_s = first_s or time.perf_counter() - begin
            lines.append(line)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{''.join(lines)}")
    _, *heavy = lines[-1].split()
    cpu_s = used.ru_utime + used.ru_stime
    return Taken(first_s, time.perf_counter() - begin, cpu_s, tuple(heavy))


def imports(tree: Path, arguments: list[str]) -> list[tuple[str, float]]:
    """Milliseconds that the modules of each package take themselves, the slowest first."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", _COMMAND, *arguments],
        cwd=tree,
        env=_environment(tree),
        capture_output=True,
        text=True,
        check=True,
    )
    found: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and parts[0].strip().isdigit():
            found[parts[2].strip().partition(".")[0]] += int(parts[0])
    return [(name, spent / 1000) for name, spent in found.most_common(_PACKAGES_SHOWN)]


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="A .json array of rows, of which 5 are scored.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=int, default=len(CASES), help="How many of the cases.")
    parser.add_argument("--against", type=Path, help="Another checkout.")
    parser.add_argument("--output", type=Path, default=Path("reports/startup.md"))
    arguments = parser.parse_args()
    trees = {"this tree": _TREE}
    if arguments.against:
        trees["the other tree"] = arguments.against.resolve()
    best: dict[tuple[str, str], Taken] = {}
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "five.json"
        data.write_text(json.dumps(json.loads(arguments.data.read_text(encoding="utf-8"))[:5]))
        seen = "5 rows, all scored before"
        stores = {tree_name: folder / tree_name.replace(" ", "-") for tree_name in trees}
        for tree_name, tree in trees.items():
            # It also makes bytecode, and keeps what later loads of the model are compared with.
            run(tree, _arguments(seen, data, stores[tree_name]))
        for _ in range(arguments.rounds):
            for case in list(CASES)[: arguments.cases]:
                for tree_name, tree in trees.items():
                    taken = run(tree, _arguments(case, data, stores[tree_name]))
                    best[case, tree_name] = taken.least(best.get((case, tree_name), taken))
        packages = imports(_TREE, _arguments(seen, data, stores["this tree"]))
    typed = " ".join(["../other-checkout" if arguments.against and one == str(arguments.against)
                      else one for one in sys.argv[1:]])  # fmt: skip
    lines = [
        "# Start-up",
        f"Made by `python -m benchmarks.startup {typed}`: `ifdkit score` of 5 rows with the"
        f" embedded model on {machine()}; load average at the start {load:.1f}."
        f" Least of {arguments.rounds} rounds. CPU seconds"
        " are those of all threads, and depend less on what else the machine does.",
        "| | tree | first line, s | end, s | CPU s | imports |\n|---|---|--:|--:|--:|---|\n"
        + "\n".join(
            f"| {case} | {tree} | {one.first_line_s:.2f} | {one.end_s:.2f} | {one.cpu_s:.2f} |"
            f" {', '.join(one.heavy) or 'none of these'} |"
            for (case, tree), one in best.items()
        ),
        f"## Imports if all rows were scored before\n\nMilliseconds by `python -X importtime`, each"
        f" package with its modules; the {_PACKAGES_SHOWN} slowest.",
        "| package | ms |\n|---|--:|\n"
        + "\n".join(f"| {name} | {spent_ms:.0f} |" for name, spent_ms in packages),
    ]
    arguments.output.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.output.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
