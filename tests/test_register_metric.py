"""A metric that a user registers works in every command, without another line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.errors import UsageError
from ifdkit.scoring.metrics import METRICS

NAME, LABEL = "min_k_20", "Min-20 % log-probability"
ROWS = [
    {"instruction": f"Name {n} things that are {kind}", "output": f"{kind} things: " + "a b " * n}
    for n in range(2, 9)
    for kind in ("red", "blue")
]


def min_k(measured: ifdkit.Measured) -> float | None:
    """Mean NLL of the fifth of the tokens that are least likely (2310.16789)."""
    nll = measured.nll("response_direct")
    return float(np.sort(nll)[-max(1, len(nll) // 5) :].mean()) if nll is not None else None


@pytest.fixture
def registered() -> Iterator[None]:
    ifdkit.register_metric(NAME, min_k, passes=("response_direct",), label=LABEL, unit="nats")
    yield
    del METRICS[NAME]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.json").write_text(json.dumps(ROWS))
    after = [{**row, "output": row["output"] + "and more of it"} for row in ROWS]
    (tmp_path / "new.json").write_text(json.dumps(after))
    return tmp_path


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> list[str]:
    return ["-m", str(tiny_model), "--store", str(tmp_path / "s.sqlite"), "--metrics", "ifd", "-q"]


@pytest.mark.usefixtures("registered")
def test_a_scores_file_has_its_column(files: Path, model: list[str]) -> None:
    assert main(["score", "old.json", *model, "--token-nll", "-o", "s.jsonl"]) == 0
    rows = [json.loads(line) for line in (files / "s.jsonl").read_text().splitlines()]
    for row in rows:
        nll = sorted(row["token_nll_response_direct"])
        expected = np.mean(nll[-max(1, len(nll) // 5) :])
        assert row[NAME] == pytest.approx(expected, rel=1e-6)


@pytest.mark.usefixtures("registered")
def test_compare_shows_it_everywhere(
    files: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", "old.json", "new.json", *model, "-o", "report"]
    assert main([*arguments, "--fail-if", f"{NAME}.median_change != 0"]) == 1
    captured = capsys.readouterr()
    assert f"{NAME}.median_change is" in captured.err
    assert NAME in captured.out
    summary = json.loads((files / "report" / "summary.json").read_text())
    assert summary["metrics"][NAME]["before"]["n"] == len(ROWS)
    for name in ("index.html", "report.md", "table.tex"):
        page = (files / "report" / name).read_text()
        assert LABEL.replace("%", "\\%" if name.endswith("tex") else "%") in page, name


@pytest.mark.usefixtures("registered")
def test_select_ranks_by_it(files: Path, tiny_model: Path) -> None:
    done = ifdkit.select("old.json", "best.json", by=NAME, top=3, model=str(tiny_model),
                         store="off")  # fmt: skip
    scores = ifdkit.score("old.json", metrics=NAME, model=str(tiny_model), store="off")
    best = scores[NAME].sort_values(ascending=False, kind="stable").index[:3]
    assert sorted(done.kept_rows) == sorted(best.tolist())


def test_without_it_nothing_knows_the_name(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Negative control, and nothing is loaded before the name is refused."""
    missing = ["-m", str(files / "no-such-model")]
    condition = ["--fail-if", f"{NAME}.median_change < 0"]
    assert main(["compare", "old.json", "new.json", *missing, *condition]) == 2
    assert f"no metric {NAME!r}" in capsys.readouterr().err
    assert main(["select", "old.json", "-o", "x.json", *missing, "--by", NAME, "--top", "1"]) == 2
    assert f"no metric {NAME!r}" in capsys.readouterr().err
    assert main(["score", "old.json", *missing, "--metrics", NAME]) == 2
    assert f"no metric {NAME!r}" in capsys.readouterr().err


@pytest.mark.parametrize("condition", ["nonsense.median < 0", "ifd.median < 0"])
def test_a_wrong_condition_is_refused_before_any_model(
    files: Path, condition: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", "old.json", "new.json", "-m", str(files / "no-such-model")]
    assert main([*arguments, "--fail-if", condition]) == 2
    assert "--fail-if: no " in capsys.readouterr().err


def test_a_metric_that_is_not_measured_is_refused_before_scoring(
    files: Path, model: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    condition = ["--fail-if", "rifd.median_change < 0"]
    assert main(["compare", "old.json", "new.json", *model, *condition]) == 2
    assert "--fail-if needs rifd, which before does not measure" in capsys.readouterr().err
    assert not (files / "reports").exists()


@pytest.mark.parametrize(
    ("name", "passes", "message"),
    [
        ("ifd", (), "exists"),
        ("coherence", (), "exists"),
        ("status", (), "exists"),
        ("token_nll_x", (), "exists"),
        ("Min-K", (), "lower-case"),
        ("new", ("response",), "no pass 'response'"),
    ],
)
def test_unusable_names_are_refused(name: str, passes: tuple[str, ...], message: str) -> None:
    known = dict(METRICS)
    with pytest.raises(UsageError, match=message):
        ifdkit.register_metric(name, min_k, passes=passes)
    assert known == METRICS


@pytest.mark.usefixtures("registered")
def test_a_name_is_replaced_only_on_request() -> None:
    with pytest.raises(UsageError, match="pass replace=True"):
        ifdkit.register_metric(NAME, min_k)
    assert ifdkit.register_metric(NAME, min_k, replace=True, label="New").label == "New"


def test_a_metric_that_fails_names_the_row(files: Path, tiny_model: Path) -> None:
    def broken(measured: ifdkit.Measured) -> float:
        return 1 / (measured.example.row - 2)

    ifdkit.register_metric("broken", broken)
    try:
        with pytest.raises(UsageError, match=r"metric .broken. failed on row 2, id .*Division"):
            ifdkit.score("old.json", metrics="ifd", model=str(tiny_model), store="off")
    finally:
        del METRICS["broken"]


def test_numbers_that_are_not_finite_are_undefined(files: Path, tiny_model: Path) -> None:
    values: Any = iter([1.5, float("nan"), float("inf"), None] + [0.0] * len(ROWS))
    ifdkit.register_metric("odd", lambda _: next(values))
    try:
        scores = ifdkit.score("old.json", metrics="ifd", model=str(tiny_model), store="off")
    finally:
        del METRICS["odd"]
    assert scores["odd"].isna().tolist()[:4] == [False, True, True, True]
