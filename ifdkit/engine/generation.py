"""Answers of a causal language model: prompts of token ids in, ids of the answers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ifdkit.engine.loading import DTYPES, load_model
from ifdkit.engine.models import Weights
from ifdkit.engine.precision import fast_float32
from ifdkit.engine.quiet import quiet_libraries
from ifdkit.errors import ModelError, brief

ROWS_PER_BATCH = {"cpu": 8}
DEFAULT_ROWS_PER_BATCH = 32


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen."""

    temperature: float = 0.0
    """0: the most probable token (greedy)."""
    top_p: float = 1.0
    """Nucleus sampling: the smallest set of tokens with this probability; only above 0."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """The tokens after one prompt."""

    ids: tuple[int, ...]
    """Without the token that ended them."""
    is_ended: bool
    """Whether the model ended it; else the limit of new tokens did."""


class Generator:
    """A model that continues prompts."""

    def __init__(
        self,
        weights: Weights,
        *,
        device: str,
        dtype: str,
        stop_ids: Sequence[int],
        trust_remote_code: bool = False,
    ) -> None:
        """Load it. `stop_ids` end an answer. Raises ModelError."""
        self._device, self._dtype = torch.device(device), DTYPES[dtype]
        self._name = weights.name
        self._stop_ids = frozenset(stop_ids)
        self._model = load_model(
            weights, self._dtype, self._device, trust_remote_code=trust_remote_code
        )

    def continue_(
        self, prompts: Sequence[Sequence[int]], decoding: Decoding, *, max_new: int, seed: int
    ) -> list[Continuation]:
        """Continue prompts in one batch, at most `max_new` tokens each, in order.

        A sampled continuation depends on the other prompts of the batch; a greedy one by rounding
        only.  Raises ModelError if the batch does not fit into memory.
        """
        from transformers import GenerationConfig

        longest = max(map(len, prompts))
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):  # padded on the left: all continue at the end
            ids[row, longest - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, longest - len(prompt) :] = 1
        samples = decoding.temperature > 0
        config = GenerationConfig(
            max_new_tokens=max_new,
            do_sample=samples,
            eos_token_id=sorted(self._stop_ids) or None,
            pad_token_id=min(self._stop_ids, default=0),
            **({"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
               if samples else {}),
        )  # fmt: skip
        try:
            with (
                quiet_libraries(),
                torch.inference_mode(),
                torch.random.fork_rng(),
                fast_float32(self._device, self._dtype),
            ):
                torch.manual_seed(seed)
                out = self._model.generate(
                    input_ids=ids.to(self._device),
                    attention_mask=mask.to(self._device),
                    generation_config=config,
                )
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"{len(prompts)} prompts of {longest:,} tokens do not fit on {self._device}: lower"
                " --batch-size or --max-new-tokens"
            ) from error
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelError(f"model {self._name} cannot generate: {brief(error)}") from error
        return [self._until_stop(new) for new in out[:, longest:].tolist()]

    def _until_stop(self, ids: list[int]) -> Continuation:
        for place, token in enumerate(ids):
            if token in self._stop_ids:
                return Continuation(tuple(ids[:place]), is_ended=True)
        return Continuation(tuple(ids), is_ended=False)


def rows_per_batch(device: str) -> int:
    """Prompts per batch if the user names no number."""
    return ROWS_PER_BATCH.get(device.partition(":")[0], DEFAULT_ROWS_PER_BATCH)
