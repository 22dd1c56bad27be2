"""Every pair is asked about in both orders; a side wins only if both answers agree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ifdkit.judging.pairs import ResponsePair
from ifdkit.judging.questions import JudgeAnswer, Judged, parse, question
from ifdkit.oracle.calls import OracleCall, Reply, Sampling
from ifdkit.oracle.session import in_order


class PairOutcome(StrEnum):
    """What both answers about a pair give together."""

    FIRST = "first"
    """The response of the first file wins in both orders."""
    SECOND = "second"
    TIE = "tie"
    """A tie in both orders."""
    INCONSISTENT = "inconsistent"
    """The two orders give different winners, or a winner and a tie: counts as a tie."""
    NO_JUDGEMENT = "no_judgement"
    """An answer is missing, refused or not understood: counts as a tie."""


_PREFERENCE = {PairOutcome.FIRST: 0.0, PairOutcome.SECOND: 1.0}


@dataclass(frozen=True, slots=True)
class Asked:
    """Both answers about one pair."""

    games: tuple[Judged, Judged]
    """With the response of the first file shown first, and shown second."""

    @property
    def winners(self) -> tuple[JudgeAnswer, JudgeAnswer]:
        """Of both games, as the file and not as the position: FIRST is the first file."""
        straight, swapped = (game.answer for game in self.games)
        turned = {JudgeAnswer.FIRST: JudgeAnswer.SECOND, JudgeAnswer.SECOND: JudgeAnswer.FIRST}
        return straight, turned.get(swapped, swapped)

    @property
    def outcome(self) -> PairOutcome:
        """The outcome of the pair."""
        one, other = self.winners
        if not (one.is_judgement and other.is_judgement):
            return PairOutcome.NO_JUDGEMENT
        return PairOutcome(one) if one is other else PairOutcome.INCONSISTENT

    @property
    def preference(self) -> float:
        """0 if the first file wins, 1 if the second does, else 0.5."""
        return _PREFERENCE.get(self.outcome, 0.5)


class JudgeAsker(Protocol):
    """Answers calls; implemented by `Oracle`."""

    async def ask(self, call: OracleCall) -> Reply:
        """The reply to one call."""
        ...


def judged_pairs(
    oracle: JudgeAsker,
    pairs: Sequence[ResponsePair],
    window: int,
    *,
    model: str,
    endpoint: str,
    sampling: Sampling,
) -> AsyncGenerator[Asked]:
    """The answers about each pair, in order, with at most `window` pairs under way.

    Closing the generator early cancels the calls in flight.
    """

    async def game(pair: ResponsePair, first: str, second: str) -> Judged:
        call = question(
            pair.example, first, second, model=model, endpoint=endpoint, sampling=sampling
        )
        return parse(call, await oracle.ask(call))

    async def both(pair: ResponsePair) -> Asked:
        straight, swapped = await asyncio.gather(
            game(pair, pair.first, pair.second), game(pair, pair.second, pair.first)
        )
        return Asked((straight, swapped))

    return in_order(map(both, pairs), window)
