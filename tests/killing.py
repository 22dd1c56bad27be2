"""Kills at random moments: what stands afterwards is old or new, and a rerun ends with the bytes.

Used by the tests and by `python -m benchmarks.faults`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.zygote import Zygote

KILLS = int(os.environ.get("KILLS", "100"))
"""Kills of each command in the tests."""
_VARIES = {"created", "elapsed_s", "model_load_s", "scoring_s", "embedding_s", "tokens_per_s",
           "threads"}  # fmt: skip
"""And `threads`, which is null if the store had everything."""
_COUNTS = {"requests_from_store", "requests_scored", "texts_embedded", "tokens_scored",
           "prompt_tokens", "completion_tokens"}  # fmt: skip
_KILLS_PER_ROUND = 10
"""Kills in a row, each of which resumes what the one before has left; then a run to the end."""


@dataclass(frozen=True)
class Kills:
    """What a number of kills has left."""

    command: str
    killed: int
    """Commands that were killed; others ended before."""
    finished: int
    rounds: int
    """Sequences of kills, each ended by a run whose bytes were compared."""


def without_times(value: object) -> object:
    """JSON without what differs between equal runs: times, and what came from the store."""
    if isinstance(value, dict):
        kept = value.items()
        return {k: without_times(v) for k, v in kept if k not in _VARIES | _COUNTS}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def state(folder: Path) -> dict[str, object]:
    """The files `out…` of a folder: their bytes, but JSON and reports without the times."""
    found: dict[str, object] = {}
    for path in [*folder.glob("out*"), *folder.glob("out/*")]:
        if path.is_file() and "journal" not in path.name and not path.name.startswith("."):
            name = str(path.relative_to(folder))
            content: object = path.read_bytes()
            if name.endswith((".manifest.json", "summary.json", "audit.json")):
                content = without_times(json.loads(path.read_bytes()))
            elif name.startswith("out/") and path.suffix in (".html", ".md", ".tex", ".sarif"):
                content = ""  # they name the time
            found[name] = content
    return found


def check_whole(folder: Path) -> None:
    """After a kill: a manifest describes the output beside it, a report is whole or marked."""
    for manifest in folder.glob("out*.manifest.json"):
        made = json.loads(manifest.read_bytes())
        output = folder / made["output"]
        assert hashlib.sha256(output.read_bytes()).hexdigest() == made["output_sha256"]
    report = folder / "out"
    if report.is_dir() and not (report / "INCOMPLETE").exists():
        names = {path.name for path in report.iterdir() if not path.name.startswith(".")}
        assert names == {"index.html", "summary.json", "report.md", "table.tex", "rows.parquet"}


def kill_many(zygote: Zygote, folder: Path, command: Sequence[str], kills: int, seed: int) -> Kills:
    """Kill a command this often; AssertionError if anything is wrong afterwards."""
    draw = random.Random(seed)
    assert zygote.run(command) in (0, 1), zygote.log
    expected, n_killed, n_finished, n_rounds = state(folder), 0, 0, 0
    full_s = zygote.elapsed_s
    while n_killed < kills:
        _forget(folder, output=bool(n_rounds % 2))
        for _ in range(_KILLS_PER_ROUND):
            if zygote.run(command, kill_s=draw.uniform(0, full_s)) == -9:
                n_killed += 1
            else:
                n_finished += 1
            check_whole(folder)
        assert zygote.run(command) in (0, 1), zygote.log
        if not n_rounds % 2:
            full_s = 0.5 * full_s + 0.5 * zygote.elapsed_s  # the machine may be busier than before
        assert state(folder) == expected
        left = [one.name for one in folder.rglob(".*")]
        assert not left, left
        n_rounds += 1
        assert n_rounds < kills, "the machine is so uneven that nothing is killed"
    return Kills(command[0], n_killed, n_finished, n_rounds)


def _forget(folder: Path, *, output: bool) -> None:
    """Begin again with an empty store and journal, and without the output if that is asked for."""
    for path in [*folder.glob("store*"), *folder.glob("*journal*")]:
        path.unlink()
    for path in folder.glob("out*") if output else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_data(folder: Path) -> None:
    """Two small datasets."""
    for name, more in (("data.jsonl", ""), ("other.jsonl", " And so on, with more words.")):
        rows = [{"instruction": f"Name colour {i}.", "output": f"Green is colour {i}.{more}"}
                for i in range(24)]  # fmt: skip
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / name).write_text(text + ("not JSON\n" if not more else ""))


def commands(model: Path, base_url: str) -> dict[str, list[str]]:
    """The commands that are killed."""
    common = ["-q", "--store", "store.sqlite"]
    return {
        "score": ["score", "data.jsonl", "-o", "out.jsonl", "-m", str(model),
                  "--metrics", "ifd,rifd", *common],
        "reflect": ["reflect", "data.jsonl", "-o", "out.jsonl", "--oracle", "scripted",
                    "--base-url", base_url, "--retries", "0", *common],
        "compare": ["compare", "data.jsonl", "other.jsonl", "-o", "out", "-m", str(model),
                    "--metrics", "ifd", *common],
    }  # fmt: skip
