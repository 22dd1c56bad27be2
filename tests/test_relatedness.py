"""Whether pairs belong together: wrong pairings are called wrong, rewritten datasets are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ifdkit
from ifdkit.comparison.relatedness import with_overlap
from ifdkit.data.pairing import Keys, Pairs, pair
from ifdkit.scoring.dataset import Texts

pytestmark = pytest.mark.long

TOPICS = ("sea", "cats", "bread", "stars", "chess", "rivers", "trains", "tea", "snow", "maps")
WORDS = [f"{topic}{i}" for topic in TOPICS for i in range(40)]
COMMON = ("the", "of", "and", "is", "a", "to", "in", "with")
N = 60


def texts(seed: int, n: int = N) -> Texts:
    """Examples of which each has words of its own and words that all have."""
    rng = np.random.default_rng(seed)
    instructions, responses = [], []
    for _ in range(n):
        own, common = rng.choice(WORDS, 12), rng.choice(COMMON, 12)
        instructions.append(" ".join([*own[:4], *common[:4]]))
        responses.append(" ".join([*own[4:], *common[4:]]))
    return Texts(instructions, responses)


def rewritten(before: Texts, kept: int, seed: int) -> Texts:
    """Other instructions, and responses with a few of the old words among new ones."""
    fresh, rng = texts(seed, len(before.responses)), np.random.default_rng(seed)
    responses = [
        " ".join([*rng.permutation(old.split()[:8])[:kept], new])
        for old, new in zip(before.responses, fresh.responses, strict=True)
    ]
    return Texts(fresh.instructions, responses)


def paired_by_row(before: Texts, after: Texts) -> Pairs:
    n = len(before.responses)
    keys = Keys([str(i) for i in range(n)], np.arange(n), np.zeros(n, dtype=np.int64), n)
    return with_overlap(pair(keys, keys, "row"), before, after, seed=0)


@given(st.integers(0, 10_000), st.integers(20, 200))
def test_unrelated_rows_are_seen(seed: int, n: int) -> None:
    # By chance 1 in 700 would pass three standard errors: none of these may be far from it.
    pairing = paired_by_row(texts(2 * seed, n), texts(2 * seed + 1, n)).pairing
    assert pairing.same_instructions == 0
    assert pairing.word_overlap == pytest.approx(pairing.random_word_overlap, abs=0.05)


def test_unrelated_rows_are_nearly_always_called_unrelated() -> None:
    called = [paired_by_row(texts(i), texts(1000 + i)).pairing.is_unrelated for i in range(200)]
    assert sum(called) >= 197


@given(st.integers(0, 10_000), st.integers(3, 8))
def test_rewritten_rows_are_related(seed: int, kept: int) -> None:
    before = texts(seed)
    assert not paired_by_row(before, rewritten(before, kept, seed + 1)).pairing.is_unrelated


def test_texts_without_spaces_are_related_too() -> None:
    rng = np.random.default_rng(0)
    lines = ["".join(chr(c) for c in rng.integers(0x4E00, 0x9FA0, 30)) for _ in range(2 * N)]
    before = Texts(lines[:N], lines[N:])
    reversed_lines = [text[::-1] for text in lines[:N]]
    after = Texts(reversed_lines, before.responses)
    assert not paired_by_row(before, after).pairing.is_unrelated
    shifted = Texts(reversed_lines[1:] + reversed_lines[:1], lines[N + 1 :] + lines[N : N + 1])
    assert paired_by_row(before, shifted).pairing.is_unrelated


def test_few_pairs_allow_no_conclusion() -> None:
    pairing = paired_by_row(texts(0, 9), texts(1, 9)).pairing
    assert pairing.same_instructions == 0
    assert not pairing.is_unrelated


def rows_of(found: Texts) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "instruction": instruction, "output": response}
        for i, (instruction, response) in enumerate(
            zip(found.instructions, found.responses, strict=True)
        )
    ]


@pytest.mark.long
@pytest.mark.parametrize("by", ["row", "id"])
def test_a_comparison_of_unrelated_rows_says_so(by: Any, tiny_model: Path, tmp_path: Path) -> None:
    settings = {"model": str(tiny_model), "store": "off", "metrics": ["ppl"], "pair_by": by}
    before = texts(0)
    result = ifdkit.compare(rows_of(before), rows_of(texts(1)), **settings)
    assert result.summary.headline.startswith("Check the pairing: the pairs look unrelated.")
    (warning,) = [one for one in result.summary.warnings if "look unrelated" in one]
    assert f"paired by {by}" in warning
    assert "instructions match in 0 %" in warning
    result.save(tmp_path)
    for file in ("report.md", "index.html", "summary.json"):
        assert "the pairs look unrelated" in (tmp_path / file).read_text(encoding="utf-8")

    related = ifdkit.compare(rows_of(before), rows_of(rewritten(before, 8, 2)), **settings)
    assert "unrelated" not in related.summary.headline
    said = [one for one in related.summary.warnings if "instructions match in 0 %" in one]
    assert len(said) == (by == "row")
