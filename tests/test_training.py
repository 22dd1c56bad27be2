"""Training on tiny random models: the loss, the schedule, resuming, and what is in the folder."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.engine import finetuning
from ifdkit.engine.finetuning import IGNORED, labels_of, micro_batch_of
from ifdkit.engine.models import resolve
from ifdkit.engine.recipe import Recipe
from ifdkit.errors import IfdkitError, ModelError, OutputError, UsageError
from ifdkit.records import Request
from ifdkit.stats.crossed import crossed_mean
from ifdkit.training.evaluation import METRICS
from ifdkit.training.options import train_options
from ifdkit.training.schedule import Schedule, matched, order_of, schedule_of
from tests.reference import ReferenceModel
from tests.training_fixtures import FAMILIES, ROWS, save_family

pytestmark = pytest.mark.long

pytest.importorskip("trl")

FAST: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 2,
    "learning_rate": 1e-2,
    "store": "off",
    "device": "cpu",
}


def words(n: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Rows of words: the response repeats a word of the instruction."""
    rng = np.random.default_rng(seed)
    names = ["sea", "cat", "poem", "text", "facts", "list", "short", "about"]
    rows = []
    for _ in range(n):
        first, second = rng.choice(names, 2)
        rows.append({"instruction": f"Repeat {first} {second}.", "output": f"{second} " * 4})
    return rows


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    (file,) = folder.glob("*.safetensors")
    return dict(load_file(file))


def assert_same_weights(a: Path, b: Path) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    assert all(np.array_equal(left[name], right[name]) for name in left)


# --- the loss ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("settings", [{}, {"protocol": "cherry"}, {"template": "chat"}])
def test_the_first_loss_is_the_mean_nll_of_the_span(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """TRL trains on the tokens that were scored, and sees the model as it is scored."""
    from ifdkit.data.dataset import open_dataset
    from ifdkit.scoring.progress import Progress
    from ifdkit.scoring.scorer import Scorer
    from ifdkit.scoring.settings import Settings
    from ifdkit.training.rows import training_rows

    model = save_family(tmp_path / "model", name)
    done = ifdkit.train(
        ROWS, tmp_path / "out", model=model, steps=1, batch_size=4, micro_batch=2,
        store="off", device="cpu", **settings,
    )  # fmt: skip
    chosen = Settings(model=str(model), metrics=("ifd",), store="off", device="cpu", **settings)
    with Scorer(chosen) as scorer:
        found = training_rows(open_dataset(ROWS), scorer, Progress())
    reference = ReferenceModel(model)
    nlls = [reference.token_nll(row.request.ids.tolist(), row.request.start) for row in found.rows]
    assert done.models[0].losses[0].loss == pytest.approx(np.concatenate(nlls).mean(), rel=1e-4)
    assert done.models[0].tokens_trained == sum(map(len, nlls))


def test_training_lowers_the_loss_and_reaches_held_out_rows(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    held_out = write("held-out.json", words(30, seed=1))
    done = ifdkit.train(
        words(60), tmp_path / "out", model=tiny_model, eval=held_out,
        **{**FAST, "epochs": 4, "batch_size": 4},
    )  # fmt: skip
    (model,) = done.models
    assert model.loss_last < model.loss_first
    nll = {one.metric: one for one in done.evaluated}["nll_response_conditional"]
    assert nll.change.ci95_rows is not None
    assert nll.change.ci95_rows[1] < 0
    assert [one.metric for one in done.evaluated] == list(METRICS)


def test_held_out_numbers_are_those_of_score(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    held_out = write("held-out.json", words(12, seed=1))
    done = ifdkit.train(words(8), tmp_path / "out", model=tiny_model, eval=[held_out], **FAST)
    found = {one.metric: one for one in done.evaluated}
    for side, model in (("before", tiny_model), ("after", tmp_path / "out")):
        scores = ifdkit.score(held_out, model=model, metrics="ifd", store="off")
        for metric in ("nll_response_conditional", "ifd"):
            assert getattr(found[metric], side) == pytest.approx(scores[metric].mean(), rel=1e-9)
        # A response has one byte per character here.
        n_tokens = scores["response_tokens"]
        bits = scores["nll_response_conditional"] * n_tokens / np.log(2)
        lengths = np.array([len(row["output"]) for row in words(12, seed=1)])
        mean = (bits / lengths).mean()
        assert getattr(found["bits_per_byte_conditional"], side) == pytest.approx(mean)


# --- the folder -------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True])
def test_the_folder_is_a_model_with_its_manifest(
    tiny_model: Path, tmp_path: Path, lora: bool
) -> None:
    out = tmp_path / "out"
    done = ifdkit.train(words(6), out, model=tiny_model, lora=lora, **FAST)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(done.models[0].as_json()))
    assert manifest["recipe"]["learning_rate"] == 1e-2
    assert (manifest["examples"], manifest["steps"], manifest["passes_over_data"]) == (6, 6, 2)
    with (out / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert float(rows[0]["loss"]) == done.models[0].losses[0].loss
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "training.json").read_text())["schema"] == "ifdkit.training/1"
    assert not (out / "checkpoints").exists()
    assert not (out / "run.json").exists()
    assert (resolve(str(out)).adapter is not None) == lora
    before = ifdkit.score(words(3), model=tiny_model, metrics="ppl", store="off")
    after = ifdkit.score(words(3), model=out, metrics="ppl", store="off")
    assert (before["nll_response_direct"] != after["nll_response_direct"]).all()


def test_a_finished_run_is_not_repeated(tiny_model: Path, tmp_path: Path) -> None:
    first = ifdkit.train(words(6), tmp_path / "out", model=tiny_model, **FAST)
    again = ifdkit.train(words(6), tmp_path / "out", model=tiny_model, **FAST)
    assert again.models == first.models


@pytest.mark.parametrize("change", [{"learning_rate": 1e-3}, {"seed": 1}, {"lora": True}])
def test_another_run_into_the_same_folder_is_refused(
    tiny_model: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    ifdkit.train(words(4), tmp_path / "out", model=tiny_model, **FAST)
    with pytest.raises(OutputError, match="choose another folder"):
        ifdkit.train(words(4), tmp_path / "out", model=tiny_model, **{**FAST, **change})


def test_a_folder_with_other_files_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="files of something else"):
        ifdkit.train(words(4), tmp_path, model=tiny_model, **FAST)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_an_adapter_on_an_adapter_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    """It could not be resolved to a model again."""
    ifdkit.train(words(4), tmp_path / "one", model=tiny_model, lora=True, **FAST)
    with pytest.raises(ModelError, match="merge it first"):
        ifdkit.train(words(4), tmp_path / "two", model=tmp_path / "one", lora=True, **FAST)
    ifdkit.train(words(4), tmp_path / "two", model=tmp_path / "one", **FAST)
    assert resolve(str(tmp_path / "two")).adapter is None


def test_a_loss_that_overflows_is_an_error(tiny_model: Path, tmp_path: Path) -> None:
    options = {**FAST, "learning_rate": 1e30, "steps": 6}
    with pytest.raises(ModelError, match=r"lower --learning-rate|loss of step"):
        ifdkit.train(words(6), tmp_path / "out", model=tiny_model, **options)


# --- resuming ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True])
def test_an_interrupted_run_ends_with_the_same_weights(
    tiny_model: Path, tmp_path: Path, lora: bool
) -> None:
    """Interrupted after every step in turn, in float32 on a CPU."""
    rows, options = words(7), {**FAST, "epochs": 2, "lora": lora}
    whole = ifdkit.train(rows, tmp_path / "whole", model=tiny_model, **options)
    for _ in range(20):
        try:
            done = ifdkit.train(
                rows, tmp_path / "parts", model=tiny_model, progress=_AfterStep(), **options
            )
            break
        except KeyboardInterrupt:
            continue
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")
    assert done.models[0].losses == whole.models[0].losses


class _AfterStep(ifdkit.Progress):
    """Sends this process SIGINT once, after the first step that it sees."""

    is_sent = False

    def end_block(self) -> None:
        if not self.is_sent:
            self.is_sent = True
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.long
def test_a_killed_run_ends_with_the_same_weights(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    data = write("data.json", words(24))
    command = [sys.executable, "-m", "ifdkit", "train", str(data), "-m", str(tiny_model),
               "--batch-size", "2", "--epochs", "1", "--learning-rate", "1e-2", "--store", "off",
               "--device", "cpu", "--checkpoint-minutes", "0"]  # fmt: skip
    subprocess.run([*command, "-o", str(tmp_path / "whole")], check=True, capture_output=True)
    out = tmp_path / "killed"
    running = subprocess.Popen([*command, "-o", str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/*/ifdkit-complete")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    running.kill()
    running.wait()
    subprocess.run([*command, "-o", str(out)], check=True, capture_output=True)
    assert_same_weights(tmp_path / "whole", out)


def test_an_incomplete_checkpoint_is_not_used(tmp_path: Path) -> None:
    for step in (2, 10, 12):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 10):
        (tmp_path / f"checkpoint-{step}" / "ifdkit-complete").touch()
    assert finetuning._last_complete(tmp_path) == tmp_path / "checkpoint-10"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


# --- the schedule -----------------------------------------------------------------------------


def requests(lengths: list[int]) -> list[Request]:
    return [Request(np.zeros(n + 3, dtype=np.int32), 3, n + 3) for n in lengths]


def test_every_row_is_seen_once_before_any_is_seen_again() -> None:
    rows = requests([5] * 7)
    order = order_of(rows, Schedule(steps=7, batch_size=3), seed=0)
    assert len(order) == 21
    for epoch in (order[0:6], order[9:12]):
        assert len(set(epoch)) == len(epoch)
    assert sorted(order) == sorted([*range(7)] * 3)
    assert order_of(rows, Schedule(7, 3), 0) == order != order_of(rows, Schedule(7, 3), 1)


def test_two_versions_of_a_dataset_get_the_same_rows_in_each_step() -> None:
    short, long = requests([1, 2, 3, 4, 5, 6]), requests([60, 50, 40, 30, 20, 10])
    schedule = Schedule(steps=4, batch_size=3)
    orders = [order_of(rows, schedule, seed=3) for rows in (short, long)]
    steps = [[set(one[i : i + 3]) for i in range(0, 12, 3)] for one in orders]
    assert steps[0] == steps[1]


def test_a_budget_of_tokens_makes_steps_of_equal_tokens() -> None:
    short, long = requests([10] * 100), requests([40] * 100)
    base = schedule_of(100, Recipe(batch_size=32, epochs=1))
    assert base == Schedule(3, 32)
    assert matched(base, short, long, "tokens") == Schedule(3, 8)
    assert matched(base, long, short, "tokens") == Schedule(3, 128)
    assert matched(base, short, long, "examples") == base


@pytest.mark.parametrize(
    ("n_rows", "recipe", "steps", "batch_size"),
    [
        (52_000, {}, 1219, 128),
        (10, {}, 3, 10),
        (100, {"steps": 5, "batch_size": 8}, 5, 8),
        (3, {"epochs": 0.1}, 1, 3),
    ],
)
def test_schedules(n_rows: int, recipe: dict[str, Any], steps: int, batch_size: int) -> None:
    assert schedule_of(n_rows, Recipe(**recipe)) == Schedule(steps, batch_size)


@pytest.mark.parametrize(("batch", "micro"), [(128, 8), (12, 6), (13, 1), (2, 2)])
def test_batches_in_memory_divide_the_batch(batch: int, micro: int) -> None:
    assert micro_batch_of(batch, Recipe(), "cuda:1") == micro


# --- versus and seeds -------------------------------------------------------------------------


def test_versus_trains_both_sides_for_as_many_steps(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    data, held_out = write("data.json", words(12)), write("held-out.json", words(15, seed=3))
    other = write("other.json", [{**row, "output": row["output"] * 3} for row in words(12)])
    done = ifdkit.train(
        data, tmp_path / "out", model=tiny_model, versus=other, eval=held_out, seeds=2,
        budget="tokens", lora=True, **{**FAST, "batch_size": 12},
    )  # fmt: skip
    names = [Path(model.output).name for model in done.models]
    assert names == ["data-seed0", "data-seed1", "versus-seed0", "versus-seed1"]
    assert {model.steps for model in done.models} == {2}
    tokens = [model.tokens_trained for model in done.models]
    assert max(tokens) / min(tokens) < 1.25
    batches = [model.batch_size for model in done.models]
    assert batches[0] == 12 > batches[2]
    for one in done.contrasts:
        by_side = {e.side: e for e in done.evaluated if e.metric == one.metric}
        assert one.difference.n_seeds == 2
        assert one.difference.n_rows == 15
        assert one.difference.ci95_seeds is not None
        changes = [by_side[side].change.mean or 0 for side in ("data", "versus")]
        assert one.difference.mean == pytest.approx(changes[1] - changes[0])
    assert done.budget == "tokens"


def test_versus_itself_differs_by_nothing(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Negative control: the order and the seeds are those of the other side."""
    data, held_out = write("data.json", words(8)), write("held-out.json", words(11, seed=3))
    done = ifdkit.train(
        data, tmp_path / "out", model=tiny_model, versus=data, eval=held_out, seeds=2, **FAST
    )
    for one in done.contrasts:
        assert one.difference.mean == 0
        assert one.difference.ci95 == (0, 0)


def test_held_out_rows_in_the_training_data_are_counted(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    held_out = write("held-out.json", [*words(4), {"instruction": "Other", "output": "one"}])
    done = ifdkit.train(words(4), tmp_path / "out", model=tiny_model, eval=held_out, **FAST)
    assert done.also_trained == {str(held_out): 4}


def test_a_mean_over_seeds_and_rows() -> None:
    rng = np.random.default_rng(0)
    seeds, rows = rng.normal(0, 0.5, (5, 1)), rng.normal(1, 1, (1, 200))
    found = crossed_mean(seeds + rows, seed=0)
    assert found.mean == pytest.approx((seeds + rows).mean())
    assert found.ci95 is not None
    assert found.ci95_rows is not None
    width, width_rows = (high - low for low, high in (found.ci95, found.ci95_rows))
    assert width > 1.5 * width_rows  # the seeds vary too
    one = crossed_mean(rows, seed=0)
    assert (one.n_seeds, one.ci95, one.ci95_seeds) == (1, None, None)
    assert crossed_mean(np.full((2, 3), np.nan), seed=0).mean is None


# --- the command ------------------------------------------------------------------------------


def test_the_command_prints_what_it_did(
    tiny_model: Path, tmp_path: Path, write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*words(6), {"instruction": "Say nothing.", "output": ""}, {"output": 7}]
    data, held_out = write("data.json", rows), write("held-out.json", words(11, seed=2))
    arguments = ["train", str(data), "-m", str(tiny_model), "-o", str(tmp_path / "out"),
                 "--batch-size", "2", "--epochs", "1", "--eval", str(held_out),
                 "--store", "off", "--lora"]  # fmt: skip
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "held out:" in out
    assert "bits/byte" in out
    assert "step 3 of 3: loss" in err
    assert "2 examples not trained on: 1 rejected, 1 empty_response" in " ".join(out.split())
    assert (out + err).count("not trained on") == 1
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["steps"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "labtop"], "did you mean 'laptop'?"),
        (["--epochs", "0"], "--epochs 0.0: must be above 0"),
        (["--warmup", "2"], "--warmup 2.0: must be a share"),
        (["--seeds", "0"], "--seeds 0"),
        (["--versus", "x.json", "--budget", "bytes"], "no budget 'bytes'"),
        (["--log", "mlfow"], "no tracker 'mlfow': did you mean 'mlflow'?"),
        (["--log", "wandb"], "pip install wandb"),
        (["--template", "chat:x"], "has no chat template 'x'"),
    ],
)
def test_errors_are_one_line(
    tiny_model: Path,
    tmp_path: Path,
    write: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    data = write("data.json", words(4))
    command = ["train", str(data), "-m", str(tiny_model), "-o", str(tmp_path / "out"), *arguments]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.strip().count("\n") == 0
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "find_spec", lambda name: None if name == "trl" else name)
    with pytest.raises(
        UsageError, match=r"training needs trl: run `pip install 'ifdkit\[train\]'`"
    ):
        ifdkit.train(words(2), tmp_path / "out", model=tiny_model)


def test_unknown_keywords_are_named(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(IfdkitError, match="did you mean"):
        ifdkit.train(words(2), tmp_path / "out", modle=tiny_model)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda out: ifdkit.train(ROWS, out, learning_rate="x"), "learning_rate='x'"),  # type: ignore[arg-type]
        (lambda out: ifdkit.train(ROWS, out, lora="yes"), "lora='yes'"),  # type: ignore[arg-type]
        (lambda out: ifdkit.train(ROWS, out, seeds=True), "seeds=True"),
        (lambda out: ifdkit.train(ROWS, out, budget=3), "budget=3"),  # type: ignore[arg-type]
        (lambda out: ifdkit.generate(ROWS, out, max_new_tokens="9"), "max_new_tokens='9'"),  # type: ignore[arg-type]
        (lambda out: ifdkit.judge(ROWS, ROWS, out, oracle=3), "oracle=3"),  # type: ignore[arg-type]
        (lambda out: ifdkit.judge(ROWS, ROWS, out, oracle="m", max_cost="1"), "max_cost='1'"),  # type: ignore[arg-type]
    ],
)
def test_a_keyword_of_the_wrong_type_is_named(
    call: Callable[[Path], Any], name: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{name} has the wrong type")):
        call(tmp_path / "out.json")


def test_presets() -> None:
    paper, settings = train_options({})
    assert (paper.recipe, settings) == (Recipe(), {})
    assert (paper.recipe.batch_size, paper.recipe.learning_rate) == (128, 2e-5)
    laptop, settings = train_options({"preset": "laptop", "batch_size": 4})
    assert (laptop.recipe.lora, laptop.recipe.batch_size) == (True, 4)
    assert settings == {"max_length": 512}
    assert train_options({"preset": "laptop", "max_length": 64})[1] == {}
    assert train_options({"preset": "laptop", "lora": False})[0].recipe.lora is False


def test_labels_are_what_the_collator_passes_on() -> None:
    """TRL pads ids and labels, and masks nothing else."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    rows = [
        Request(np.array(ids, dtype=np.int32), 1, stop)
        for ids, stop in (([5, 6, 7], 3), ([8, 9], 2))
    ]
    batch = DataCollatorForLanguageModeling(pad_token_id=0)(
        [{"input_ids": row.ids.tolist(), "labels": labels_of(row)} for row in rows]
    )
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [IGNORED, 9, IGNORED]]
