"""Four forward strategies for the same NLLs, fastest first: packed, padded, selected, plain.

Each takes Requests and returns the NLLs of their spans, or what another `compute` of `per_token`
keeps of each row of logits.  The first two take a head, which on CUDA can be a fused one.  At load,
the backend compares each with the last one, which is correct for every causal architecture, and
takes the first that agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ifdkit.engine import attention
from ifdkit.engine.batching import sequences
from ifdkit.engine.head import ChunkedHead
from ifdkit.engine.layout import Batch, Packed, Padded
from ifdkit.engine.noise import inputs_of
from ifdkit.engine.per_token import PerToken, token_nll
from ifdkit.engine.tensors import entry_device, to_device, to_numpy
from ifdkit.records import NLL, Request


class ForwardStrategy(Protocol):
    """Requests in, NLLs out."""

    name: str
    packs: bool
    """Whether sequences are laid end to end."""
    bounds_logits: bool
    """Whether the rows of logits in memory are bounded, whatever the batch."""

    def nll(self, requests: Sequence[Request], compute: PerToken = token_nll) -> list[NLL]:
        """NLL of each token in each span: one float32 array of nats per request, (n_scored,).

        Another `compute` gives arrays of shape (n_scored, …).
        """
        ...


class PackedForward:
    """Sequences end to end, attention within each: no padding, common beginnings computed once.

    Wrong for models that mix tokens by other means than attention, such as convolutions or a
    recurrent state, which cross the boundaries between sequences.
    """

    name = "packed"
    packs = True
    bounds_logits = True

    def __init__(
        self, model: Any, *, rows_per_chunk: int, head: type[ChunkedHead] = ChunkedHead
    ) -> None:
        """Replace the model's attention; `close` restores it.

        Raises CannotPackError if the model does not allow that, AttributeError if it does not name
        its body, and what the `head` raises.
        """
        self._model = model
        self._head = head(model, rows_per_chunk=rows_per_chunk)
        self._before = model.config._attn_implementation
        if not model._can_set_attn_implementation():
            raise attention.CannotPackError("its attention cannot be replaced")
        model.set_attn_implementation(attention.register())

    def close(self) -> None:
        """Restore the model's own attention."""
        self._model.set_attn_implementation(self._before)

    def nll(self, requests: Sequence[Request], compute: PerToken = token_nll) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        batch, device = Batch(requests), entry_device(self._model)
        pack = Packed.of(batch.sequences)
        ids = to_device(pack.ids[None], device)  # (1, tokens)
        positions = to_device(pack.positions[None], device)  # (1, tokens)
        with attention.packed(pack.segments):
            inputs = inputs_of(self._model, ids, pack.noisy)
            states = self._head.hidden(**inputs, position_ids=positions)[0]  # (tokens, hidden)
        rows = states[to_device(pack.predicting, states.device)]  # (scored, hidden)
        targets = to_device(batch.targets, device)  # (scored,)
        return batch.split(to_numpy(self._head.nll(rows, targets, compute)))


class PaddedForward:
    """Sequences side by side, padded on the right, which a causal model never looks at."""

    name = "padded"
    packs = False
    bounds_logits = True

    def __init__(
        self, model: Any, *, rows_per_chunk: int, head: type[ChunkedHead] = ChunkedHead
    ) -> None:
        """Raises AttributeError if the model does not name its body, and what the `head` raises."""
        self._model = model
        self._head = head(model, rows_per_chunk=rows_per_chunk)

    def nll(self, requests: Sequence[Request], compute: PerToken = token_nll) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        batch, device = Batch(requests), entry_device(self._model)
        padded = Padded.of(batch.sequences)
        inputs = inputs_of(self._model, to_device(padded.ids, device), padded.noisy)
        states = self._head.hidden(**inputs)  # (batch, tokens, hidden)
        rows = states[to_device(padded.predicting, states.device)]  # (scored, hidden)
        targets = to_device(batch.targets, device)  # (scored,)
        return batch.split(to_numpy(self._head.nll(rows, targets, compute)))


class SelectedForward:
    """Padded; the model itself applies its head to the selected positions alone."""

    name = "selected"
    packs = False
    bounds_logits = False

    def __init__(self, model: Any) -> None:
        self._model = model

    def nll(self, requests: Sequence[Request], compute: PerToken = token_nll) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        batch, device = Batch(requests), entry_device(self._model)
        padded = Padded.of(batch.sequences)
        output = self._model(
            **inputs_of(self._model, to_device(padded.ids, device), padded.noisy),
            logits_to_keep=to_device(padded.predicting, device),  # (batch, tokens)
            use_cache=False,
        )
        logits = output.logits.reshape(-1, output.logits.shape[-1])  # (scored, vocabulary)
        targets = to_device(batch.targets, device)  # (scored,)
        return batch.split(to_numpy(compute(logits, targets.to(logits.device))))


class PlainForward:
    """One Request at a time, all logits: the slowest, and correct for every architecture."""

    name = "plain"
    packs = False
    bounds_logits = False

    def __init__(self, model: Any) -> None:
        self._model = model

    def nll(self, requests: Sequence[Request], compute: PerToken = token_nll) -> list[NLL]:
        """NLL of each token in each span, float32 nats."""
        return [self._one(request, compute) for request in requests]

    def _one(self, request: Request, compute: PerToken) -> NLL:
        start, stop = request.start, request.stop
        ids = to_device(request.ids[:stop].astype(np.int64), entry_device(self._model))  # (tokens,)
        noisy = [(0, one) for one in sequences([request]) if one.noise is not None]
        inputs = inputs_of(self._model, ids[None], tuple(noisy))
        logits = self._model(**inputs, use_cache=False).logits[0]  # (tokens, vocabulary)
        predicting = logits[start - 1 : stop - 1]  # (scored, vocabulary)
        return to_numpy(compute(predicting, ids[start:].to(predicting.device)))
