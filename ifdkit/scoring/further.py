"""The passes of `FURTHER_PASSES`: after a demonstration, and of a reference model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ifdkit.errors import UsageError
from ifdkit.records import NLL, Example
from ifdkit.scoring.demonstrations import (
    Demonstrations,
    find_demonstrations,
    with_demonstration,
)
from ifdkit.scoring.metric import DEMONSTRATED, REFERENCE

if TYPE_CHECKING:
    from ifdkit.scoring.scorer import Scorer
    from ifdkit.scoring.settings import Settings
    from ifdkit.scoring.shards import Block


@dataclass(slots=True)
class FurtherPasses:
    """What a scorer needs for them."""

    reference: Scorer | None
    """The second model, over the same store; None if no metric needs it."""
    demonstrations: Demonstrations | None = None
    """The nearest other examples, once the dataset was read for them."""

    def read(self, scorer: Scorer, blocks: Iterable[Block]) -> None:
        """Find the nearest other example of each example of a dataset."""
        examples = (one for block in blocks for one in block.examples)
        assert scorer.embeddings is not None, "a metric with demonstrations needs the embedder"
        self.demonstrations = find_demonstrations(examples, scorer.embeddings)

    def nlls(
        self, scorer: Scorer, examples: Sequence[Example], *, provisional: bool
    ) -> list[dict[str, NLL]]:
        """NLLs of the further passes that are asked for, by pass, one dictionary per example."""
        found: list[dict[str, NLL]] = [{} for _ in examples]
        if self.demonstrations is not None:
            chosen = [with_demonstration(one, self.demonstrations) for one in examples]
            places = [i for i, one in enumerate(chosen) if one is not None]
            some = [one for one in chosen if one is not None]
            for i, nll in zip(
                places, scorer.conditional_nlls(some, provisional=provisional), strict=True
            ):
                if nll is not None:
                    found[i][DEMONSTRATED] = nll
        if self.reference is not None:
            self.reference.work = scorer.work
            nlls = self.reference.conditional_nlls(examples, provisional=provisional)
            for more, nll in zip(found, nlls, strict=True):
                if nll is not None:
                    more[REFERENCE] = nll
        return found


def reference_settings(settings: Settings) -> Settings:
    """The settings of the reference model."""
    assert settings.reference_model is not None, "a reference model is named"
    # A scorer without metrics of two models has no reference model of its own.
    return replace(
        settings,
        model=settings.reference_model,
        reference_model=None,
        metrics=("nll_response_conditional",),
    )


def same_tokens(reference: Scorer, scorer: Scorer) -> Scorer:
    """The reference; UsageError if its tokenizer is another one."""
    if reference.tokenizer_files != scorer.tokenizer_files and (
        reference.tokenizer.fingerprint != scorer.tokenizer.fingerprint
    ):
        raise UsageError(
            f"--reference-model {reference.weights.name} has another tokenizer than"
            f" {scorer.weights.name}: NLLs of other tokens are not comparable"
        )
    return reference


def setup_of_optional(settings: Settings, reference: Scorer | None) -> dict[str, Any]:
    """The fields of a setup that metrics on request have."""
    limited = {"s_ifd", "informative_share", "s_ifd_smoothed", "s_ifd_deviation"}
    return {
        "informative_nats": settings.informative_nats if limited & settings.optional else None,
        "noise_copies": settings.copies or None,
        "noise_seed": settings.noise_seed if settings.copies else None,
        "reference_model": reference.weights.name if reference else None,
        "reference_hash": reference.weights_hash if reference else None,
    }
