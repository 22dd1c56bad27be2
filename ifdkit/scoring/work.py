"""What a run has done, for progress and for the manifest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Work:
    """What a scorer has done so far, for progress and for the manifest."""

    requests: int = 0
    """Distinct Requests seen."""
    requests_from_store: int = 0
    requests_scored: int = 0
    tokens_scored: int = 0
    """Tokens sent through the model, context and padding included, shared prefixes once."""
    texts_embedded: int = 0
    model_load_s: float = 0.0
    scoring_s: float = 0.0
    """Everything but loading: alignment, the passes, the embedder and the store."""
    embedding_s: float = 0.0
    """The embedder's part of it."""

    def add_known(self, requests: int) -> None:
        """Count distinct Requests of rows that the store has finished."""
        self.requests += requests
        self.requests_from_store += requests
