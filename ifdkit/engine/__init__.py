"""Backends: token ids in, nats out.

models        a name → files of weights, and their fingerprint
tokenizer     text → ids, through a model's own tokenizer
huggingface   the backend on one device; torch lives here
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ifdkit.planning import Budget
from ifdkit.records import NLL, Request


class Backend(Protocol):
    """A causal language model that scores spans."""

    @property
    def budget(self) -> Budget:
        """The most that one call should hold; a function of device and model alone."""
        ...

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span: for every request, float32 nats of shape (n_scored,).

        What one request gets does not depend on the others beyond rounding.
        """
        ...
