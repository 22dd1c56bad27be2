"""Faults injected into `ifdkit`: kills, failing disks, damaged stores; what survived.

    python -m benchmarks.faults --kills 100
    python -m benchmarks.faults --kills 100 --distributed

Uses the tiny model of the tests and a scripted oracle.  After every fault the output must be the
old one or the new one, and a run without faults must end with the bytes of an undisturbed run;
anything else ends this command with an error.  Writes `reports/faults.md`; with `--distributed`,
the faults are those of runs with several processes or machines, and the report is
`reports/distributed-faults.md`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import machine
from ifdkit.cli.main import main as ifdkit
from tests import network, tiny
from tests.faults import FaultyOs, failing
from tests.killing import commands, kill_many, state, write_data
from tests.killing_replicas import KILLERS, write_rows
from tests.oracle_server import OracleServer
from tests.zygote import Zygote

CUT_S = 60.0
_ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EACCES)


def run(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and stderr of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = ifdkit(arguments)
    assert "Traceback" not in err.getvalue()
    assert "internal error" not in err.getvalue()
    return code, err.getvalue()


def steps(folder: Path, arguments: Sequence[str]) -> Counter[str]:
    """Let each step of writing fail once with each error. What became of the output."""
    assert run(arguments)[0] in (0, 1)
    new, found = state(folder), Counter[str]()
    for code in _ERRORS:
        for number in range(1000):
            for path in folder.glob("out*"):
                if "journal" not in path.name:
                    path.unlink()
            with failing(FaultyOs(number, code)) as faulty:
                exit_code, err = run(arguments)
            if len(faulty.steps) <= number:
                break
            now = state(folder)
            assert now in ({}, new), (number, faulty.steps)
            assert exit_code == 0 or err.count("\n") == 1
            found["injected"] += 1
            found["nothing written" if not now else "all written"] += 1
    assert run(arguments)[0] in (0, 1)
    assert state(folder) == new
    return found


def damaged_stores(folder: Path, arguments: Sequence[str], flips: int) -> dict[str, Counter[str]]:
    """Score with stores that are cut at every 512th byte, and with random bits flipped."""
    for path in folder.glob("store*"):
        path.unlink()
    assert run(arguments)[0] == 0
    store, output = folder / "store.sqlite", folder / "out.jsonl"
    whole, expected = store.read_bytes(), output.read_bytes()
    cuts = [whole[:size] for size in range(512, len(whole), 512)]
    draw, flipped = random.Random(0), []
    for _ in range(flips):
        changed = bytearray(whole)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        flipped.append(bytes(changed))
    found = {}
    for name, contents in (("cut at every 512th byte", cuts), ("one bit flipped", flipped)):
        counts = found[f"store {name}"] = Counter[str]()
        for content in contents:
            for path in folder.glob("store*"):
                path.unlink()
            store.write_bytes(content)
            output.unlink(missing_ok=True)
            code, err = run(arguments)
            counts["injected"] += 1
            if code == 0:
                assert output.read_bytes() == expected
                counts["bytes equal"] += 1
            else:
                assert code == 2
                assert err.count("\n") == 1
                assert not output.exists()
                counts["refused in one line"] += 1
    return found


def report(folder: Path, model: Path, kills: int, flips: int) -> list[str]:
    """Lines of the tables."""
    lines = ["| killed at random moments | kills | ended before | runs to the end, bytes equal |",
             "|:--|--:|--:|--:|"]  # fmt: skip
    with OracleServer(keep=False) as server:
        chosen = commands(model, server.base_url)
        for name, arguments in chosen.items():
            place = folder / f"kill-{name}"
            place.mkdir()
            write_data(place)
            with Zygote(place) as zygote:
                done = kill_many(zygote, place, arguments, kills, seed=kills)
            lines.append(f"| {name} | {done.killed:,} | {done.finished:,} | {done.rounds:,} of"
                         f" {done.rounds:,} |")  # fmt: skip
        lines += ["", "| each step of writing fails | faults | nothing written | all written |",
                  "|:--|--:|--:|--:|"]  # fmt: skip
        chosen["select"] = ["select", "data.jsonl", "--by", "response_words", "--top", "5", "-o",
                            "out.jsonl", "-q"]  # fmt: skip
        chosen["audit --clean"] = ["audit", "data.jsonl", "--no-model", "--clean", "out.jsonl",
                                   "-q"]  # fmt: skip
        del chosen["compare"]  # its report is a folder: see tests/test_failpoints.py
        for name, arguments in chosen.items():
            place = folder / f"step-{name}"
            place.mkdir()
            write_data(place)
            os.chdir(place)
            counts = steps(place, arguments)
            lines.append(f"| {name} | {counts['injected']:,} | {counts['nothing written']:,} |"
                         f" {counts['all written']:,} |")  # fmt: skip
        lines += ["", "| score with a damaged store | faults | bytes equal | refused |",
                  "|:--|--:|--:|--:|"]  # fmt: skip
        os.chdir(folder / "step-score")
        for name, counts in damaged_stores(Path.cwd(), chosen["score"], flips).items():
            lines.append(f"| {name} | {counts['injected']:,} | {counts['bytes equal']:,} |"
                         f" {counts['refused in one line']:,} |")  # fmt: skip
    return lines


def distributed_report(folder: Path, model: Path, kills: int) -> list[str]:
    """Lines of the tables."""
    lines = ["| killed at random moments | kills | runs to the end, bytes equal |",
             "|:--|--:|--:|"]  # fmt: skip
    for number, kill in enumerate(KILLERS):
        place = folder / f"kill-{number}"
        place.mkdir()
        os.chdir(place)
        write_rows(place)
        done = kill(model, kills)
        lines.append(f"| {done.command} | {done.killed:,} | {done.rounds:,} of {done.rounds:,} |")
    lines += [
        "",
        f"The network between the driver and one of two Ray nodes, cut for {CUT_S:.0f} s:",
    ]
    if (problem := network.why_not()) is not None:
        return [*lines, f"not tried, {problem}."]
    place = folder / "cut"
    place.mkdir()
    write_rows(place)
    told = network.score_across_cut(place, model, CUT_S)
    said = ", and said: " + "; ".join(told) if told else "; Ray lost nothing"
    return [*lines, f"the run ended with the bytes of one process{said}."]


ONE_PROCESS = (
    "After every fault the output was the old one, the new one or absent, never a mixture, and"
    " a run without faults ended with the bytes of an undisturbed run. Between two such runs"
    " come up to ten kills, which resume what the one before has left. The errors are disk"
    " full, I/O error, read-only, quota and permission denied; a step that only removes a"
    " temporary file may fail without an error."
)
DISTRIBUTED = (
    "`score` with two workers, or with an actor on each of two nodes of a Ray cluster on this"
    " machine, and the kills divided between its parts. Each run goes on through all kills that"
    " come until its end, a killed driver is run again with the same command, and every file must"
    " have the bytes of a run in one process: no row is lost, doubled or moved. Except where a"
    " real model is named, workers answer with numbers that depend on the whole batch and start in"
    " 0.1 s, so that many are killed in little time. What would change the result as documented is"
    " spared: the third worker in a row that has not loaded yet, and the second that computes one"
    " batch."
)


def main() -> None:
    """Inject the faults and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=100, help="of each of three commands")
    parser.add_argument("--flips", type=int, default=100, help="stores with a flipped bit")
    parser.add_argument("--distributed", action="store_true", help="of processes and machines")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    name = "distributed-faults.md" if arguments.distributed else "faults.md"
    output = (arguments.output or Path("reports", name)).absolute()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        model = tiny.save_model(folder / "model")
        if arguments.distributed:
            title, about = "# Faults of distributed runs", DISTRIBUTED
            lines = distributed_report(folder, model, arguments.kills)
        else:
            title, about = "# Faults", ONE_PROCESS
            lines = report(folder, model, arguments.kills, arguments.flips)
        os.chdir(output.parent)
    command = " ".join(["python -m benchmarks.faults", *sys.argv[1:]])
    text = [
        title,
        "",
        f"`{command}`, the tiny model of the tests, {machine()};"
        f" {time.perf_counter() - begin:,.0f} s.",
        "",
        about,
        "",
        *lines,
    ]
    output.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
