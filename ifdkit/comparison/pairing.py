"""Which row of one side stands against which of the other.

    id            the rows' own ids, where both sides have them and they mostly match
    row           the position, where the files run parallel
    instruction   the text of the instruction, spaces apart

In a conversation the turn belongs to the key.  A key that occurs k times on both sides pairs the
first with the first, the second with the second, and so on; one that occurs more often on one side
leaves all its rows out, because nothing says which of them belong together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.comparison.result import Pairing
from ifdkit.errors import InputError
from ifdkit.format import percent

By = Literal["id", "row", "instruction"]
BYS: tuple[By, ...] = ("id", "row", "instruction")
Positions = NDArray[np.int64]

IDS_SHOWN = 50
"""Unmatched or ambiguous rows that are listed; all of them are counted."""
POSITION_ALONE = "nothing but the position speaks for it"
"""Stands in the note of a pairing that a reader had better check."""
_MOSTLY = 0.5
_HASH_ID = re.compile(r"[0-9a-f]{16}-\d+")


@dataclass(frozen=True, slots=True)
class Keys:
    """What can tell the examples of one side apart, in the order of that side."""

    ids: Sequence[str]
    rows: Positions
    turns: Positions
    n_rows: int
    """Rows of the input, the rejected ones too."""
    instructions: NDArray[np.uint64] | None = None
    """Fingerprints of the instructions; None where the texts are not to be had."""

    @property
    def has_own_ids(self) -> bool:
        """Whether most ids come from the data, not from a hash of the content."""
        own = sum(_HASH_ID.fullmatch(name) is None for name in self.ids)
        return own > _MOSTLY * len(self.ids)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Positions on both sides, one pair an entry, in the order of *before*."""

    before: Positions
    after: Positions
    pairing: Pairing

    def __len__(self) -> int:
        return len(self.before)


def fingerprint(instruction: str) -> int:
    """64 bits of an instruction, spaces apart.

    Among a million instructions two that differ share one with a chance of 3 in 100 million.
    """
    text = " ".join(instruction.split())
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def pair(before: Keys, after: Keys, by: By | None = None) -> Pairs:
    """Pair two sides by the best of the three keys, or by the one that is asked for.

    Raises InputError where no key serves.
    """
    if by is not None:
        return _forced(before, after, by)
    smaller = max(1, min(len(before.ids), len(after.ids)))
    tried: list[str] = []
    if before.has_own_ids and after.has_own_ids:
        pairs = _by(before, after, "id")
        if len(pairs) >= _MOSTLY * smaller:
            return _noted(pairs, "both sides have ids of their own, and they match")
        tried.append(f"only {len(pairs):,} ids match")
    elif len(same := _by(before, after, "id")) == smaller:
        # Ids made from the content find the rows of a shuffled copy, or of a part, exactly.
        return _noted(same, "every row of the smaller side stands unchanged in the other")
    if before.instructions is None or after.instructions is None:
        return _without_texts(before, after, smaller, tried)
    return _with_texts(before, after, smaller, tried)


def _forced(before: Keys, after: Keys, by: By) -> Pairs:
    if by == "instruction" and (before.instructions is None or after.instructions is None):
        raise InputError(
            "--pair-by instruction: a side holds numbers without texts, and the dataset they came"
            " from is gone or changed; choose --pair-by id or row"
        )
    return _noted(_by(before, after, by), f"as asked for with --pair-by {by}")


def _with_texts(before: Keys, after: Keys, smaller: int, tried: list[str]) -> Pairs:
    rows, texts = _by(before, after, "row"), _by(before, after, "instruction")
    is_parallel = before.n_rows == after.n_rows and len(rows) >= _MOSTLY * smaller
    same = _same_instructions(before, after, rows)
    if is_parallel and same >= _MOSTLY:
        return _noted(
            rows,
            f"the files run parallel: {percent(same)} of the rows have the same instruction",
            tried,
        )
    if len(texts) >= _MOSTLY * smaller or not is_parallel:
        share = f"{percent(len(texts) / smaller)} of the smaller side"
        return _noted(texts, f"the files do not run parallel; instructions match in {share}", tried)
    return _noted(
        rows,
        f"the files have equally many rows; their instructions mostly differ, so that"
        f" {POSITION_ALONE}",
        tried,
    )


def _without_texts(before: Keys, after: Keys, smaller: int, tried: list[str]) -> Pairs:
    """Numbers alone: equal contents have equal hash ids, else the position is all there is."""
    pairs = _by(before, after, "id")
    if len(pairs) >= _MOSTLY * smaller:
        return _noted(pairs, "the ids match; texts are not to be had", tried)
    if before.n_rows != after.n_rows:
        raise InputError(
            f"nothing pairs the sides: {len(pairs):,} ids match, the texts are not to be had, and"
            f" there are {before.n_rows:,} rows against {after.n_rows:,}; --pair-by row pairs by"
            " position all the same"
        )
    return _noted(
        _by(before, after, "row"),
        f"the sides have equally many rows; texts are not to be had, so that {POSITION_ALONE}",
        tried,
    )


def _noted(pairs: Pairs, note: str, tried: Sequence[str] = ()) -> Pairs:
    return replace(pairs, pairing=replace(pairs.pairing, note="; ".join([*tried, note])))


def _same_instructions(before: Keys, after: Keys, rows: Pairs) -> float:
    """Share of the pairs whose instructions are the same text."""
    assert before.instructions is not None
    assert after.instructions is not None
    if not len(rows):
        return 0.0
    return float((before.instructions[rows.before] == after.instructions[rows.after]).mean())


def _by(before: Keys, after: Keys, by: By) -> Pairs:
    """Pairs by one key, k-th occurrence with k-th."""
    known: dict[Hashable, int] = {}
    codes_before, codes_after = (_codes(_keys(side, by), known) for side in (before, after))
    n_before = np.bincount(codes_before, minlength=len(known))
    n_after = np.bincount(codes_after, minlength=len(known))
    is_paired = n_before == n_after
    is_ambiguous = ~is_paired & (n_before > 0) & (n_after > 0)
    first, second = _in_turn(codes_before, is_paired), _in_turn(codes_after, is_paired)
    order = np.argsort(first)
    lone_before = np.flatnonzero(n_after[codes_before] == 0)
    lone_after = np.flatnonzero(n_before[codes_after] == 0)
    torn_before = np.flatnonzero(is_ambiguous[codes_before])
    torn_after = np.flatnonzero(is_ambiguous[codes_after])
    torn_ids = [*_shown(before, torn_before), *_shown(after, torn_after)]
    pairing = Pairing(
        by=by,
        n_pairs=len(order),
        unmatched_before=len(lone_before),
        unmatched_after=len(lone_after),
        ambiguous=len(torn_before) + len(torn_after),
        ids_unmatched_before=tuple(_shown(before, lone_before)),
        ids_unmatched_after=tuple(_shown(after, lone_after)),
        ids_ambiguous=tuple(dict.fromkeys(torn_ids))[:IDS_SHOWN],
    )
    return Pairs(first[order], second[order], pairing)


def _keys(side: Keys, by: By) -> Iterable[Hashable]:
    """One key an example; a first turn goes without its number, which saves memory."""
    names: Sequence[Hashable]
    if by == "id":
        names = side.ids
    elif by == "row":
        names = side.rows.tolist()
    else:
        assert side.instructions is not None
        names = side.instructions.tolist()
    turns = side.turns.tolist()
    return ((name, turn) if turn else name for name, turn in zip(names, turns, strict=True))


def _codes(keys: Iterable[Hashable], known: dict[Hashable, int]) -> Positions:
    """Each distinct key as a small number, the same on both sides."""
    return np.fromiter((known.setdefault(key, len(known)) for key in keys), dtype=np.int64)


def _in_turn(codes: Positions, is_paired: NDArray[np.bool_]) -> Positions:
    """Positions grouped by key and in order within each.

    Both sides have the same keys equally often, so that the two lists run parallel.
    """
    order = np.argsort(codes, kind="stable")
    return order[is_paired[codes[order]]]


def _shown(side: Keys, positions: Positions) -> list[str]:
    return [side.ids[i] for i in positions[:IDS_SHOWN].tolist()]
