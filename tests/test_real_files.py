"""The four real files through the embedded model, whole: an hour on two cores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.records import Status
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "rows", "examples"),
    [
        ("alpacaeval400_alpaca-7b.json", 400, 400),
        ("alpacaeval400_recycled-wizardlm-7b-v1.json", 400, 400),
        ("alpaca_1k.json", 1000, 1000),
        ("sharegpt_tools_150.json", 150, 505),
    ],
)
def test_real_files_score_end_to_end(
    shared_file: Callable[..., Path], tmp_path: Path, name: str, rows: int, examples: int
) -> None:
    output = tmp_path / "out.jsonl"
    settings = Settings(dtype="float32")
    summary = score_to_file(shared_file("data", name), output, settings, ReadOptions())
    made = summary.manifest
    print(json.dumps(summary.as_json()["metrics"]["ifd"]), made.status_counts, made.tokens_per_s)
    assert (made.rows_in, made.rows_scored, made.rows_rejected) == (rows, rows, 0)
    assert made.examples == examples
    for line in output.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert (row["ifd"] is None) == (row["status"] not in (Status.OK, Status.TRUNCATED))
        assert row["ifd"] is None or 0 < row["ifd"] < 100
    assert summary.ifd_length_spearman is not None
    assert summary.ifd_length_spearman > 0.2, "IFD follows length on every real file seen so far"
