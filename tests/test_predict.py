"""`ifdkit predict`: a planted score is found, a shuffled one is not, and length is the baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data.annotations import read_annotations
from ifdkit.errors import InputError
from ifdkit.prediction.result import Prediction
from ifdkit.prediction.run import MAX_LENGTH_DIFFERENCE, _is_length_matched
from ifdkit.scoring.metrics import METRICS
from tests.conftest import shared

pytestmark = pytest.mark.long
Make = Callable[..., Path]
N = 500
EFFECT = 1.0
"""Distance of the planted score's means, in standard deviations of its noise."""


@pytest.fixture
def planted() -> Iterator[None]:
    """Metrics that read a number out of the response, which is where the test put it."""
    ifdkit.register_metric("planted", lambda m: float(m.example.response.split("|")[0]))
    ifdkit.register_metric("shuffled", lambda m: float(m.example.response.split("|")[1]))
    yield
    for name in ("planted", "shuffled"):
        del METRICS[name]


def preferences(seed: int = 0, *, likes_length: float = 0.0) -> list[dict[str, Any]]:
    """Pairs of two instructions each, whose preferred answer has a higher planted number."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(N):
        words = rng.integers(5, 30, size=2)
        odds = likes_length * (words[1] - words[0]) / 10
        preferred = int(rng.random() < 1 / (1 + math.exp(-odds)))
        planted = rng.normal(size=2) / math.sqrt(2)
        planted[preferred] += EFFECT / 2
        outputs = [
            f"{planted[side]:.6f}|{rng.normal():.6f}|{' word' * words[side]}" for side in (0, 1)
        ]
        rows.append({"instruction": f"Do {i // 2}", "output_1": outputs[0],
                     "output_2": outputs[1], "preference": 1 + preferred})  # fmt: skip
    return rows


def run(rows: Any, model: Path, **options: Any) -> Prediction:
    given = {"metrics": "ppl,planted,shuffled", "store": "off", "model": str(model), **options}
    return ifdkit.predict(rows, **given)


@pytest.mark.usefixtures("planted")
def test_a_planted_score_is_found_and_a_shuffled_one_is_not(tiny_model: Path) -> None:
    found = run(preferences(), tiny_model)
    # The change of the planted score is ± EFFECT ÷ 2 with a noise of variance 1.
    truth = stats.norm.cdf(EFFECT / math.sqrt(2))
    planted, shuffled = found.scores["planted"], found.scores["shuffled"]
    assert next(iter(found.scores)) == "planted"
    assert planted.ci95 is not None
    assert planted.auc is not None
    # Four standard errors: one draw may be outside its own interval.
    assert abs(planted.auc - truth) < planted.ci95[1] - planted.ci95[0]
    assert planted.adds_to_length
    assert shuffled.ci95 is not None
    assert shuffled.ci95[0] < 0.5 < shuffled.ci95[1]
    assert not shuffled.adds_to_length
    assert found.baseline.ci95 is not None
    assert found.baseline.ci95[0] < 0.5 < found.baseline.ci95[1]
    assert found.n_instructions == N // 2
    assert planted.holds_when_matched
    assert not shuffled.holds_when_matched
    assert found.verdict.startswith("planted says more than length: ")
    combination = found.combination
    assert combination is not None
    assert combination.difference_ci95 is not None
    assert combination.difference_ci95[0] > 0


@pytest.mark.usefixtures("planted")
def test_length_is_found_to_predict_what_it_does(tiny_model: Path) -> None:
    rows = preferences(1, likes_length=1.5)
    for row in rows:  # nothing but length is left
        for side in ("output_1", "output_2"):
            row[side] = "0.5|" + row[side].split("|", 1)[1]
    found = run(rows, tiny_model, metrics="planted,shuffled")
    assert found.baseline.auc is not None
    assert found.baseline.auc > 0.7
    assert found.baseline_characters.auc == pytest.approx(found.baseline.auc, abs=0.05)
    assert "planted" not in found.scores  # it changes in no pair
    assert found.verdict.startswith("No score is shown to say more than length. ")


@pytest.mark.usefixtures("planted")
def test_ties_and_missing_preferences_are_counted_and_not_predicted(tiny_model: Path) -> None:
    rows = preferences()
    for i, preference in enumerate((1.5, 0, None, math.nan, 1.9, 1.1)):
        rows[i]["preference"] = preference
    found = run(rows, tiny_model, metrics="planted,shuffled")
    assert (found.rows, found.n, found.n_tied, found.n_missing) == (N, N - 4, 2, 2)


def test_a_few_pairs_give_no_interval_and_a_verdict_that_says_so(tiny_model: Path) -> None:
    rows = [
        {"instruction": "Do it", "output_1": "a", "output_2": "a b c", "preference": 2},
        {"instruction": "And it", "output_1": "a b", "output_2": "", "preference": 1},
    ]
    found = run(rows, tiny_model, metrics="ppl")
    assert found.verdict.startswith("Nothing can be concluded: ")
    assert found.combination is None
    assert found.scores["ppl_response_direct"].n == 1  # an empty answer has no perplexity
    json.dumps(found.as_json(), allow_nan=False)


def test_ties_alone_give_a_verdict_that_says_so(
    write: Make, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A judge that follows the position gives nothing else."""
    row = {"instruction": "Do it", "output_1": "a", "output_2": "b", "preference": 1.5}
    source = write("judged.json", [row, row])
    arguments = ["-m", str(tiny_model), "--metrics", "ppl", "--store", "off", "-q"]
    assert main(["predict", str(source), "-o", str(source.with_name("x")), *arguments]) == 0
    found = json.loads((source.with_name("x") / "prediction.json").read_text())
    assert (found["n"], found["n_tied"], found["scores"]) == (0, 2, {})
    assert found["verdict"].startswith("Nothing can be concluded: 0 pairs with a preference")
    assert "left out: 2 ties" in capsys.readouterr().out


def test_a_file_without_a_preference_is_an_error(tiny_model: Path) -> None:
    row = {"instruction": "Do it", "output_1": "a", "output_2": "b", "preference": None}
    with pytest.raises(InputError, match="has no preference: every one is missing"):
        run([row], tiny_model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preference": 3}, "the preference is '3'"),
        ({"preference": True}, "the preference is 'True'"),
        ({"preference": "1"}, "the preference is '1'"),
        ({"output_2": None}, "has no text 'output_2'"),
    ],
)
def test_a_row_that_is_no_annotation_is_named(change: dict[str, Any], message: str) -> None:
    row = {"instruction": "Do it", "output_1": "a", "output_2": "b", "preference": 1}
    with pytest.raises(InputError, match=f"row 1.*{message}"):
        read_annotations([row, {**row, **change}])
    with pytest.raises(InputError, match="has no 'preference'"):
        read_annotations([{k: v for k, v in row.items() if k != "preference"}])


def test_the_command_writes_a_report_with_the_schema_of_the_contract(
    write: Make, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write("annotations.json", preferences()[:60])
    folder = source.with_name("report")
    arguments = ["predict", str(source), "-o", str(folder), "-m", str(tiny_model), "--metrics",
                 "ppl,ifd", "--store", "off", "-q"]  # fmt: skip
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "ifdkit.prediction/1"
    assert found.keys() >= {"n", "n_length_matched", "baseline", "scores", "verdict"}
    names = {"auc", "ci95", "auc_length_matched", "ci95_length_matched", "partial"}
    assert all(one.keys() >= names for one in found["scores"].values())
    assert found["scores"].keys() >= {"ifd", "ppl_response_direct", "ppl_response_conditional"}
    saved = json.loads((folder / "prediction.json").read_text())
    assert saved == found
    page = (folder / "index.html").read_text()
    assert page.count("<svg") >= 1
    assert "Length in tokens" in (folder / "report.md").read_text()
    assert " word" not in page
    assert main(arguments) == 0  # over the earlier report
    assert found["verdict"][:30] in " ".join(capsys.readouterr().out.split())
    single = source.with_name("only.md")
    assert main([*arguments[:3], str(single), *arguments[4:]]) == 0
    assert single.read_text().startswith("# Which score predicts the preference?")
    other = source.with_name("other")
    other.mkdir()
    (other / "mine.txt").write_text("x")
    assert main([*arguments[:3], str(other), *arguments[4:]]) == 2
    assert "is not an earlier prediction of ifdkit" in capsys.readouterr().err


def test_the_length_matched_pairs_of_the_real_file_are_those_it_marks() -> None:
    path = shared("data", "alpacaeval_preferences_dev.json")
    rows = json.loads(path.read_text())
    lengths = np.array([[len(one["output_1"]), len(one["output_2"])] for one in rows], float)
    is_matched = _is_length_matched(lengths)
    assert is_matched.tolist() == [one["stratum"] == "length_matched" for one in rows]
    assert (len(rows), is_matched.sum(), MAX_LENGTH_DIFFERENCE) == (485, 185, 0.12)
