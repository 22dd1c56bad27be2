"""`score --plan`: exact counts against a run, operations against torch's own counter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifdkit.cli.main import main
from ifdkit.data.options import ReadOptions
from ifdkit.engine.batching import Budget, plan
from ifdkit.engine.flops import GPUS, UTILISATION, ModelSize, batch_cost, gpu_seconds
from ifdkit.engine.loading import load_model, model_size
from ifdkit.engine.models import Weights
from ifdkit.records import Request
from ifdkit.scoring import cost, run
from ifdkit.scoring.cost import cost_plan
from ifdkit.scoring.metric import DEMONSTRATED
from ifdkit.scoring.metrics import needs_reference, parse_metrics
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.store_management import ManagedStore
from tests.tiny import save_model

pytestmark = pytest.mark.long


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "PROBE_S", 0.0)
    rows = [{"instruction": "Describe this colour, please, in a few words.",
             "output": "Green " * (1 + i % 23) + str(i)} for i in range(150)]  # fmt: skip
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "not JSON\n")
    return path


def test_the_counts_are_those_of_the_run(data: Path, tiny_model: Path, tiny_embedder: Path) -> None:
    settings = Settings(
        model=str(tiny_model), embedder=str(tiny_embedder), metrics=("ifd", "coherence"),
        store="store.sqlite",
    )  # fmt: skip
    found = cost_plan(data, settings, ReadOptions())
    empty = ManagedStore(Path("store.sqlite"))
    with empty:
        assert empty.info().models == (), "a plan stores nothing"
    made = score_to_file(data, Path("out.jsonl"), settings, ReadOptions()).manifest
    assert (found.rows, found.examples, found.rejects) == (151, 150, 1)
    assert (found.requests, found.requests_in_store) == (made.requests, 0)
    assert found.computed_tokens == made.tokens_scored
    assert found.texts == made.texts_embedded
    assert found.tokens == found.computed_tokens + found.shared_tokens
    assert found.shared_tokens > 0
    assert found.time.total_s > 0
    again = cost_plan(data, settings, ReadOptions())
    assert again.requests_in_store == made.requests
    assert (again.tokens, again.computed_tokens, again.flops, again.texts) == (0, 0, 0, 0)
    assert (again.time.scoring_s, again.store_bytes, again.time.probed_batches) == (0, 0, 0)


ASKED = (
    *("ppl", "ifd,rifd", "tokens", "reference", "demonstration"),
    *("ifd,tokens,reference,coherence", "all,reference"),
)


@pytest.mark.parametrize("metrics", ASKED)
def test_every_pass_of_a_run_is_in_its_plan(
    metrics: str, data: Path, tiny_model: Path, tiny_embedder: Path, second_model: Path
) -> None:
    """Two models, statistics and demonstrations; rows that occur again in a later block."""
    names = parse_metrics(metrics)
    settings = Settings(
        model=str(tiny_model), embedder=str(tiny_embedder), metrics=names, store="off",
        reference_model=str(second_model) if any(map(needs_reference, names)) else None,
    )  # fmt: skip
    rows = [{"instruction": f"Say {i % 30} twice", "output": f"{i % 30} words " * (1 + i % 5)}
            for i in range(70)]  # fmt: skip
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = Path("out.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "EXAMPLES_PER_BLOCK", 32)
        said = cost_plan(data, settings, ReadOptions())
        made = score_to_file(data, output, settings, ReadOptions()).manifest
        assert (said.requests, said.requests_in_store) == (made.requests, made.requests_from_store)
        assert said.requests_in_store > 0, "of an earlier block"
        assert said.texts == made.texts_embedded
        if DEMONSTRATED in settings.passes:
            assert said.demonstrations_are_stand_ins
            assert said.computed_tokens == pytest.approx(made.tokens_scored, rel=0.3)
            # With the embeddings in the store, the demonstrations are those of the run.
            settings = replace(settings, store="store.sqlite")
            score_to_file(data, output, replace(settings, metrics=("coherence",),
                                                reference_model=None), ReadOptions())  # fmt: skip
            said = cost_plan(data, settings, ReadOptions())
            made = score_to_file(data, output, settings, ReadOptions()).manifest
            again = cost_plan(data, settings, ReadOptions())
            assert (again.tokens, again.texts, again.store_bytes) == (0, 0, 0)
            assert again.requests == again.requests_in_store
    assert not said.demonstrations_are_stand_ins
    assert said.requests - said.requests_in_store == made.requests_scored
    assert said.computed_tokens == made.tokens_scored


@pytest.fixture(scope="module")
def second_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same architecture and tokenizer with other weights."""
    return save_model(tmp_path_factory.mktemp("tiny") / "second", seed=1)


def test_the_store_grows_by_what_was_said(data: Path, tiny_model: Path) -> None:
    settings = Settings(model=str(tiny_model), metrics=("ifd",), store="store.sqlite")
    rows = [{"instruction": f"Say {i}", "output": f"{i} words " * 40} for i in range(300)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = cost_plan(data, replace(settings, store="off"), ReadOptions()).store_bytes
    score_to_file(data, Path("out.jsonl"), settings, ReadOptions())
    with ManagedStore(Path("store.sqlite")) as store:
        store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert said == pytest.approx(store.info().size_bytes, rel=0.25)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_operations_are_those_that_torch_counts(architecture: str, tmp_path: Path) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    folder = save_model(tmp_path / architecture, architecture)
    weights = Weights(architecture, folder, "test")
    model: Any = load_model(weights, torch.float32, torch.device("cpu"))
    size = model_size(weights)
    assert size == ModelSize.of(model)
    model.set_attn_implementation("eager")  # torch does not count its CPU kernel of attention
    n, d = 50, 32
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=torch.ones((1, n), dtype=torch.long), use_cache=False)
    # torch counts the full square of the attention, and norms and biases not at all.
    ours = size.flops(n, n, n * n)
    assert ours == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert (size.layers, size.attention_width) == (2, d)


def test_the_cost_of_a_batch() -> None:
    shared = list(range(20))
    requests = [
        Request(np.array([*shared, 1, 2, 3], np.int32), 21, 23),
        Request(np.array([*shared, 4, 5], np.int32), 21, 22),
        Request(np.array([7, 8, 9], np.int32), 1, 3),
    ]
    packs = Budget(tokens=100, packs=True)
    (batch,) = plan(requests, packs)
    found = batch_cost(requests, batch, packs)
    assert (found.computed, found.scored) == (23 + 2 + 3, 5)
    assert found.pairs == 23 * 24 // 2 + 22 * 23 // 2 + 3 * 4 // 2 - 20 * 21 // 2
    padded = Budget(tokens=100, max_padding=1)
    assert batch_cost(requests, [0, 1, 2], padded).computed == 3 * 23


def test_gpus_are_computed() -> None:
    seconds = gpu_seconds(GPUS["A100"] * 1e12 * UTILISATION * 60)
    assert seconds["A100"] == pytest.approx(60)


def test_the_command(
    data: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["score", "data.jsonl", "--plan", "-m", str(tiny_model), "--metrics", "ifd",
               "--store", "off", "-q"]  # fmt: skip
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "151 rows, 1 of them not readable → 150 examples" in out
    assert "computed from their peak rate at 35 % of it, not measured" in out
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpus"][0]["is_computed"] is True
    assert found["time"]["total_s"] > 0
    assert not list(data.parent.glob("*.scores.jsonl"))
