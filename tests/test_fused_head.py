"""The fused LM head: with a slow loss, with Liger in Triton's interpreter, and on a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifdkit.engine import fused_head
from ifdkit.engine.fused_head import CannotFuseError, FusedHead
from ifdkit.engine.head import ChunkedHead
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import Weights
from tests import tiny
from tests.reference import ReferenceModel
from tests.test_engine import TOLERANCE_NATS, in_batches, some_requests

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
TOOLS = ROOT / ".cuda-tools"
FUSIBLE = ("gpt2", "llama", "qwen3", "gemma3")
"""Granite divides its logits, which Liger does not."""
INTERPRETABLE = ("gpt2", "llama", "qwen3")
"""The soft cap of Gemma is a function of CUDA's library, which Triton's interpreter has not."""


class SlowLoss:
    """What Liger documents, in float64 and with all logits."""

    calls: list[int]
    """Rows of each call."""

    def __init__(self, *, reduction: str, softcap: float | None) -> None:
        assert reduction == "none"
        self._softcap = softcap
        SlowLoss.calls = []

    def __call__(self, weight: Any, rows: Any, targets: Any, bias: Any) -> Any:
        SlowLoss.calls.append(len(rows))
        assert not weight.requires_grad
        logits = rows.double() @ weight.double().T  # (rows, vocabulary)
        if bias is not None:
            logits = logits + bias.double()
        if self._softcap is not None:
            logits = self._softcap * (logits / self._softcap).tanh()
        return (logits.logsumexp(-1) - logits.gather(1, targets[:, None])[:, 0]).float()


@pytest.fixture
def slow_liger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where Liger is installed and its device is one that it runs on."""
    monkeypatch.setattr(fused_head, "_liger", lambda: SlowLoss)
    monkeypatch.setattr(fused_head, "is_available", lambda _: True)


def load(folder: Path, dtype: str = "float32", device: str = "cpu") -> HuggingFaceBackend:
    return HuggingFaceBackend(Weights(folder.name, folder, "test"), device=device, dtype=dtype)


def head_of(backend: HuggingFaceBackend) -> type[ChunkedHead] | None:
    return backend._chosen[1]


def reference_nlls(folder: Path) -> Any:
    reference = ReferenceModel(folder)
    return np.concatenate(
        [reference.token_nll(r.ids[: r.stop].tolist(), r.start) for r in some_requests()]
    )


@pytest.mark.usefixtures("slow_liger")
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_it_is_used_if_it_is_the_models_own_head(architecture: str, tmp_path: Path) -> None:
    folder = tiny.save_model(tmp_path / architecture, architecture)
    backend = load(folder)
    assert backend.strategy == "packed"
    assert head_of(backend) is (FusedHead if architecture in FUSIBLE else ChunkedHead)
    SlowLoss.calls = []
    found = in_batches(backend, some_requests(), 5)
    assert bool(SlowLoss.calls) == (architecture in FUSIBLE)
    np.testing.assert_allclose(found, reference_nlls(folder), atol=TOLERANCE_NATS)


@pytest.mark.usefixtures("slow_liger")
def test_models_that_are_padded_use_it_too(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(**tiny._sizes(head_dim=8, sliding_window=16))
    assert config.final_logit_softcapping
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tiny.save_tokenizer(tmp_path)
    backend = load(tmp_path)
    assert (backend.strategy, head_of(backend)) == ("padded", FusedHead)
    found = in_batches(backend, some_requests(), 5)
    np.testing.assert_allclose(found, reference_nlls(tmp_path), atol=TOLERANCE_NATS)


@pytest.mark.usefixtures("slow_liger")
def test_statistics_have_all_logits(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [replace(one, with_statistics=True) for one in some_requests()]
    fused = load(tiny_model)
    assert head_of(fused) is FusedHead
    SlowLoss.calls = []
    found = fused.nll(requests)
    assert not SlowLoss.calls
    monkeypatch.setattr(fused_head, "is_available", lambda _: False)
    for one, other in zip(found, load(tiny_model).nll(requests), strict=True):
        np.testing.assert_array_equal(one, other)


def a_head(folder: Path, dtype: str = "float32", **changes: Any) -> Any:
    """A head that has seen a batch, of a model whose config says something else."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    for name, value in changes.items():
        setattr(model.config, name, value)
    head = FusedHead(model, rows_per_chunk=16)
    head.hidden(input_ids=torch.tensor([[1, 2]]))
    return head


def nll_of(head: Any) -> Any:
    import torch

    with torch.inference_mode():
        return head.nll(torch.ones(3, 32, dtype=head._weight.dtype), torch.tensor([0, 1, 399]))


@pytest.mark.usefixtures("slow_liger")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_part_of_the_head_that_is_missing_is_noticed(tmp_path: Path, dtype: str) -> None:
    """In 16 bits too, where rounding hides small differences."""
    gemma = tiny.save_model(tmp_path / "gemma3", "gemma3")
    assert len(nll_of(a_head(gemma, dtype))) == 3
    head = a_head(gemma, dtype)
    head._loss = SlowLoss(reduction="none", softcap=None)
    with pytest.raises(CannotFuseError, match="its own head differs by"):
        nll_of(head)
    granite = tiny.save_model(tmp_path / "granite", "granite")
    with pytest.raises(CannotFuseError, match="its own head differs by"):
        nll_of(a_head(granite, dtype))


@pytest.mark.usefixtures("slow_liger")
@pytest.mark.parametrize("cap", [15.0, 30.0, 50.0])
def test_the_soft_caps_of_real_models_show(tmp_path: Path, cap: float) -> None:
    """The cap of Gemma 2 and 3 is 30, which logits near 0 would not reach."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(**tiny._sizes(head_dim=8, final_logit_softcapping=cap))
    Gemma3ForCausalLM(config).save_pretrained(tmp_path)
    assert len(nll_of(a_head(tmp_path, "bfloat16"))) == 3
    head = a_head(tmp_path, "bfloat16")
    head._loss = SlowLoss(reduction="none", softcap=None)
    with pytest.raises(CannotFuseError):
        nll_of(head)


@pytest.mark.usefixtures("slow_liger")
def test_numbers_that_are_not_finite_are_not_accepted(tiny_model: Path) -> None:
    head = a_head(tiny_model)
    head._loss = lambda *arguments: arguments[1][:, 0] * float("nan")
    with pytest.raises(CannotFuseError, match="differs by nan"):
        nll_of(head)


@pytest.mark.usefixtures("slow_liger")
def test_a_head_of_another_kind_is_not_fused(tiny_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(CannotFuseError, match="its head is a Sequential"):
        FusedHead(model, rows_per_chunk=16)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.lm_head.half()
    with pytest.raises(CannotFuseError, match="its head is a Linear"):
        FusedHead(model, rows_per_chunk=16)


@pytest.mark.usefixtures("slow_liger")
def test_what_fails_in_liger_is_not_used(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A kernel that does not compile, or a version with other arguments."""

    def cannot(*_: Any) -> None:
        raise RuntimeError("PassManager::run failed")

    monkeypatch.setattr(SlowLoss, "__call__", cannot)
    with caplog.at_level("INFO", "ifdkit"):
        backend = load(tiny_model)
    assert (backend.strategy, head_of(backend)) == ("packed", ChunkedHead)
    assert "not packed and fused: PassManager::run failed" in caplog.text


@pytest.mark.usefixtures("slow_liger")
def test_a_model_over_several_devices_keeps_its_own_head(tiny_model: Path) -> None:
    weights = Weights("llama", tiny_model, "test")
    backend = HuggingFaceBackend(weights, device="cpu", dtype="float32", device_map="auto")
    assert head_of(backend) is ChunkedHead


@pytest.fixture
def liger_anew() -> Iterator[None]:
    fused_head._liger.cache_clear()
    yield
    fused_head._liger.cache_clear()


@pytest.mark.usefixtures("liger_anew")
def test_it_needs_cuda_and_liger(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with caplog.at_level("INFO", "ifdkit"):
        assert not fused_head.is_available(torch.device("cpu"))
        assert "Liger" not in caplog.text
        assert not fused_head.is_available(torch.device("cuda"))
    assert "pip install 'ifdkit[cuda]'" in caplog.text


@pytest.mark.usefixtures("liger_anew")
def test_a_liger_that_does_not_load_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    import torch

    (tmp_path / "liger_kernel").mkdir()
    (tmp_path / "liger_kernel" / "__init__.py").write_text("raise RuntimeError('0 active drivers')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "liger_kernel", raising=False)
    with caplog.at_level("INFO", "ifdkit"):
        assert not fused_head.is_available(torch.device("cuda"))
    assert "Liger does not load: 0 active drivers" in caplog.text


# Liger itself, in Triton's interpreter


CASES = [
    {"vocabulary": vocabulary, "rows": rows, "dtype": dtype, "bias": bias}
    for vocabulary, rows, bias in (
        (32, 7, False),
        (401, 1, False),
        (1000, 33, True),
        (32_769, 3, False),  # one more than a block of the kernel
        (50_257, 5, True),
    )
    for dtype in ("float32", "bfloat16", "float16")
]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Answers of `tests.interpreted_liger` to CASES, then to the tiny models."""
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(TOOLS)]),
    }
    probe = [sys.executable, "-c", "import liger_kernel, triton"]
    if subprocess.run(probe, env=environment, capture_output=True).returncode:
        pytest.skip("needs Liger and Triton: `make cuda-tools`")
    folders = tmp_path_factory.mktemp("models")
    cases: list[dict[str, Any]] = list(CASES)
    for architecture in tiny.ARCHITECTURES:
        folder = tiny.save_model(folders / architecture, architecture)
        cases += [{"folder": str(folder), "dtype": dtype} for dtype in ("float32", "bfloat16")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.interpreted_liger"],
        input=json.dumps(cases),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(map(repr, cases), json.loads(done.stdout), strict=True)), folders


@pytest.mark.parametrize("case", CASES, ids=lambda one: "-".join(map(str, one.values())))
def test_liger_gives_the_nlls_of_the_definition(interpreted: Any, case: dict[str, Any]) -> None:
    answer = interpreted[0][repr(case)]
    assert answer["dtype"] == "torch.float32"
    assert len(answer["fused"]) == case["rows"]
    # Logits of up to 40, rounded to 8 or 11 bits as those of the model's own head are, and once
    # more where a bias is added.
    rounding = {"float32": 2e-5, "bfloat16": 0.13, "float16": 0.016}[case["dtype"]]
    rounding *= 1 + case["bias"]
    np.testing.assert_allclose(answer["fused"], answer["exact"], atol=rounding)
    alike = rounding if case["bias"] else 2e-5
    np.testing.assert_allclose(answer["fused"], answer["own"], atol=alike)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_self_check_decides_about_liger(
    interpreted: Any, architecture: str, dtype: str
) -> None:
    answers, folders = interpreted
    folder = folders / architecture
    answer = answers[repr({"folder": str(folder), "dtype": dtype})]
    assert answer["strategy"] == "packed"
    assert answer["head"] == ("FusedHead" if architecture in INTERPRETABLE else "ChunkedHead")
    tolerance = {"float32": TOLERANCE_NATS, "bfloat16": 0.3}[dtype]
    found = np.concatenate(answer["nlls"])
    difference = np.abs(found - reference_nlls(folder))
    assert (difference.max() if dtype == "float32" else difference.mean()) < tolerance


# On a GPU


def needs_a_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a GPU of CUDA, which this machine has not")
    if find_spec("liger_kernel") is None:
        pytest.skip("needs Liger: pip install 'ifdkit[cuda]'")


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", FUSIBLE)
def test_on_a_gpu(
    tmp_path: Path, architecture: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_a_gpu()
    folder = tiny.save_model(tmp_path / architecture, architecture)
    backend = load(folder, dtype, "cuda")
    assert head_of(backend) is FusedHead
    found = in_batches(backend, some_requests(), 13)
    np.testing.assert_array_equal(in_batches(backend, some_requests(), 13), found)
    assert np.abs(found - reference_nlls(folder)).mean() < 0.3
    monkeypatch.setattr(fused_head, "is_available", lambda _: False)
    own = load(folder, dtype, "cuda")
    assert head_of(own) is ChunkedHead
    # The product may be summed in another order, so that single logits round to the other side.
    assert np.abs(found - in_batches(own, some_requests(), 13)).mean() < 0.01
