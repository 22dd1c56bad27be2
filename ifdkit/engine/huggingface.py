"""The backend on one device: any causal language model of transformers.  torch lives here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ifdkit.engine import attention
from ifdkit.engine.batching import Budget
from ifdkit.engine.forward import PackedWay, PaddedWay, PlainWay, SelectedWay, Way
from ifdkit.engine.models import Weights
from ifdkit.engine.precision import fast_float32
from ifdkit.engine.quiet import quiet_libraries
from ifdkit.errors import ModelError, UsageError, brief
from ifdkit.records import NLL, Request

log = logging.getLogger(__name__)

# On a CPU padding grows with the batch and little is won; packed, a larger batch shares more.
_TOKENS_A_BATCH = {"cpu": 512, "mps": 4096, "cuda": 8192}
_PACKED_TOKENS_A_BATCH = {"cpu": 1024, "cuda": 16384}
# Logits at once, rows × vocabulary: on a CPU what stays in its cache, elsewhere what fills the
# device without crowding it (float32: 25 MB, 256 MB and 1 GiB).
_LOGITS = {"cpu": 128 * 49_152, "mps": 1 << 26, "cuda": 1 << 28}
_FEWEST_ROWS_A_CHUNK = 16
_PROBE_TOKENS = 64
_ROOM_TO_WORK = 1.2
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
    """`auto` → float32, or 16 bits on CUDA, where they are several times faster.

    On a CPU they are at most twice as fast, and float32 needs no word about its error.  On CUDA
    bfloat16, whose range is that of float32, or float16 on devices that only imitate it.
    """
    if dtype != "auto":
        return dtype
    if not device.startswith("cuda"):
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def _is_out_of_memory(error: RuntimeError) -> bool:
    """torch has a type for this on accelerators only."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


class HuggingFaceBackend:
    """Scores batches with one forward pass each, in the fastest way that the model allows.

    The ways (see `ways`) take shortcuts: sequences end to end, no attention mask, the LM head on
    the scored positions alone.  At load each is checked against plain logits, and given up with a
    note where a model does not allow it.
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
        self._way: Way = PlainWay(self.model)
        if not self._is_causal():
            raise ModelError(f"model {self._name} looks ahead: it is no causal language model")
        self._way = self._fastest()

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
        """Tokens and rows of logits a batch, by device, vocabulary and way."""
        tokens = _PACKED_TOKENS_A_BATCH if self._way.packs else _TOKENS_A_BATCH
        return Budget(
            tokens=tokens[self.device.type],
            scored=None if self._way.bounds_logits else self._rows_of_logits,
            packs=self._way.packs,
        )

    @property
    def way(self) -> str:
        """The way that was chosen at load: packed, padded, selected or plain."""
        return self._way.name

    @property
    def _rows_of_logits(self) -> int:
        return max(_FEWEST_ROWS_A_CHUNK, _LOGITS[self.device.type] // self._vocabulary)

    def float32_problem(self) -> str | None:
        """Why a float32 copy of the model would not fit into memory; None where it would.

        It is loaded into main memory first, and once this one is gone takes its place.
        """
        import psutil

        needed = 4 * sum(p.numel() for p in self.model.parameters())
        held = sum(p.numel() * p.element_size() for p in self.model.parameters())
        free = {"main memory": psutil.virtual_memory().available}
        if self.device.type == "cuda":
            free[f"the memory of {self.device}"] = torch.cuda.mem_get_info(self.device)[0] + held
        else:
            free["main memory"] += held
        for where, room in free.items():
            if needed * _ROOM_TO_WORK > room:
                return f"a float32 copy ({needed / 2**30:.0f} GiB) does not fit into {where}"
        return None

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
        with torch.inference_mode(), fast_float32(self.device, self.dtype):
            return self._way.nll(requests)

    def _fastest(self) -> Way:
        """The fastest way that gives what plain logits give."""
        plain = self._way
        requests = self._probes()
        right = np.concatenate(self.nll(requests))
        for kind in (PackedWay, PaddedWay, SelectedWay):
            if kind is PackedWay and not attention.has_kernel(self.device, self.dtype):
                continue
            try:
                self._way = self._open(kind)
                with attention.windows_seen() as windows:
                    nats = np.concatenate(self.nll(requests))
                if self._close(nats, right) and (kind is not PackedWay or self._honours(windows)):
                    log.info("%s: scoring with %s sequences", self._name, kind.name)
                    return self._way
                log.info("%s: not %s, which gives other numbers", self._name, kind.name)
            except Exception as error:  # foreign models fail in their own ways
                log.info("%s: not %s: %s", self._name, kind.name, brief(error))
            if isinstance(self._way, PackedWay):
                self._way.close()
            self._way = plain
        log.warning("%s: scoring with full logits, its head cannot select rows", self._name)
        return plain

    def _open(self, kind: type[PackedWay] | type[PaddedWay] | type[SelectedWay]) -> Way:
        if issubclass(kind, SelectedWay):
            return kind(self.model)
        return kind(self.model, rows_a_chunk=self._rows_of_logits)

    def _honours(self, windows: set[int]) -> bool:
        """Whether the layers tell our attention of the windows that the model declares.

        The probes may be shorter than a window, and would not show its absence.
        """
        config = self.model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        if "chunked_attention" in kinds:
            return False
        declared = getattr(config, "sliding_window", None)
        is_used = declared is not None and (not kinds or "sliding_attention" in kinds)
        return not is_used or declared in windows

    def _is_causal(self) -> bool:
        """Whether what follows a token leaves its probability alone."""
        ids = self._random_ids()
        n = len(ids)
        short, long = Request(ids[: n // 4 * 3], 4, n // 4 * 3), Request(ids, 4, n)
        first = self.nll([short])[0]
        return self._close(first, self.nll([long])[0][: short.n_scored])

    def _close(self, a: NLL, b: NLL) -> bool:
        """Equal up to rounding; numbers that overflow are for each row's status to tell."""
        difference = np.abs(a - b)
        finite = difference[np.isfinite(difference)]
        return not len(finite) or float(finite.mean()) <= _SELF_CHECK_NATS[self.dtype]

    def _probes(self) -> list[Request]:
        """Short Requests of every kind: on their own, riding along, beginning like another."""
        ids = self._random_ids()
        n = len(ids)
        like = np.concatenate([ids[: n // 2], ids[: n // 4][::-1]])  # begins like the first
        return [
            Request(ids, n // 2 + 1, n),
            Request(ids, n // 2 + 3, n - 2),
            Request(like, n // 2 + 1, len(like)),
            Request(ids[::-1].copy(), 1, n // 2),
            Request(ids[3:8], 4, 5),
        ]

    def _random_ids(self) -> NDArray[np.int32]:
        generator = np.random.default_rng(0)
        return generator.integers(self._vocabulary, size=self._probe_tokens).astype(np.int32)

    def _check_ids(self, requests: Sequence[Request]) -> None:
        largest = max(int(request.ids.max()) for request in requests)
        if largest >= self._vocabulary:
            raise ModelError(
                f"model {self._name} has {self._vocabulary} embeddings, but its tokenizer gave the"
                f" token {largest}: weights and tokenizer do not belong together"
            )
