"""A model's own LM head on chosen rows of hidden states, a few at a time.

The head is more than a matrix: Gemma caps its logits, Granite divides them, others add a bias.
So it is never imitated.  The body runs once; then its place in the model is taken by a stub that
hands the model the hidden rows as if it had just computed them, and the model's own forward pass
does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# Rows are filled up to a multiple of it, so that matrices come in few sizes (see `layout`).
_ROWS_A_STEP = 32


class _Handed(nn.Module):
    """Stands where the body stood, and returns the rows it was given in the body's own words."""

    def __init__(self) -> None:
        super().__init__()
        self.output: Callable[..., Any] | None = None

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> Any:
        assert self.output is not None, "the body has not run yet"
        return self.output(last_hidden_state=inputs_embeds)


class ChunkedHead:
    """NLLs from hidden states, with never more than a chunk of logits in memory."""

    def __init__(self, model: Any, *, rows_a_chunk: int) -> None:
        """Raises AttributeError where the model does not keep its body under a name."""
        self._model = model
        self._name = model.base_model_prefix
        self._body: nn.Module = getattr(model, self._name)
        self._rows_a_chunk = rows_a_chunk
        self._stub = _Handed()

    def hidden(self, ids: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        """Last hidden states, (batch, tokens, hidden)."""
        output = self._body(input_ids=ids, use_cache=False, **inputs)
        self._stub.output = type(output)
        states: torch.Tensor = output.last_hidden_state
        return states

    def nll(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Nats of each target (rows,) under the logits of its hidden row (rows, hidden)."""
        n, n_rows = self._rows_a_chunk, len(rows)
        missing = -n_rows % _ROWS_A_STEP
        rows, targets = F.pad(rows, (0, 0, 0, missing)), F.pad(targets, (0, missing))
        with self._bodiless():
            nats = [
                self._chunk_nll(rows[i : i + n], targets[i : i + n]) for i in range(0, n_rows, n)
            ]
        return torch.cat(nats)[:n_rows]

    def _chunk_nll(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self._model(inputs_embeds=rows[None], use_cache=False).logits[0]  # (rows, vocab)
        return F.cross_entropy(logits.float(), targets, reduction="none")

    @contextmanager
    def _bodiless(self) -> Iterator[None]:
        setattr(self._model, self._name, self._stub)
        try:
            yield
        finally:
            setattr(self._model, self._name, self._body)
