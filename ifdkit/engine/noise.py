"""Noise on the embeddings of a batch, for the Requests that have some (`ifdkit.records.Noise`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ifdkit.engine.layout import Noisy
from ifdkit.engine.tensors import to_device
from ifdkit.records import Noise


def inputs_of(model: Any, ids: torch.Tensor, noisy: Noisy) -> dict[str, torch.Tensor]:
    """What the model takes for ids (batch, tokens): the ids, or their embeddings with noise."""
    if not noisy:
        return {"input_ids": ids}
    embeddings = model.get_input_embeddings()(ids)  # (batch, tokens, dimensions)
    added = np.zeros((ids.numel(), embeddings.shape[-1]), dtype=np.float32)
    for begin, sequence in noisy:
        assert sequence.noise is not None, "only sequences with noise are listed"
        rows = drawn(sequence.noise, len(sequence), embeddings.shape[-1])
        added[begin : begin + len(sequence)] = rows
    noise = to_device(added, embeddings.device).reshape(embeddings.shape)
    return {"inputs_embeds": embeddings + noise.to(embeddings.dtype)}


def drawn(noise: Noise, n_tokens: int, dimensions: int) -> NDArray[np.float32]:
    """The noise of the first `n_tokens` tokens, float32 of shape (n_tokens, dimensions).

    The whole matrix is drawn, so that two Requests with one seed agree on every row of it.
    """
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(noise.seed, "little")))
    rows = generator.random((noise.n_rows, dimensions), dtype=np.float32)  # in [0, 1)
    scale = noise.alpha / math.sqrt(noise.n_rows * dimensions)
    part = (2 * rows[noise.first_row :] - 1) * np.float32(scale)
    found = np.zeros((n_tokens, dimensions), dtype=np.float32)
    part = part[: max(0, n_tokens - noise.begin)]
    found[noise.begin : noise.begin + len(part)] = part
    return found
