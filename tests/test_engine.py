"""The batched engine against the slow reference, for several architectures."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ifdkit.engine import attention, precision
from ifdkit.engine.attention import CannotPackError
from ifdkit.engine.devices import resolve_device, resolve_dtype
from ifdkit.engine.forward import PackedForward, PaddedForward, PlainForward, SelectedForward
from ifdkit.engine.head import ChunkedHead
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.layout import Packed, Segment, Segments
from ifdkit.engine.models import Weights, resolve
from ifdkit.engine.precision import fast_float32, onednn_stays_float32
from ifdkit.errors import ModelError, UsageError
from ifdkit.records import Noise, Request
from tests import tiny
from tests.reference import ReferenceModel

pytestmark = pytest.mark.long

# The strategies differ only in the order of their sums: logits of size 10 round at 1e-6 per layer.
TOLERANCE_NATS = 3e-5

QUICK = {"gpt2", "gemma3"}  # one without rotary embeddings, one with windows and soft caps
PARAMETERS = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.long)
    for name in tiny.ARCHITECTURES
]


@pytest.fixture(scope="module", params=PARAMETERS)
def architecture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def backend(architecture: Path) -> HuggingFaceBackend:
    return load(architecture)


@pytest.fixture(scope="module")
def reference(architecture: Path) -> ReferenceModel:
    return ReferenceModel(architecture)


def load(folder: Path, dtype: str = "float32") -> HuggingFaceBackend:
    return HuggingFaceBackend(Weights(folder.name, folder, "test"), device="cpu", dtype=dtype)


def some_requests(n: int = 13, seed: int = 0) -> list[Request]:
    """Spans of all kinds: from the second token, in the middle, one token long, up to 89 tokens.

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
def test_agrees_with_the_reference_at_any_batch_size(
    backend: HuggingFaceBackend, reference: ReferenceModel, size: int
) -> None:
    requests = some_requests()
    slow = [reference.token_nll(r.ids[: r.stop].tolist(), r.start) for r in requests]
    fast = in_batches(backend, requests, size)
    np.testing.assert_allclose(fast, np.concatenate(slow), atol=TOLERANCE_NATS)


def test_a_shift_by_one_token_would_show(
    backend: HuggingFaceBackend, reference: ReferenceModel
) -> None:
    """Negative control of the tolerance: the neighbouring span is not within it."""
    (request,) = some_requests(1, seed=4)
    shifted = reference.token_nll(request.ids[: request.stop - 1].tolist(), request.start - 1 or 1)
    right = backend.nll([request])[0]
    n = min(len(shifted), len(right))
    assert np.abs(shifted[:n] - right[:n]).max() > 0.1


def test_the_fastest_strategy_is_chosen(backend: HuggingFaceBackend) -> None:
    assert backend.strategy == "packed"
    assert backend.budget.packs


@contextmanager
def own_attention(backend: HuggingFaceBackend) -> Iterator[None]:
    """Restore the model's own attention inside the block."""
    packed = backend._strategy
    assert isinstance(packed, PackedForward)
    packed.close()
    try:
        yield
    finally:
        backend.model.set_attn_implementation(attention.NAME)
        backend._strategy = packed


def related_requests() -> list[Request]:
    """Requests that share sequences, and prefix groups longer than a sliding window."""
    generator = np.random.default_rng(5)
    head, other = (generator.integers(tiny.VOCABULARY, size=40).astype(np.int32) for _ in range(2))
    tails = [generator.integers(tiny.VOCABULARY, size=n).astype(np.int32) for n in (3, 25, 12)]
    joined = [np.concatenate([h, tail]) for h in (head, other) for tail in tails]
    spans = [Request(ids, 41, len(ids)) for ids in joined]
    prefixes = [
        Request(joined[1][:50], 45, 50),
        Request(joined[1], 44, 47),
        Request(joined[4], 60, 61),
    ]
    return [*some_requests(4), *spans, *prefixes]


def noisy_requests() -> list[Request]:
    """Related Requests, some with noise, which no other may share a sequence or a prefix with."""
    return [
        one if i % 3 == 0 else replace(one, noise=Noise(bytes([i] * 16), 5.0, one.stop, i % 2, 0))
        for i, one in enumerate([*related_requests(), *related_requests()])
    ]


@pytest.mark.parametrize(
    "requests",
    [some_requests(), related_requests(), noisy_requests()],
    ids=["any", "related", "noisy"],
)
def test_all_strategies_agree(backend: HuggingFaceBackend, requests: list[Request]) -> None:
    fast = in_batches(backend, requests, len(requests))
    with own_attention(backend):
        for strategy in (
            PaddedForward(backend.model, rows_per_chunk=7),
            SelectedForward(backend.model),
            PlainForward(backend.model),
        ):
            backend._strategy = strategy
            slow = in_batches(backend, requests, len(requests))
            np.testing.assert_allclose(fast, slow, atol=TOLERANCE_NATS)


def test_sequences_that_leak_into_each_other_would_show(backend: HuggingFaceBackend) -> None:
    """Negative control: one segment over everything, as if the boundaries were lost."""
    requests = some_requests()
    right = in_batches(backend, requests, 13)
    whole = Packed.of

    def one_segment(found: Any) -> Packed:
        pack = whole(found)
        segments = Segments((Segment(0, len(pack.ids)),))
        return replace(pack, segments=segments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Packed, "of", one_segment)
        assert np.abs(in_batches(backend, requests, 13) - right).max() > 0.1


def test_attention_does_not_use_onednn(
    backend: HuggingFaceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments have many lengths, and oneDNN keeps generated code for each."""
    seen = {"attention": 0, "elsewhere": 0}
    inside = False
    attend, product = attention._attend, precision.onednn_linear

    def watched(*arguments: Any) -> Any:
        nonlocal inside
        inside = True
        try:
            return attend(*arguments)
        finally:
            inside = False

    def counted(*arguments: Any) -> Any:
        seen["attention" if inside else "elsewhere"] += 1
        return product(*arguments)

    monkeypatch.setattr(attention, "_attend", watched)
    monkeypatch.setattr(precision, "onednn_linear", counted)
    backend.nll(some_requests())
    assert seen["attention"] == 0
    layers = backend.model.config.get_text_config().num_hidden_layers
    assert seen["elsewhere"] > (4 * layers if onednn_stays_float32() else -1)
    assert products().fp32_precision in ("none", "ieee")


def test_matrices_come_in_few_sizes(backend: HuggingFaceBackend) -> None:
    """Each new size takes memory that is never freed, so packs and chunks are filled up."""
    from ifdkit.engine.layout import SIZE_MULTIPLE, Batch

    packs = [Packed.of(Batch(some_requests(n, seed=n)).sequences) for n in range(1, 12)]
    assert {len(pack.ids) % SIZE_MULTIPLE for pack in packs} == {0}
    assert all(len(pack.positions) == len(pack.ids) for pack in packs)
    rows: set[int] = set()
    head = backend.model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: rows.add(inputs[0].shape[-2]))
    for n in range(1, 12):
        backend.nll(some_requests(n, seed=n))
    hook.remove()
    assert {n % SIZE_MULTIPLE for n in rows} == {0}


def varlen_reference(
    query: Any, key: Any, value: Any, ends_q: Any, ends_k: Any, max_q: int, max_k: int, *,
    scale: float, window_size: tuple[int, int], enable_gqa: bool, num_splits: int,
) -> Any:  # fmt: skip
    """torch's documentation of its kernel in plain loops: the mask is aligned with the end."""
    import torch

    out = torch.zeros_like(query)  # (queries, heads, head)
    group = query.shape[1] // key.shape[1]
    assert enable_gqa == (group > 1)
    assert max_q == int(ends_q.diff().max())
    assert max_k == int(ends_k.diff().max())
    assert ends_q.dtype == ends_k.dtype == torch.int32
    for q0, q1, k0, k1 in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False):
        for i in range(int(q0), int(q1)):
            last = int(k1 - (q1 - i) + 1)  # one past the key at this query's own position
            first = int(k0) if window_size[0] < 0 else max(int(k0), last - 1 - window_size[0])
            for head in range(query.shape[1]):
                scores = key[first:last, head // group] @ query[i, head] * scale
                out[i, head] = scores.softmax(0) @ value[first:last, head // group]
    return out


def test_the_cuda_kernel_gets_the_arguments_it_documents(
    backend: HuggingFaceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code for CUDA on a CPU, with a slow reference in place of the kernel."""
    requests = related_requests()
    expected = in_batches(backend, requests, len(requests))
    monkeypatch.setattr(attention, "_varlen", lambda: varlen_reference)
    monkeypatch.setattr(attention, "_one_by_one", attention._in_one_kernel)
    again = in_batches(backend, requests, len(requests))
    np.testing.assert_allclose(again, expected, atol=TOLERANCE_NATS)


def test_cuda_packs_in_16_bits_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    cuda = torch.device("cuda")
    monkeypatch.setattr(attention, "_varlen", lambda: varlen_reference)
    assert attention.has_kernel(cuda, torch.bfloat16)
    assert not attention.has_kernel(cuda, torch.float32)
    monkeypatch.setattr(attention, "_varlen", lambda: None)
    assert not attention.has_kernel(cuda, torch.bfloat16)
    assert attention.has_kernel(torch.device("cpu"), torch.float32)
    assert not attention.has_kernel(torch.device("mps"), torch.float16)


@pytest.mark.parametrize("more", [{"softcap": 3.0}, {"s_aux": 1}, {"dropout": 0.1}])
def test_attention_rejects_what_it_does_not_implement(more: dict[str, Any]) -> None:
    import torch

    q = torch.zeros(1, 2, 3, 4)
    with (
        attention.packed(Segments((Segment(0, 3),))),
        pytest.raises(CannotPackError, match="Linear needs"),
    ):
        attention.segment_attention(torch.nn.Linear(1, 1), q, q, q, None, **more)


def test_models_that_cap_attention_scores_are_padded(tmp_path: Path) -> None:
    """Gemma 2 caps the attention scores, which packed attention does not implement."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(**tiny._sizes(head_dim=8, sliding_window=16))
    assert config.attn_logit_softcapping
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tiny.save_tokenizer(tmp_path)
    loaded = load(tmp_path)
    assert loaded.strategy == "padded"
    requests = some_requests()
    reference = ReferenceModel(tmp_path)
    slow = [reference.token_nll(r.ids[: r.stop].tolist(), r.start) for r in requests]
    fast = in_batches(loaded, requests, 5)
    np.testing.assert_allclose(fast, np.concatenate(slow), atol=TOLERANCE_NATS)


def test_models_that_mix_tokens_without_attention_are_padded(tmp_path: Path) -> None:
    """A state space model carries its state across the boundaries between sequences."""
    from transformers import MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": tiny.VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}
    MambaForCausalLM(MambaConfig(**sizes, initializer_range=0.4)).save_pretrained(tmp_path)
    assert load(tmp_path).strategy == "padded"


def test_a_window_that_is_not_passed_to_attention_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes shorter than the window could not show it; the model's config does."""
    folder = tiny.save_model(tmp_path / "gemma3", "gemma3")
    assert load(folder).strategy == "packed"
    whole = attention.segment_attention

    def without_window(*args: Any, sliding_window: int | None = None, **more: Any) -> Any:
        return whole(*args, **more)

    monkeypatch.setattr(attention, "segment_attention", without_window)
    monkeypatch.setattr(HuggingFaceBackend, "_agree", lambda *_: True)
    assert load(folder).strategy == "padded"


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_the_size_of_the_heads_chunks_changes_nothing(
    backend: HuggingFaceBackend, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    requests = some_requests()
    whole = in_batches(backend, requests, 5)
    monkeypatch.setattr(backend._strategy, "_head", ChunkedHead(backend.model, rows_per_chunk=rows))
    np.testing.assert_allclose(in_batches(backend, requests, 5), whole, atol=TOLERANCE_NATS)


@pytest.mark.parametrize("fits", [1, 3])
def test_a_batch_that_exceeds_memory_is_halved(
    backend: HuggingFaceBackend, monkeypatch: pytest.MonkeyPatch, fits: int
) -> None:
    import torch

    requests = some_requests()
    whole = in_batches(backend, requests, len(requests))
    batch = backend._batch
    sizes = []

    def small_memory(some: Sequence[Request]) -> list[Any]:
        if len(some) > fits:
            raise torch.OutOfMemoryError
        sizes.append(len(some))
        return batch(some)

    monkeypatch.setattr(backend, "_batch", small_memory)
    np.testing.assert_allclose(np.concatenate(backend.nll(requests)), whole, atol=TOLERANCE_NATS)
    assert 1 <= max(sizes) <= fits
    monkeypatch.setattr(backend, "_batch", lambda _: small_memory(requests))
    with pytest.raises(ModelError, match="does not fit into the memory of cpu"):
        backend.nll(requests[:1])


def test_other_runtime_errors_are_not_handled_as_out_of_memory(
    backend: HuggingFaceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(backend, "_batch", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        backend.nll(some_requests(2))


def test_order_and_duplicates_change_nothing(backend: HuggingFaceBackend) -> None:
    requests = some_requests()
    order = np.random.default_rng(1).permutation(len(requests) * 2) % len(requests)
    plain = backend.nll(requests)
    mixed = backend.nll([requests[i] for i in order])
    for i, nll in zip(order, mixed, strict=True):
        np.testing.assert_allclose(nll, plain[i], atol=TOLERANCE_NATS)


def test_tokens_after_the_span_change_nothing(backend: HuggingFaceBackend) -> None:
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


def test_a_model_with_an_unusual_body_falls_back_with_a_warning(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Plausible but wrong: in batches of several sequences, ids are shifted by one token."""
    from transformers import LlamaModel

    right = in_batches(load(tiny_model), some_requests(), 4)
    whole = LlamaModel.forward

    def shifted(self: Any, *args: Any, input_ids: Any = None, **kwargs: Any) -> Any:
        if len(input_ids) > 1 or kwargs.get("position_ids") is not None:
            input_ids = input_ids.roll(1, dims=1)
        return whole(self, *args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(LlamaModel, "forward", shifted)
    with caplog.at_level(logging.WARNING):
        loaded = load(tiny_model)
    assert loaded.strategy == "plain"
    assert "full logits" in caplog.text
    np.testing.assert_allclose(in_batches(loaded, some_requests(), 4), right, atol=TOLERANCE_NATS)


def test_a_head_that_cannot_be_chunked_selects_its_rows(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object, **__: object) -> None:
        raise AttributeError("the body has no name")

    monkeypatch.setattr(ChunkedHead, "__init__", cannot)
    loaded = load(tiny_model)
    assert loaded.strategy == "selected"
    assert loaded.budget.scored is not None, (
        "the logits of a whole batch are in memory, so the budget bounds them"
    )


def products() -> Any:
    import torch

    return torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # untyped in torch


def test_float32_products_are_float32_accurate_and_no_setting_changes() -> None:
    import torch

    x, weight = (torch.randn(n, 576, generator=torch.Generator().manual_seed(n)) for n in (99, 200))
    exact = x.double() @ weight.double().T
    setting = products().fp32_precision
    with torch.inference_mode(), fast_float32(torch.device("cpu"), torch.float32):
        error = (torch.nn.functional.linear(x, weight) - exact).abs().max()
        assert products().fp32_precision == setting
    assert error < 1e-3
    rounded = torch.nn.functional.linear(x.bfloat16(), weight.bfloat16()).float()
    assert (rounded - exact).abs().max() > 1e-2, (
        "negative control: bf16 inputs exceed the tolerance"
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (2, 7, 24), (1, 24)])
def test_products_by_onednn_are_those_of_the_layers(shape: tuple[int, ...], bias: bool) -> None:
    import torch
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    x = torch.randn(*shape)
    layers = [torch.nn.Linear(24, 40, bias=bias), Conv1D(40, 24)]
    with torch.inference_mode():
        for layer in layers:
            expected = layer(x)
            with fast_float32(torch.device("cpu"), torch.float32):
                np.testing.assert_allclose(layer(x), expected, atol=1e-5)
                # What the route does not cover keeps torch's own.
                assert layer(x[..., :0, :]).shape == (*shape[:-2], 0, 40)
                coarse = layer.bfloat16()(x.bfloat16())
            np.testing.assert_allclose(coarse.float(), expected, atol=0.1)


def test_onednn_is_not_used_if_it_rounds_to_bfloat16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    used = []

    def like_amx(x: Any, weight: Any, bias: Any = None) -> Any:
        used.append(x)
        x, weight = x.bfloat16().float(), weight.bfloat16().float()
        return torch.nn.functional.linear(x, weight, bias)

    monkeypatch.setattr(precision, "onednn_linear", like_amx)
    onednn_stays_float32.cache_clear()
    try:
        assert not onednn_stays_float32()
        used.clear()
        with fast_float32(torch.device("cpu"), torch.float32):
            torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3))
        assert not used
    finally:
        onednn_stays_float32.cache_clear()


def test_bfloat16_is_close_but_not_equal(tiny_model: Path) -> None:
    exact, coarse = (
        in_batches(load(tiny_model, d), some_requests(), 4) for d in ("float32", "bfloat16")
    )
    difference = np.abs(exact - coarse)
    assert 0 < np.median(difference) < 0.1


def test_a_token_outside_the_vocabulary_is_an_error(tiny_model: Path) -> None:
    ids = np.array([1, 2, tiny.VOCABULARY], np.int32)
    with pytest.raises(ModelError, match="weights and tokenizer do not match"):
        load(tiny_model).nll([Request(ids, 1, 3)])


def test_pickled_weights_are_refused_without_allow_pickle(tmp_path: Path) -> None:
    import torch

    folder = tiny.save_model(tmp_path / "pickled")
    safe = load(folder)
    torch.save(safe.model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pickled weights.*--allow-pickle"):
        resolve(str(folder))
    weights = resolve(str(folder), allow_pickle=True)
    opened = HuggingFaceBackend(weights, device="cpu", dtype="float32")
    requests = some_requests(3)
    np.testing.assert_array_equal(in_batches(opened, requests, 3), in_batches(safe, requests, 3))


def test_weights_of_another_kind_of_model_are_an_error(tiny_embedder: Path) -> None:
    """transformers would fill missing weights with random numbers and only warn."""
    with pytest.raises(ModelError, match="is not a causal language model: its files lack"):
        load(tiny_embedder)


def test_a_model_that_is_not_causal_is_refused(tmp_path: Path) -> None:
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
    assert load(tmp_path / "True").strategy != "plain"
    with pytest.raises(ModelError, match="is not a causal language model: later tokens"):
        load(tmp_path / "False")


@pytest.mark.parametrize(("has_bf16", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_auto_means_16_bits_on_cuda(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, dtype: str
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    assert resolve_dtype("auto", "cuda:1") == dtype


def test_devices_and_dtypes_resolve() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_dtype("auto", "cpu") == "float32"
    assert resolve_dtype("float16", "cpu") == "float16"
    for missing in ("cuda:7", "abacus"):
        with pytest.raises(UsageError, match="is not available"):
            resolve_device(missing)
