"""The batched engine against the slow oracle, family by family."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ifdkit.engine.huggingface import HuggingFaceBackend, resolve_device, resolve_dtype
from ifdkit.engine.models import Weights, resolve
from ifdkit.errors import ModelError, UsageError
from ifdkit.records import Request
from tests import tiny
from tests.oracles import Oracle

# Padding changes the order of float32 sums, no more: 400-way logits of size 10 round at 1e-6.
TOLERANCE_NATS = 1e-5


@pytest.fixture(scope="module", params=[*tiny.FAMILIES])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("family") / request.param, request.param)


@pytest.fixture(scope="module")
def backend(family: Path) -> HuggingFaceBackend:
    return load(family)


@pytest.fixture(scope="module")
def oracle(family: Path) -> Oracle:
    return Oracle(family)


def load(folder: Path, dtype: str = "float32") -> HuggingFaceBackend:
    return HuggingFaceBackend(Weights(folder.name, folder, "test"), device="cpu", dtype=dtype)


def some_requests(n: int = 13, seed: int = 0) -> list[Request]:
    """Spans of all kinds: from the first token, in the middle, one token long, up to 90 tokens.

    Longer than Gemma's sliding window of 16, so that a missing window would show.
    """
    generator = np.random.default_rng(seed)
    requests = []
    for _ in range(n):
        length = int(generator.integers(2, 90))
        start = int(generator.integers(1, length))
        stop = int(generator.integers(start + 1, length + 1))
        ids = generator.integers(tiny.VOCABULARY, size=length).astype(np.int32)
        requests.append(Request(ids, start, stop))
    return requests


def in_batches(backend: HuggingFaceBackend, requests: list[Request], size: int) -> NDArray[Any]:
    parts = [backend.nll(requests[i : i + size]) for i in range(0, len(requests), size)]
    return np.concatenate([nll for part in parts for nll in part])


@pytest.mark.parametrize("size", [1, 3, 13])
def test_agrees_with_the_oracle_at_any_batch_size(
    backend: HuggingFaceBackend, oracle: Oracle, size: int
) -> None:
    requests = some_requests()
    slow = [oracle.token_nll(r.ids[: r.stop].tolist(), r.start) for r in requests]
    fast = in_batches(backend, requests, size)
    np.testing.assert_allclose(fast, np.concatenate(slow), atol=TOLERANCE_NATS)


def test_a_shift_by_one_token_would_show(backend: HuggingFaceBackend, oracle: Oracle) -> None:
    """Negative control of the tolerance: the neighbouring span is not within it."""
    (request,) = some_requests(1, seed=4)
    shifted = oracle.token_nll(request.ids[: request.stop - 1].tolist(), request.start - 1 or 1)
    right = backend.nll([request])[0]
    n = min(len(shifted), len(right))
    assert np.abs(shifted[:n] - right[:n]).max() > 0.1


def test_the_fast_path_is_taken(backend: HuggingFaceBackend) -> None:
    assert backend._selective


def test_order_and_duplicates_change_nothing(backend: HuggingFaceBackend) -> None:
    requests = some_requests()
    order = np.random.default_rng(1).permutation(len(requests) * 2) % len(requests)
    plain = backend.nll(requests)
    mixed = backend.nll([requests[i] for i in order])
    for i, nll in zip(order, mixed, strict=True):
        np.testing.assert_allclose(nll, plain[i], atol=TOLERANCE_NATS)


def test_what_follows_the_span_changes_nothing(backend: HuggingFaceBackend) -> None:
    (request,) = some_requests(1, seed=3)
    longer = Request(
        np.concatenate([request.ids[: request.stop], np.full(40, 7, np.int32)]),
        request.start,
        request.stop,
    )
    assert longer.content == Request(request.ids, request.start, request.stop).content
    np.testing.assert_array_equal(backend.nll([longer])[0], backend.nll([request])[0])


def test_values_are_float32_nats_of_the_span(backend: HuggingFaceBackend) -> None:
    requests = some_requests()
    for request, nll in zip(requests, backend.nll(requests), strict=True):
        assert nll.dtype == np.float32
        assert nll.shape == (request.n_scored,)
        assert (nll >= 0).all()
    assert backend.nll([]) == []


def test_a_head_that_cannot_select_rows_falls_back_and_says_so(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import LlamaForCausalLM

    whole = LlamaForCausalLM.forward

    def ignores_the_mask(self: Any, *args: Any, logits_to_keep: Any = 0, **kwargs: Any) -> Any:
        if not isinstance(logits_to_keep, int):
            kwargs["input_ids"] = kwargs["input_ids"].roll(1, dims=1)  # plausible, and wrong
        return whole(self, *args, logits_to_keep=logits_to_keep, **kwargs)

    right = in_batches(load(tiny_model), some_requests(), 4)
    monkeypatch.setattr(LlamaForCausalLM, "forward", ignores_the_mask)
    with caplog.at_level(logging.WARNING):
        fallen = load(tiny_model)
    assert not fallen._selective
    assert "full logits" in caplog.text
    np.testing.assert_allclose(in_batches(fallen, some_requests(), 4), right, atol=TOLERANCE_NATS)


def test_bfloat16_is_close_and_not_the_same(tiny_model: Path) -> None:
    exact, coarse = (
        in_batches(load(tiny_model, d), some_requests(), 4) for d in ("float32", "bfloat16")
    )
    difference = np.abs(exact - coarse)
    assert 0 < np.median(difference) < 0.1


def test_a_token_beyond_the_vocabulary_is_an_error(tiny_model: Path) -> None:
    ids = np.array([1, 2, tiny.VOCABULARY], np.int32)
    with pytest.raises(ModelError, match="do not belong together"):
        load(tiny_model).nll([Request(ids, 1, 3)])


def test_pickled_weights_are_refused_unless_asked_for(tmp_path: Path) -> None:
    import torch

    folder = tiny.save_model(tmp_path / "pickled")
    safe = load(folder)
    torch.save(safe._model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pickled weights.*--allow-pickle"):
        resolve(str(folder))
    weights = resolve(str(folder), allow_pickle=True)
    opened = HuggingFaceBackend(weights, device="cpu", dtype="float32")
    requests = some_requests(3)
    np.testing.assert_array_equal(in_batches(opened, requests, 3), in_batches(safe, requests, 3))


def test_weights_that_are_no_language_model_are_an_error(tiny_embedder: Path) -> None:
    """transformers would put random numbers where weights are missing, and only warn."""
    with pytest.raises(ModelError, match="is no causal language model"):
        load(tiny_embedder)


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertLMHeadModel

    config = BertConfig(
        vocab_size=tiny.VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.4,
    )
    for is_decoder in (True, False):
        config.is_decoder = is_decoder
        BertLMHeadModel(config).save_pretrained(tmp_path / f"{is_decoder}")
    assert load(tmp_path / "True")._selective
    with pytest.raises(ModelError, match="looks ahead"):
        load(tmp_path / "False")


def test_devices_and_dtypes_resolve() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("auto", "cuda:1") == "bfloat16"
    assert resolve_dtype("float16", "cpu") == "float16"
    for missing in ("cuda:7", "abacus"):
        with pytest.raises(UsageError, match="is not there"):
            resolve_device(missing)
