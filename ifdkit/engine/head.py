"""A model's own LM head, applied to chosen rows of hidden states, a chunk at a time.

The head can be more than a matrix: Gemma caps its logits, Granite divides them, others add a bias.
Multiplying by the output embeddings alone would be wrong for these.  So the head is never
reimplemented: the body runs once, then a stub takes its place in the model and returns the chosen
rows as if it had just computed them, and the model's own forward pass does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ifdkit.engine.layout import SIZE_MULTIPLE
from ifdkit.engine.per_token import PerToken, token_nll


class _BodyStub(nn.Module):
    """Takes the place of a model's body: returns its input as the last hidden states."""

    def __init__(self) -> None:
        super().__init__()
        self.output: Callable[..., Any] | None = None
        """The type that the real body returns."""

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> Any:
        assert self.output is not None, "the body has not run yet"
        return self.output(last_hidden_state=inputs_embeds)


class ChunkedHead:
    """NLLs from hidden states, with at most one chunk of logits in memory."""

    def __init__(self, model: Any, *, rows_per_chunk: int) -> None:
        """`rows_per_chunk`: rows of logits computed at once.

        Raises AttributeError if the model does not name its body by `base_model_prefix`.
        """
        self._model = model
        self._body_name = model.base_model_prefix
        self._body: nn.Module = getattr(model, self._body_name)
        self._rows_per_chunk = rows_per_chunk
        self._stub = _BodyStub()

    def hidden(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Last hidden states, shape (batch, tokens, hidden), of `input_ids` or `inputs_embeds`."""
        output = self._body(use_cache=False, **inputs)
        self._stub.output = type(output)
        states: torch.Tensor = output.last_hidden_state
        return states

    def nll(
        self, rows: torch.Tensor, targets: torch.Tensor, compute: PerToken = token_nll
    ) -> torch.Tensor:
        """NLL of each target (rows,) given its hidden row (rows, hidden): float32 nats, (rows,).

        Another `compute` gives what it keeps of each row of logits: (rows, …).
        """
        size, n_rows = self._rows_per_chunk, len(rows)
        missing = -n_rows % SIZE_MULTIPLE
        rows = F.pad(rows, (0, 0, 0, missing))  # (rows + missing, hidden)
        targets = F.pad(targets, (0, missing))  # (rows + missing,)
        with self._body_replaced():
            nats = [
                self._chunk_nll(rows[i : i + size], targets[i : i + size], compute)
                for i in range(0, n_rows, size)
            ]
        return torch.cat(nats)[:n_rows]

    def _chunk_nll(
        self, rows: torch.Tensor, targets: torch.Tensor, compute: PerToken
    ) -> torch.Tensor:
        logits = self._model(inputs_embeds=rows[None], use_cache=False).logits[0]  # (rows, vocab)
        targets = targets.to(logits.device)  # another one if the model is spread over several
        return compute(logits, targets)  # (rows,) or (rows, n)

    @contextmanager
    def _body_replaced(self) -> Iterator[None]:
        setattr(self._model, self._body_name, self._stub)
        try:
            yield
        finally:
            setattr(self._model, self._body_name, self._body)
