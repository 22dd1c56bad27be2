"""examples/chain.sh: every step from scores to a verdict, with the local oracle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run_chain(folder: Path) -> str:
    """What the script prints, run as in the repository."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    program = programs / "ifdkit"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ifdkit "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "IFDKIT_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        ["sh", "examples/chain.sh", str(folder / "chain")],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_chain_runs_from_scores_to_a_verdict_and_resumes(tmp_path: Path) -> None:
    for package in ("xllamacpp", "openai", "trl"):
        pytest.importorskip(package)
    shown = run_chain(tmp_path)
    chain = tmp_path / "chain"
    questions = read(ROOT / "examples" / "questions.json")
    assert len(read(chain / "recycled.json")) == 8
    training = read(chain / "runs" / "training.json")
    assert {one["side"] for one in training["evaluated"]} == {"data", "versus"}
    answers = [read(chain / f"answers-{side}.json") for side in ("versus", "data")]
    assert all([row["id"] for row in rows] == [row["id"] for row in questions] for rows in answers)
    judged = read(chain / "judged.json")
    assert [row["output_1"] for row in judged] == [row["output"] for row in answers[0]]
    asked = read(chain / "judged.json.manifest.json")
    assert sum(asked["answers"].values()) == 2 * len(questions)
    assert "failed" not in asked["answers"]
    assert sum(asked["outcomes"].values()) == len(questions)
    # Six pairs and two datasets are too few for a conclusion, and it says so.
    for name in ("prediction", "prediction-of-training"):
        found = read(chain / name / "prediction.json")
        assert found["verdict"].startswith("Nothing can be concluded: ")
        assert found["verdict"][:40] in " ".join(shown.split())
    kept = {
        name: (chain / name).read_bytes()
        for name in ("recycled.json", "answers-data.json", "judged.json")
    }
    run_chain(tmp_path)
    assert {name: (chain / name).read_bytes() for name in kept} == kept
    again = read(chain / "judged.json.manifest.json")
    assert (again["prompt_tokens"], again["completion_tokens"]) == (0, 0)
    assert read(chain / "recycled.json.manifest.json")["completion_tokens"] == 0
