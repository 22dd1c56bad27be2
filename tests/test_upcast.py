"""The float32 model of the precision check: from the weights of the run, equal to a second load."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifdkit.data.options import ReadOptions
from ifdkit.engine import huggingface
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.loading import load_model
from ifdkit.engine.models import Weights
from ifdkit.engine.upcast import CannotUpcastError, is_exact, upcast
from ifdkit.records import Request
from ifdkit.scoring.manifest import PrecisionCheck
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from tests import tiny

Make = Callable[..., Path]

pytestmark = pytest.mark.long


def save_as(dtype: str, folder: Path, architecture: str = "llama") -> Path:
    """A tiny model whose files have this dtype."""
    import torch
    from transformers import AutoModelForCausalLM

    exact = tiny.save_model(folder.parent / f"{folder.name}-float32", architecture)
    shutil.copytree(exact, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    model = AutoModelForCausalLM.from_pretrained(exact, dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    return folder


def weights_of(folder: Path) -> Weights:
    return Weights(folder.name, folder, "test")


def load(folder: Path, dtype: str) -> HuggingFaceBackend:
    return HuggingFaceBackend(weights_of(folder), device="cpu", dtype=dtype)


@pytest.fixture(scope="module")
def bfloat16_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_as("bfloat16", tmp_path_factory.mktemp("models") / "bfloat16")


def requests() -> list[Request]:
    draw = np.random.default_rng(0)
    return [
        Request(draw.integers(tiny.VOCABULARY, size=n).astype(np.int32), n // 2, n)
        for n in (3, 9, 30, 71, 120)
    ]


def tensors(model: Any) -> dict[str, Any]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_it_has_the_bits_of_a_second_load(tmp_path: Path, architecture: str, dtype: str) -> None:
    import torch

    folder = save_as(dtype, tmp_path / "model", architecture)
    loaded = load(folder, "float32")
    coarse = load(folder, dtype)
    widened = coarse.in_float32()
    assert widened is not None
    assert (widened.dtype, widened.strategy) == (torch.float32, loaded.strategy)
    assert widened.budget == loaded.budget
    expected, found = tensors(loaded.model), tensors(widened.model)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
    own = {id(one) for one in widened.model.parameters()}
    assert len(own) == len(list(loaded.model.parameters())), "tied weights are tied"
    assert not widened.model.training
    for one, other in zip(widened.nll(requests()), loaded.nll(requests()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_widening_alone_would_not_be_enough(tmp_path: Path) -> None:
    """Negative control: Gemma computes the scale of its embeddings, which bfloat16 rounds."""
    import torch

    folder = save_as("bfloat16", tmp_path / "model", "gemma3")
    name = "model.embed_tokens.embed_scale"
    expected = tensors(load(folder, "float32").model)[name]
    only_widened = tensors(load(folder, "bfloat16").model.float())[name]
    assert not torch.equal(only_widened, expected)


def test_no_file_is_read(tmp_path: Path) -> None:
    folder = save_as("bfloat16", tmp_path / "model")
    coarse = load(folder, "bfloat16")
    expected = load(folder, "float32").nll(requests())
    (folder / "model.safetensors").unlink()
    widened = coarse.in_float32()
    assert widened is not None
    for one, other in zip(widened.nll(requests()), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_are_widened_in_place(bfloat16_model: Path) -> None:
    """The new model has the very parameters of the old one, so that no second copy exists."""
    coarse = load(bfloat16_model, "bfloat16")
    before = {id(one) for one in coarse.model.parameters()}
    widened = coarse.in_float32()
    assert widened is not None
    assert {id(one) for one in widened.model.parameters()} == before


def changed(folder: Path, name: str, **fields: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_rounded_weights_are_loaded_again(tmp_path: Path, bfloat16_model: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    wide = tiny.save_model(tmp_path / "wide")
    for folder, dtype in ((wide, "bfloat16"), (wide, "float16"), (bfloat16_model, "float16"),
                          (bfloat16_model, "float32")):  # fmt: skip
        assert not is_exact(weights_of(folder), dtype)
        assert load(folder, dtype).in_float32() is None
    assert is_exact(weights_of(bfloat16_model), "bfloat16")
    assert not is_exact(weights_of(bfloat16_model), "bfloat16", device_map="auto")
    assert not is_exact(replace(weights_of(bfloat16_model), adapter=wide), "bfloat16")
    mixed = shutil.copytree(bfloat16_model, tmp_path / "mixed")
    stored = load_file(mixed / "model.safetensors")
    name = "model.norm.weight"
    save_file({**stored, "ids": torch.arange(3)}, mixed / "model.safetensors")
    assert is_exact(weights_of(mixed), "bfloat16"), "integers are never rounded"
    save_file({**stored, name: stored[name].float()}, mixed / "model.safetensors")
    assert not is_exact(weights_of(mixed), "bfloat16")
    quantised = shutil.copytree(bfloat16_model, tmp_path / "quantised")
    changed(quantised, "config.json", quantization_config={"quant_method": "fp8"})
    assert not is_exact(weights_of(quantised), "bfloat16")
    damaged = shutil.copytree(bfloat16_model, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"\0" * 20)
    assert not is_exact(weights_of(damaged), "bfloat16")
    pickled = shutil.copytree(bfloat16_model, tmp_path / "pickled")
    torch.save(stored, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    assert not is_exact(weights_of(pickled), "bfloat16")


def test_a_model_with_buffers_in_its_files_is_loaded_again(bfloat16_model: Path) -> None:
    """They may be computed from the config, and no file tells."""
    coarse = load(bfloat16_model, "bfloat16")
    coarse.model.register_buffer("bias", coarse.model.lm_head.weight.new_zeros(3))
    with pytest.raises(CannotUpcastError, match="its buffer bias may have been rounded"):
        upcast(coarse.model, weights_of(bfloat16_model))
    assert coarse.in_float32() is None


def test_a_model_that_its_config_does_not_describe_is_loaded_again(bfloat16_model: Path) -> None:
    import torch

    coarse = load(bfloat16_model, "bfloat16")
    coarse.model.more = torch.nn.Linear(2, 2)
    assert coarse.in_float32() is None


def test_memory_of_the_gpu_alone_is_needed(
    bfloat16_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CUDA, weights that are loaded again pass through main memory."""
    import psutil
    import torch

    class Full:
        available = 0

    exact = load(bfloat16_model, "bfloat16")
    rounded = load(tiny.save_model(tmp_path / "wide"), "bfloat16")
    monkeypatch.setattr(psutil, "virtual_memory", Full)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 << 40, 1 << 40))
    for backend in (exact, rounded):
        monkeypatch.setattr(backend, "device", torch.device("cuda"))
    assert exact.float32_problem() is None
    assert "does not fit into main memory" in str(rounded.float32_problem())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 1 << 40))
    assert "does not fit into the memory of cuda" in str(exact.float32_problem())


# The check of a run


@pytest.fixture
def data(write: Make) -> Path:
    words = ["the", "sea", "is", "wide", "and", "sky", "blue", "so", "a", "poem", "about", "cats"]
    draw = np.random.default_rng(0)
    rows = [
        {"instruction": " ".join(draw.choice(words, 6)), "output": " ".join(draw.choice(words, n))}
        for n in range(9, 24)
    ]
    return write("data.json", rows)


def check_of(data: Path, model: Path, store: Path) -> PrecisionCheck:
    settings = Settings(
        model=str(model), dtype="bfloat16", metrics=("ifd",), store=str(store), drift=12
    )
    output = store.with_suffix(".jsonl")
    drift = score_to_file(data, output, settings, ReadOptions()).manifest.drift
    assert drift is not None
    assert drift.n == 12
    return replace(drift, elapsed_s=None)


def test_a_check_has_the_numbers_of_a_second_load(
    data: Path, bfloat16_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    whole = load_model

    def counted(weights: Weights, dtype: Any, *args: Any, **more: Any) -> Any:
        loads.append(str(dtype))
        return whole(weights, dtype, *args, **more)

    monkeypatch.setattr(huggingface, "load_model", counted)
    reused = check_of(data, bfloat16_model, tmp_path / "reused.sqlite")
    assert loads == ["torch.bfloat16"]
    monkeypatch.setattr(HuggingFaceBackend, "in_float32", lambda _: None)
    again = check_of(data, bfloat16_model, tmp_path / "again.sqlite")
    assert loads == ["torch.bfloat16", "torch.bfloat16", "torch.float32"]
    assert reused == again
    assert reused.median_abs_ifd


def test_float32_files_are_read_for_the_check(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights rounded to 16 bits and widened again would show no difference to themselves."""
    folder = tiny.save_model(tmp_path / "wide")
    right = check_of(data, folder, tmp_path / "right.sqlite")
    monkeypatch.setattr(huggingface, "is_exact", lambda *_, **__: True)
    wrong = check_of(data, folder, tmp_path / "wrong.sqlite")
    assert wrong.median_abs_ifd != right.median_abs_ifd


def test_the_old_model_is_gone_before_another_is_loaded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc
    import weakref

    folder = tiny.save_model(tmp_path / "wide")
    models: list[weakref.ref[Any]] = []
    alive = []
    whole = load_model

    def watched(*args: Any, **more: Any) -> Any:
        gc.collect()
        alive.append(sum(one() is not None for one in models))
        model = whole(*args, **more)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(huggingface, "load_model", watched)
    check_of(data, folder, tmp_path / "store.sqlite")
    assert alive == [0, 0]
