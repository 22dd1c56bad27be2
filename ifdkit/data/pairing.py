"""How the rows of two sides are paired: by one of three keys.

    id            the rows' own ids, if both sides have them and they mostly match
    row           the position, if the files run parallel
    instruction   the text of the instruction, ignoring whitespace

In a conversation the turn is part of the key.  If a key occurs k times on both sides, the first
occurrence is paired with the first, the second with the second, and so on.  If it occurs more often
on one side, all its rows are left out, because it is unknown which of them belong together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import InputError
from ifdkit.format import percent

By = Literal["id", "row", "instruction"]
BYS: tuple[By, ...] = ("id", "row", "instruction")
Positions = NDArray[np.int64]

IDS_SHOWN = 50
"""Unmatched or ambiguous rows to list; all of them are counted."""
MOSTLY = 0.5
"""Share of rows from which a key counts as matching."""
_HASH_ID = re.compile(r"[0-9a-f]{16}-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """How the rows of the two sides were paired."""

    by: str
    """`id`, `row` or `instruction`."""
    n_pairs: int
    unmatched_before: int
    unmatched_after: int
    ambiguous: int = 0
    """Rows left out because their key occurs more often on one side than on the other."""
    ids_unmatched_before: tuple[str, ...] = ()
    """The first of them, for a reader to look up."""
    ids_unmatched_after: tuple[str, ...] = ()
    ids_ambiguous: tuple[str, ...] = ()
    note: str = ""
    """Why this key was used."""
    same_instructions: float | None = None
    """Share of the pairs with the same instruction, 0…1; None if texts are not available."""
    word_overlap: float | None = None
    """Mean Jaccard index of the words of a pair, 0…1; None if most instructions are the same."""
    random_word_overlap: float | None = None
    """The same for examples of different pairs."""
    is_unrelated: bool = False
    """Whether the examples of a pair have no more words in common than random ones."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The possible keys of one side's examples, in the order of that side."""

    ids: Sequence[str]
    rows: Positions
    turns: Positions
    n_rows: int
    """Rows of the input, including rejected ones."""
    instructions: NDArray[np.uint64] | None = None
    """Fingerprints of the instructions, or of documents; None if the texts are not available."""

    @property
    def has_own_ids(self) -> bool:
        """Whether most ids come from the data and not from a hash of the content."""
        own = sum(_HASH_ID.fullmatch(name) is None for name in self.ids)
        return own > MOSTLY * len(self.ids)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Positions on both sides, one entry per pair, in the order of the before side."""

    before: Positions
    after: Positions
    pairing: Pairing

    def __len__(self) -> int:
        return len(self.before)


def fingerprint(instruction: str) -> int:
    """A 64-bit hash of an instruction, ignoring whitespace.

    Among a million different instructions the probability of a collision is 3 in 100 million.
    """
    text = " ".join(instruction.split())
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def pair(before: Keys, after: Keys, by: By | None = None) -> Pairs:
    """Pair two sides by the best of the three keys, or by the one given.

    Raises InputError if no key is usable.
    """
    if by is not None:
        return _requested(before, after, by)
    smaller = max(1, min(len(before.ids), len(after.ids)))
    tried: list[str] = []
    if before.has_own_ids and after.has_own_ids:
        pairs = _by(before, after, "id")
        if len(pairs) >= MOSTLY * smaller:
            return _with_note(pairs, "both sides have their own ids, and these match")
        tried.append(f"only {len(pairs):,} ids match")
    elif len(same := _by(before, after, "id")) == smaller:
        # Ids made from the content identify the rows of a shuffled copy, or of a part, exactly.
        return _with_note(same, "every row of the smaller side is unchanged in the other")
    if before.instructions is None or after.instructions is None:
        return _without_texts(before, after, smaller, tried)
    return _with_texts(before, after, smaller, tried)


def worded_for_documents(note: str) -> str:
    """A note about the instructions of pairs in words for documents, whose texts are the keys."""
    return note.replace("instruction", "text").replace("response", "document")


def _requested(before: Keys, after: Keys, by: By) -> Pairs:
    if by == "instruction" and (before.instructions is None or after.instructions is None):
        raise InputError(
            "--pair-by instruction: a side has scores without texts, and their dataset is gone or"
            " has changed; choose --pair-by id or row"
        )
    return _with_note(_by(before, after, by), f"requested with --pair-by {by}")


def _with_texts(before: Keys, after: Keys, smaller: int, tried: list[str]) -> Pairs:
    rows, texts = _by(before, after, "row"), _by(before, after, "instruction")
    is_parallel = before.n_rows == after.n_rows and len(rows) >= MOSTLY * smaller
    same = _same_instructions(before, after, rows)
    if is_parallel and same >= MOSTLY:
        return _with_note(
            rows,
            f"the files run parallel: {percent(same)} of the rows have the same instruction",
            tried,
        )
    if len(texts) >= MOSTLY * smaller or not is_parallel:
        share = f"{percent(len(texts) / smaller)} of the smaller side"
        return _with_note(
            texts, f"the files do not run parallel; instructions match in {share}", tried
        )
    return _with_note(
        rows,
        "the files have equal numbers of rows, but most instructions differ; the pairing uses the"
        " position alone",
        tried,
    )


def _without_texts(before: Keys, after: Keys, smaller: int, tried: list[str]) -> Pairs:
    """Pair scores alone: equal contents have equal hash ids, else only the position is left."""
    pairs = _by(before, after, "id")
    if len(pairs) >= MOSTLY * smaller:
        return _with_note(pairs, "the ids match; the texts are not available", tried)
    if before.n_rows != after.n_rows:
        raise InputError(
            f"the sides cannot be paired: {len(pairs):,} ids match, no texts are available, and the"
            f" numbers of rows differ ({before.n_rows:,} and {after.n_rows:,}); --pair-by row"
            " pairs by position anyway"
        )
    return _with_note(
        _by(before, after, "row"),
        "the sides have equal numbers of rows, and no texts are available; the pairing uses the"
        " position alone",
        tried,
    )


def _with_note(pairs: Pairs, note: str, tried: Sequence[str] = ()) -> Pairs:
    return replace(pairs, pairing=replace(pairs.pairing, note="; ".join([*tried, note])))


def _same_instructions(before: Keys, after: Keys, rows: Pairs) -> float:
    """Share of the pairs with the same instruction."""
    assert before.instructions is not None
    assert after.instructions is not None
    if not len(rows):
        return 0.0
    return float((before.instructions[rows.before] == after.instructions[rows.after]).mean())


def _by(before: Keys, after: Keys, by: By) -> Pairs:
    """Pairs by one key: the k-th occurrence with the k-th."""
    known: dict[Hashable, int] = {}
    codes_before, codes_after = (_codes(_keys(side, by), known) for side in (before, after))
    n_before = np.bincount(codes_before, minlength=len(known))
    n_after = np.bincount(codes_after, minlength=len(known))
    is_paired = n_before == n_after
    is_ambiguous = ~is_paired & (n_before > 0) & (n_after > 0)
    first, second = _by_occurrence(codes_before, is_paired), _by_occurrence(codes_after, is_paired)
    order = np.argsort(first)
    unmatched_before = np.flatnonzero(n_after[codes_before] == 0)
    unmatched_after = np.flatnonzero(n_before[codes_after] == 0)
    ambiguous_before = np.flatnonzero(is_ambiguous[codes_before])
    ambiguous_after = np.flatnonzero(is_ambiguous[codes_after])
    ambiguous_ids = [*_shown(before, ambiguous_before), *_shown(after, ambiguous_after)]
    pairing = Pairing(
        by=by,
        n_pairs=len(order),
        unmatched_before=len(unmatched_before),
        unmatched_after=len(unmatched_after),
        ambiguous=len(ambiguous_before) + len(ambiguous_after),
        ids_unmatched_before=tuple(_shown(before, unmatched_before)),
        ids_unmatched_after=tuple(_shown(after, unmatched_after)),
        ids_ambiguous=tuple(dict.fromkeys(ambiguous_ids))[:IDS_SHOWN],
    )
    return Pairs(first[order], second[order], pairing)


def _keys(side: Keys, by: By) -> Iterable[Hashable]:
    """One key per example; that of a first turn has no turn number, which saves memory."""
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


def _by_occurrence(codes: Positions, is_paired: NDArray[np.bool_]) -> Positions:
    """Positions grouped by key, in file order within each group.

    The paired keys occur equally often on both sides, so that the lists of both sides align.
    """
    order = np.argsort(codes, kind="stable")
    return order[is_paired[codes[order]]]


def _shown(side: Keys, positions: Positions) -> list[str]:
    return [side.ids[i] for i in positions[:IDS_SHOWN].tolist()]
