"""How a model is fine-tuned, and how it went: numbers only, no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ifdkit.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The hyperparameters of a fine-tuning run.

    The defaults are those of Reflection-Tuning (2310.11716, section 4.2; 2402.10110, section 5):
    all weights, global batch 128, Adam with a learning rate of 2e-5, three epochs, warm-up 0.03, no
    weight decay; the cosine schedule is that of the training code that it names (FastChat).
    """

    lora: bool = False
    """Train a low-rank adapter (2106.09685) on all linear layers but the LM head."""
    lora_rank: int = 16
    lora_alpha: int = 32
    """The adapter is scaled by alpha / rank."""
    learning_rate: float = 2e-5
    epochs: float = 3.0
    """Passes over the data; ignored if `steps` is set."""
    steps: int | None = None
    """Optimizer steps; None: from the epochs."""
    batch_size: int = 128
    """Examples per optimizer step."""
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.0
    micro_batch: int | None = None
    """Examples in memory at once; None: 4 on a CPU, 8 elsewhere."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        for name in ("lora_rank", "lora_alpha", "steps", "batch_size", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{_flag(name)} {value}: must be at least 1")
        for name in ("learning_rate", "epochs"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{_flag(name)} {getattr(self, name)}: must be above 0")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"--warmup {self.warmup}: must be a share, 0 or more and below 1")
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"--weight-decay {self.weight_decay}: must not be negative")


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One optimizer step."""

    step: int
    """1-based."""
    loss: float
    """Mean NLL of the step's trained tokens before the update, nats."""
    learning_rate: float
    gradient_norm: float


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
