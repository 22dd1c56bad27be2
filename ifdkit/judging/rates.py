"""Win rates and position bias of judged pairs."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ifdkit.judging.asking import Asked
from ifdkit.judging.questions import JudgeAnswer
from ifdkit.judging.result import PositionBias, WinRates
from ifdkit.stats.columns import Column
from ifdkit.stats.discrimination import Clusters
from ifdkit.stats.win_rates import length_controlled_rate, mean_rate

Counter = Callable[[Sequence[str]], list[int]]
_PAIRS_PER_BATCH = 64
"""Pairs whose texts are in memory together while their tokens are counted."""


@dataclass(frozen=True, slots=True)
class PairLengths:
    """Length of the second answer minus that of the first, shape (n,)."""

    characters: Column
    tokens: Column

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], count_tokens: Counter) -> PairLengths:
        """The lengths of pairs of texts."""
        characters, tokens, rest = array("d"), array("d"), iter(pairs)
        while batch := list(islice(rest, _PAIRS_PER_BATCH)):
            texts = [text for pair in batch for text in pair]
            characters.extend(map(len, texts))
            tokens.extend(count_tokens(texts))
        return cls(_differences(characters), _differences(tokens))


def _differences(lengths: array[float]) -> Column:
    """Those of the pairs, from both lengths of each after one another."""
    sides: Column = np.array(lengths, dtype=np.float64).reshape(-1, 2)
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


def position_bias(asked: Iterable[Asked], clusters: Clusters, *, seed: int) -> PositionBias:
    """How often the judge follows the position, over pairs with a winner in both orders."""
    codes = {JudgeAnswer.FIRST: 1, JudgeAnswer.SECOND: 0}
    flat = np.fromiter((codes.get(game.answer, -1) for one in asked for game in one.games), np.int8)
    both = flat.reshape(-1, 2)  # (pairs, 2): whether the answer names the first position, or -1
    is_decided = (both >= 0).all(axis=1)
    kept, groups = both[is_decided].astype(np.float64), clusters[is_decided]
    same: Column = (kept[:, 0] == kept[:, 1]).astype(np.float64)
    return PositionBias(
        n=len(kept),
        inconsistent=mean_rate(same, groups, seed=seed),
        first=mean_rate(kept.mean(axis=1), groups, seed=seed),
    )
