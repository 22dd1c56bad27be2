"""ifdkit: what is in your instruction-tuning data, before you spend GPU hours on it.

    import ifdkit
    scores = ifdkit.score("data.json", model="gpt2")      # pandas DataFrame
    result = ifdkit.compare("before.json", "after.json")  # .summary, .rows, .save("reports/x")
    done = ifdkit.reflect("data.json", "recycled.json", oracle="local")

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ifdkit.version import VERSION as __version__

if TYPE_CHECKING:
    from ifdkit.errors import IfdkitError as IfdkitError
    from ifdkit.reflection import Recycled as Recycled
    from ifdkit.reflection import reflect as reflect
    from ifdkit.report.result import ComparisonResult as ComparisonResult
    from ifdkit.report.result import compare as compare
    from ifdkit.scorer import Progress as Progress
    from ifdkit.scorer import Settings as Settings
    from ifdkit.scoring import score as score

_HOMES = {
    "compare": "ifdkit.report.result",
    "ComparisonResult": "ifdkit.report.result",
    "reflect": "ifdkit.reflection",
    "Recycled": "ifdkit.reflection",
    "score": "ifdkit.scoring",
    "Settings": "ifdkit.scorer",
    "Progress": "ifdkit.scorer",
    "IfdkitError": "ifdkit.errors",
}

__all__ = [
    "ComparisonResult",
    "IfdkitError",
    "Progress",
    "Recycled",
    "Settings",
    "__version__",
    "compare",
    "reflect",
    "score",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ifdkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
