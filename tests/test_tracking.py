"""`--log`: numbers and settings of a run, in real trackers that write to folders, and in a fake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest

import ifdkit
from ifdkit import tracking
from ifdkit.cli.main import main
from ifdkit.errors import UsageError
from ifdkit.tracking import TRACKERS, TrackedRun, TrackerName, flat_numbers, flat_settings, track

pytestmark = pytest.mark.long

ROWS = [{"instruction": f"Write {i}", "output": f"the sea is {i} times blue"} for i in range(12)]
RUN = TrackedRun(
    "score", "data.json", {"model": "gpt2", "limit": 5, "lines": False}, {"ifd/mean": 0.5, "n": 3.0}
)


def test_every_name_has_an_entry() -> None:
    assert set(TRACKERS) == set(get_args(TrackerName))


def test_what_is_logged_is_flat_and_finite() -> None:
    value = {
        "a": {"b": 1, "c": None, "d": float("nan")},
        "ci": [1.5, 2.5],
        "on": True,
        "t": "x" * 999,
    }
    assert flat_numbers(value) == {"a/b": 1.0, "ci/0": 1.5, "ci/1": 2.5}
    found = flat_settings({name: one for name, one in value.items() if name != "a"})
    assert found == {"ci/0": 1.5, "ci/1": 2.5, "on": True, "t": "x" * tracking.MAX_SETTING_CHARS}


class FakeWandb:
    """Records what the wandb package is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def init(self, **keywords: Any) -> FakeWandb:
        self.calls.append(("init", keywords))
        return self

    def __enter__(self) -> FakeWandb:
        return self

    def __exit__(self, *_: object) -> None:
        self.calls.append(("finish", None))

    def log(self, numbers: dict[str, float]) -> None:
        print("wandb prints")
        self.calls.append(("log", numbers))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(tracking, "find_spec", lambda name: name == "wandb" or find_spec(name))
    return fake


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("data.json")
    path.write_text(json.dumps(ROWS))
    return path


@pytest.fixture
def flags(tiny_model: Path) -> list[str]:
    return ["-m", str(tiny_model), "--metrics", "ppl,ifd", "--store", "off", "--dtype", "float32"]


def test_score_logs_its_numbers_and_settings(
    data: Path, flags: list[str], wandb: FakeWandb, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(data), "-o", "s.jsonl", "--log", "wandb", "--json", *flags]) == 0
    out = json.loads(capsys.readouterr().out)  # what a tracker prints is not on stdout
    (_, started), (_, numbers), (last, _) = wandb.calls
    assert last == "finish"
    assert (started["project"], started["name"]) == ("ifdkit", "score data.json")
    assert numbers["ifd/mean"] == out["metrics"]["ifd"]["mean"]
    assert numbers["status/ok"] == numbers["run/examples"] == len(ROWS)
    made = out["manifest"]
    for name in ("model", "weights_hash", "protocol", "dtype", "input_sha256", "max_length"):
        assert started["config"][name] == made[name]
    assert started["config"]["columns/response"] == "output"
    assert not any("sea" in str(one) for one in [*started["config"].values(), *numbers])


def test_compare_logs_what_changed(
    data: Path, flags: list[str], wandb: FakeWandb, capsys: pytest.CaptureFixture[str]
) -> None:
    after = [{**row, "output": row["output"] + " and wide"} for row in ROWS]
    Path("after.json").write_text(json.dumps(after))
    command = ["compare", str(data), "after.json", "-o", "r", "--log", "wandb", "--json", *flags]
    assert main(command) == 0
    out = json.loads(capsys.readouterr().out)
    (_, started), (_, numbers), _ = wandb.calls
    assert started["name"] == "compare data.json → after.json"
    change = out["metrics"]["ifd"]["change"]
    assert numbers["ifd/change/mean"] == change["mean"]
    assert numbers["ifd/change/mean_ci95/0"] == change["mean_ci95"][0]
    assert numbers["n_pairs"] == len(ROWS)
    assert started["config"]["before/weights_hash"] == out["before"]["weights_hash"]
    assert started["config"]["after/input"] == "after.json"
    wandb.calls.clear()
    others = ["compare", str(data), "after.json", str(data), "-o", "r2", "--log", "wandb", *flags]
    assert main(others) == 0
    (_, started), (_, numbers), _ = wandb.calls
    assert started["config"]["1/name"] == "after.json"
    assert numbers["1/ifd/change/mean"] == change["mean"]
    assert numbers["2/ifd/change/mean"] == 0


def test_python_functions_log_too(data: Path, wandb: FakeWandb, tiny_model: Path) -> None:
    settings: dict[str, Any] = {"model": str(tiny_model), "metrics": "ifd", "store": "off"}
    scores = ifdkit.score(data, log="wandb", **settings)
    assert wandb.calls[1][1]["ifd/mean"] == pytest.approx(scores["ifd"].mean())
    ifdkit.score(ROWS, join=True, log="wandb", **settings)
    assert wandb.calls[4][1]["ifd/mean"] == pytest.approx(scores["ifd"].mean())
    ifdkit.compare(data, data, log="wandb", **settings)
    assert wandb.calls[7][1]["ifd/change/mean"] == 0
    ifdkit.compare_several(data, [data, data], log="wandb", **settings)
    assert wandb.calls[10][1]["2/ifd/change/mean"] == 0
    wrong: Any = "comet"
    with pytest.raises(UsageError, match="no tracker 'comet'"):
        ifdkit.score(data, log=wrong, **settings)


def test_a_tracker_that_fails_loses_nothing(
    data: Path,
    flags: list[str],
    wandb: FakeWandb,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: Any) -> Any:
        assert Path("s.jsonl").is_file(), "scores are written first"
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(wandb, "init", fail)
    assert main(["score", str(data), "-o", "s.jsonl", "--log", "wandb", "-q", *flags]) == 0
    assert caplog.messages == [
        "--log wandb failed, and the output is complete: ConnectionError: no route to host"
    ]
    assert len(Path("s.jsonl").read_text().splitlines()) == len(ROWS)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("wandb", "--log wandb: the package is not installed: run `pip install wandb`"),
        ("wnadb", "--log: no tracker 'wnadb': did you mean 'wandb'?"),
    ],
)
@pytest.mark.parametrize("command", ["score data.json", "compare data.json data.json"])
def test_what_cannot_log_is_refused_at_once(
    command: str,
    name: str,
    problem: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    assert main([*command.split(), "-o", "out", "--log", name]) == 2
    assert capsys.readouterr().err == f"ifdkit: {problem}\n"
    assert not Path("out").exists()


# --- real trackers, in folders ---------------------------------------------------------------


def read_tensorboard(folder: Path) -> tuple[dict[str, float], str]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (file,) = folder.rglob("events.out.tfevents.*")
    values = [one for event in EventFileLoader(str(file)).Load() for one in event.summary.value]
    numbers = {one.tag: one.tensor.float_val[0] for one in values if one.tensor.float_val}
    return numbers, str([one.metadata for one in values])


def test_tensorboard(data: Path) -> None:
    pytest.importorskip("tensorboard")
    track("tensorboard", RUN)
    track("tensorboard", RUN)
    runs = sorted(Path("runs").iterdir())
    assert len(runs) == 2
    numbers, settings = read_tensorboard(runs[0])
    assert numbers == {"ifd/mean": 0.5, "n": 3.0}
    assert "gpt2" in settings


def test_mlflow(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs the whole package
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (Path.cwd() / "mlflow").as_uri())
    track("mlflow", RUN)
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.info.run_name == "score data.json"
    assert run.data.metrics == {"ifd/mean": 0.5, "n": 3.0}
    assert run.data.params == {"model": "gpt2", "limit": "5", "lines": "False"}


def test_trackio(data: Path) -> None:
    pytest.importorskip("trackio")
    script = f"from ifdkit.tracking import *; track('trackio', {RUN!r})"
    subprocess.run(  # it reads its folder from the environment when it is imported
        [sys.executable, "-c", script],
        check=True,
        env={**os.environ, "TRACKIO_DIR": str(Path.cwd() / "trackio")},
    )
    files = [path for path in Path("trackio").rglob("*") if path.is_file()]
    assert any(b"ifd/mean" in path.read_bytes() for path in files)


def test_training_logs_each_step_to_tensorboard(data: Path, tiny_model: Path) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("trl")
    done = ifdkit.train(
        ROWS, "tuned", model=tiny_model, steps=3, batch_size=2, store="off", device="cpu",
        log="tensorboard",
    )  # fmt: skip
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = Path("runs").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    losses = [point.loss for point in done.models[0].losses]
    logged = [one.value for one in events.Scalars("train/loss")]
    assert logged == pytest.approx(losses, abs=1e-3)
