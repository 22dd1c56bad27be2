"""Options of a reflection: which oracle, which stages, which limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ifdkit.errors import UsageError
from ifdkit.oracle.options import OracleKeywords, OracleOptions
from ifdkit.reflection.outcomes import Stage
from ifdkit.scoring.settings import ModelKeywords

STAGES = (Stage.INSTRUCTION, Stage.RESPONSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectOptions(OracleOptions):
    """Which oracle to ask, for which stages, and within which limits.

    Raises UsageError for an invalid value.
    """

    stages: tuple[str, ...] = ("instruction", "response")
    select: bool = False
    """Whether the student chooses among the variants."""
    prompts: Path | None = None
    """Folder of custom prompts; None: the built-in ones."""

    def __post_init__(self) -> None:
        if not self.stages or any(name not in STAGES for name in self.stages):
            raise UsageError(
                f"--stages {','.join(self.stages)}: must be instruction, response or both"
            )
        OracleOptions.__post_init__(self)  # with slots, super() would name another class

    @property
    def plan(self) -> tuple[Stage, ...]:
        """The stages in the order in which they run, each once."""
        return tuple(stage for stage in STAGES if stage in self.stages)


def parse_stages(text: str) -> tuple[str, ...]:
    """Stage names from `instruction`, `response`, `instruction,response` or `both`."""
    if text == "both":
        return tuple(str(stage) for stage in STAGES)
    return tuple(name.strip() for name in text.split(","))


class ReflectKeywords(OracleKeywords, ModelKeywords, total=False):
    """Keywords of `ifdkit.reflect`: the fields of :class:`ReflectOptions`, and of the student."""

    stages: str | tuple[str, ...]
    """Also as `parse_stages` reads them."""
    select: bool
    prompts: Path | None
