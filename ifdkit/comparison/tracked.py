"""What `compare --log` logs of a comparison: no text of a dataset, only numbers and settings."""

from __future__ import annotations

from typing import Any

from ifdkit.comparison.overview import Compared, Comparisons
from ifdkit.comparison.result import Comparison, Summary
from ifdkit.findings.finding import Finding
from ifdkit.records import plain
from ifdkit.scoring.manifest import Manifest
from ifdkit.tracking import TrackedRun, flat_numbers, flat_settings


def tracked(result: Comparison | Comparisons) -> TrackedRun:
    """The numbers of `summary.json`, and how each side was scored.

    Of several datasets the numbers are under `1`, `2`, …, in their order.
    """
    if isinstance(result, Comparison):
        made = result.summary
        sides = {"before": _settings(made.before), "after": _settings(made.after)}
        name, numbers = f"{made.name_before} → {made.name_after}", _numbers(made)
    else:
        overview = result.overview
        others = {str(i): one for i, one in enumerate(overview.others, 1)}
        sides = {"baseline": {"name": overview.baseline, **_settings(overview.baseline_manifest)}}
        for i, one in others.items():
            sides[i] = {"name": one.name, **_settings(one.manifest)}
        numbers = {i: _numbers(one) for i, one in others.items()}
        name = f"{overview.baseline} with {len(others)} datasets"
    return TrackedRun("compare", name, flat_settings(sides), flat_numbers(numbers))


def _settings(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {}
    read = {"input": manifest.input, "input_sha256": manifest.input_sha256}
    return {**plain(manifest.setup), **read}


def _numbers(one: Summary | Compared) -> dict[str, Any]:
    return {
        **{name: plain(change) for name, change in one.metrics.items()},
        "length_control": {name: plain(found) for name, found in one.length_control.items()},
        "findings": {_key(found): {"count": found.count, "share": found.share}
                     for found in one.findings},
        "n_pairs": one.pairing.n_pairs if one.pairing else None,
    }  # fmt: skip


def _key(finding: Finding) -> str:
    return "-".join(str(part) for part in (finding.kind, finding.side) if part)
