"""`ifdkit predict` from training results: the unit is a dataset, and few of them show nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data.sources import sha256
from ifdkit.errors import InputError
from ifdkit.prediction.training_results import is_training_result, read_training
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.permutation import least_rows, partial_rank_correlation, rank_correlation

Make = Callable[..., Path]
N = 7
SMALL: dict[str, Any] = {"steps": 1, "batch_size": 2, "store": "off", "device": "cpu",
                         "learning_rate": 1e-3}  # fmt: skip


def rows(value: float, n: int = 6, words: int = 3) -> list[dict[str, str]]:
    """Rows whose planted number is about `value`."""
    return [
        {"instruction": f"Do {i}", "output": f"{value + 0.01 * (i - n / 2)}|{' word' * words}"}
        for i in range(n)
    ]


@pytest.fixture
def planted() -> Iterator[None]:
    ifdkit.register_metric("planted", lambda m: float(m.example.response.split("|")[0]))
    ifdkit.register_metric("constant", lambda m: float(len(m.example.instruction)))
    yield
    for name in ("planted", "constant"):
        del METRICS[name]


@pytest.fixture(scope="module")
def results(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Training results of two seeds, as `train` writes them."""
    pytest.importorskip("trl")
    folder = tmp_path_factory.mktemp("training")
    held_out, data = folder / "held-out.json", folder / "data.json"
    held_out.write_text(json.dumps(rows(0.0, 12)))
    data.write_text(json.dumps(rows(1.0)))
    ifdkit.train(data, folder / "out", model=tiny_model, eval=held_out, seeds=2, **SMALL)
    found: dict[str, Any] = json.loads((folder / "out" / "training.json").read_text())
    return found


def write_runs(
    write: Make, results: dict[str, Any], values: Sequence[float], changes: Sequence[float]
) -> list[Path]:
    """Training results on datasets with these planted numbers, and these changes."""
    paths = []
    for place, (value, change) in enumerate(zip(values, changes, strict=True)):
        data = write(f"data{place}.json", rows(value))
        one = json.loads(json.dumps(results))
        for model in one["models"]:
            model |= {"input": str(data), "input_sha256": sha256(data)}
        for evaluated in one["evaluated"]:
            evaluated["change"] |= {"mean": change, "per_seed": [change - 0.01, change + 0.01]}
        paths.append(write(f"training{place}.json", one))
    return paths


# --- the statistics ---------------------------------------------------------------------------


def test_p_of_a_few_ranks_is_that_of_all_arrangements() -> None:
    rng = np.random.default_rng(0)
    for n in (3, 5, 6):
        x, y = rng.normal(size=n), rng.normal(size=n)
        found = rank_correlation(x, y, seed=0)
        value = stats.spearmanr(x, y).statistic
        others = [stats.spearmanr(x, order).statistic for order in itertools.permutations(y)]
        # scipy doubles the smaller tail.
        tails = [np.mean(np.array(others) * sign >= value * sign - 1e-9) for sign in (1, -1)]
        assert found.value == pytest.approx(value)
        assert found.p == pytest.approx(min(1.0, 2 * min(tails)))


def test_too_few_rows_or_a_constant_column_have_no_correlation() -> None:
    column = np.array([1.0, 2.0, 3.0, np.nan])
    assert rank_correlation(column[[0, 1, 3]], column[:3], seed=0).value is None
    assert rank_correlation(np.ones(5), np.arange(5.0), seed=0).value is None
    assert partial_rank_correlation(column, column, [column], seed=0).value is None


def test_a_correlation_that_is_only_length_vanishes_with_length_removed() -> None:
    rng = np.random.default_rng(0)
    length = rng.normal(size=40)
    outcome, echo = length + 0.3 * rng.normal(size=40), length + 0.3 * rng.normal(size=40)
    other = outcome + 0.5 * rng.normal(size=40)
    alone = rank_correlation(echo, outcome, seed=0)
    assert alone.p is not None
    assert alone.p < 0.001
    removed = partial_rank_correlation(echo, outcome, [length], seed=0)
    kept = partial_rank_correlation(other, outcome, [length], seed=0)
    assert removed.p is not None
    assert removed.p > 0.05
    assert kept.p is not None
    assert kept.p < 0.01
    assert partial_rank_correlation(length, outcome, [length], seed=0).value is None


@pytest.mark.parametrize(("n_tests", "n"), [(1, 5), (2, 5), (3, 6), (10, 6), (100, 7)])
def test_the_fewest_rows_with_which_anything_can_be_shown(n_tests: int, n: int) -> None:
    found = rank_correlation(np.arange(float(n)), np.arange(float(n)), seed=0)
    assert least_rows(n_tests) == n
    assert found.p is not None
    assert found.p * n_tests < 0.05
    fewer = rank_correlation(np.arange(n - 1.0), np.arange(n - 1.0), seed=0)
    assert fewer.p is not None
    assert fewer.p * n_tests >= 0.05


# --- the prediction ---------------------------------------------------------------------------

pytestmark = pytest.mark.long


@pytest.mark.usefixtures("planted")
def test_a_planted_score_is_found_and_a_shuffled_one_is_not(
    write: Make, results: dict[str, Any]
) -> None:
    values = np.arange(1.0, N + 1)
    options: dict[str, Any] = {"metrics": "planted,constant", "store": "off"}
    paths = write_runs(write, results, values.tolist(), (-0.1 * values).tolist())
    found = ifdkit.predict_training(paths, **options)
    assert found.n == N
    assert [run.change for run in found.runs] == pytest.approx(sorted(-0.1 * values))
    assert found.runs[0].scores["planted"] == pytest.approx(float(N), abs=0.01)
    planted = found.scores["planted"]
    assert planted.correlation == pytest.approx(-1)
    assert planted.p_holm is not None
    assert planted.p_holm < 0.01
    assert planted.partial is None  # seven datasets are too few
    assert found.scores["constant"].correlation is None
    assert "planted −1.00" in found.verdict
    changes = [-0.3, -0.1, -0.4, -0.1, -0.35, -0.2, -0.25]
    paths = write_runs(write, results, values.tolist(), changes)
    shuffled = ifdkit.predict_training(paths, **options)
    assert shuffled.verdict.startswith("No score is shown to predict what training")
    json.dumps(shuffled.as_json(), allow_nan=False)


@pytest.mark.usefixtures("planted")
def test_few_datasets_show_nothing_however_well_they_fit(
    write: Make, results: dict[str, Any]
) -> None:
    paths = write_runs(write, results, [1, 2, 3], [-0.1, -0.2, -0.3])
    found = ifdkit.predict_training(paths, metrics="planted,ppl", store="off")
    assert found.scores["planted"].correlation == pytest.approx(-1)
    assert found.verdict.startswith("Nothing can be concluded: 3 datasets were trained on, and")
    assert f"at least {found.n_needed}" in found.verdict
    assert found.verdict in found._repr_html_()
    assert len(found.plot().axes[0].lines) == 4  # a point for each dataset, and zero


def test_seeds_of_one_dataset_are_one_observation(write: Make, results: dict[str, Any]) -> None:
    path, _ = write_runs(write, results, [1, 1], [-0.1, -0.3])
    again = write("again.json", path.read_text())
    (run,) = read_training([path, again])
    assert run.per_seed == pytest.approx((-0.11, -0.09, -0.11, -0.09))
    assert run.change == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_hash": "other"}, "differ in weights hash"),
        ({"recipe": {"lora": True}}, "differ in recipe .lora True"),
        ({"max_length": 9}, "differ in max length .9 and"),
    ],
)
def test_runs_that_differ_in_more_than_the_data_are_refused(
    write: Make, results: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    first, second = write_runs(write, results, [1, 2], [-0.1, -0.2])
    other = json.loads(second.read_text())
    for model in other["models"]:
        model.update(change)
    second.write_text(json.dumps(other))
    with pytest.raises(InputError, match=message):
        read_training([first, second])


def test_other_held_out_rows_are_refused(write: Make, results: dict[str, Any]) -> None:
    first, second = write_runs(write, results, [1, 2], [-0.1, -0.2])
    other = json.loads(second.read_text())
    for one in other["evaluated"]:
        one["before"] += 0.5
    second.write_text(json.dumps(other))
    with pytest.raises(InputError, match="have other held-out rows"):
        read_training([first, second])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is not a training.json"),
        ('{"schema": "ifdkit.training/1"}', "is not a complete training.json"),
        ('{"schema": "ifdkit.training/1", "evaluated": [], "models": []}', "train with --eval"),
    ],
)
def test_other_files_are_named(write: Make, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_training([write("training.json", content)])


def test_data_that_has_changed_since_is_named(write: Make, results: dict[str, Any]) -> None:
    (path,) = write_runs(write, results, [1], [-0.1])
    write("data0.json", rows(5.0))
    with pytest.raises(InputError, match=r"data0\.json as what was trained on, which has changed"):
        ifdkit.predict_training(path, store="off")


def test_the_command_takes_folders_and_files_and_writes_a_report(
    write: Make, results: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first, second = write_runs(write, results, [1, 2], [-0.1, -0.2])
    folder = tmp_path / "run"
    folder.mkdir()
    second.rename(folder / "training.json")
    assert is_training_result(str(folder))
    assert not is_training_result(str(write("annotations.json", "[]")))
    report = tmp_path / "report"
    arguments = ["predict", str(first), str(folder), "-o", str(report), "--metrics", "ifd",
                 "--store", "off", "-q"]  # fmt: skip
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "ifdkit.prediction-of-training/1"
    assert json.loads((report / "prediction.json").read_text()) == found
    assert (report / "index.html").read_text().count("<svg") == 1
    assert "data1.json" in (report / "report.md").read_text()
    assert main(arguments) == 0  # over the earlier report
    assert "Nothing can be concluded" in capsys.readouterr().out
    assert main(["predict", str(first), str(tmp_path / "annotations.json"), "-q"]) == 2
    assert "give one file of annotations" in capsys.readouterr().err
