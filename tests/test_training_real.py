"""Fine-tuning of the embedded model on real rows, with its negative control."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import training
from ifdkit.stats.crossed import crossed_mean

pytest.importorskip("trl")


@pytest.mark.slow
def test_real_responses_teach_more_than_shuffled_ones(
    shared_file: Callable[..., Path], tmp_path: Path
) -> None:
    """200 rows of alpaca_1k against the same rows with shuffled responses."""
    training.split(shared_file("data", "alpaca_1k.json"), tmp_path)
    training.learn(tmp_path, ["three-epochs-1.4e-3"], training.RESPONSES)
    real, shuffled = (
        training.results(tmp_path, f"learn-three-epochs-1.4e-3-{x}") for x in training.RESPONSES
    )
    assert real is not None
    assert shuffled is not None
    assert real["metrics"][training.NLL]["ci95_rows"][1] < 0
    # Negative control. After few steps NLL falls with shuffled responses too: how responses are
    # written can be learnt from them, and which response answers which instruction cannot.
    assert shuffled["metrics"][training.NLL]["ci95_rows"][1] > 0
    difference = training.columns([real]) - training.columns([shuffled])
    ends = crossed_mean(difference, seed=0).ci95_rows
    assert ends is not None
    assert ends[1] < 0


def test_shuffled_responses_are_those_of_other_rows() -> None:
    rows = [{"instruction": str(i), "output": str(i)} for i in range(20)]
    found = training.shuffled(rows, seed=0)
    assert [row["instruction"] for row in found] == [row["instruction"] for row in rows]
    assert sorted(row["output"] for row in found) == sorted(row["output"] for row in rows)
    assert all(row["output"] != row["instruction"] for row in found)
