"""Backends: token ids in, nats out.

models        a name → files of weights, and their fingerprint
tokenizer     text → ids, through a model's own tokenizer
layout        how the sequences of a batch lie in memory: padded or packed
attention     variable-length attention over packed sequences
head          a model's own LM head on chosen rows
ways          four ways to the same nats
precision     float32 products at their fastest
huggingface   the backend on one device: loads, checks, chooses the way
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ifdkit.engine.batching import Budget
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

    def float32_problem(self) -> str | None:
        """Why a float32 copy of the model would not fit into memory; None where it would."""
        ...
