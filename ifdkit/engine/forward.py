"""Ways to the same nats, fastest first: packed, padded, padded with the model's own head, plain.

Each takes Requests and gives the NLLs of their spans.  Which of them a model allows is found out at
load, by comparing with the last, which is right for every causal architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from ifdkit.engine import attention
from ifdkit.engine.head import ChunkedHead
from ifdkit.engine.layout import Batch, Packed, Padded
from ifdkit.records import NLL, Request


class Way(Protocol):
    """Requests in, nats out."""

    name: str
    packs: bool
    """Whether sequences lie end to end."""
    bounds_logits: bool
    """Whether logits are bounded, whatever the batch."""

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        ...


class PackedWay:
    """Sequences end to end, attention kept within each; nothing is padded.

    Common beginnings are computed once.  Unfit for models that mix tokens by other means than
    attention, such as convolutions or a running state: there sequences would leak.
    """

    name = "packed"
    packs = True
    bounds_logits = True

    def __init__(self, model: Any, *, rows_a_chunk: int) -> None:
        """Put our attention in the place of the model's; `close` puts it back.

        Raises CannotPackError where the model does not let it.
        """
        self._model = model
        self._head = ChunkedHead(model, rows_a_chunk=rows_a_chunk)
        self._before = model.config._attn_implementation
        if not model._can_set_attn_implementation():
            raise attention.CannotPackError("its attention cannot be replaced")
        model.set_attn_implementation(attention.register())

    def close(self) -> None:
        """Give the model its own attention back."""
        self._model.set_attn_implementation(self._before)

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        batch, device = Batch(requests), self._model.device
        pack = Packed.of(batch.sequences)
        ids, positions = (_there(a[None], device) for a in (pack.ids, pack.positions))
        with attention.packed(pack.segments):
            states = self._head.hidden(ids, position_ids=positions)[0]  # (tokens, hidden)
        rows = states[_there(pack.predicting, device)]
        return batch.split(_here(self._head.nll(rows, _there(batch.targets, device))))


class PaddedWay:
    """Sequences side by side, filled up on the right, which a causal mask hides by itself."""

    name = "padded"
    packs = False
    bounds_logits = True

    def __init__(self, model: Any, *, rows_a_chunk: int) -> None:
        """Raises AttributeError where the model does not keep its body under a name."""
        self._model = model
        self._head = ChunkedHead(model, rows_a_chunk=rows_a_chunk)

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        batch, device = Batch(requests), self._model.device
        padded = Padded.of(batch.sequences)
        states = self._head.hidden(_there(padded.ids, device))  # (batch, tokens, hidden)
        rows = states[_there(padded.predicting, device)]
        return batch.split(_here(self._head.nll(rows, _there(batch.targets, device))))


class SelectedWay:
    """Padded, with the model's own selection of rows for its head."""

    name = "selected"
    packs = False
    bounds_logits = False

    def __init__(self, model: Any) -> None:
        self._model = model

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        batch, device = Batch(requests), self._model.device
        padded = Padded.of(batch.sequences)
        output = self._model(
            input_ids=_there(padded.ids, device),
            logits_to_keep=_there(padded.predicting, device),
            use_cache=False,
        )
        logits = output.logits.reshape(-1, output.logits.shape[-1])  # (scored, vocabulary)
        targets = _there(batch.targets, device)
        return batch.split(_here(F.cross_entropy(logits.float(), targets, reduction="none")))


class PlainWay:
    """One Request at a time, all logits: the slowest, and right for every architecture."""

    name = "plain"
    packs = False
    bounds_logits = False

    def __init__(self, model: Any) -> None:
        self._model = model

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> NLL:
        ids = _there(request.ids[: request.stop].astype(np.int64), self._model.device)  # (tokens,)
        logits = self._model(input_ids=ids[None], use_cache=False).logits[0]  # (tokens, vocabulary)
        predicting = logits[request.start - 1 : request.stop - 1].float()
        return _here(F.cross_entropy(predicting, ids[request.start :], reduction="none"))


def _there(array: Any, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array).to(device)


def _here(nats: torch.Tensor) -> NLL:
    return nats.cpu().numpy().astype(np.float32)
