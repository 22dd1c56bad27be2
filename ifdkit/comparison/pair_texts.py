"""The texts of the pairs as the checks of a comparison expect them, read when a check asks."""

from __future__ import annotations

from ifdkit.comparison.sides import ComparedSide
from ifdkit.data.pairing import Pairs, Positions
from ifdkit.data.spilling import Chosen
from ifdkit.findings import PairedTexts
from ifdkit.findings.finding import SideName
from ifdkit.findings.pairs import SideTexts
from ifdkit.stats.columns import Column


def paired_texts(
    before: ComparedSide,
    after: ComparedSide,
    pairs: Pairs,
    ifds: tuple[Column, Column],
    seed: int,
) -> PairedTexts:
    """Both sides, which have texts; `ifds` are those of the pairs, NaN if undefined."""
    statuses_before, statuses_after = before.scores.statuses, after.scores.statuses
    return PairedTexts(
        _side_texts(before, "before", pairs.before),
        _side_texts(after, "after", pairs.after),
        *ifds,
        [statuses_before[i] for i in pairs.before.tolist()],
        [statuses_after[i] for i in pairs.after.tolist()],
        seed,
    )


def _side_texts(side: ComparedSide, name: SideName, positions: Positions) -> SideTexts:
    """The texts of the pairs of one side, read when a check asks for them."""
    assert side.texts is not None
    ids = side.scores.ids
    return SideTexts(
        ids=[ids[i] for i in positions.tolist()],
        instructions=Chosen(side.texts.instructions, positions),
        responses=Chosen(side.texts.responses, positions),
        name=name,
    )
