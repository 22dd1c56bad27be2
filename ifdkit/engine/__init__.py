"""Backends: token ids in, NLLs in nats out. The only package that imports torch.

models       from the name of a model to its files and their fingerprint
gguf         unpacks a quantised GGUF file
kept_files   small files in the cache
devices      device and dtype of a run, without torch where they are known
tokenizer    text to ids, by the model's own tokenizer
tokenizer_facts   what is kept of a tokenizer, so that it loads without torch
batching     which Requests share a forward pass
layout       how the sequences of a batch are laid out: padded or packed
attention    attention over packed sequences
head         the model's own LM head on chosen rows
fused_head   the same in one kernel with the NLL, on CUDA
per_token    what is kept of each row of logits
forward      the four forward strategies
huggingface  the backend on one device: loads, checks, chooses the strategy
known_nlls   what plain logits gave in earlier self-checks
upcast       float32 weights from 16-bit ones that are loaded
precision    float32 products by the fastest accurate route
embedder     sentence embeddings
lanes        several batches at a time on a CPU
threads      how many threads, and how idle ones wait
programs     modules of this package as programs in processes of their own
program_pool several of them that answer requests
tensors      between numpy arrays and tensors
quiet        keeps transformers from printing
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ifdkit.engine.batching import Budget
from ifdkit.engine.threads import wait_passively
from ifdkit.records import NLL, Request

wait_passively()  # before any module of this package imports torch


class Backend(Protocol):
    """A causal language model that scores spans of token ids."""

    @property
    def budget(self) -> Budget:
        """The limits of one call, a function of device and model alone."""
        ...

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span: one float32 array of nats per request, (n_scored,).

        The values for one request depend on the other requests by rounding only.  A request
        `with_statistics` gets an array of shape (n_scored, 4): the NLL, with the same bits, then
        the columns of `ifdkit.records.TokenStatistics`.
        """
        ...

    def float32_problem(self) -> str | None:
        """Why a float32 copy of the model would not fit into memory; None if it would."""
        ...


@runtime_checkable
class Upcastable(Backend, Protocol):
    """A Backend whose weights can become those of one in float32."""

    def in_float32(self) -> Backend | None:
        """A Backend in float32 with the weights of this one, which must not be used any more.

        None if its files must be read for that.
        """
        ...
