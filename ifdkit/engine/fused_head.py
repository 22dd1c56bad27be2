"""The LM head and the NLL of its logits in one step, by Liger (2410.10989), on CUDA.

`ChunkedHead` writes a chunk of logits, a float32 copy of it and the softmax of that to the memory
of the GPU, and reads the first two again: 16 bytes per logit, which by the rates of an H100 (3.35
TB/s, 989 TFLOP/s) take longer than the product itself if hidden states are narrower than 2,400.
Liger computes some hundred rows of logits at a time, and reduces each row in one kernel that reads
it once, in float32.  Its logits are rounded like those of the model's own head, so that scores
depend on whether Liger is installed by rounding only.

A head that is more than a product, a bias and a soft cap would be wrong here.  So the first batch
compares it with the model's own, on rows that were made to show a difference.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ifdkit.engine.head import ChunkedHead
from ifdkit.engine.per_token import PerToken, token_nll
from ifdkit.errors import brief

log = logging.getLogger(__name__)

PROBE_ROWS = 8
PROBE_LOGIT = 60.0
"""Largest logit of the probes: twice the soft cap of Gemma, which would not show with less."""
MAX_DIFFERENCE_NATS = 0.5
"""Mean difference from the model's own head, on the probes, up to which the two are the same.

Of logits up to 60, bfloat16 rounds by up to 0.13, and a soft cap in steps by 0.2.  A cap, a factor
of 1.02 or a bias that is missing moves the largest by more than 1.
"""


class CannotFuseError(Exception):
    """A model's head is not one that Liger computes."""


def is_available(device: torch.device) -> bool:
    """Whether the device is a GPU of CUDA, and Liger is installed and loads."""
    return device.type == "cuda" and _liger() is not None


@cache
def _liger() -> Any:
    """Liger's loss from hidden states; None if it is not installed or does not load here."""
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        log.info("the LM head is not fused: it needs Liger (pip install 'ifdkit[cuda]')")
        return None
    except Exception as error:  # Triton fails in its own ways if it finds no driver or compiler
        log.info("the LM head is not fused: Liger does not load: %s", brief(error))
        return None
    return LigerFusedLinearCrossEntropyLoss


class FusedHead(ChunkedHead):
    """NLLs from hidden states, without a chunk of logits for whatever else is to be kept of them.

    Statistics of a distribution need all its logits: these come from `ChunkedHead`.
    """

    def __init__(self, model: Any, *, rows_per_chunk: int) -> None:
        """Raises CannotFuseError if the head is no linear layer in the dtype of the model."""
        super().__init__(model, rows_per_chunk=rows_per_chunk)
        head = model.get_output_embeddings()
        if not isinstance(head, nn.Linear) or head.weight.dtype != model.dtype:
            raise CannotFuseError(f"its head is a {type(head).__name__}, which is not fused")
        self._weight = head.weight.detach()  # (vocabulary, hidden)
        self._bias = None if head.bias is None else head.bias.detach()  # (vocabulary,)
        cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self._loss = _liger()(reduction="none", softcap=cap)
        self._is_checked = False

    def nll(
        self, rows: torch.Tensor, targets: torch.Tensor, compute: PerToken = token_nll
    ) -> torch.Tensor:
        """NLL of each target (rows,) given its hidden row (rows, hidden): float32 nats, (rows,).

        Another `compute` gives what it keeps of each row of logits: (rows, …).  The first call
        raises CannotFuseError for a model whose head computes more than this one.
        """
        if compute is not token_nll:
            return super().nll(rows, targets, compute)
        if not self._is_checked:
            self._check(rows.device)
            self._is_checked = True
        return self._fused(rows, targets)

    def _fused(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nats: torch.Tensor = self._loss(self._weight, rows, targets, self._bias)  # (rows,)
        return nats.float()

    def _check(self, device: torch.device) -> None:
        """Compare with the model's own head on random rows with logits of up to PROBE_LOGIT."""
        vocabulary, hidden = self._weight.shape
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(PROBE_ROWS, hidden, generator=generator).to(device, self._weight.dtype)
        rows *= PROBE_LOGIT / F.linear(rows, self._weight).float().abs().max()
        targets = torch.randint(vocabulary, (PROBE_ROWS,), generator=generator).to(device)
        difference = (self._fused(rows, targets) - super().nll(rows, targets)).abs().mean()
        if not difference <= MAX_DIFFERENCE_NATS:  # nor if it is NaN
            raise CannotFuseError(f"its own head differs by {float(difference):.2g} nats")
