"""The backend on one device, for any causal language model that transformers loads."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ifdkit.engine import attention, fused_head, lanes
from ifdkit.engine.batching import Budget
from ifdkit.engine.forward import (
    ForwardStrategy,
    PackedForward,
    PaddedForward,
    PlainForward,
    SelectedForward,
)
from ifdkit.engine.fused_head import FusedHead
from ifdkit.engine.head import ChunkedHead
from ifdkit.engine.known_nlls import KnownNlls
from ifdkit.engine.loading import DTYPES, DeviceMap, load_model
from ifdkit.engine.models import Weights
from ifdkit.engine.per_token import token_statistics
from ifdkit.engine.precision import fast_float32
from ifdkit.engine.upcast import is_exact, upcast
from ifdkit.errors import ModelError, brief
from ifdkit.records import NLL, Noise, Request

log = logging.getLogger(__name__)

# On a CPU a larger padded batch adds padding and gains little speed; a larger packed batch shares
# more prefixes.
TOKENS_PER_BATCH = {"cpu": 512, "mps": 4096, "cuda": 8192}
PACKED_TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 16384}
# Logits in memory at once, rows × vocabulary: on a CPU what its cache can take, elsewhere what
# keeps the device busy without filling it (in float32: 25 MB, 256 MB and 1 GiB).
LOGITS_PER_CHUNK = {"cpu": 128 * 49_152, "mps": 1 << 26, "cuda": 1 << 28}
MIN_ROWS_PER_CHUNK = 16
# Ids in a self-check.  Half of them are a shared beginning, longer than MIN_SHARED_PREFIX.
PROBE_TOKENS = 64
MIN_PROBE_TOKENS = 12  # with 10 or fewer, the span of a probe would be empty
MEMORY_HEADROOM = 1.2  # memory of a loaded model and its batches, as a multiple of its weights
# Mean difference in nats above which two strategies count as different.  Rounding moves random
# tokens of a real model, whose NLLs are about 15, by 1e-5 (float32), 0.09 (bfloat16) and 0.02
# (float16).  A wrong strategy differs as much as two unrelated tokens do, by 1 and more.
SELF_CHECK_NATS = {torch.float32: 1e-3, torch.bfloat16: 0.3, torch.float16: 0.1}


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out. On a CPU torch has no type for this, only a message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class HuggingFaceBackend:
    """Scores each batch in one forward pass, with the fastest strategy that the model allows.

    The strategies (see `forward`) take shortcuts: sequences end to end, no attention mask, the LM
    head on the scored positions only.  At load, each is checked against plain logits and dropped
    with a log message if the model does not allow it.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str,
        dtype: str,
        trust_remote_code: bool = False,
        device_map: DeviceMap | None = None,
        model: Any = None,
    ) -> None:
        """Load the weights and choose a forward strategy.

        `device` and `dtype` are resolved already; with a `device_map` the weights are spread over
        several devices, of which `device` is one.  A `model` has been loaded before.  Raises
        ModelError if the weights do not load, do not fit on the device, or are not a causal
        language model.
        """
        self.device = torch.device(device)
        self.dtype = DTYPES[dtype]
        self._weights, self._is_trusted = weights, trust_remote_code
        self._name = weights.name
        if model is None:
            model = load_model(
                weights,
                self.dtype,
                self.device,
                trust_remote_code=trust_remote_code,
                device_map=device_map,
            )
        self.model = model
        self._is_spread = device_map is not None
        self._is_exact = is_exact(weights, dtype, device_map=device_map)
        self._vocabulary = int(self.model.get_input_embeddings().weight.shape[0])
        probe_tokens = min(PROBE_TOKENS, weights.context_length or PROBE_TOKENS)
        self._probe_tokens = max(MIN_PROBE_TOKENS, probe_tokens)
        self._strategy: ForwardStrategy = PlainForward(self.model)
        self._chosen: tuple[type[Any], type[ChunkedHead] | None] = PlainForward, None
        known = KnownNlls(weights, dtype, device, trusted=trust_remote_code)
        self._strategy = self._fastest_strategy(known)
        self._takes_embeddings: bool | None = None
        """Whether noise can be added to its embeddings; None before that was needed."""
        self._replicas: list[HuggingFaceBackend] = []
        self._stop = threading.Event()

    @property
    def budget(self) -> Budget:
        """Tokens and rows of logits per batch; depends on device, vocabulary and strategy only."""
        tokens = PACKED_TOKENS_PER_BATCH if self._strategy.packs else TOKENS_PER_BATCH
        return Budget(
            tokens=tokens[self.device.type],
            scored=None if self._strategy.bounds_logits else self._rows_per_chunk,
            packs=self._strategy.packs,
        )

    @property
    def strategy(self) -> str:
        """The forward strategy chosen at load: packed, padded, selected or plain."""
        return self._strategy.name

    @property
    def _rows_per_chunk(self) -> int:
        """Rows of logits in memory at once."""
        return max(MIN_ROWS_PER_CHUNK, LOGITS_PER_CHUNK[self.device.type] // self._vocabulary)

    def float32_problem(self) -> str | None:
        """Why a float32 copy of the model would not fit into memory; None if it would.

        The copy takes the place of this model: in its own memory if its weights can be widened
        there, else it is loaded into main memory first, and moves to the device.
        """
        import psutil

        needed = 4 * sum(p.numel() for p in self.model.parameters())
        held = sum(p.numel() * p.element_size() for p in self.model.parameters())
        free: dict[str, int] = {}
        if self.device.type == "cuda":
            free[f"the memory of {self.device}"] = torch.cuda.mem_get_info(self.device)[0] + held
        if self.device.type != "cuda" or not self._is_exact:
            free["main memory"] = psutil.virtual_memory().available
        if self.device.type != "cuda":
            free["main memory"] += held
        for where, free_bytes in free.items():
            if needed * MEMORY_HEADROOM > free_bytes:
                return f"a float32 copy ({needed / 2**30:.0f} GiB) does not fit into {where}"
        return None

    def in_float32(self) -> HuggingFaceBackend | None:
        """A backend in float32 that takes over this one's weights; None if it must be loaded.

        Its NLLs have the bits of a backend that was loaded in float32.  This one must not be used
        any more, whatever the answer.
        """
        if not self._is_exact:
            return None
        self.close()
        try:
            model = upcast(self.model, self._weights, trust_remote_code=self._is_trusted)
        except Exception as error:  # each architecture fails in its own way
            log.info("%s: loading again for float32: %s", self._name, brief(error))
            return None
        log.info("%s: the weights that are loaded, in float32", self._name)
        return HuggingFaceBackend(
            self._weights,
            device=str(self.device),
            dtype="float32",
            trust_remote_code=self._is_trusted,
            model=model,
        )

    def nll(self, requests: Sequence[Request]) -> list[NLL]:
        """NLL of each token in each span: one float32 array of nats per request, (n_scored,).

        A request `with_statistics` gets an array of shape (n_scored, 4), as `Backend` says.

        A batch that does not fit into memory is halved until it does.  Raises ModelError if a
        single Request does not fit, or for a token id outside the vocabulary.
        """
        if not requests:
            return []
        self._check_ids(requests)
        if any(request.noise is not None for request in requests):
            self._check_embeddings()
        try:
            return self._batch(requests)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            longest = max(request.stop for request in requests)
        # Outside the except block: inside it, the error's traceback refers to the frames of the
        # failed batch and keeps its tensors in memory, so that the halves do not fit either.
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

    def stream(
        self, batches: Iterator[Sequence[Request]], *, n_planned: int | None = None
    ) -> Iterator[list[NLL]]:
        """The NLLs of each batch, in order. On a CPU several batches are computed at a time.

        `n_planned`: batches of the whole plan; None: many.
        """
        threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        n_lanes = lanes.lanes_of(threads, lanes.MAX_LANES if n_planned is None else n_planned)
        replicas = self._lanes(n_lanes)
        if not replicas:
            yield from map(self.nll, batches)
            return
        scorers = [one.nll for one in replicas]
        each = threads // n_lanes
        yield from lanes.stream(scorers, batches, threads=each, stop=self._stop)

    def close(self) -> None:
        """Free what `stream` keeps."""
        self._replicas = []

    def _lanes(self, n: int) -> list[HuggingFaceBackend]:
        """Copies of this backend over the same weights; none if one lane is enough or possible."""
        if self._is_spread:  # a copy would share the hooks of accelerate
            return []
        try:
            while len(self._replicas) < n > 1:
                replica = copy.copy(self)
                replica.model = lanes.shared_copy(self.model, self._stop)
                replica._strategy = replica._open(*self._chosen)
                self._replicas.append(replica)
        except Exception as error:  # a model with code of its own may not allow copies
            log.info("%s: one batch at a time: %s", self._name, brief(error))
            self._replicas = []
        return self._replicas[:n] if n > 1 else []

    def _batch(self, requests: Sequence[Request]) -> list[NLL]:
        # For the whole batch: another batch would round the NLLs differently.
        is_detailed = any(request.with_statistics for request in requests)
        with torch.inference_mode(), fast_float32(self.device, self.dtype):
            if not is_detailed:
                return self._strategy.nll(requests)
            arrays = self._strategy.nll(requests, token_statistics)
        return [
            array if request.with_statistics else array[:, 0].copy()
            for request, array in zip(requests, arrays, strict=True)
        ]

    def _fastest_strategy(self, known: KnownNlls) -> ForwardStrategy:
        """The fastest strategy whose NLLs agree with plain logits, of now or of an earlier load.

        Raises ModelError for a model that is not causal.
        """
        requests, expected = self._probes(), known.recall()
        if expected is not None:
            found = self._first_that_agrees(requests, expected)
            if found is not None:
                return found
        if not self._is_causal():
            raise ModelError(
                f"model {self._name} is not a causal language model: later tokens change the"
                " probability of earlier ones"
            )
        expected = np.concatenate(self.nll(requests))
        known.keep(expected)
        found = self._first_that_agrees(requests, expected)
        if found is not None:
            return found
        log.warning(
            "%s: scoring with full logits, which is slow: no faster strategy agrees with them",
            self._name,
        )
        return self._strategy

    def _first_that_agrees(self, requests: list[Request], expected: NLL) -> ForwardStrategy | None:
        """The fastest strategy with these NLLs of the probes, (tokens,); None if none has them."""
        plain = self._strategy
        for kind, head in self._candidates():
            packs = kind is PackedForward
            name = f"{kind.name}{' and fused' if head is FusedHead else ''}"
            try:
                self._strategy = self._open(kind, head)
                with attention.windows_seen() as windows:
                    nats = np.concatenate(self.nll(requests))
                if self._agree(nats, expected) and (not packs or self._passes_window(windows)):
                    log.info("%s: scoring with the %s strategy", self._name, name)
                    self._chosen = kind, head
                    return self._strategy
                log.info("%s: not %s: its NLLs differ from plain logits", self._name, name)
            except Exception as error:  # each architecture fails in its own way
                log.info("%s: not %s: %s", self._name, name, brief(error))
            if isinstance(self._strategy, PackedForward):
                self._strategy.close()
            self._strategy = plain
        return None

    def _candidates(self) -> Iterator[tuple[type[Any], type[ChunkedHead] | None]]:
        """Strategies, and the head of those that take one, fastest first."""
        heads: list[type[ChunkedHead]] = [ChunkedHead]
        if not self._is_spread and fused_head.is_available(self.device):
            heads.insert(0, FusedHead)
        if attention.has_kernel(self.device, self.dtype):
            yield from ((PackedForward, head) for head in heads)
        yield from ((PaddedForward, head) for head in heads)
        yield SelectedForward, None

    def _open(self, kind: type[Any], head: type[ChunkedHead] | None) -> ForwardStrategy:
        opened: ForwardStrategy = (
            kind(self.model)
            if head is None
            else kind(self.model, rows_per_chunk=self._rows_per_chunk, head=head)
        )
        return opened

    def _passes_window(self, windows: set[int]) -> bool:
        """Whether the layers passed the sliding window that the model's config declares.

        The probes may be shorter than the window, so their NLLs cannot show that it is missing.
        """
        config = self.model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        if "chunked_attention" in kinds:  # another mask, which our attention does not implement
            return False
        declared = getattr(config, "sliding_window", None)
        # A config can declare a window that none of its layers uses.
        is_used = declared is not None and (not kinds or "sliding_attention" in kinds)
        return not is_used or declared in windows

    def _is_causal(self) -> bool:
        """Whether the probability of a token does not depend on the tokens after it."""
        ids = self._random_ids()
        n = len(ids)
        short, long = Request(ids[: n // 4 * 3], 4, n // 4 * 3), Request(ids, 4, n)
        alone = self.nll([short])[0]
        return self._agree(alone, self.nll([long])[0][: short.n_scored])

    def _agree(self, a: NLL, b: NLL) -> bool:
        """Whether NLLs are equal up to rounding. Those that overflow are left to a row's status."""
        if len(a) != len(b):
            return False
        difference = np.abs(a - b)
        finite = difference[np.isfinite(difference)]
        return not len(finite) or float(finite.mean()) <= SELF_CHECK_NATS[self.dtype]

    def _probes(self) -> list[Request]:
        """Short Requests of every kind that a layout treats differently."""
        ids = self._random_ids()
        n = len(ids)
        sibling = np.concatenate([ids[: n // 2], ids[: n // 4][::-1]])
        return [
            Request(ids, n // 2 + 1, n),
            Request(ids, n // 2 + 3, n - 2),  # served by the sequence of the first
            Request(sibling, n // 2 + 1, len(sibling)),  # in a prefix group with the first
            Request(ids[::-1].copy(), 1, n // 2),  # on its own, scored from its second token
            Request(ids[3:8], 4, 5),  # a single scored token
        ]

    def _random_ids(self) -> NDArray[np.int32]:
        generator = np.random.default_rng(0)
        return generator.integers(self._vocabulary, size=self._probe_tokens).astype(np.int32)

    def _check_embeddings(self) -> None:
        """Raise ModelError if the model does not compute the same from embeddings as from ids."""
        if self._takes_embeddings is None:
            self._takes_embeddings = True  # while it is being found out
            requests = self._probes()
            silent = [replace(one, noise=Noise(bytes(16), 0.0, one.stop, 0, 0)) for one in requests]
            expected = np.concatenate(self.nll(requests))
            try:
                self._takes_embeddings = self._agree(np.concatenate(self.nll(silent)), expected)
            except Exception as error:  # each architecture fails in its own way
                log.info("%s: no noise: %s", self._name, brief(error))
                self._takes_embeddings = False
        if not self._takes_embeddings:
            raise ModelError(
                f"model {self._name} does not take embeddings in place of ids, as noise needs:"
                " leave out the metrics of --metrics noise"
            )

    def _check_ids(self, requests: Sequence[Request]) -> None:
        largest = max(int(request.ids.max()) for request in requests)
        if largest >= self._vocabulary:
            raise ModelError(
                f"model {self._name} has {self._vocabulary} embeddings, but its tokenizer produced"
                f" token {largest}: weights and tokenizer do not match"
            )
