"""The published scripts' way to the same numbers, written plainly: the baseline to beat.

One example at a time, two full forward passes, float32, logits for every position, the loss from
the model's own `labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ifdkit.records import Request


class Recipe:
    """A model, asked as the published scripts ask it."""

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import AutoModelForCausalLM

        self._device = device
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._model = model.to(device).eval()

    def mean_nll(self, requests: Sequence[Request]) -> list[float]:
        """Mean nats of each span."""
        means = []
        for request in requests:
            ids = torch.tensor(request.ids[None, : request.stop].astype(int)).to(self._device)
            labels = ids.clone()
            labels[:, : request.start] = -100
            with torch.no_grad():
                means.append(float(self._model(ids, labels=labels).loss))
        return means
