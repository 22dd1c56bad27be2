"""Loading the weights of a causal language model, for scoring, training and generation."""

from __future__ import annotations

from typing import Any

import torch

from ifdkit.engine.adapter import merged, without_adapter
from ifdkit.engine.flops import ModelSize
from ifdkit.engine.models import Weights
from ifdkit.engine.patterns import check_patterns
from ifdkit.engine.quiet import quiet_libraries
from ifdkit.engine.untrusted import check_size
from ifdkit.errors import ModelError, brief

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


DeviceMap = str | dict[str, str | int]
"""`auto`, or part of the model → device, as accelerate takes it."""


def model_size(weights: Weights, *, trust_remote_code: bool = False) -> ModelSize:
    """The size of a model, from its config alone. Raises ModelError."""
    check_size(weights.name, weights.config)
    try:
        return ModelSize.of(_without_weights(weights, trust_remote_code=trust_remote_code))
    except Exception as error:  # each architecture fails in its own way
        raise ModelError(f"the size of {weights.name} is not known: {brief(error)}") from error


def _without_weights(weights: Weights, *, trust_remote_code: bool) -> Any:
    """The model as its config describes it. Raises the errors of each architecture."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with quiet_libraries(), torch.device("meta"):
        config = AutoConfig.from_pretrained(
            weights.folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
        return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)


def load_model(
    weights: Weights,
    dtype: torch.dtype,
    device: torch.device,
    *,
    trust_remote_code: bool = False,
    device_map: DeviceMap | None = None,
) -> Any:
    """The model with its adapter merged, in evaluation mode.

    With a `device_map` accelerate spreads its layers over devices, and moves what passes between
    them.

    Raises ModelError if the weights do not load, do not fit on the device, or are incomplete.
    """
    from transformers import AutoModelForCausalLM

    check_size(weights.name, weights.config)
    pickled = not any(file.suffix == ".safetensors" for file in weights.files)
    if device_map is not None and weights.adapter is not None:
        raise ModelError(
            f"model {weights.name} is an adapter, which --device-map does not spread: merge it into"
            " its base model first"
        )
    try:
        check_patterns(
            weights.name,
            "config.json",
            weights.config.get("quantization_config"),
            lambda: dict(
                _without_weights(weights, trust_remote_code=trust_remote_code).named_modules()
            ),
        )
        with quiet_libraries(), without_adapter(weights.folder) as folder:
            model, found = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=not pickled,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                **({} if device_map is None else {"device_map": device_map}),
            )
            model = (model if device_map is not None else model.to(device)).eval()
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"model {weights.name} does not fit on {device}: try --dtype bfloat16,"
            " --device cpu or a smaller model"
        ) from error
    except ModelError:
        raise
    except Exception as error:  # each architecture fails in its own way
        raise ModelError(f"model {weights.name} does not load: {brief(error)}") from error
    if found["missing_keys"]:
        # transformers would fill these with random numbers and only warn.
        raise ModelError(
            f"model {weights.name} is not a causal language model: its files lack"
            f" {len(found['missing_keys'])} weights, among them {min(found['missing_keys'])}"
        )
    if weights.adapter is not None:
        with quiet_libraries():
            model = merged(model, weights.adapter, weights.name).eval()
    return model
