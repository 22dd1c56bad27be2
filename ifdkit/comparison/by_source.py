"""The change of the main metrics in each of several inputs, where both sides have the same ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ifdkit.comparison.result import SourceChange
from ifdkit.data.pairing import Pairs
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.table import ScoreTable
from ifdkit.stats.columns import finite


def changes_by_source(
    before: ScoreTable, after: ScoreTable, pairs: Pairs, fields: Iterable[str]
) -> tuple[SourceChange, ...]:
    """One entry for each input that has pairs within it, in the order of the before side.

    Empty if a side has one input. The metrics are those that can lead the headline, and the length
    of the response.
    """
    if before.sources is None or after.sources is None:
        return ()
    groups: dict[str, list[int]] = {}
    for place, (i, j) in enumerate(zip(pairs.before.tolist(), pairs.after.tolist(), strict=True)):
        source = before.sources[i]
        if source is not None and source == after.sources[j]:
            groups.setdefault(source, []).append(place)
    main = [name for name in fields if _is_main(name)]
    found = []
    for source, places in groups.items():
        medians: dict[str, tuple[float, float, float]] = {}
        for name in main:
            old = before.numbers[name][pairs.before[places]]
            new = after.numbers[name][pairs.after[places]]
            defined = np.isfinite(old) & np.isfinite(new)
            if defined.any():
                old, new = old[defined], new[defined]
                medians[name] = tuple(  # type: ignore[assignment]  # three numbers
                    finite(np.median(one)) or 0.0 for one in (old, new, new - old)
                )
        found.append(SourceChange(name=source, n_pairs=len(places), medians=medians))
    return tuple(found)


def _is_main(name: str) -> bool:
    return name == "response_tokens" or METRICS[name].headline_order is not None
