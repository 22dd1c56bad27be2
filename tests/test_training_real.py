"""Fine-tuning of the embedded model on real rows, with its negative control."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import training

pytest.importorskip("trl")


@pytest.mark.slow
def test_held_out_nll_falls_with_real_responses_only(
    shared_file: Callable[..., Path], tmp_path: Path
) -> None:
    """200 rows of alpaca_1k against the same rows with shuffled responses."""
    training.split(shared_file("data", "alpaca_1k.json"), tmp_path)
    training.learn(tmp_path, ["real", "shuffled"])
    ends = {}
    for name in ("real", "shuffled"):
        found = training.results(tmp_path, f"learn-{name}")
        assert found is not None
        ends[name] = found["metrics"][training.NLL]["ci95_rows"]
    assert ends["real"][1] < 0
    assert ends["shuffled"][1] > 0


def test_shuffled_responses_are_those_of_other_rows() -> None:
    rows = [{"instruction": str(i), "output": str(i)} for i in range(20)]
    found = training.shuffled(rows, seed=0)
    assert [row["instruction"] for row in found] == [row["instruction"] for row in rows]
    assert sorted(row["output"] for row in found) == sorted(row["output"] for row in rows)
    assert all(row["output"] != row["instruction"] for row in found)
