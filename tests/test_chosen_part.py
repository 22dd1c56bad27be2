"""`judge` and `predict` of some of the rows: the limit and the sample of `compare`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data.chosen_part import ChosenPart, DrawnRows, chosen_part
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError, UsageError
from ifdkit.prediction.result import Prediction
from tests.oracle_server import OracleServer
from tests.test_predict_training import results, rows, write_runs

__all__ = ["results"]  # a fixture
pytestmark = pytest.mark.long

Make = Callable[..., Path]
N = 40


def quality(first: str, second: str) -> str:
    return "1" if first.startswith("good") else "2" if second.startswith("good") else "tie"


def sides(write: Make, n_second: int = N) -> tuple[Path, Path]:
    """Two files of answers; the second is the better one in each row that 4 does not divide."""

    def answers(n: int, *, is_second: bool) -> list[dict[str, str]]:
        words = ["good" if (i % 4 > 0) == is_second else "bad" for i in range(n)]
        return [
            {"id": f"r{i}", "instruction": f"Do {i}", "output": f"{word} {i} and more to read"}
            for i, word in enumerate(words)
        ]

    first = write("a.json", answers(N, is_second=False))
    return first, write("b.json", answers(n_second, is_second=True))


def annotated(n: int = 30) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    words = ("the", "sea", "is", "wide", "and", "blue", "cats", "sing", "of", "old", "walls")
    return [
        {
            "instruction": f"Do {i}",
            "output_1": " ".join(rng.choice(words, 8)),
            "output_2": " ".join(rng.choice(words, 8)),
            "preference": (1, 2, 1.5)[i % 3] if i % 7 else 2,
        }
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("sizes", "options", "expected"),
    [
        ((9, 9), {}, ChosenPart()),
        ((9, 9), {"limit": 9, "sample": 9}, ChosenPart()),
        ((9, 7), {"limit": 8}, ChosenPart(limit=8)),
        ((9, 9), {"sample": 4, "seed": 3}, ChosenPart(drawn=DrawnRows(4, 9, 3))),
        ((9, 7), {"limit": 6, "sample": 4}, ChosenPart(6, DrawnRows(4, 6, 0))),
        ((9,), {"limit": 3}, ChosenPart(limit=3)),
    ],
)
def test_what_is_said_about_the_part(
    sizes: tuple[int, ...], options: dict[str, Any], expected: ChosenPart
) -> None:
    read_options = ReadOptions(**options)
    assert chosen_part(sizes, read_options) == expected
    for size in sizes:
        chosen = read_options.positions(size)
        assert chosen.tolist() == sorted(set(chosen.tolist()))
        assert len(chosen) == min(size, options.get("limit", size), options.get("sample", size))


def judged(server: OracleServer, paths: tuple[Path, Path], model: Path, **more: Any) -> Any:
    return ifdkit.judge(
        *paths, paths[0].with_name("judged.json"), oracle="scripted", base_url=server.base_url,
        retries=0, model=str(model), **more,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def test_a_judge_is_asked_about_the_first_rows(write: Make, tiny_model: Path) -> None:
    pytest.importorskip("openai")
    with OracleServer(judge=quality) as server:
        done = judged(server, sides(write), tiny_model, limit=8)
    assert len(server.calls) == 16
    assert (done.win_rates.wins, done.win_rates.losses) == (6, 2)
    assert (done.limit, done.sample) == (8, None)
    assert done.warnings == ("limited: only the first 8 rows of each side (--limit)",)
    assert len(json.loads(Path(done.output).read_text())) == 8
    assert "Limited: only the first 8 rows of each side" in done._repr_html_()


def test_a_judge_is_asked_about_the_same_random_rows(
    write: Make, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    paths = sides(write)
    with OracleServer(judge=quality) as server:
        done = judged(server, paths, tiny_model, sample=10, seed=5, pair_by="row")
        expected = ReadOptions(sample=10, seed=5).positions(N)
        asked = {row["instruction"] for row in json.loads(Path(done.output).read_text())}
        assert asked == {f"Do {i}" for i in expected}
        assert (done.n_different, done.win_rates.n) == (0, 10)
        assert done.warnings == ("a sample: 10 of 40 rows, drawn at random with seed 5",)
        flags = ["--oracle", "scripted", "--base-url", server.base_url, "-m", str(tiny_model),
                 "-o", str(paths[0].with_name("other.json")), "-q"]  # fmt: skip
        assert main(["judge", *map(str, paths), *flags, "--sample", "10", "--seed", "5"]) == 0
        assert "A sample: 10 of 40 rows, drawn at random" in capsys.readouterr().out
        other = json.loads(paths[0].with_name("other.json").read_text())
    assert {row["instruction"] for row in other} == asked
    # Negative control: another seed draws others.
    assert set(expected) != set(ReadOptions(sample=10, seed=6).positions(N))


def test_nothing_is_asked_about_different_rows(write: Make, tiny_model: Path) -> None:
    pytest.importorskip("openai")
    with OracleServer(judge=quality) as server:
        with pytest.raises(InputError, match="they have 40 and 33 rows: leave it out"):
            judged(server, sides(write, 33), tiny_model, sample=10)
        assert not server.calls
        done = judged(server, sides(write, 33), tiny_model, sample=10, limit=30)
    assert done.win_rates.n == 10
    assert len(done.warnings) == 2


def test_win_rates_of_a_part_of_the_annotations(write: Make, tiny_model: Path) -> None:
    rows_of_file = annotated()
    path = str(write("annotations.json", rows_of_file))
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"limit": 12}, range(12)),
        ({"sample": 9, "seed": 2}, ReadOptions(sample=9, seed=2).positions(30)),
    ]
    for options, chosen in cases:
        done = ifdkit.judge(annotations=path, model=str(tiny_model), **options)
        part = [rows_of_file[i] for i in chosen]
        alone = ifdkit.judge(annotations=part, model=str(tiny_model), seed=options.get("seed", 0))
        assert done.win_rates == alone.win_rates
        assert done.published == alone.published
        assert (done.limit, done.sample) == (options.get("limit"), options.get("sample"))
        assert len(done.warnings) == 1
        assert not alone.warnings


def predicted(data: Any, model: Path, **more: Any) -> Prediction:
    return ifdkit.predict(data, **{"metrics": "ppl", "model": str(model), "store": "off", **more})


def test_a_prediction_from_a_part_of_the_pairs(
    write: Make, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows_of_file = annotated()
    path = str(write("annotations.json", rows_of_file))
    chosen = ReadOptions(sample=20, seed=1).positions(30)
    done = predicted(path, tiny_model, sample=20, seed=1)
    alone = predicted([rows_of_file[i] for i in chosen], tiny_model, seed=1)
    assert (done.rows, done.n, done.n_tied) == (alone.rows, alone.n, alone.n_tied) == (20, 14, 6)
    assert done.baseline == alone.baseline
    assert {name: one.auc for name, one in done.scores.items()} == {
        name: one.auc for name, one in alone.scores.items()
    }
    said = "A sample: 20 of 30 rows, drawn at random with seed 1."
    assert (done.limit, done.sample) == (None, 20)
    for text in (done._repr_html_(), (done.save(tmp_path / "p") / "index.html").read_text(),
                 (tmp_path / "p" / "report.md").read_text()):  # fmt: skip
        assert said in text
    assert said not in alone._repr_html_(), "negative control"
    flags = ["-m", str(tiny_model), "--store", "off", "--metrics", "ppl", "-q"]
    limited = ["predict", path, *flags, "-o", str(tmp_path / "q"), "--limit", "12"]
    assert main(limited) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Limited: only the first 12 rows (--limit)." in out
    assert main([*limited, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["limit"], found["sample"]) == (12, 12, None)


def test_numbers_of_a_sample_are_not_those_of_the_whole_file(
    write: Make, tiny_model: Path, tmp_path: Path
) -> None:
    path, store = str(write("annotations.json", annotated())), str(tmp_path / "store.sqlite")
    part = predicted(path, tiny_model, sample=20, store=store)
    assert part.manifest.requests_scored > 0
    whole = predicted(path, tiny_model, store=store)
    assert whole.manifest.requests_from_store == 0
    again = predicted(path, tiny_model, sample=20, store=store)
    assert again.manifest.requests_scored == 0
    assert predicted(path, tiny_model, store=store).manifest.requests_scored == 0


def test_a_prediction_from_training_scores_a_part_of_each_dataset(
    write: Make, results: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    paths = write_runs(write, results, [1.0, 2.0], [-0.1, -0.2])
    common: dict[str, Any] = {"model": str(tiny_model), "metrics": "ppl", "store": "off"}
    whole = ifdkit.predict_training(paths, **common)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"limit": 4}, "limited: only the first 4 rows of each dataset (--limit)"),
        ({"sample": 3}, "a sample: 3 rows of each dataset, drawn at random with seed 0"),
    ]
    for options, said in cases:
        found = ifdkit.predict_training(paths, **common, **options)
        assert found.warnings == (said,)
        assert found.manifest.rows_in == next(iter(options.values()))
        assert (found.limit, found.sample) == (options.get("limit"), options.get("sample"))
        words = {one.input: one.scores["response_tokens"] for one in found.runs}
        assert words.keys() == {one.input for one in whole.runs}
        page = (found.save(tmp_path / next(iter(options))) / "index.html").read_text()
        assert said[1:] in page
    first = [row["output"] for row in rows(1.0)][:4]
    alone = ifdkit.score([{"instruction": f"Do {i}", "output": one} for i, one in enumerate(first)],
                         **{**common, "metrics": "ppl"})  # fmt: skip
    limited = ifdkit.predict_training(paths, **common, limit=4)
    one = next(run for run in limited.runs if run.input.endswith("data0.json"))
    expected = float(np.exp(np.log(alone["ppl_response_direct"]).mean()))
    assert one.scores["ppl_response_direct"] == pytest.approx(expected, rel=1e-3)
    assert not ifdkit.predict_training(paths, **common, limit=99).warnings


@pytest.mark.parametrize("options", [{"limit": 0}, {"sample": 0}, {"seed": -1}])
def test_invalid_numbers_of_rows(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ifdkit.judge(annotations=annotated(), **options)
    with pytest.raises(UsageError):
        ifdkit.predict(annotated(), **options)
