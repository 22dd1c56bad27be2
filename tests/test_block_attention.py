"""Attention in blocks of bfloat16 against its definition, and what it leaves to torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ifdkit.engine import attention, block_attention
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.layout import Segment, Segments
from ifdkit.engine.models import Weights
from ifdkit.records import Request
from tests import tiny
from tests.reference import ReferenceModel

HEAD = 32
# Scores and probabilities are rounded to 8 bits, outputs too: a few times 2**-9 of values up to 3.
TOLERANCE = 0.03


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks on every processor."""
    monkeypatch.setattr(block_attention, "is_faster", lambda: True)


def segments_of(lengths: list[int], prefixes: list[int] | None = None) -> Segments:
    """Segments end to end; one whose prefix has n tokens attends to the first n of the pack."""
    ends = np.cumsum([0, *lengths]).tolist()
    found = prefixes or [0] * len(lengths)
    parts = (
        Segment(a, b, 0, n) for a, b, n in zip(ends[:-1], ends[1:], found, strict=True)
    )  # fmt: skip
    return Segments(tuple(parts))


def tensors_of(
    segments: Segments, heads: int, kv_heads: int, value_head: int = HEAD
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random query, key and value as a model's layers give them: (1, heads, tokens, head)."""
    tokens = segments.parts[-1].end
    generator = torch.Generator().manual_seed(tokens)
    sizes = ((heads, HEAD), (kv_heads, HEAD), (kv_heads, value_head))
    query, key, value = (
        torch.randn(1, tokens, n, size, generator=generator).bfloat16().transpose(1, 2)
        for n, size in sizes
    )
    return query, key, value


def definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, scale: float,
    window: int | None = None,
) -> torch.Tensor:  # fmt: skip
    """One query and one head at a time, in float64: (tokens, heads, head)."""
    _, heads, tokens, _ = query.shape
    group = heads // key.shape[1]
    out = torch.zeros(tokens, heads, value.shape[-1], dtype=torch.float64)
    for segment in segments.parts:
        prefix = list(range(segment.prefix_begin, segment.prefix_end))
        for token in range(segment.begin, segment.end):
            seen = [*prefix, *range(segment.begin, token + 1)]
            seen = seen if window is None else seen[-window:]
            for head in range(heads):
                q = query[0, head, token].double()
                k, v = (one[0, head // group, seen].double() for one in (key, value))
                out[token, head] = ((k @ q) * scale).softmax(0) @ v
    return out


def attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Segments, scale: float,
    window: int | None = None,
) -> torch.Tensor:  # fmt: skip
    """The engine's own, (tokens, heads, head)."""
    with torch.inference_mode():
        return attention._one_by_one(query, key, value, segments, scale, window)[0].clone()


@pytest.mark.parametrize(
    ("heads", "kv_heads", "value_head"), [(6, 2, HEAD), (3, 3, HEAD), (4, 1, 16)]
)
@pytest.mark.parametrize(
    ("lengths", "prefixes"),
    [
        ([33, 150, 147, 129, 64, 63, 65, 5], None),  # 3 and 2 of about a length, and short ones
        ([37, 60, 28, 96, 90], [0, 37, 37, 37, 37]),
        ([64, 64, 200], [0, 64, 64]),  # the prefix needs no filling
    ],
)
def test_agrees_with_the_definition(
    heads: int, kv_heads: int, value_head: int, lengths: list[int], prefixes: list[int] | None
) -> None:
    segments = segments_of(lengths, prefixes)
    tensors = tensors_of(segments, heads, kv_heads, value_head)
    exact = definition(*tensors, segments, 0.2)
    found = attended(*tensors, segments, 0.2)
    assert found.dtype == torch.bfloat16
    assert (found - exact).abs().max() < TOLERANCE
    unmasked = definition(*tensors, segments_of([sum(lengths)]), 0.2)
    assert (found - unmasked).abs().max() > 10 * TOLERANCE, "a lost boundary would show"


@pytest.mark.parametrize("window", [50, 400])
def test_a_window_shorter_than_a_segment_is_left_to_torch(window: int) -> None:
    segments = segments_of([120, 45, 40], [0, 0, 120])
    tensors = tensors_of(segments, 6, 2)
    exact = definition(*tensors, segments, 0.2, window)
    assert (attended(*tensors, segments, 0.2, window=window) - exact).abs().max() < TOLERANCE
    out = torch.empty_like(exact, dtype=torch.bfloat16)
    left = block_attention.attend(
        tensors[0][0], tensors[1][0], tensors[2][0], out, segments.parts, 0.2, window
    )
    assert [one.n_keys for one in left] == ([120, 160] if window == 50 else [])


def test_short_and_long_segments_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_attention, "MAX_KEYS", 100)
    segments = segments_of([32, 33, 100, 101])
    query, key, value = tensors_of(segments, 2, 2)
    out = query[0].transpose(0, 1).clone()
    before = out.clone()
    left = block_attention.attend(query[0], key[0], value[0], out, segments.parts, 1.0, None)
    assert left == [segments.parts[0], segments.parts[3]]
    changed = (out != before).any(-1).all(-1)
    assert changed.tolist() == [False] * 32 + [True] * 133 + [False] * 101


def test_large_scores_that_all_keys_share_are_not_rounded() -> None:
    """Keys with a bias, as of Qwen 2: their scores are around 100, and differ by 1."""
    segments = segments_of([90, 70])
    query, key, value = tensors_of(segments, 4, 2)
    bias = torch.zeros(HEAD)
    bias[0] = 64.0
    query = (query * 0.5 + bias / 64 * 8).bfloat16()
    key = (key * 0.5 + bias).bfloat16()
    exact = definition(query, key, value, segments, 0.25)
    found = attended(query, key, value, segments, 0.25)
    assert ((query[0, 0, 1] @ key[0, 0, 1]) * 0.25) > 100
    assert (found - exact).abs().max() < TOLERANCE


def test_what_overflows_in_one_sequence_stays_there() -> None:
    segments = segments_of([60, 50, 45])
    query, key, value = tensors_of(segments, 4, 2)
    right = attended(query, key, value, segments, 0.2)
    for one in (query, key, value):
        one[0, :, 60:110] = float("nan")
    found = attended(query, key, value, segments, 0.2)
    assert found[60:110].isnan().all()
    assert torch.equal(found[:60], right[:60])
    assert torch.equal(found[110:], right[110:])


def test_products_come_in_few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN keeps generated code for each."""
    seen: set[tuple[int, ...]] = set()
    product = torch.bmm

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.add((*a.shape, b.shape[-1]))
        return product(a, b)

    monkeypatch.setattr(torch, "bmm", watched)
    generator = np.random.default_rng(0)
    for _ in range(60):
        lengths = generator.integers(33, 250, size=generator.integers(1, 9)).tolist()
        segments = segments_of(lengths)
        attended(*tensors_of(segments, 6, 2), segments, 0.2)
    stacked, rows, keys, _ = (set(one) for one in zip(*seen, strict=True))
    assert stacked <= {2, 4, 8, 16}
    assert rows == {32 * 3, 64 * 3}
    assert all(n % 32 == 0 for n in keys)
    assert len(seen) < 40, "60 packs of about 5 lengths"


@pytest.mark.parametrize("architecture", sorted(tiny.ARCHITECTURES))
def test_models_lose_no_accuracy(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.save_model(tmp_path / architecture, architecture)
    backend = HuggingFaceBackend(Weights("m", folder, "t"), device="cpu", dtype="bfloat16")
    assert backend.strategy == "packed"
    generator = np.random.default_rng(2)
    ids = [generator.integers(tiny.VOCABULARY, size=n).astype(np.int32) for n in (90, 70, 65, 40)]
    shared = [np.concatenate([ids[0][:40], one]) for one in ids[1:]]
    requests = [Request(one, 41, len(one)) for one in shared]
    requests += [Request(one[::-1].copy(), 1, len(one)) for one in ids]
    reference = ReferenceModel(folder)
    exact = np.concatenate([reference.token_nll(r.ids.tolist(), r.start) for r in requests])
    taken: list[int] = []
    attend = block_attention._attend

    def counted(*arguments: Any) -> None:
        taken.append(1)
        attend(*arguments)

    monkeypatch.setattr(block_attention, "_attend", counted)
    in_blocks = np.concatenate(backend.nll(requests))
    assert taken
    monkeypatch.setattr(block_attention, "is_faster", lambda: False)
    one_by_one = np.concatenate(backend.nll(requests))
    errors = [np.sqrt(np.mean((one - exact) ** 2)) for one in (in_blocks, one_by_one)]
    assert errors[0] < 1.3 * errors[1]


def test_float32_keeps_torchs_attention(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("blocks in float32")

    monkeypatch.setattr(block_attention, "attend", refuse)
    backend = HuggingFaceBackend(Weights("m", tiny_model, "t"), device="cpu", dtype="float32")
    assert backend.strategy == "packed"


def test_processors_without_products_in_bfloat16_keep_torchs_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    block_attention.is_faster.cache_clear()
    try:
        for vectors, matrices, expected in (
            (True, False, torch.backends.mkldnn.is_available()),  # type: ignore[no-untyped-call]
            (True, True, False),
            (False, False, False),
        ):
            monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda v=vectors: v)
            monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda v=matrices: v)
            assert block_attention.is_faster() == expected
            block_attention.is_faster.cache_clear()
    finally:
        block_attention.is_faster.cache_clear()
