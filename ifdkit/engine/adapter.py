"""LoRA adapters: merged into the base model's weights, so that scoring sees an ordinary model."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ifdkit.engine.models import adapter_config
from ifdkit.engine.patterns import check_patterns
from ifdkit.engine.untrusted import check_tokenizer
from ifdkit.errors import ModelError, brief

_MAX_RANK = 2**16
_MAX_RANKS = 10_000
"""Entries of `rank_pattern`: peft compares each with the name of each module."""


@contextmanager
def without_adapter(folder: Path) -> Iterator[Path]:
    """The folder of a model, hiding an adapter in it, which transformers would load unmerged."""
    if not (folder / "adapter_config.json").exists():
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="ifdkit-") as base:
        for file in folder.iterdir():
            if not file.name.startswith("adapter_"):
                (Path(base) / file.name).symlink_to(file.resolve())
        yield Path(base)


def merged(model: Any, adapter: Path, name: str) -> Any:
    """The model with a PEFT adapter merged into its weights, in their dtype.

    `name` is what messages call the model.  Raises ModelError without `peft`, or if the
    adapter does not fit the model or cannot be merged, as prompt tuning cannot.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError(
            f"model {name} is an adapter, and peft is not installed: pip install 'ifdkit[lora]'"
        ) from error
    _check(model, adapter, name)
    try:
        _grow_vocabulary(model, adapter)
        tuned: Any = PeftModel.from_pretrained(
            model, adapter, torch_device=str(model.device), autocast_adapter_dtype=False
        )
        kind = tuned.active_peft_config.peft_type
    except Exception as error:  # each kind of adapter fails in its own way
        raise ModelError(
            f"model {name}: its adapter does not fit the base model: {brief(error)}"
        ) from error
    if tuned.active_peft_config.is_prompt_learning:
        raise ModelError(f"model {name}: a {kind.value} adapter cannot be merged into weights")
    try:
        return tuned.merge_and_unload(safe_merge=True)
    except Exception as error:  # not every kind of adapter can be merged
        raise ModelError(
            f"model {name}: its {kind.value} adapter cannot be merged: {brief(error)}"
        ) from error


def _check(model: Any, adapter: Path, name: str) -> None:
    """Raise ModelError if the settings of an adapter would take minutes or gigabytes to apply."""
    config = adapter_config(name, adapter)
    entries = [config.get(key) for key in ("rank_pattern", "alpha_pattern")]
    ranks = [value for one in entries[:1] if isinstance(one, dict) for value in one.values()]
    ranks += [value for key, value in config.items() if key in ("r", "init_r", "target_r")]
    if any(isinstance(one, int) and one > _MAX_RANK for one in ranks):
        raise ModelError(f"model {name}: the rank of its adapter is over {_MAX_RANK:,}")
    if any(isinstance(one, dict) and len(one) > _MAX_RANKS for one in entries):
        raise ModelError(f"model {name}: its adapter has more than {_MAX_RANKS:,} ranks")

    def names() -> Iterator[str]:
        for own in (*dict(model.named_modules()), *dict(model.named_parameters())):
            yield own
            yield f"base_model.model.{own}.lora_A.default.weight"

    check_patterns(name, "adapter_config.json", config, names)


def _grow_vocabulary(model: Any, adapter: Path) -> None:
    """Make room for tokens that the adapter's tokenizer added, as PEFT saved them."""
    from transformers import AutoTokenizer

    if (adapter / "tokenizer_config.json").is_file():
        check_tokenizer(adapter.name, adapter)
        n_tokens = len(AutoTokenizer.from_pretrained(adapter, trust_remote_code=False))
        if n_tokens > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(n_tokens, mean_resizing=False)
