"""The passes of `FURTHER_PASSES`: after a demonstration, and of a reference model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ifdkit.errors import UsageError
from ifdkit.records import NLL, Example
from ifdkit.scoring.demonstrations import (
    Demonstrations,
    find_demonstrations,
    with_demonstration,
)
from ifdkit.scoring.measuring import Measurement
from ifdkit.scoring.metric import DEMONSTRATED, REFERENCE
from ifdkit.scoring.token_arrays import arrays_by_pass

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

    def read(self, scorer: Scorer, blocks: Iterable[Block], *, may_embed: bool = True) -> None:
        """Find the nearest other example of each example of a dataset, if a metric needs it.

        `may_embed` as in :func:`find_demonstrations`.
        """
        if DEMONSTRATED not in scorer.settings.passes:
            return
        examples = (one for block in blocks for one in block.examples)
        assert scorer.embeddings is not None, "a metric with demonstrations needs the embedder"
        begin, before = time.perf_counter(), scorer.embeddings.usage
        self.demonstrations = find_demonstrations(examples, scorer.embeddings, may_embed=may_embed)
        used = scorer.embeddings.usage - before
        used.add_to(scorer.work)
        scorer.work.scoring_s += time.perf_counter() - begin - used.load_s

    def measurements(self, scorer: Scorer, examples: Sequence[Example]) -> Iterator[Measurement]:
        """What the further passes of a block need that are asked for."""
        if self.demonstrations is not None:
            chosen = [with_demonstration(one, self.demonstrations) for one in examples]
            places = [i for i, one in enumerate(chosen) if one is not None]
            some = [one for one in chosen if one is not None]
            yield Measurement(scorer, scorer.conditional(some), name=DEMONSTRATED, places=places)
        if self.reference is not None:
            self.reference.work = scorer.work
            passes = self.reference.conditional(examples)
            yield Measurement(self.reference, passes, name=REFERENCE, places=range(len(examples)))


def further_nlls(
    measurements: Iterable[Measurement], n: int, *, provisional: bool
) -> list[dict[str, NLL]]:
    """NLLs of the further passes by pass, one dictionary for each of `n` examples."""
    found: list[dict[str, NLL]] = [{} for _ in range(n)]
    for one in measurements:
        assert one.name is not None, "a further pass has a name"
        nlls, _ = one.measure(provisional=provisional)
        for i, each in zip(one.places, one.passes, strict=True):
            nll = arrays_by_pass(each, nlls).get("response_conditional")
            if nll is not None:  # it can be scored
                found[i][one.name] = nll
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
