"""`select --tune`: planted scores are found, noise is not believed, and a killed run resumes."""

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

import numpy as np
import pytest
from numpy.typing import NDArray

import ifdkit
from ifdkit.cli.main import main
from ifdkit.data.options import ReadOptions
from ifdkit.errors import IfdkitError, ModelError, OutputError, UsageError
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings
from ifdkit.selection.inputs import Inputs
from ifdkit.selection.methods import Task
from ifdkit.selection.rows import rows_of
from ifdkit.selection.tuned import Contender, options_with, weights_text
from ifdkit.tuning import parts
from ifdkit.tuning.journal import RunJournal
from ifdkit.tuning.verdict import RANDOM, TUNED, compared, remarks, student
from tests.select_fixtures import scored

pytestmark = pytest.mark.long

pytest.importorskip("trl")

NAMES = ["sea", "cat", "poem", "text", "facts", "list", "short", "about"]
FAST: dict[str, Any] = {
    "trials": 6,
    "holdout": 16,
    "random": 6,
    "preset": "paper",
    "steps": 12,
    "batch_size": 8,
    "learning_rate": 1e-2,
}
QUICK = {**FAST, "trials": 5, "holdout": 10, "random": 3, "steps": 2, "batch_size": 2}
"""For what does not depend on whether a model learns."""
SETTINGS: dict[str, Any] = {"store": "off", "device": "cpu"}


def needs_optuna() -> None:
    pytest.importorskip("optuna")


def good_row(i: int, generator: np.random.Generator) -> dict[str, Any]:
    """The response repeats a word of the instruction."""
    first, second = generator.choice(NAMES, 2)
    return {"instruction": f"Repeat {first} {second} {i}.", "output": f"{second} " * 4}


def noisy_row(i: int, generator: np.random.Generator) -> dict[str, Any]:
    """The response is letters at random."""
    row = good_row(i, generator)
    letters = generator.choice(list("abcdefghijklmnopqrstuvwxyz "), 6)
    return {**row, "output": f"x{''.join(letters)}x"}


def planted(folder: Path, n: int = 320, *, marks_noise: bool = True) -> Path:
    """A scores file whose `coherence` is high for the two thirds of the rows that are noise.

    `ifd` is noise; without `marks_noise` both are.
    """
    generator = np.random.default_rng(0)
    is_noise = generator.permutation(n) < 2 * n // 3
    rows = [
        {"id": f"r{i}", **(noisy_row if bad else good_row)(i, generator)}
        for i, bad in enumerate(is_noise.tolist())
    ]
    jitter = generator.normal(0, 0.05, n)
    coherence = 0.4 * (is_noise if marks_noise else 0) + jitter
    ifd = generator.uniform(0.2, 0.9, n)
    return scored(folder, rows, ifd=ifd.tolist(), coherence=coherence.tolist())


def good_answers(folder: Path, n: int = 60) -> Path:
    generator = np.random.default_rng(1)
    path = folder / "good.jsonl"
    rows = [good_row(1_000 + i, generator) for i in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tuned(
    data: Any, output: Path, model: Path, *, top: Any = 80, seed: int = 0, **options: Any
) -> Any:
    chosen = {"scores": "ifd,coherence", **FAST, **options}
    tuning = ifdkit.Tuning(model=model, **chosen)
    return ifdkit.select(data, output, top=top, seed=seed, tune=tuning, **SETTINGS)


# What it finds


def test_a_score_that_marks_noise_gets_the_right_sign(tiny_model: Path, tmp_path: Path) -> None:
    needs_optuna()
    done = tuned(planted(tmp_path), tmp_path / "out.jsonl", tiny_model, eval=good_answers(tmp_path))
    found = done.tuning
    assert found.weights["coherence"] < 0
    assert abs(found.weights["coherence"]) > abs(found.weights.get("ifd", 0))
    assert found.verdict == "better"
    assert found.remarks[0].startswith("The tuned weights are better than random")
    by_name = {one.name: one for one in found.contenders}
    assert by_name["coherence"].weights == {"coherence": -1}
    assert by_name["coherence"].verdict == "better"
    assert by_name["ifd"].verdict != "better"
    kept = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(kept) == 80
    assert sum(row["output"].startswith("x") for row in kept) <= 8  # half of them by chance
    assert done.parameters["weights"] == found.text


def test_scores_that_are_noise_are_not_distinguishable_from_random(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Negative control: the same rows, and scores that know nothing of them."""
    needs_optuna()
    data, good = planted(tmp_path, marks_noise=False), good_answers(tmp_path)
    flags = [f"--tune-{name.replace('_', '-')}={value}" for name, value in FAST.items()]
    command = ["select", str(data), "-o", str(tmp_path / "out.jsonl"), "--tune", "ifd,coherence",
               "--top", "80", "--tune-eval", str(good), "--tune-model", str(tiny_model),
               "--store", "off", "--device", "cpu", *flags]  # fmt: skip
    assert main(command) == 0
    out, err = capsys.readouterr()
    said = " ".join(out.split())
    assert "! The tuned weights are not distinguishable from random" in said
    assert "at most 21 runs" in err
    assert "trial 6 of 6: " in err
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())["tuning"]
    assert manifest["verdict"] == "not distinguishable"
    lowest = min(one["nll"] for one in manifest["trials"])
    assert manifest["trials"][manifest["best_trial"] - 1]["nll"] == lowest


def test_an_ordinary_selection_says_nothing_of_tuning(tmp_path: Path) -> None:
    done = ifdkit.select(planted(tmp_path), tmp_path / "out.jsonl", by="ifd", top=5)
    assert done.tuning is None
    assert "tuning" not in done.as_json()


# The comparison

Nlls = NDArray[np.float64]


def simulated(
    generator: np.random.Generator, *, n_random: int = 5, rows: int = 30, gain: float = 0.0
) -> tuple[Contender, ...]:
    """NLLs in which the rows that are selected matter, and the training seed does a little."""
    base = generator.normal(3, 1, rows)

    def table(effects: Nlls) -> Nlls:
        n = len(effects)
        own = generator.normal(0, 0.02, (n, rows)) + generator.normal(0, 0.02, (n, 1))
        return base + effects[:, None] + own

    one_selection = np.full(3, generator.normal(0, 0.1) - gain)
    return compared(
        {
            TUNED: ({"ifd": 1.0, "rifd": -0.5}, table(one_selection)),
            "ifd": ({"ifd": 1.0}, table(one_selection)),
            RANDOM: ({}, table(generator.normal(0, 0.1, n_random))),
        },
        seed=0,
    )


def test_a_lucky_selection_is_rarely_taken_for_good_weights() -> None:
    """One selection differs from random ones by its rows, however many seeds it trains with."""
    generator = np.random.default_rng(0)
    verdicts = [simulated(generator, rows=12)[0].verdict for _ in range(150)]
    n_wrong = sum(one != "not distinguishable" for one in verdicts)
    assert n_wrong <= 15, "5 % are expected"


def test_a_large_gain_is_seen() -> None:
    found = simulated(np.random.default_rng(0), gain=1.0)
    assert found[0].verdict == "better"
    assert [one.verdict for one in found[1:]] == ["better", None]
    said = list(remarks(found))
    assert "better than random" in said[0]
    assert "One score does as well: ifd alone, highest first has" in said[1]
    found = simulated(np.random.default_rng(0), gain=-1.0)
    assert found[0].verdict == "worse"
    assert next(remarks(found)).endswith("Do not select by them.")


def test_the_margin_is_that_of_one_more_random_selection() -> None:
    tuned_nlls, random = np.zeros((3, 12)), np.array([[1.0], [2.0], [4.0]]) + np.zeros((3, 12))
    found, _ = compared({TUNED: ({"ifd": 1.0}, tuned_nlls), RANDOM: ({}, random)}, seed=0)
    sd = np.std([1, 2, 4], ddof=1)
    assert found.margin == pytest.approx(4.302653 * sd * np.sqrt(4 / 3), rel=1e-6)
    assert student(3) == pytest.approx(4.302653, rel=1e-6)
    assert found.versus_random == pytest.approx(-7 / 3)


def test_rows_without_an_nll_count_nowhere() -> None:
    one, random = np.zeros((3, 12)), np.arange(36, dtype=np.float64).reshape(3, 12)
    broken = one.copy()
    broken[1, 4] = np.nan
    found = compared({TUNED: ({"ifd": 1.0}, broken), RANDOM: ({}, random)}, seed=0)
    kept = np.delete(random, 4, axis=1)
    assert found[1].nlls == tuple(kept.mean(axis=1))


# The halves


def test_held_out_rows_are_in_no_selection(tiny_model: Path, tmp_path: Path) -> None:
    """Nor are rows with their texts; neither half has a row of the other."""
    needs_optuna()
    generator = np.random.default_rng(3)
    rows = [good_row(i, generator) for i in range(60)]
    rows += [{**row, "output": f"{row['output'].upper()} "} for row in rows]
    data = scored(tmp_path, rows, ifd=generator.uniform(0.2, 0.9, 120).tolist(),
                  coherence=generator.uniform(0, 1, 120).tolist())  # fmt: skip
    done = tuned(data, tmp_path / "out.jsonl", tiny_model, top="40%", **QUICK)
    found = done.tuning
    held = {*found.held_out_trials, *found.held_out_verdict}
    assert len(held) == 20
    copies = held | {(row + 60) % 120 for row in held}
    assert not copies & set(done.kept_rows)
    assert done.dropped["held_out"] == 40
    log = [
        json.loads(line) for line in (tmp_path / "out.jsonl.rows.jsonl").read_text().splitlines()
    ]
    assert {one["row"] for one in log if one["reason"] == "held_out"} == copies
    assert done.kept == done.wanted == 48  # of all rows
    assert found.candidates == (20, 20)
    assert [path.name for path in (tmp_path / "out.jsonl.tuning").iterdir()] == ["runs.jsonl"]


def divided(
    data: Path, model: Path, folder: Path, *, top: Any = 40, where: str | None = None, **more: Any
) -> parts.TuningParts:
    """Both halves, without a run."""
    tuning = ifdkit.Tuning("ifd,coherence", model=model, **{**QUICK, **more})
    options = options_with({"top": top, "where": where}, tuning)
    inputs = Inputs(options, SETTINGS, ReadOptions(turns="last"), ifdkit.Progress())
    out = folder / "out.jsonl"
    scores, _ = inputs.open(data, out)
    rows = rows_of(scores, "last")
    task = Task(dataset=scores.dataset, rows=rows, options=options, seed=0, embed=inputs.embed)
    settings = Settings(model=str(model), metrics=("ifd",), store="off", device="cpu")
    with Scorer(settings) as scorer:
        return parts.divide(tuning, inputs.for_tuning(scores, task, out), scorer)


def groups_of(found: parts.TuningParts) -> list[NDArray[np.int64]]:
    first, second = found.halves
    return [first.candidates, second.candidates, first.held_out, second.held_out]


def test_the_halves_share_no_row(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_CANDIDATES", 30)
    found = divided(planted(tmp_path), tiny_model, tmp_path, top=100)
    groups = groups_of(found)
    assert [len(one) for one in groups] == [30, 30, 10, 10]
    assert len(np.unique(np.concatenate(groups))) == 80
    assert found.selected == round(100 * 30 / 300)
    assert set(found.left_out.tolist()) == {*groups[2].tolist(), *groups[3].tolist()}


def scored_rows(folder: Path, n: int = 120, **columns: list[float | None]) -> Path:
    """Good rows, half of them of either source, with scores that mean nothing."""
    generator = np.random.default_rng(3)
    rows = [{**good_row(i, generator), "source": "ab"[i % 2]} for i in range(n)]
    found = {
        "ifd": generator.uniform(0.2, 0.9, n).tolist(),
        "coherence": generator.uniform(0, 1, n).tolist(),
        **columns,
    }
    return scored(folder, rows, numbers=found)


def test_ineligible_rows_are_in_no_half(tiny_model: Path, tmp_path: Path) -> None:
    """Misaligned rows, rows without a score, and those that a condition leaves out."""
    generator = np.random.default_rng(3)
    ifd: list[float | None] = [*([1.5] * 10), *generator.uniform(0.2, 0.9, 110).tolist()]
    coherence: list[float | None] = [*generator.uniform(0, 1, 110).tolist(), *([None] * 10)]
    data = scored_rows(tmp_path, ifd=ifd, coherence=coherence)
    groups = groups_of(divided(data, tiny_model, tmp_path))
    assert set(np.concatenate(groups).tolist()) == set(range(10, 110))
    groups = groups_of(divided(data, tiny_model, tmp_path, where="ifd < 0.7", top=30))
    used = np.concatenate(groups).tolist()
    assert 50 < len(used) < 90
    assert all((ifd[row] or 0) < 0.7 for row in used)


def test_a_held_out_file_takes_its_texts_out_of_the_input(tiny_model: Path, tmp_path: Path) -> None:
    data, good = scored_rows(tmp_path), tmp_path / "good.jsonl"
    lines = (tmp_path / "data.jsonl").read_text().splitlines(keepends=True)
    good.write_text("".join(lines[:30]))
    found = divided(data, tiny_model, tmp_path, eval=good)
    groups = groups_of(found)
    assert found.held_out_from == str(good)
    assert found.left_out.tolist() == list(range(30))
    assert set(np.concatenate(groups[:2]).tolist()) == set(range(30, 120))
    assert [len(one) for one in groups] == [45, 45, 10, 10]
    assert not set(groups[2].tolist()) & set(groups[3].tolist())


def test_groups_apply(tiny_model: Path, tmp_path: Path) -> None:
    needs_optuna()
    tuning = ifdkit.Tuning(["ifd", "coherence"], model=tiny_model, **QUICK)
    done = ifdkit.select(
        scored_rows(tmp_path), tmp_path / "out.jsonl", top=40, tune=tuning, per="source",
        quota="equal", **SETTINGS,
    )  # fmt: skip
    assert sum(row % 2 for row in done.kept_rows) == 20
    assert done.parameters["weights"] == done.tuning.text if done.tuning else False


# Trials


def test_the_first_trials_are_each_score_alone_and_the_seed_decides_the_rest(
    tmp_path: Path,
) -> None:
    needs_optuna()
    from ifdkit.tuning.sampler import try_weights

    def nll(_: int, weights: Any) -> float:
        return float((weights.get("ifd", 0) - 0.3) ** 2 + (weights.get("rifd", 0) + 0.6) ** 2)

    fields = ("ifd", "rifd")
    trials = try_weights(fields, 30, 0, nll)
    assert [one.weights for one in trials[:4]] == [{"ifd": 1}, {"ifd": -1}, {"rifd": 1},
                                                   {"rifd": -1}]  # fmt: skip
    assert trials == try_weights(fields, 30, 0, nll)
    assert trials[:20] == try_weights(fields, 20, 0, nll)
    assert trials != try_weights(fields, 30, 1, nll)
    assert min(one.nll for one in trials) < 0.1  # (0, 0) has 0.45


def test_an_adapter_trains_too_and_more_trials_begin_with_those_that_are_known(
    tiny_model: Path, tmp_path: Path
) -> None:
    needs_optuna()
    data, out, options = planted(tmp_path), tmp_path / "out.jsonl", {**QUICK, "preset": "laptop"}
    few = tuned(data, out, tiny_model, **options)
    journal = tmp_path / "out.jsonl.tuning" / "runs.jsonl"
    known = journal.read_bytes()
    assert tuned(data, out, tiny_model, **options).tuning == few.tuning
    assert journal.read_bytes() == known, "nothing was trained again"
    more = tuned(data, out, tiny_model, **{**options, "trials": 7})
    assert more.tuning.trials[:5] == few.tuning.trials
    assert journal.read_bytes().startswith(known)
    assert more.tuning.recipe["lora"] is True


# Resuming


class _AfterSteps(ifdkit.Progress):
    """Sends this process SIGINT once, after some of the steps that it sees."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps

    def missing(self, tokens: int) -> None:
        del tokens
        self.n_steps -= 1
        if self.n_steps == 0:
            os.kill(os.getpid(), signal.SIGINT)


def result_of(folder: Path) -> list[Any]:
    manifest = json.loads((folder / "out.jsonl.manifest.json").read_text())
    names = ("out.jsonl", "out.jsonl.rows.jsonl", "out.jsonl.tuning/runs.jsonl")
    return [manifest["tuning"], *((folder / name).read_bytes() for name in names)]


@pytest.mark.parametrize("n_steps", [1, 3])
def test_interrupted_trials_end_with_the_same_bytes(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_steps: int
) -> None:
    """Interrupted four times; the last step of a run has nothing to resume."""
    needs_optuna()
    options = {**QUICK, "steps": 3}
    data, tuning = planted(tmp_path), ifdkit.Tuning("ifd,coherence", model=tiny_model, **options)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    ifdkit.select(data, "out.jsonl", top=80, tune=tuning, **SETTINGS)
    monkeypatch.chdir(tmp_path / "parts")
    n_interrupts = 0
    while True:
        try:
            progress = _AfterSteps(n_steps) if n_interrupts < 4 else None
            ifdkit.select(data, "out.jsonl", top=80, tune=tuning, progress=progress, **SETTINGS)
            break
        except KeyboardInterrupt:
            n_interrupts += 1
            assert not Path("out.jsonl").exists()
    assert n_interrupts == 4
    assert result_of(tmp_path / "parts") == result_of(tmp_path / "whole")


def test_a_killed_search_ends_with_the_same_bytes(tiny_model: Path, tmp_path: Path) -> None:
    needs_optuna()
    data = planted(tmp_path)
    flags = [f"--tune-{name.replace('_', '-')}={value}" for name, value in QUICK.items()]
    command = [sys.executable, "-m", "ifdkit", "select", str(data), "-o", "out.jsonl", "--tune",
               "ifd,coherence", "--top", "80", "--tune-model", str(tiny_model), "--store", "off",
               "--device", "cpu", *flags]  # fmt: skip
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    subprocess.run(command, cwd=tmp_path / "whole", check=True, capture_output=True)
    folder = tmp_path / "killed"
    for n_lines in (3, 8):
        running = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
        journal, deadline = folder / "out.jsonl.tuning" / "runs.jsonl", time.monotonic() + 120
        while time.monotonic() < deadline:
            if journal.exists() and journal.read_bytes().count(b"\n") >= n_lines:
                break
            time.sleep(0.02)
        running.kill()
        running.wait()
        assert not (folder / "out.jsonl").exists()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert result_of(folder) == result_of(tmp_path / "whole")


def test_a_torn_line_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.tuning" / "runs.jsonl"
    journal = RunJournal(path)
    journal.put("a", "trial 1", np.array([1.5, np.nan]))
    whole = path.read_bytes()
    journal.put("b", "trial 2", np.array([2.5]))
    both = path.read_bytes()
    for end in range(len(whole) + 1, len(both)):
        path.write_bytes(both[:end])
        again = RunJournal(path)
        assert path.read_bytes() == whole
        known = again.get("a")
        assert known is not None
        np.testing.assert_array_equal(known, [1.5, np.nan])
        assert again.get("b") is None
        again.put("b", "trial 2", np.array([2.5]))
        assert path.read_bytes() == both


def test_a_file_of_something_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "out.tuning" / "runs.jsonl"
    path.parent.mkdir()
    path.write_text('{"mine": 1}\n')
    with pytest.raises(OutputError, match="no journal of `select --tune`"):
        RunJournal(path)
    assert path.read_text() == '{"mine": 1}\n'


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": "ifd,coherenec"}, "--tune: no metric 'coherenec': did you mean 'coherence'"),
        ({"scores": "ifd"}, "--tune ifd: give at least two scores"),
        ({"scores": "ifd,ifd"}, "--tune: ifd is given twice"),
        ({"scores": "ifd,rifd", "trials": 4}, "--tune-trials 4: 5 to 10,000, as the first 4 are"),
        ({"scores": "ifd,rifd", "holdout": 9}, "--tune-holdout 9: at least 10 rows"),
        ({"scores": "ifd,rifd", "random": 2}, "--tune-random 2: 3 to 1,000"),
        ({"scores": "ifd,rifd", "steps": 0}, "--tune-steps 0: must be above 0"),
        ({"scores": "ifd,rifd", "learning_rate": -1.0}, "--tune-learning-rate -1.0: must be"),
        ({"scores": "ifd,rifd", "preset": "papre"}, "no preset 'papre': did you mean 'paper'?"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        ifdkit.Tuning(**options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tune", "ifd,rifd", "--by", "ifd"], "--tune finds what to rank by: leave --by out"),
        (["--tune", "ifd,rifd", "--method", "random"], "leave --method out"),
        (["--tune", "ifd,rifd", "--lowest"], "leave --lowest out"),
        (["--tune", "ifd,rifd", "--per", "cluster"], "--per cluster embeds: name a column"),
        (["--by", "ifd", "--tune-trials", "5"], "--tune-trials is for --tune: give --tune too"),
    ],
)
def test_contradictory_flags_are_refused(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.jsonl")
    assert main(["select", str(planted(tmp_path, 20)), "-o", out, "--top", "5", *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_name_is_no_search(tmp_path: Path) -> None:
    wrong: Any = "ifd,coherence"
    with pytest.raises(UsageError, match=r"tune='ifd,coherence' must be an ifdkit\.Tuning"):
        ifdkit.select(planted(tmp_path, 20), tmp_path / "out.jsonl", top=5, tune=wrong)


def test_without_its_package_it_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"needs optuna: run `pip install 'ifdkit\[tune\]'`"):
        ifdkit.select("nowhere.jsonl", tmp_path / "out.jsonl", top=5,
                      tune=ifdkit.Tuning("ifd,coherence"))  # fmt: skip


def refused(
    data: Any, folder: Path, model: Path, kind: type[IfdkitError] = UsageError, **options: Any
) -> str:
    with pytest.raises(kind) as error:
        tuned(data, folder / "out.jsonl", model, **{**QUICK, **options})
    assert not (folder / "out.jsonl").exists()
    return str(error.value)


def test_what_cannot_be_tuned_is_refused_before_a_run(tiny_model: Path, tmp_path: Path) -> None:
    needs_optuna()
    few = scored(tmp_path, [good_row(i, np.random.default_rng(i)) for i in range(30)],
                 ifd=np.linspace(0.1, 0.9, 30).tolist(),
                 coherence=np.linspace(0, 1, 30).tolist())  # fmt: skip
    said = refused(few, tmp_path, tiny_model, top=10)
    assert "30 different rows" in said
    assert "at least 38 are needed, of which 20 are held out: lower --tune-holdout" in said
    rows = [good_row(i, np.random.default_rng(i)) for i in range(80)]
    columns = {"ifd": np.linspace(0.1, 0.9, 80).tolist(), "coherence": [0.1 + 0.2] * 80}
    constant = scored(tmp_path, rows, numbers=columns)
    said = refused(constant, tmp_path, tiny_model)
    assert "coherence is the same in all 80 rows" in said
    enough = planted(tmp_path, 120)
    assert "keeps all of the 100 rows that are not held out" in refused(
        enough, tmp_path, tiny_model, top=110
    )
    assert "--top 5 is too little for --tune" in refused(enough, tmp_path, tiny_model, top=5)
    short = tmp_path / "short.jsonl"
    short.write_text(json.dumps(rows[0]) + "\n")
    said = refused(enough, tmp_path, tiny_model, top=40, eval=short)
    assert "1 row can be scored, and each half needs at least 10" in said
    (tmp_path / "out.jsonl.tuning").touch()
    assert "--tune needs a folder there" in refused(
        enough, tmp_path, tiny_model, OutputError, top=40
    )


def test_a_model_that_diverges_is_an_error_of_one_line(tiny_model: Path, tmp_path: Path) -> None:
    needs_optuna()
    said = refused(planted(tmp_path, 120), tmp_path, tiny_model, ModelError, top=40,
                   learning_rate=1e30, steps=6)  # fmt: skip
    assert "lower --tune-learning-rate" in said or "lower --learning-rate" in said


def test_equal_weights_stand_in_until_some_are_found() -> None:
    options = options_with({"top": 5}, ifdkit.Tuning("ifd,coherence"))
    assert options.combination == {"ifd": 1, "coherence": 1}
    assert weights_text({"ifd": 0.25, "coherence": -1.0}) == "ifd=0.25,coherence=-1"
    assert replace(options, weights=weights_text({"ifd": -0.07})).combination == {"ifd": -0.07}
