"""The options of `ifdkit generate`."""

from __future__ import annotations

from dataclasses import dataclass

from ifdkit.errors import UsageError
from ifdkit.scoring.settings import ModelKeywords


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """How answers are generated."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    """0: greedy, the most probable token each time."""
    top_p: float = 1.0
    batch_size: int | None = None
    """Prompts per batch; None: 8 on a CPU, 32 elsewhere."""
    seed: int = 0
    """Of sampling; unused if greedy."""

    def __post_init__(self) -> None:
        """Raise UsageError for invalid values."""
        for name in ("max_new_tokens", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be at least 1")
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"--temperature {self.temperature}: must not be negative")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"--top-p {self.top_p}: must be above 0 and at most 1")
        if self.top_p < 1 and not self.temperature:
            raise UsageError("--top-p has no effect on greedy answers: give --temperature")


class GenerateKeywords(ModelKeywords, total=False):
    """Keywords of `ifdkit.generate`: the fields of :class:`GenerateOptions`, and of the model."""

    max_new_tokens: int
    temperature: float
    top_p: float
    batch_size: int | None
    seed: int
