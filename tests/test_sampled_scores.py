"""`score --sample` and `--until`: what a sample says about all rows, wherever it is shown."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.auditing.checking import CheckResult
from ifdkit.auditing.rules import RULES
from ifdkit.auditing.verdict import judge, wilson_ci95
from ifdkit.cli.main import main
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError, UsageError
from ifdkit.scoring.dataset import open_scores
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.summary import ScoreSummary
from ifdkit.scoring.until import Until, parse_until, score_until
from ifdkit.stats import sequential

pytestmark = pytest.mark.long

Score = Callable[..., ScoreSummary]


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> Settings:
    return Settings(model=str(tiny_model), metrics=("ifd",), store=str(tmp_path / "store"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """120 conversations of one to four turns."""
    rng = random.Random(0)
    rows = [
        {
            "messages": [
                message
                for turn in range(rng.randint(1, 4))
                for message in (
                    {"role": "user", "content": f"Say {i} {turn}."},
                    {"role": "assistant", "content": "a word " * rng.randint(1, 9)},
                )
            ]
        }
        for i in range(120)
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_sample_says_what_it_says_about_all_rows(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    everything = score_to_file(data, tmp_path / "all.jsonl", settings, ReadOptions())
    assert everything.sample is None
    assert "sample" not in everything.as_json()
    options = ReadOptions(sample=60, seed=3)
    found = score_to_file(data, tmp_path / "some.jsonl", settings, options)
    assert found.sample is not None
    assert (found.sample.rows, found.sample.of_rows, found.sample.seed) == (60, 120, 3)
    for name, one in found.sample.metrics.items():
        low, high = one.mean
        assert low <= (found.metrics[name].mean or 0) <= high
        assert low < high
    # Half of the rows were drawn: no interval misses the truth by more than its own width.
    low, high = found.sample.metrics["ifd"].mean
    assert abs((everything.metrics["ifd"].mean or 0) - (low + high) / 2) <= high - low
    assert found.sample.statuses["ok"] == pytest.approx((0.95, 1), abs=0.05)
    again = score_to_file(data, tmp_path / "again.jsonl", settings, options)
    assert again.sample == found.sample
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "some.jsonl").read_bytes()
    whole = score_to_file(data, tmp_path / "whole.jsonl", settings, ReadOptions(sample=500))
    assert whole.sample is None  # a sample of more rows than there are is the dataset


def test_until_stops_at_a_look_and_its_file_is_read_back(
    data: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequential, "FIRST_LOOK", 15)
    wide = score_until(
        data, tmp_path / "a.jsonl", settings, ReadOptions(), until=Until("ifd", 1000.0)
    )
    assert wide.until is not None
    assert (wide.until.rows, wide.until.looks, wide.until.reached) == (15, 1, True)
    width = (wide.until.half_width or 0) * 0.7
    found = score_until(
        data, tmp_path / "b.jsonl", settings, ReadOptions(), until=Until("ifd", width)
    )
    assert found.until is not None
    assert found.until.reached
    assert 15 < found.until.rows < 120
    assert (found.until.half_width or 0) <= width
    assert found.until.mean == pytest.approx(found.metrics["ifd"].mean)
    assert found.manifest.until == f"ifd ± {width:g}"
    assert found.manifest.sample == found.until.rows
    # Rows of a look have those of the look before.
    rows = [
        {json.loads(line)["row"] for line in (tmp_path / name).read_text().splitlines()}
        for name in ("a.jsonl", "b.jsonl")
    ]
    assert rows[0] < rows[1]
    # The manifest says how the rows were drawn: scores find their texts again.
    scores = open_scores(tmp_path / "b.jsonl")
    assert scores is not None
    assert len(scores.join(scores.open_dataset())) == len(scores.scores)
    # What cannot be reached ends with all rows, whose mean is known.
    total = score_until(
        data, tmp_path / "c.jsonl", settings, ReadOptions(), until=Until("ifd", 1e-12)
    )
    assert total.until is not None
    assert (total.until.rows, total.until.half_width, total.sample) == (120, 0, None)


@pytest.mark.parametrize("text", ["ifd ± 0.005", " ifd±5e-3", "ifd +- 0.005", "ifd +/- 0.005"])
def test_a_rule_is_a_metric_and_a_width(text: str) -> None:
    assert parse_until(text) == Until("ifd", 0.005)


@pytest.mark.parametrize(
    "text", ["", "ifd", "ifd ± 0", "ifd ± -1", "ifd = 1", "ifdd ± 1", "ifd ± ."]
)
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        parse_until(text)


def test_the_command_shows_that_it_is_a_sample(
    data: Path, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    flags = ["score", str(data), "--model", settings.model, "--metrics", "ifd", "-q",
             "--store", str(settings.store)]  # fmt: skip

    def run(*more: str) -> str:
        main([*flags, *more])
        return capsys.readouterr().out

    assert "95 % intervals, all rows" in run("--sample", "40")
    assert "A sample: 40 of 120 rows" in run("--sample", "40")
    assert "A sample" not in run()  # negative control
    found: dict[str, Any] = json.loads(run("--sample", "40", "--json"))
    assert found["sample"]["of_rows"] == 120
    assert "Until ifd ± 5: stopped at 120 rows" in run("--until", "ifd ± 5")
    assert main([*flags, "--until", "ifd ± 5", "--sample", "9"]) == 2
    assert "leave out --sample" in capsys.readouterr().err


def test_shares_of_an_audited_sample_allow_for_turns_drawn_together() -> None:
    rule = next(one for one in RULES if one.name == "refusal")
    rows = np.repeat(np.arange(50), 8)
    together = CheckResult(checked=400, count=40, indices=tuple(range(40)))  # of five rows
    apart = replace(together, indices=tuple(range(0, 400, 10)))
    plain = wilson_ci95(40, 400)
    found = judge(rule, together, is_sample=True, rows=rows).share_ci95
    assert found is not None
    assert found[1] - found[0] > 1.8 * (plain[1] - plain[0])
    assert judge(rule, apart, is_sample=True, rows=rows).share_ci95 == pytest.approx(plain, rel=0.2)
    # Without several turns nothing changes.
    alone = judge(rule, together, is_sample=True, rows=np.arange(400)).share_ci95
    assert alone == plain


def test_a_sampled_comparison_draws_the_same_rows_of_both_sides(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(data.read_text().replace("a word a word", "a word indeed a word"))
    sides = []
    for path in (data, other):
        sides.append(tmp_path / f"{path.stem}.scores.jsonl")
        score_to_file(path, sides[-1], settings, ReadOptions())
    everything = ifdkit.compare(*sides, store="off")
    found = ifdkit.compare(*sides, store="off", sample=60, seed=1)
    rows = found.rows
    assert (rows["row_before"] == rows["row_after"]).all()
    assert rows["row_before"].nunique() == 60
    assert found.summary.pairing.unmatched_before == 0
    assert any("60 of 120 rows" in one for one in found.summary.warnings)
    assert not any("a sample" in one for one in everything.summary.warnings)
    interval = found.summary.metrics["ifd"].change.mean_ci95
    mean = everything.summary.metrics["ifd"].change.mean
    assert interval is not None
    assert mean is not None
    assert interval[0] - 0.5 * abs(mean) <= mean <= interval[1] + 0.5 * abs(mean)
    # Datasets are drawn like their scores files.
    again = ifdkit.compare(data, other, sample=60, seed=1, model=settings.model,
                           metrics=settings.metrics, store=settings.store)  # fmt: skip
    assert again.rows["row_before"].tolist() == rows["row_before"].tolist()
    assert again.summary.metrics["ifd"].change.mean_ci95 == pytest.approx(interval)
    # Without texts too.
    for path in (data, other):
        path.unlink()
    bare = ifdkit.compare(*sides, sample=60, seed=1)
    assert bare.rows["row_before"].tolist() == rows["row_before"].tolist()


def test_sides_of_different_length_have_no_common_sample(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(data.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="120 and 119 rows"):
        ifdkit.compare(data, other, sample=9, model=settings.model, metrics="ifd", store="off")


def two_sides(data: Path) -> tuple[Path, Path]:
    other = data.with_name("other.jsonl")
    other.write_text(data.read_text().replace("a word a word", "a word indeed a word"))
    return data, other


def test_a_limited_comparison_reads_the_first_rows_and_says_so(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    sides = two_sides(data)
    given: dict[str, Any] = {"model": settings.model, "metrics": settings.metrics,
                             "store": settings.store}  # fmt: skip
    found = ifdkit.compare(*sides, limit=20, **given)
    assert set(found.rows["row_before"]) == set(found.rows["row_after"]) == set(range(20))
    assert found.summary.limit == 20
    assert found.summary.pairing.unmatched_before == 0
    (said,) = (one for one in found.summary.warnings if "limited" in one)
    assert said == "limited: only the first 20 rows of each side (--limit)"
    assert found.summary.before is not None
    assert (found.summary.before.limit, found.summary.before.rows_in) == (20, 20)
    # The numbers of a part are not those of the whole: a run over all rows computes them itself.
    scored = [tmp_path / f"{path.stem}.scores.jsonl" for path in sides]
    whole = [score_to_file(one, place, settings, ReadOptions())
             for one, place in zip(sides, scored, strict=True)]  # fmt: skip
    assert whole[0].manifest.requests_from_store == 0
    # Scores files, with their texts and without.
    for _ in range(2):
        again = ifdkit.compare(*scored, limit=20, store="off")
        assert again.summary.limit == 20
        assert again.rows["row_before"].tolist() == found.rows["row_before"].tolist()
        assert again.summary.pairing.n_pairs == found.summary.pairing.n_pairs
        mixed = ifdkit.compare(sides[0], scored[1], limit=20, **given) if data.exists() else again
        assert mixed.summary.pairing.n_pairs == found.summary.pairing.n_pairs
        for path in sides:
            path.unlink(missing_ok=True)


def test_a_limit_of_all_rows_is_none_and_a_sample_is_drawn_within_it(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    scored = []
    for path in two_sides(data):
        scored.append(tmp_path / f"{path.stem}.scores.jsonl")
        score_to_file(path, scored[-1], settings, ReadOptions())
    everything = ifdkit.compare(*scored, limit=120, store="off")
    assert everything.summary.limit is None
    assert not any("limited" in one for one in everything.summary.warnings)
    found = ifdkit.compare(*scored, limit=30, sample=10, seed=1, store="off")
    assert found.rows["row_before"].nunique() == 10
    assert found.rows["row_before"].max() < 30
    assert any("a sample: 10 of 30 rows" in one for one in found.summary.warnings)


def test_rows_that_a_scores_file_drew_are_limited_in_their_order(
    data: Path, settings: Settings, tmp_path: Path
) -> None:
    """Their positions in the input are beyond the number of rows that were scored."""
    place = tmp_path / "some.jsonl"
    score_to_file(data, place, settings, ReadOptions(sample=40, seed=2))
    data.unlink()
    rows = sorted({json.loads(line)["row"] for line in place.read_text().splitlines()})
    assert rows[14] >= 15
    found = ifdkit.compare(place, place, limit=15, store="off")
    assert sorted(set(found.rows["row_before"])) == rows[:15]
