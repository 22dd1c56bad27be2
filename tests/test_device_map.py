"""`--device-map`: one replica over several places, against one device.

A CPU has no second device, so accelerate keeps half of the layers on disk and brings them in for
each pass, by the hooks that also move tensors between GPUs.  What these tests cannot show is the
copy from one GPU to another.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import Weights
from ifdkit.errors import ModelError, UsageError
from ifdkit.records import Request
from ifdkit.scoring.settings import Settings
from tests.tiny import save_model

SPLIT: dict[str, dict[str, str | int]] = {
    "llama": {
        "model.embed_tokens": "cpu",
        "model.rotary_emb": "cpu",
        "model.layers.0": "cpu",
        "model.layers.1": "disk",
        "model.norm": "disk",
        "lm_head": "disk",
    },
    "gpt2": {
        "transformer.wte": "disk",
        "transformer.wpe": "disk",
        "transformer.h.0": "disk",
        "transformer.h.1": "cpu",
        "transformer.ln_f": "cpu",
        "lm_head": "disk",
    },
}


def requests() -> list[Request]:
    draw = np.random.default_rng(0)
    return [Request(draw.integers(2, 400, n).astype(np.int32), n // 2, n) for n in (9, 30, 71, 120)]


@pytest.mark.parametrize("architecture", SPLIT)
def test_a_split_model_gives_the_numbers_of_one_device(architecture: str, tmp_path: Path) -> None:
    weights = Weights(architecture, save_model(tmp_path / architecture, architecture), "test")
    whole = HuggingFaceBackend(weights, device="cpu", dtype="float32")
    split = HuggingFaceBackend(
        weights, device="cpu", dtype="float32", device_map=SPLIT[architecture]
    )
    assert {one.device.type for one in split.model.parameters()} == {"cpu", "meta"}
    assert split.strategy == whole.strategy
    (found,) = split.stream(iter([requests()]))
    for one, other in zip(found, whole.nll(requests()), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_auto_on_one_device_is_that_device(tmp_path: Path) -> None:
    weights = Weights("llama", save_model(tmp_path / "llama"), "test")
    spread = HuggingFaceBackend(weights, device="cpu", dtype="float32", device_map="auto")
    whole = HuggingFaceBackend(weights, device="cpu", dtype="float32")
    for one, other in zip(spread.nll(requests()), whole.nll(requests()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_be_spread(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--device-map cuda: must be auto"):
        Settings(device_map="cuda")
    for more in ({"workers": 2}, {"backend": "ray"}):
        with pytest.raises(UsageError, match="--device-map is for one replica"):
            Settings(device_map="auto", **more)
    weights = Weights("llama", save_model(tmp_path / "llama"), "test")
    adapter = replace(weights, adapter=weights.folder)
    with pytest.raises(ModelError, match="is an adapter, which --device-map does not spread"):
        HuggingFaceBackend(adapter, device="cpu", dtype="float32", device_map="auto")
