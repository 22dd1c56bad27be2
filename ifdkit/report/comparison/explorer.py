"""The pairs of the explorer in the report of a comparison."""

from __future__ import annotations

from collections.abc import Sequence

from ifdkit.comparison.result import ExploredPair
from ifdkit.findings import KINDS
from ifdkit.report.comparison.wording import finding_title
from ifdkit.report.explorer import ExplorerData, ExplorerRow, explorer_data


def pairs_data(
    explored: Sequence[ExploredPair], fields: Sequence[str], *, has_text: bool
) -> ExplorerData:
    """What the explorer shows of the pairs."""
    named = {kind for pair in explored for kind in pair.findings}
    kinds = [kind for kind in KINDS if kind in named] + sorted(named.difference(KINDS))
    rows = [
        ExplorerRow(
            sides={"before": pair.before, "after": pair.after},
            reasons=pair.reasons or (pair.why,),
            findings=dict.fromkeys(pair.findings, ""),
        )
        for pair in explored
    ]
    titles = {kind: finding_title(kind) for kind in kinds}
    return explorer_data(rows, fields, titles, noun="pair", has_text=has_text)
