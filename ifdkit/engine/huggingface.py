"""The backend on one device: any causal language model of transformers.  torch lives here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ifdkit.engine.head import ChunkedHead
from ifdkit.engine.models import Weights
from ifdkit.engine.precision import fast_float32
from ifdkit.engine.quiet import quiet_libraries
from ifdkit.errors import ModelError, UsageError, brief
from ifdkit.planning import Budget
from ifdkit.records import NLL, Request

log = logging.getLogger(__name__)

_TOKENS_A_BATCH = {"cpu": 512, "mps": 4096, "cuda": 8192}
# Rows of logits at once: on a CPU as many as stay in its cache, elsewhere what fills the device.
_ROWS_A_CHUNK = {"cpu": 128, "mps": 1024, "cuda": 4096}
_PROBE_TOKENS = 64
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# Mean difference, in nats, at which two ways to the same numbers count as different.  Rounding on
# random tokens of a real model, where NLLs are about 15: 1e-5, 0.09 and 0.02.  A wrong way differs
# like two unrelated tokens do, by 1 and more.
_SELF_CHECK_NATS = {torch.float32: 1e-3, torch.bfloat16: 0.3, torch.float16: 0.1}


def resolve_device(device: str) -> str:
    """`auto` → the fastest device there is. Raises UsageError for one that is not there."""
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, index = device.partition(":")
    number = int(index) if index.isdecimal() else 0
    present = {
        "cpu": not colon,
        "cuda": torch.cuda.is_available()
        and number < torch.cuda.device_count()
        and (not colon or index.isdecimal()),
        "mps": torch.backends.mps.is_available() and not colon,
    }
    if not present.get(kind):
        raise UsageError(
            f"--device {device} is not there; this machine has {resolve_device('auto')}"
        )
    return device


def resolve_dtype(dtype: str, device: str) -> str:
    """`auto` → float32, or bfloat16 on CUDA, where weights of this century are made for it."""
    if dtype == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    return dtype


_Forward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(ids, predicting, targets) → nats."""


def _is_out_of_memory(error: RuntimeError) -> bool:
    """torch has a type for this on accelerators only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class HuggingFaceBackend:
    """Scores batches, padded on the right, with one forward pass each.

    Under a causal mask padding on the right cannot reach a token before it, so no attention mask
    is needed; the LM head runs on the scored positions alone.  At load these shortcuts are checked
    against plain logits, and given up with a note where a model does not allow them.
    """

    def __init__(
        self, weights: Weights, *, device: str, dtype: str, trust_remote_code: bool = False
    ) -> None:
        """Load the weights. Raises ModelError where they do not load as a causal LM."""
        self.device = torch.device(device)
        self.dtype = _DTYPES[dtype]
        self._name = weights.name
        self.model = self._load(weights, trust_remote_code)
        self._vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        self._probe_tokens = max(12, min(_PROBE_TOKENS, weights.context_length or _PROBE_TOKENS))
        self._forward: _Forward = self._plain
        if not self._is_causal():
            raise ModelError(f"model {self._name} looks ahead: it is no causal language model")
        self._forward = self._fastest()

    def _load(self, weights: Weights, trust_remote_code: bool) -> Any:
        from transformers import AutoModelForCausalLM

        pickled = not any(weights.folder.glob("*.safetensors"))
        try:
            with quiet_libraries():
                model, found = AutoModelForCausalLM.from_pretrained(
                    weights.folder,
                    dtype=self.dtype,
                    use_safetensors=not pickled,
                    trust_remote_code=trust_remote_code,
                    output_loading_info=True,
                )
                model = model.to(self.device).eval()
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"model {weights.name} does not fit on {self.device}: try --dtype bfloat16,"
                " --device cpu or a smaller model"
            ) from error
        except Exception as error:  # each architecture fails to load in its own way
            raise ModelError(f"model {weights.name} does not load: {brief(error)}") from error
        if found["missing_keys"]:
            # transformers would go on with random numbers in their place.
            raise ModelError(
                f"model {weights.name} is no causal language model: its files lack"
                f" {len(found['missing_keys'])} weights, {min(found['missing_keys'])} among them"
            )
        return model

    @property
    def budget(self) -> Budget:
        """Tokens a batch, by device: on a CPU larger batches only add padding."""
        return Budget(tokens=_TOKENS_A_BATCH[self.device.type])

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span, float32 nats.

        A batch that does not fit into memory is halved until it does.  Raises ModelError where a
        single sequence does not fit.
        """
        if not requests:
            return []
        self._check_ids(requests)
        try:
            return self._batch(requests)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            longest = max(request.stop for request in requests)
        # Outside the handler, whose traceback would keep the failed batch's tensors alive.
        if len(requests) == 1:
            raise ModelError(
                f"a sequence of {longest:,} tokens does not fit into the memory of {self.device}:"
                " lower --max-length"
            )
        log.info("out of memory with %d sequences: halving the batch", len(requests))
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        middle = len(requests) // 2
        return self.nll(requests[:middle]) + self.nll(requests[middle:])

    def _batch(self, requests: Sequence[Request]) -> list[NLL]:
        longest = max(request.stop for request in requests)
        ids = torch.zeros(len(requests), longest, dtype=torch.long)  # (batch, tokens)
        predicting = torch.zeros(len(requests), longest, dtype=torch.bool)  # (batch, tokens)
        for row, request in enumerate(requests):
            ids[row, : request.stop] = torch.from_numpy(request.ids[: request.stop].astype(int))
            # The logits at a position predict the token after it.
            predicting[row, request.start - 1 : request.stop - 1] = True
        targets = ids[:, 1:][predicting[:, :-1]]  # (scored,)
        with torch.inference_mode(), fast_float32(self.device, self.dtype):
            nats = self._forward(*(t.to(self.device) for t in (ids, predicting, targets))).cpu()
        ends = np.cumsum([request.n_scored for request in requests])
        return [part.copy() for part in np.split(nats.numpy().astype(np.float32), ends[:-1])]

    # --- three ways to the same nats, (scored,): fastest first ------------------------------

    def _chunked(self, head: ChunkedHead) -> _Forward:
        """The body once, then the head on chunks of the predicting rows."""

        def forward(
            ids: torch.Tensor, predicting: torch.Tensor, targets: torch.Tensor
        ) -> torch.Tensor:
            return head.nll(head.hidden(ids)[predicting], targets)

        return forward

    def _selected(
        self, ids: torch.Tensor, predicting: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """The model's own selection of rows for its head."""
        output = self.model(input_ids=ids, logits_to_keep=predicting, use_cache=False)
        logits = output.logits.reshape(-1, output.logits.shape[-1])  # (scored, vocabulary)
        return F.cross_entropy(logits.float(), targets, reduction="none")

    def _plain(
        self, ids: torch.Tensor, predicting: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """One sequence at a time, all logits: the slowest, and right for every architecture."""
        logits = []
        for sequence, wanted in zip(ids, predicting, strict=True):
            length = int(wanted.nonzero().max()) + 1
            whole = self.model(input_ids=sequence[None, :length], use_cache=False).logits[0]
            logits.append(whole[wanted[:length]])
        return F.cross_entropy(torch.cat(logits).float(), targets, reduction="none")

    def _fastest(self) -> _Forward:
        """The fastest way that gives what plain logits give."""
        n = self._probe_tokens
        requests = self._probes((n, 9), (n // 2, 1), (5, 4))
        plain = np.concatenate(self.nll(requests))
        rows = _ROWS_A_CHUNK[self.device.type]
        for is_chunked in (True, False):
            try:
                self._forward = (
                    self._chunked(ChunkedHead(self.model, rows_a_chunk=rows))
                    if is_chunked
                    else self._selected
                )
                if self._close(np.concatenate(self.nll(requests)), plain):
                    return self._forward
            except (AttributeError, TypeError, ValueError, RuntimeError, IndexError) as error:
                log.debug("%s: a fast path failed: %s", self._name, error)
        log.warning("%s: scoring with full logits, its head cannot select rows", self._name)
        return self._plain

    def _is_causal(self) -> bool:
        """Whether what follows a token leaves its probability alone."""
        n = self._probe_tokens
        short, long = self._probes((n // 4 * 3, 4), (n, 4))
        first, second = self.nll([short])[0], self.nll([long])[0][: short.n_scored]
        return self._close(first, second)

    def _close(self, a: NLL, b: NLL) -> bool:
        """Equal up to rounding; numbers that overflow are for each row's status to tell."""
        difference = np.abs(a - b)
        finite = difference[np.isfinite(difference)]
        return not len(finite) or float(finite.mean()) <= _SELF_CHECK_NATS[self.dtype]

    def _probes(self, *spans: tuple[int, int]) -> list[Request]:
        """Requests of (length, start) over one random sequence."""
        longest = max(length for length, _ in spans)
        ids = np.random.default_rng(0).integers(self._vocabulary, size=longest).astype(np.int32)
        return [Request(ids[:length], start, length) for length, start in spans]

    def _check_ids(self, requests: Sequence[Request]) -> None:
        largest = max(int(request.ids.max()) for request in requests)
        if largest >= self._vocabulary:
            raise ModelError(
                f"model {self._name} has {self._vocabulary} embeddings, but its tokenizer gave the"
                f" token {largest}: weights and tokenizer do not belong together"
            )
