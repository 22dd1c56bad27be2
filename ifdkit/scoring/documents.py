"""What changes if a dataset has text documents: they have no instruction.

Of the passes only the direct one exists, so IFD, r-IFD, coherence and conditional perplexities are
not applicable: they are null, and no failure of an example.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ifdkit.data.dataset import Dataset
from ifdkit.errors import UsageError
from ifdkit.scoring.metrics import METRICS, members_of, needs_reference
from ifdkit.scoring.progress import Progress
from ifdkit.scoring.settings import Settings

NOT_COMPUTED = (
    "documents have no instruction: ifd, rifd, coherence and conditional perplexity are not"
    " computed"
)


def settings_for(
    dataset: Dataset, settings: Settings, progress: Progress | None = None
) -> Settings:
    """The settings without the metrics that no example of the dataset can have.

    The progress is told. Raises UsageError if no metric is left.
    """
    if not dataset.has_documents:
        return settings
    kept = tuple(name for name in settings.metrics if _is_for_documents(name))
    if not kept:
        raise UsageError(
            f"--metrics {','.join(settings.metrics)}: {dataset.name} contains documents, which have"
            " no instruction; choose ppl"
        )
    if progress is not None and kept != settings.metrics:
        progress.note(NOT_COMPUTED)
    needed = settings.reference_model if any(map(needs_reference, kept)) else None
    return replace(settings, metrics=kept, reference_model=needed)


def _is_for_documents(name: str) -> bool:
    """Whether a document can have a metric, or one of a group that a model measures."""
    return any(METRICS[one].is_for_documents for one in members_of(name))


def check_applicable(dataset: Dataset, fields: Collection[str], flag: str) -> None:
    """Raise UsageError if the examples of the dataset cannot have one of the metrics."""
    metrics = [METRICS[name] for name in fields]
    alien = [one.name for one in metrics if one.applies_to == "documents"]
    if alien and not dataset.has_documents:
        raise UsageError(f"{flag}: {alien[0]} is for documents, and {dataset.name} has none")
    wrong = [one.name for one in metrics if not one.is_for_documents]
    if wrong and dataset.has_documents:
        raise UsageError(
            f"{flag}: {dataset.name} contains documents, which have no {wrong[0]}; use"
            " ppl_response_direct, bits_per_byte_response or response_tokens"
        )


def check_no_documents(dataset: Dataset, what: str) -> None:
    """Raise UsageError if the dataset has documents, and `what` needs instructions."""
    if dataset.has_documents:
        raise UsageError(
            f"{what} needs instructions, and {dataset.name} contains documents"
            f" (column {dataset.columns.text!r}), which have none"
        )
