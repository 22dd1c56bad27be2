"""LoRA adapters: what is scored is the base model with the adapter merged."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ifdkit
from ifdkit.engine.huggingface import HuggingFaceBackend
from ifdkit.engine.models import resolve
from ifdkit.errors import IfdkitError, ModelError
from ifdkit.records import Request
from tests import tiny
from tests.test_models import digest

pytestmark = pytest.mark.long


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.save_model(tmp_path / "base")


def save_adapter(base: Path, folder: Path, **config: Any) -> Path:
    """A random LoRA adapter with an effect, in the files that PEFT writes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    settings = LoraConfig(
        task_type="CAUSAL_LM", r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj"],
        **config,
    )  # fmt: skip
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, settings).save_pretrained(folder)
    return folder


def nats(name: Path | str) -> np.ndarray:
    weights = resolve(str(name))
    backend = HuggingFaceBackend(weights, device="cpu", dtype="float32")
    ids = np.random.default_rng(0).integers(2, tiny.VOCABULARY, 40).astype(np.int32)
    return backend.nll([Request(ids, 1, 40)])[0]


def peft_nats(base: Path, adapter: Path) -> np.ndarray:
    """The same numbers by PEFT alone, unmerged."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = np.random.default_rng(0).integers(2, tiny.VOCABULARY, 40).astype(np.int32)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    model = PeftModel.from_pretrained(model, adapter).eval()
    with torch.inference_mode():
        logits = model(torch.from_numpy(ids.astype(np.int64))[None]).logits[0, :-1]
    targets = torch.from_numpy(ids[1:].astype(np.int64))
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none").numpy()


def test_an_adapter_scores_as_peft_says_and_not_as_its_base(base: Path, tmp_path: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    assert nats(adapter) == pytest.approx(peft_nats(base, adapter), abs=1e-4)
    assert np.abs(nats(adapter) - nats(base)).max() > 0.01


def test_an_adapter_beside_its_base_weights_is_merged(base: Path, tmp_path: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    expected = peft_nats(base, adapter)
    for file in adapter.glob("adapter_*"):
        shutil.copy(file, base)
    (adapter / "adapter_config.json").unlink()  # what it calls its base does not matter
    assert nats(base) == pytest.approx(expected, abs=1e-4)
    assert "with its LoRA adapter" in resolve(str(base)).source


def test_the_fingerprint_covers_the_adapter(base: Path, tmp_path: Path) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    moved = shutil.copytree(base, tmp_path / "moved")
    again = save_adapter(moved, tmp_path / "again")
    other = save_adapter(base, tmp_path / "other", lora_alpha=2)

    def fingerprint(name: Path) -> str:
        return resolve(str(name)).fingerprint(digest)

    assert fingerprint(adapter) == fingerprint(again)  # only the path of the base differs
    assert len({fingerprint(base), fingerprint(adapter), fingerprint(other)}) == 3


def test_tokens_that_an_adapter_adds_are_used(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<think>", "</think>"])
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(len(tokenizer))
    config = LoraConfig(task_type="CAUSAL_LM", r=2, modules_to_save=["embed_tokens", "lm_head"])
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter", save_embedding_layers=True)
    tokenizer.save_pretrained(tmp_path / "adapter")
    row = {"instruction": "add", "output": "<think> 1 </think> 2"}
    found = ifdkit.score([row], model=str(tmp_path / "adapter"), store="off", metrics=["ppl"])
    plain = ifdkit.score([row], model=str(base), store="off", metrics=["ppl"])
    tokens = [scored["response_tokens"].iloc[0] for scored in (found, plain)]
    assert tokens[0] < tokens[1]


def broken(adapter: Path, **changes: Any) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_model_name_or_path": None}, "does not name a base model"),
        ({"base_model_name_or_path": "./gone"}, "its base model ./gone: this path does not exist"),
        ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, "adapter"),
        ({"target_modules": ["nothing"]}, "its adapter does not fit the base model"),
        ({"peft_type": "WISHFUL"}, "its adapter does not fit the base model"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_an_error(
    base: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    broken(adapter, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        nats(adapter)
    assert "\n" not in str(caught.value)


def test_an_adapter_of_an_adapter_or_without_weights_is_an_error(
    base: Path, tmp_path: Path
) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    second = shutil.copytree(adapter, tmp_path / "second")
    broken(second, base_model_name_or_path=str(adapter))
    with pytest.raises(ModelError, match="is an adapter too: merge it"):
        resolve(str(second))
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="--allow-pickle"):
        resolve(str(adapter))
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(ModelError, match="no adapter_model file"):
        resolve(str(adapter))


def test_without_peft_the_error_names_the_extra(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = save_adapter(base, tmp_path / "adapter")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(IfdkitError, match=r"pip install 'ifdkit\[lora\]'"):
        nats(adapter)
