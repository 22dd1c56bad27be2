"""Win rates and position bias of judged pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.judging.asking import Asked
from ifdkit.judging.questions import JudgeAnswer
from ifdkit.judging.result import PositionBias, WinRates
from ifdkit.stats.columns import Column
from ifdkit.stats.discrimination import Clusters
from ifdkit.stats.win_rates import length_controlled_rate, mean_rate

Counter = Callable[[Sequence[str]], list[int]]


@dataclass(frozen=True, slots=True)
class PairLengths:
    """Length of the second answer minus that of the first, shape (n,)."""

    characters: Column
    tokens: Column

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, str]], count_tokens: Counter) -> PairLengths:
        """The lengths of pairs of texts."""
        texts = [text for pair in pairs for text in pair]
        return cls(_differences([len(text) for text in texts]), _differences(count_tokens(texts)))


def _differences(lengths: Sequence[int]) -> Column:
    sides: NDArray[np.float64] = np.array(lengths, dtype=np.float64).reshape(-1, 2)
    return sides[:, 1] - sides[:, 0]


def token_counts(model: str) -> Counter:
    """Counts tokens of texts with the tokenizer of a model. Raises ModelError."""
    from ifdkit.engine.models import resolve
    from ifdkit.engine.tokenizer import HuggingFaceTokenizer

    tokenizer = HuggingFaceTokenizer(resolve(model))
    return lambda texts: [len(ids) for ids in tokenizer.encode(texts, special=False)]


def win_rates(
    preferences: Column, lengths: PairLengths, clusters: Clusters, *, seed: int
) -> WinRates:
    """The win rates of the second answers; `preferences` are 0…1, shape (n,)."""
    decided = preferences != 0.5
    return WinRates(
        n=len(preferences),
        wins=int((preferences > 0.5).sum()),
        losses=int((preferences < 0.5).sum()),
        ties=int((~decided).sum()),
        raw=mean_rate(preferences, clusters, seed=seed),
        decided=mean_rate(
            (preferences[decided] > 0.5).astype(np.float64), clusters[decided], seed=seed
        ),
        length_controlled_characters=length_controlled_rate(
            preferences, lengths.characters, clusters, seed=seed
        ),
        length_controlled_tokens=length_controlled_rate(
            preferences, lengths.tokens, clusters, seed=seed
        ),
        longer_share=float((lengths.characters > 0).mean()) if len(preferences) else None,
    )


def position_bias(asked: Sequence[Asked], clusters: Clusters, *, seed: int) -> PositionBias:
    """How often the judge follows the position, over pairs with a winner in both orders."""
    chosen = [[game.answer for game in one.games] for one in asked]
    is_decided = np.array(
        [
            all(answer in (JudgeAnswer.FIRST, JudgeAnswer.SECOND) for answer in both)
            for both in chosen
        ],
        bool,
    )
    kept = [both for both, is_kept in zip(chosen, is_decided, strict=True) if is_kept]
    same = np.array([both[0] is both[1] for both in kept], dtype=np.float64)
    first = np.array([sum(answer is JudgeAnswer.FIRST for answer in both) / 2 for both in kept])
    groups = clusters[is_decided]
    return PositionBias(
        n=len(kept),
        inconsistent=mean_rate(same, groups, seed=seed),
        first=mean_rate(first, groups, seed=seed),
    )
