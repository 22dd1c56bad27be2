"""`score --workers N` with a tiny model: the bytes of one process, and a row that kills workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.engine.backends import ModelSpec
from ifdkit.errors import UsageError
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from tests.killing import state
from tests.light_driver import BATCH_S, light_model
from tests.replica_fakes import DeadlySpec, TightSpec

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[1]


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"Name colour {i}.", "output": "Green " * (1 + i % 23) + str(i)}
            for i in range(120)]  # fmt: skip
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_two_workers_write_the_bytes_of_one_process(data: Path, tiny_model: Path) -> None:
    one = Settings(model=str(tiny_model), metrics=("ifd", "rifd"), store="one.sqlite")
    score_to_file(data, Path("out.jsonl"), one, ReadOptions())
    expected = state(data.parent)
    two = replace(one, workers=2, store="two.sqlite")
    score_to_file(data, Path("out.jsonl"), two, ReadOptions())
    assert state(data.parent) == expected


def test_a_row_that_kills_its_worker_gets_a_status_and_the_run_goes_on(
    data: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(model=str(tiny_model), metrics=("ifd",), store="store.sqlite")
    with Scorer(settings) as scorer:
        deadly_token = scorer.tokenizer.encode(["§"], special=False)[0][-1]

    def spec(scorer: Scorer) -> ModelSpec:
        given = (scorer.weights, scorer.device, scorer.dtype)
        return DeadlySpec(weights=given[0], device=given[1], dtype=given[2], token=deadly_token)

    monkeypatch.setattr(Scorer, "spec", property(spec))
    score_to_file(data, Path("expected.jsonl"), replace(settings, store="off"), ReadOptions())
    with data.open("a") as file:
        file.write(json.dumps({"instruction": "Say it.", "output": "It is § and more."}) + "\n")

    two = replace(settings, workers=2)
    summary = score_to_file(data, Path("out.jsonl"), two, ReadOptions())
    assert summary.status_counts == {"ok": 120, "invalid": 1}
    *rows, last = map(json.loads, Path("out.jsonl").read_text().splitlines())
    assert last["status"] == "invalid"
    assert "died 3 times, the last one by signal SIGKILL" in last["reason"]
    assert last["ifd"] is None
    assert last["nll_response_direct"] is None
    assert rows == [json.loads(line) for line in Path("expected.jsonl").read_text().splitlines()]
    # Nothing was stored for it: once nothing kills its worker, it is scored.
    deadly_token = -1
    again = score_to_file(data, Path("again.jsonl"), two, ReadOptions())
    assert again.status_counts == {"ok": 121}
    assert again.manifest.requests_scored == 2


def test_a_worker_out_of_memory_halves_its_batch(
    data: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(model=str(tiny_model), metrics=("ifd",), store="off", dtype="float32")
    score_to_file(data, Path("expected.jsonl"), settings, ReadOptions())

    def spec(scorer: Scorer) -> ModelSpec:
        given = (scorer.weights, scorer.device, scorer.dtype)
        return TightSpec(weights=given[0], device=given[1], dtype=given[2], max_sequences=3)

    monkeypatch.setattr(Scorer, "spec", property(spec))
    summary = score_to_file(data, Path("out.jsonl"), replace(settings, workers=2), ReadOptions())
    assert summary.status_counts == {"ok": 120}
    for line, expected in zip(read("out.jsonl"), read("expected.jsonl"), strict=True):
        # Other batches round differently.
        assert line == {
            name: value if not isinstance(value, float) else pytest.approx(value, rel=1e-4)
            for name, value in expected.items()
        }


def test_two_drivers_with_workers_on_one_store(data: Path, tiny_model: Path) -> None:
    """Both write batches as fast as they can, and read what the other has written."""
    command = [*(sys.executable, "-m", "tests.light_driver", "score", str(data), "-q"),
               *("-m", str(tiny_model), "--metrics", "ifd", "--store", "store.sqlite")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), BATCH_S: "0.001"}
    drivers = [
        subprocess.Popen([*command, "--workers", "2", "-o", name], stderr=subprocess.PIPE,
                         text=True, env=environment)
        for name in ("out1.jsonl", "out2.jsonl")
    ]  # fmt: skip
    assert [one.communicate(timeout=120)[1] for one in drivers] == ["", ""]
    assert [one.returncode for one in drivers] == [0, 0]
    one = Settings(model=str(tiny_model), metrics=("ifd",), store="off")
    with light_model():
        score_to_file(data, Path("expected.jsonl"), one, ReadOptions())
    for name in ("out1.jsonl", "out2.jsonl"):
        assert Path(name).read_bytes() == Path("expected.jsonl").read_bytes()


def test_ctrl_c_of_a_run_with_workers(data: Path, tiny_model: Path) -> None:
    command = [*(sys.executable, "-m", "ifdkit", "score", str(data), "-m", str(tiny_model)),
               *("--metrics", "ifd", "--workers", "2", "--store", "off")]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while "in 2 processes" not in run.stderr.readline():
            pass
        time.sleep(0.3)
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130
        assert "Traceback" not in run.stderr.read()
    assert not list(data.parent.glob("*.scores.jsonl*"))


def test_wrong_numbers_of_workers_and_backends(tiny_model: Path) -> None:
    with pytest.raises(UsageError, match="--workers 0: must be at least one"):
        Settings(workers=0)
    with pytest.raises(UsageError, match="no backend 'torhc': did you mean 'torch'"):
        Settings(backend="torhc")
