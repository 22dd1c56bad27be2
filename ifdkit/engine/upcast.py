"""The float32 model of 16-bit weights that are loaded, without their files.

Every 16-bit number is a float32 number.  If the files have the dtype in which the weights were
loaded, nothing was rounded, and the widened weights are those that a load in float32 would give.
What a model computes from its config, such as a scale of its embeddings, is rounded to 16 bits too
when it is loaded in them, so it is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ifdkit.engine.models import Weights

_STORED_AS = {"float16": "F16", "bfloat16": "BF16"}
"""Our 16-bit dtypes → what safetensors call them."""


class CannotUpcastError(Exception):
    """Not all of a model's numbers are in its files or follow from its config."""


def is_exact(weights: Weights, dtype: str, *, device_map: object = None) -> bool:
    """Whether weights loaded in a 16-bit `dtype` are those of the files, unrounded, in one place.

    Decided by the dtypes in the files, without torch.  False for what is not simply read from
    them: an adapter is merged in the dtype of the load, and quantised weights are scaled.
    """
    if dtype not in _STORED_AS or device_map is not None or weights.adapter is not None:
        return False
    if weights.config.get("quantization_config") is not None:
        return False
    return weights.float_dtypes() == {_STORED_AS[dtype]}


def upcast(model: Any, weights: Weights, *, trust_remote_code: bool = False) -> Any:
    """The model in float32 and evaluation mode, equal to the bit to one loaded in float32.

    `model` has the weights of the files (`is_exact`).  They are widened in place, one after the
    other, so that two copies of only one of them are in memory at a time; the result takes them
    over, and `model` must not be used any more.  Raises CannotUpcastError for a model that saves
    floating-point buffers, whose values can come from a rounded config, and what transformers
    raises for a model that its config alone does not describe.
    """
    import torch
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    from ifdkit.engine.quiet import quiet_libraries

    if found := next(_saved_buffers(model), None):
        raise CannotUpcastError(f"its buffer {found} may have been rounded")
    device = model.device
    with quiet_libraries(), init_empty_weights(include_buffers=False):
        config = AutoConfig.from_pretrained(
            weights.folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
        fresh = AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, trust_remote_code=trust_remote_code
        )
    model.float()
    # The parameters themselves and not copies: those that are tied stay tied.
    fresh.load_state_dict(model.state_dict(keep_vars=True), strict=True, assign=True)
    return fresh.to(device).eval()


def _saved_buffers(model: Any) -> Iterator[str]:
    """Names of the floating-point buffers that a model's files contain."""
    saved = model.state_dict(keep_vars=True)
    for name, buffer in model.named_buffers():
        if name in saved and buffer.is_floating_point():
            yield name
