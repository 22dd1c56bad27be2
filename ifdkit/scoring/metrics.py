"""The registry of metrics: the one place that describes the numbers of a scores file.

Columns and their types, `--metrics`, `--by`, `--fail-if`, the tables and figures of `compare` and
the table in the docs are derived from `METRICS` at the time of use, so that a metric added by
:func:`register_metric` works in every command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from ifdkit.errors import UsageError, unknown
from ifdkit.records import PASSES
from ifdkit.scoring.builtin_metrics import BUILT_IN
from ifdkit.scoring.context_metrics import CONTEXT_METRICS
from ifdkit.scoring.metric import NOISY_CONDITIONAL, REFERENCE, Measured, Metric, Scale, Value
from ifdkit.scoring.noise_metrics import NOISE_METRICS
from ifdkit.scoring.text_metrics import TEXT_METRICS
from ifdkit.scoring.token_metrics import TOKEN_METRICS

GROUPS = ("ppl", "ifd", "rifd", "coherence")
"""What `--metrics` names, besides single metrics."""
DEFAULT_GROUPS = ("ppl", "ifd", "coherence")
OPTIONAL_GROUPS = ("tokens", "noise", "demonstration", "reference", "text")
"""Groups whose metrics have columns only if they are asked for."""
BY_NAME_ONLY = ("noise", "reference")
"""Those that `all` leaves out: one costs many passes, the other needs a second model."""
SHIPPED = (*BUILT_IN, *TOKEN_METRICS, *NOISE_METRICS, *CONTEXT_METRICS, *TEXT_METRICS)
"""All that are not registered by the user."""
RESERVED = frozenset(
    {
        "id",
        "row",
        "turn",
        "status",
        "reason",
        "source",
        "ppl_windows",
        *GROUPS,
        *OPTIONAL_GROUPS,
        *(one.name for one in SHIPPED),
    }
)
"""Names of built-in columns and groups: no metric can be registered under them."""

METRICS: dict[str, Metric] = {metric.name: metric for metric in SHIPPED}
"""Name → metric, in the order of the columns."""


def register_metric(
    name: str,
    compute: Callable[[Measured], Value],
    *,
    passes: tuple[str, ...] = (),
    label: str | None = None,
    unit: str = "value",
    definition: str = "",
    source: str = "",
    scale: Scale = "linear",
    is_ratio: bool = False,
    higher_is_harder: bool | None = None,
    replace: bool = False,
) -> Metric:
    """Add a metric to every command of this process, and return its entry.

    `compute` gets a :class:`Measured` and returns a number, or None if the number is undefined.
    It is called for every example for which the `passes` it needs were run; `ifdkit.score(data)`
    runs them unless `metrics` leaves it out.  A registered metric has a column in scores files,
    ranks with `select --by`, is a row of `compare`'s table and is known to `--fail-if`.

    Raises UsageError for a name that is not an identifier in lower case, that ifdkit uses itself,
    or that is registered already (unless `replace`), and for an unknown pass.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"metric name {name!r}: use lower-case letters, digits and underscores")
    if name in RESERVED or name.startswith("token_nll_") or (name in METRICS and not replace):
        raise UsageError(f"metric {name!r} exists: choose another name, or pass replace=True")
    wrong = [one for one in passes if one not in PASSES]
    if wrong:
        raise UsageError(f"metric {name!r}: {unknown('pass', wrong[0], PASSES)}")
    label = label or name
    METRICS[name] = Metric(
        name=name,
        compute=compute,
        label=label,
        short=name[:18],
        unit=unit,
        definition=definition or f"{label}, registered by the user.",
        passes=passes,
        group=name,
        source=source or "registered by the user",
        scale=scale,
        is_ratio=is_ratio,
        higher_is_harder=higher_is_harder,
        table_order=1 + max(metric.table_order or 0 for metric in METRICS.values()),
    )
    return METRICS[name]


def groups() -> tuple[str, ...]:
    """What `compare` and `predict` measure by default: the built-in groups, registered metrics."""
    return (*GROUPS, *(name for name, metric in METRICS.items() if metric.group == name
                       and name not in GROUPS))  # fmt: skip


def all_groups() -> tuple[str, ...]:
    """What `all` stands for: every metric of one model without noise, and those of texts."""
    return (*groups(), *(name for name in OPTIONAL_GROUPS if name not in BY_NAME_ONLY))


def default_groups() -> tuple[str, ...]:
    """What is measured if nothing else is asked for: r-IFD costs a further pass."""
    return tuple(name for name in groups() if name not in GROUPS or name in DEFAULT_GROUPS)


def parse_metrics(text: str) -> tuple[str, ...]:
    """`ifd,rifd` or `all` as names; they are checked by `passes_of`."""
    names = (name.strip() for name in text.split(","))
    found = ((all_groups() if name == "all" else (name,)) for name in names)
    return tuple(dict.fromkeys(name for part in found for name in part))


def passes_of(name: str) -> frozenset[str]:
    """The passes that a group or a single metric needs. Raises UsageError for an unknown name."""
    return frozenset(one for member in members_of(name) for one in METRICS[member].passes)


def members_of(name: str) -> list[str]:
    """The metrics of a group, or a metric itself. Raises UsageError for an unknown name."""
    found = [name] if name in METRICS else [n for n, one in METRICS.items() if one.group == name]
    if not found:
        known = [*groups(), *OPTIONAL_GROUPS, "all", *METRICS]
        raise UsageError(unknown("metric", name, known))
    return found


def needs_embedder(name: str) -> bool:
    """Whether a group or metric compares embeddings."""
    return any(METRICS[one].needs_embedder for one in members_of(name))


def statistics_of(name: str) -> frozenset[str]:
    """The passes whose tokens' statistics a group or a single metric needs."""
    return frozenset(one for member in members_of(name) for one in METRICS[member].statistics)


def optional_of(name: str) -> list[str]:
    """The metrics of a group, or a metric itself, that are computed only if they are asked for."""
    return [one for one in members_of(name) if METRICS[one].is_optional]


def needs_noise(name: str) -> bool:
    """Whether a group or metric needs noisy copies of the passes."""
    return NOISY_CONDITIONAL in passes_of(name)


def needs_reference(name: str) -> bool:
    """Whether a group or metric compares two models."""
    return REFERENCE in passes_of(name)


def computed_metrics(optional: Collection[str]) -> dict[str, Metric]:
    """The metrics whose numbers a row may have, by name, in the order of the columns.

    `optional`: those that were asked for of the metrics that are computed only then.
    """
    return {name: one for name, one in METRICS.items() if name in optional or not one.is_optional}


def available_metrics(
    passes: frozenset[str],
    *,
    with_embedder: bool,
    documents: bool = False,
    optional: Collection[str] = (),
) -> list[str]:
    """Metrics that have numbers once these passes were run, in the order of the columns.

    `documents`: whether the examples are text documents; `optional` as in `computed_metrics`.
    """
    return [
        name
        for name, metric in computed_metrics(optional).items()
        if passes.issuperset(metric.passes)
        and (with_embedder or not metric.needs_embedder)
        and (metric.is_for_documents if documents else metric.applies_to != "documents")
    ]


def table_metrics() -> list[str]:
    """Metrics of the table of `compare`, in its order."""
    listed = [metric for metric in METRICS.values() if metric.table_order is not None]
    return [metric.name for metric in sorted(listed, key=lambda metric: metric.table_order or 0)]
