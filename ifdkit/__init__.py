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
    from ifdkit.audited import Audit as Audit
    from ifdkit.auditing import audit as audit
    from ifdkit.errors import IfdkitError as IfdkitError
    from ifdkit.reflection import Recycled as Recycled
    from ifdkit.reflection import reflect as reflect
    from ifdkit.report.result import ComparisonResult as ComparisonResult
    from ifdkit.report.result import compare as compare
    from ifdkit.scorer import Progress as Progress
    from ifdkit.scorer import Settings as Settings
    from ifdkit.scoring import score as score
    from ifdkit.selection import Selected as Selected
    from ifdkit.selection import select as select

_HOMES = {
    "audit": "ifdkit.auditing",
    "Audit": "ifdkit.audited",
    "compare": "ifdkit.report.result",
    "ComparisonResult": "ifdkit.report.result",
    "reflect": "ifdkit.reflection",
    "Recycled": "ifdkit.reflection",
    "score": "ifdkit.scoring",
    "select": "ifdkit.selection",
    "Selected": "ifdkit.selection",
    "Settings": "ifdkit.scorer",
    "Progress": "ifdkit.scorer",
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
