"""Options of a judgement: which oracle, how pairs are matched, which limits."""

from __future__ import annotations

from dataclasses import dataclass

from ifdkit.data.pairing import By
from ifdkit.oracle.options import OracleKeywords, OracleOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions(OracleOptions):
    """Which oracle to ask, and within which limits. Raises UsageError for an invalid value."""

    max_tokens: int = 1024
    """Maximum completion tokens per call."""
    pair_by: By | None = None
    """How rows are paired; None: the best key available."""
    seed: int = 0
    """Of the bootstrap."""


class JudgeKeywords(OracleKeywords, total=False):
    """Keywords of `ifdkit.judge`: the fields of :class:`JudgeOptions`."""

    pair_by: By | None
    seed: int
