"""Two datasets whose rows do not belong together: their distributions compared.

Nothing here is about a pair: no findings, no explorer, no change of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ifdkit.comparison.caveats import of_one_side
from ifdkit.comparison.length_control.matching import matched_difference
from ifdkit.comparison.options import CompareOptions
from ifdkit.comparison.overview import Compared, SideColumns
from ifdkit.comparison.result import LengthControl
from ifdkit.comparison.sides import ComparedSide
from ifdkit.format import interval, signed
from ifdkit.scoring.metrics import METRICS, table_metrics
from ifdkit.stats.columns import MIN_PAIRS, Interval
from ifdkit.stats.paired import MetricChange
from ifdkit.stats.unpaired import compare_unpaired, unpaired_change

_ALPHA = 0.05


class UnpairedSides:
    """A baseline and another dataset of any size."""

    def __init__(self, before: ComparedSide, after: ComparedSide, options: CompareOptions) -> None:
        self._before, self._after, self._options = before, after, options

    def columns(self) -> SideColumns:
        """The defined values of each metric that both sides have."""
        old, new = self._before.scores.numbers, self._after.scores.numbers
        return {
            name: (old[name][np.isfinite(old[name])], new[name][np.isfinite(new[name])])
            for name in table_metrics()
            if name in old and name in new
        }

    def metrics(self) -> dict[str, MetricChange]:
        """The metrics with values on both sides, without `p_holm`."""
        found = {
            name: compare_unpaired(
                *sides, geometric=METRICS[name].is_multiplicative, seed=self._options.seed
            )
            for name, sides in self.columns().items()
        }
        return {name: one for name, one in found.items() if one.before.n and one.after.n}

    def compare(self, warnings: Sequence[str], metrics: Mapping[str, MetricChange]) -> Compared:
        """Put the parts together; `metrics` are corrected for the number of all tests."""
        before, after = self._before, self._after
        control = self._length_control()
        return Compared(
            name=after.name,
            folder=None,
            manifest=after.manifest,
            n_before=len(before.scores),
            n_after=len(after.scores),
            pairing=None,
            verdict=_verdict(metrics, control),
            metrics=metrics,
            length_control={} if control is None else {"ifd": control},
            warnings=(
                *warnings,
                *before.notes,
                *after.notes,
                *of_one_side("before", before),
                *of_one_side("after", after),
            ),
        )

    def _length_control(self) -> LengthControl | None:
        """IFD at the lengths that both sides share: the one estimate that needs no pairs."""
        sides = [side.scores.numbers for side in (self._before, self._after)]
        if any("ifd" not in one for one in sides):
            return None
        least = self._options.min_tokens
        used = [np.isfinite(one["ifd"]) & (one["response_tokens"] >= least) for one in sides]
        ifd = [one["ifd"][at] for one, at in zip(sides, used, strict=True)]
        tokens = [one["response_tokens"][at] for one, at in zip(sides, used, strict=True)]
        if not all(map(len, ifd)):
            return None
        raw = unpaired_change(*ifd, seed=self._options.seed)
        matched, overlap = matched_difference(ifd, tokens, self._options.seed)
        notes = () if matched else ("the lengths of the two datasets overlap too little to match",)
        return LengthControl(
            min_tokens=least,
            n_pairs=0,
            raw_change=raw.median,
            raw_ci95=raw.median_ci95,
            matched_change=matched.value if matched else None,
            matched_ci95=matched.ci95 if matched else None,
            overlap=overlap,
            sentence=_sentence(raw.median, matched.value, matched.ci95) if matched else "",
            notes=notes,
        )


def _sentence(raw: float | None, matched: float, ci95: Interval | None) -> str:
    kept = "" if _is_clear(ci95) else ", not distinguishable from zero"
    return (
        f"The median IFD differs by {signed(raw)}, and by {signed(matched)} after both datasets are"
        f" reweighted to the lengths that they share{kept} (95 % CI {interval(ci95)})."
    )


def _verdict(metrics: Mapping[str, MetricChange], control: LengthControl | None) -> str:
    """What to remember; it names the datasets as unpaired."""
    ranked = [(METRICS[name].headline_order, name) for name in metrics]
    known = [(rank, name) for rank, name in ranked if rank is not None]
    if not known:
        return "Unpaired. No quality metric was compared."
    field = min(known)[1]
    change, name = metrics[field].change, METRICS[field].subject
    if min(metrics[field].before.n, metrics[field].after.n) < MIN_PAIRS:
        return "Unpaired. Too few examples to tell a difference from chance."
    if change.p_holm is None or change.p_holm >= _ALPHA or not change.median:
        return f"Unpaired. {name} shows no clear difference."
    told = f"Unpaired. {name} is {'higher' if change.median > 0 else 'lower'}."
    if field != "ifd" or control is None or control.matched_change is None:
        return told
    if not _is_clear(control.matched_ci95):
        return f"{told} At matched lengths the difference may be chance."
    if control.matched_change * change.median < 0:
        return f"{told} At matched lengths it differs the other way."
    return f"{told} At matched lengths, too."


def _is_clear(ci95: Interval | None) -> bool:
    return ci95 is not None and (ci95[0] > 0 or ci95[1] < 0)
