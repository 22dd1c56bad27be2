"""How many floating-point operations scoring takes, and how long that is on a GPU. No torch.

For each computed token, 2 per parameter of the body; for each scored one, 2 per weight of the LM
head; for each pair of a token and one it attends to, 4 per layer and channel (Kaplan et al.,
2001.08361, table 1, with the causal half counted exactly).  Of a mixture of experts, all experts
are counted, which is too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ifdkit.engine.batching import Budget, computed_tokens, prefix_groups, sequences
from ifdkit.records import Request

UTILISATION = 0.35
"""Share of a GPU's peak rate that scoring is assumed to reach; it was not measured."""
GPUS = {
    "T4": 65.0,
    "L4": 121.0,
    "RTX 4090": 165.0,
    "A100": 312.0,
    "L40S": 362.0,
    "H100": 989.0,
    "B200": 2250.0,
}
"""GPU → peak rate of dense 16-bit products in 10¹² operations a second, as their makers state."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What the cost of a pass depends on."""

    body: int
    """Parameters without the embeddings and the LM head."""
    layers: int
    attention_width: int
    """Heads × channels of a head."""
    head: int
    """Weights of the LM head: vocabulary × hidden size."""

    @classmethod
    def of(cls, model: Any) -> ModelSize:
        """Of a model of transformers."""
        embedding = model.get_input_embeddings().weight
        output = model.get_output_embeddings()
        # Of tokens and of positions: nothing is multiplied by them.
        lookups = [one for one in model.modules() if "Embedding" in type(one).__name__]
        with_weights = [one for one in (*lookups, output) if hasattr(one, "weight")]
        tables = {id(one.weight): one.weight.numel() for one in with_weights}
        total = sum(one.numel() for one in model.parameters())
        config = model.config.get_text_config()
        heads = int(config.num_attention_heads)
        width = heads * int(getattr(config, "head_dim", None) or config.hidden_size // heads)
        layers = int(config.num_hidden_layers)
        return cls(total - sum(tables.values()), layers, width, embedding.numel())

    def flops(self, computed: int, scored: int, pairs: int) -> float:
        """Operations for so many computed tokens, scored tokens and attended pairs."""
        attention = 4.0 * self.layers * self.attention_width * pairs
        return 2.0 * self.body * computed + 2.0 * self.head * scored + attention


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What one batch sends through the model."""

    computed: int = 0
    """Tokens, padding included, common beginnings once."""
    scored: int = 0
    """Tokens that the LM head is applied to."""
    pairs: int = 0
    """Pairs of a token and one that it attends to, itself included."""

    def __add__(self, other: BatchCost) -> BatchCost:
        return BatchCost(
            self.computed + other.computed, self.scored + other.scored, self.pairs + other.pairs
        )


def batch_cost(requests: Sequence[Request], batch: Sequence[int], budget: Budget) -> BatchCost:
    """The cost of a batch of a plan: positions of Requests."""
    found = sequences([requests[i] for i in batch])
    pairs = sum(len(one) * (len(one) + 1) // 2 for one in found)
    if budget.packs:  # within a common beginning, attention is computed once too
        for group in prefix_groups(found):
            shared = group.n_shared
            pairs -= (len(group.members) - 1) * (shared * (shared + 1) // 2)
    computed = computed_tokens(requests, batch, budget)
    return BatchCost(computed, sum(one.n_scored for one in found), pairs)


def gpu_seconds(flops: float) -> dict[str, float]:
    """GPU → seconds, computed from its peak rate and UTILISATION."""
    return {name: flops / (peak * 1e12 * UTILISATION) for name, peak in GPUS.items()}
