"""Rank, entropy and spread of each scored token, against their definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ifdkit.engine import attention
from ifdkit.engine.forward import PackedForward, PaddedForward, PlainForward, SelectedForward
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import Weights
from ifdkit.engine.per_token import token_nll, token_statistics
from ifdkit.records import Request
from tests import tiny
from tests.reference import ReferenceModel

pytestmark = pytest.mark.long

PARAMETERS = [
    pytest.param(name, marks=[] if name == "llama" else pytest.mark.long)
    for name in tiny.ARCHITECTURES
]


def some_requests(n: int = 9) -> list[Request]:
    """Spans of many kinds, one of them a single token."""
    generator = np.random.default_rng(1)
    requests = []
    for length in generator.integers(3, 60, size=n).tolist():
        start = int(generator.integers(1, length))
        ids = generator.integers(tiny.VOCABULARY, size=length).astype(np.int32)
        requests.append(Request(ids, start, length))
    return requests


def detailed(requests: list[Request]) -> list[Request]:
    return [replace(one, with_statistics=True) for one in requests]


@pytest.fixture(scope="module", params=PARAMETERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def backend(folder: Path) -> HuggingFaceBackend:
    return HuggingFaceBackend(Weights(folder.name, folder, "test"), device="cpu", dtype="float32")


def test_agrees_with_the_definitions(backend: HuggingFaceBackend, folder: Path) -> None:
    reference, requests = ReferenceModel(folder), some_requests()
    found = np.concatenate(backend.nll(detailed(requests)))
    expected = np.concatenate(
        [reference.token_statistics(one.ids.tolist(), one.start) for one in requests]
    )
    assert found.dtype == np.float32
    # A rank changes by one where two of the 400 logits differ by rounding only.
    assert np.mean(found[:, 1] != expected[:, 0]) < 0.01
    assert np.abs(found[:, 1] - expected[:, 0]).max() <= 1
    np.testing.assert_allclose(found[:, 2:], expected[:, 1:], atol=3e-5)


def test_nlls_have_the_same_bits_with_and_without_statistics(backend: HuggingFaceBackend) -> None:
    requests = some_requests()
    plain, more = backend.nll(requests), backend.nll(detailed(requests))
    for one, statistics in zip(plain, more, strict=True):
        assert statistics.shape == (len(one), 4)
        np.testing.assert_array_equal(statistics[:, 0], one)


def test_only_requests_that_ask_get_them(backend: HuggingFaceBackend) -> None:
    """In a batch of both kinds, whose NLLs keep their bits."""
    requests = some_requests()
    plain = backend.nll(requests)
    mixed = backend.nll([*detailed(requests[:3]), *requests[3:]])
    assert [one.ndim for one in mixed] == [2] * 3 + [1] * (len(requests) - 3)
    for one, other in zip(plain, mixed, strict=True):
        np.testing.assert_array_equal(other[:, 0] if other.ndim == 2 else other, one)


def test_every_strategy_gives_them(backend: HuggingFaceBackend) -> None:
    requests = some_requests()
    packed = backend._strategy
    assert isinstance(packed, PackedForward)
    expected = np.concatenate(backend.nll(detailed(requests)))
    packed.close()
    try:
        for strategy in (
            PaddedForward(backend.model, rows_per_chunk=7),
            SelectedForward(backend.model),
            PlainForward(backend.model),
        ):
            with torch.inference_mode():
                found = np.concatenate(strategy.nll(requests, token_statistics))
            assert np.abs(found[:, 1] - expected[:, 1]).max() <= 1, strategy.name
            np.testing.assert_allclose(
                found[:, [0, 2, 3]], expected[:, [0, 2, 3]], atol=3e-5, err_msg=strategy.name
            )
    finally:
        packed._model.set_attn_implementation(attention.NAME)
        backend._strategy = packed


def statistics_of(row: list[float], target: int) -> list[float]:
    found: list[float] = token_statistics(torch.tensor([row]), torch.tensor([target]))[0].tolist()
    return found


def test_a_uniform_distribution_has_the_largest_entropy_and_no_spread() -> None:
    nll, rank, entropy, spread = statistics_of([0.5] * 64, 63)
    assert (nll, entropy) == pytest.approx((np.log(64), np.log(64)), rel=1e-6)
    assert rank == 1  # ties share the better rank
    assert spread == pytest.approx(0, abs=1e-6)


def test_a_certain_distribution_has_no_entropy() -> None:
    nll, rank, entropy, spread = statistics_of([200.0, 0.0, -1.0], 2)
    assert (nll, rank) == (201.0, 3)
    assert (entropy, spread) == (0.0, 0.0)


def test_a_masked_token_changes_nothing() -> None:
    """A probability of 0 times a log of −∞ is no number, but its limit is 0."""
    expected = statistics_of([1.0, 2.0, 3.0], 1)
    assert statistics_of([1.0, 2.0, 3.0, float("-inf")], 1) == pytest.approx(expected, rel=1e-6)


def test_a_peaked_distribution_keeps_its_spread() -> None:
    """E[x²] − E[x]² in float32 would be 0 or negative here."""
    p = 1e-6
    row = [np.log(1 - p), np.log(p)]
    expected = np.sqrt(p * (1 - p)) * (np.log(1 - p) - np.log(p))
    assert statistics_of(row, 0)[3] == pytest.approx(expected, rel=1e-3)


def test_16_bit_logits_are_reduced_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(5, 3000, generator=generator) * 3).bfloat16()
    targets = torch.arange(5)
    assert torch.equal(token_statistics(logits, targets)[:, 0], token_nll(logits, targets))
    assert torch.equal(token_statistics(logits, targets), token_statistics(logits.float(), targets))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("vocabulary", "most"), [(50_000, 3), (400, 11)])
def test_nlls_are_reduced_in_blocks_that_stay_in_a_cache(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, vocabulary: int, most: int
) -> None:
    """Of a chunk of logits, at most 0.8 MB are widened at once, with the bits of the whole."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(11, vocabulary, generator=generator).mul_(9).to(dtype)
    targets = torch.randint(vocabulary, (11,), generator=generator)
    whole = F.cross_entropy(logits.float(), targets, reduction="none")
    rows: list[int] = []
    product = F.cross_entropy

    def counted(block: torch.Tensor, *args: Any, **more: Any) -> torch.Tensor:
        rows.append(len(block))
        return product(block, *args, **more)

    monkeypatch.setattr(F, "cross_entropy", counted)
    assert torch.equal(token_nll(logits, targets), whole)
    assert sum(rows) == 11
    assert max(rows) == most
