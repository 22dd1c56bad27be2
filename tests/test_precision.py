"""The precision check: IFD of a run in 16 bits against IFD in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.precision import bfloat16_gain
from ifdkit.records import Example
from ifdkit.report.terminal.scores import _drift_line
from ifdkit.scoring.precision import PrecisionSample
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.rows import ScoreRow
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.summary import ScoreSummary

Make = Callable[..., Path]


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> Settings:
    store = str(tmp_path / "store.sqlite")
    return Settings(model=str(tiny_model), dtype="bfloat16", metrics=("ifd",), store=store)


@pytest.fixture
def data(write: Make) -> Path:
    words = ["the", "sea", "is", "wide", "and", "sky", "blue", "so", "a", "poem", "about", "cats"]
    generator = np.random.default_rng(0)

    def text(n: int) -> str:
        return " ".join(generator.choice(words, n))

    return write("data.json", [{"instruction": text(6), "output": text(9 + i)} for i in range(20)])


def run(data: Path, settings: Settings) -> ScoreSummary:
    return score_to_file(data, data.with_suffix(".jsonl"), settings, ReadOptions())


def ifds(data: Path, settings: Settings) -> list[float]:
    import ifdkit

    frame = ifdkit.score(
        data,
        model=settings.model,
        store=settings.store,
        dtype=settings.dtype,
        metrics="ifd",
        drift=0,
    )
    return list(frame["ifd"])


def test_a_run_in_16_bits_reports_its_difference_from_float32(
    data: Path, settings: Settings
) -> None:
    drift = run(data, replace(settings, drift=20)).manifest.drift
    assert drift is not None
    coarse, exact = (np.array(ifds(data, replace(settings, dtype=d))) for d in
                     ("bfloat16", "float32"))  # fmt: skip
    gap = np.abs(coarse - exact)
    assert drift.n == 20
    assert drift.median_abs_ifd == pytest.approx(np.median(gap))
    assert drift.p95_abs_ifd == pytest.approx(np.percentile(gap, 95))
    assert 0 < np.median(gap) < 0.2
    assert drift.spearman is not None
    assert drift.spearman > 0.9
    line = _drift_line("bfloat16", drift, 10.0)
    assert line.startswith("bfloat16 against float32, IFD of 20 examples: median |Δ| 0.0")


def test_the_cost_of_the_check_is_shown(data: Path, settings: Settings) -> None:
    manifest = run(data, replace(settings, drift=3)).manifest
    assert manifest.drift is not None
    assert manifest.drift.elapsed_s is not None
    assert 0 < manifest.drift.elapsed_s < manifest.elapsed_s
    line = _drift_line("bfloat16", replace(manifest.drift, elapsed_s=0.5), 20.0)
    assert line.endswith("(2.5 % of the time)")
    earlier = replace(manifest.drift, elapsed_s=None)  # as in the manifest of an earlier version
    assert "of the time" not in _drift_line("bfloat16", earlier, 20.0)


def test_a_short_run_is_not_checked_unless_asked(data: Path, settings: Settings) -> None:
    """Loading the model again would take longer than the run."""
    drift = run(data, settings).manifest.drift
    assert drift is not None
    assert drift.n == 0
    line = _drift_line("bfloat16", drift, 1.0)
    assert "not measured, fewer than 800 examples: --drift 12" in line


def test_there_is_no_check_in_float32_or_without_a_sample(data: Path, settings: Settings) -> None:
    assert run(data, replace(settings, dtype="float32")).manifest.drift is None
    assert run(data, replace(settings, drift=0)).manifest.drift is None
    assert run(data, replace(settings, metrics=("rifd",))).manifest.drift is None


def test_a_second_run_takes_the_check_from_the_store(
    data: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, drift=12)
    first = run(data, settings).manifest
    monkeypatch.setattr(HuggingFaceBackend, "__init__", lambda *_, **__: pytest.fail("loaded"))
    second = run(data, settings).manifest
    assert first.drift is not None
    assert second.drift is not None
    assert replace(first.drift, elapsed_s=None) == replace(second.drift, elapsed_s=None)
    assert second.drift.n == 12


def test_a_copy_that_does_not_fit_is_reported(
    data: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    class Full:
        available = 0

    monkeypatch.setattr(psutil, "virtual_memory", Full)
    drift = run(data, replace(settings, drift=12)).manifest.drift
    assert drift is not None
    assert drift.n == 0
    assert "not measured, a float32 copy" in _drift_line("bfloat16", drift, 1.0)
    assert "does not fit into main memory" in _drift_line("bfloat16", drift, 1.0)


NOTE = "this processor multiplies bfloat16"


class Notes(Progress):
    def __init__(self) -> None:
        self.found: list[str] = []

    def note(self, text: str) -> None:
        self.found.append(text)


@pytest.mark.parametrize(
    ("gain", "dtype", "tokens", "said"),
    [
        (2.04, "auto", 0, True),
        (1.1, "auto", 0, False),  # no matrix unit
        (2.04, "float32", 0, False),  # the user has chosen
        (2.04, "bfloat16", 0, False),
        (2.04, "auto", 10**9, False),  # a short run
    ],
)
def test_a_faster_dtype_is_named_once(
    data: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    gain: float,
    dtype: str,
    tokens: int,
    said: bool,
) -> None:
    monkeypatch.setattr("ifdkit.engine.precision.bfloat16_gain", lambda: gain)
    monkeypatch.setattr("ifdkit.scoring.dtype_advice.TOKENS_FOR_ADVICE", tokens)
    monkeypatch.setattr("ifdkit.scoring.run.EXAMPLES_PER_BLOCK", 7)  # several blocks
    progress = Notes()
    settings = replace(settings, dtype=dtype, drift=0)
    output = data.with_suffix(".jsonl")
    summary = score_to_file(data, output, settings, ReadOptions(), progress)
    assert summary.manifest.dtype == ("bfloat16" if dtype == "bfloat16" else "float32")
    found = [note for note in progress.found if note.startswith(NOTE)]
    assert len(found) == said
    if said:
        assert "2.0 times as fast as float32: --dtype bfloat16" in found[0]


def test_the_gain_is_measured_and_no_setting_changes() -> None:
    import torch

    bfloat16_gain.cache_clear()
    threads = torch.get_num_threads()
    assert 0 < bfloat16_gain() < 100
    assert torch.get_num_threads() == threads


def example(number: int) -> tuple[Example, ScoreRow]:
    row = ScoreRow(
        id=str(number), row=number, turn=0, status="ok", reason=None, numbers={"ifd": 0.5}
    )
    return Example(str(number), number, 0, (), "r"), row


def test_every_example_is_equally_likely() -> None:
    """1,000 samples of 12 from 60: each is drawn 200 times ± 4 standard errors."""
    drawn = np.zeros(60)
    for seed in range(1000):
        sample = PrecisionSample(12, seed)
        for number in range(60):
            sample.add(*example(number))
        chosen = sample.choose()
        assert len(chosen) == 12
        for one, _ in chosen:
            drawn[one.row] += 1
    assert np.abs(drawn - 200).max() < 4 * np.sqrt(1000 * 0.2 * 0.8)


@pytest.mark.parametrize(("seen", "kept"), [(5, 0), (799, 0), (800, 8), (999, 9), (9000, 64)])
def test_one_percent_within_bounds(seen: int, kept: int) -> None:
    sample = PrecisionSample(None)
    for number in range(seen):
        sample.add(*example(number))
    assert len(sample.choose()) == kept
