"""ifdkit: what is in your instruction-tuning data, before you spend GPU hours on it.

    import ifdkit
    scores = ifdkit.score("data.json", model="gpt2")      # pandas DataFrame
    result = ifdkit.compare("before.json", "after.json")  # .summary, .rows, .save("reports/x")
    verdict = ifdkit.audit("data.json")                   # .passed, .rules
    done = ifdkit.reflect("data.json", "recycled.json", oracle="local")
    done = ifdkit.select("data.json", "best.json", by="ifd", top="5%")

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ifdkit.version import VERSION as __version__

if TYPE_CHECKING:
    from ifdkit.auditing.result import Audit as Audit
    from ifdkit.auditing.run import audit as audit
    from ifdkit.errors import IfdkitError as IfdkitError
    from ifdkit.reflection.result import Recycled as Recycled
    from ifdkit.reflection.run import reflect as reflect
    from ifdkit.report.comparison.save import ComparisonResult as ComparisonResult
    from ifdkit.report.comparison.save import compare as compare
    from ifdkit.scoring.run import score as score
    from ifdkit.scoring.scorer import Progress as Progress
    from ifdkit.scoring.scorer import Settings as Settings
    from ifdkit.selection.run import Selected as Selected
    from ifdkit.selection.run import select as select

_HOMES = {
    "audit": "ifdkit.auditing.run",
    "Audit": "ifdkit.auditing.result",
    "compare": "ifdkit.report.comparison.save",
    "ComparisonResult": "ifdkit.report.comparison.save",
    "reflect": "ifdkit.reflection.run",
    "Recycled": "ifdkit.reflection.result",
    "score": "ifdkit.scoring.run",
    "select": "ifdkit.selection.run",
    "Selected": "ifdkit.selection.run",
    "Settings": "ifdkit.scoring.scorer",
    "Progress": "ifdkit.scoring.scorer",
    "IfdkitError": "ifdkit.errors",
}

__all__ = [
    "Audit",
    "ComparisonResult",
    "IfdkitError",
    "Progress",
    "Recycled",
    "Selected",
    "Settings",
    "__version__",
    "audit",
    "compare",
    "reflect",
    "score",
    "select",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ifdkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
