"""How rows are paired: three keys, duplicates, conversations."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from collections.abc import Sequence
from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.data.pairing import IDS_SHOWN, Keys, Pairs, fingerprint, pair
from ifdkit.errors import InputError

_fresh = count(2**32)


def keys(
    instructions: Sequence[str] | None,
    ids: Sequence[str] | None = None,
    *,
    turns: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
    n_rows: int | None = None,
) -> Keys:
    n = len(ids if ids is not None else instructions or ())
    prints = (
        None
        if instructions is None
        else np.array([fingerprint(text) for text in instructions], dtype=np.uint64)
    )
    return Keys(
        ids if ids is not None else [f"{next(_fresh):016x}-0" for _ in range(n)],
        np.array(range(n) if rows is None else rows, dtype=np.int64),
        np.array([0] * n if turns is None else turns, dtype=np.int64),
        n if n_rows is None else n_rows,
        prints,
    )


def positions(pairs: Pairs) -> list[tuple[int, int]]:
    return list(zip(pairs.before.tolist(), pairs.after.tolist(), strict=True))


def test_matching_own_ids_are_preferred() -> None:
    pairs = pair(keys(list("xyz"), ["a", "b", "c"]), keys(list("xyz"), ["c", "a", "d"]))
    assert pairs.pairing.by == "id"
    assert positions(pairs) == [(0, 1), (2, 0)]
    assert pairs.pairing.ids_unmatched_before == ("b",)
    assert pairs.pairing.ids_unmatched_after == ("d",)
    assert (pairs.pairing.unmatched_before, pairs.pairing.unmatched_after) == (1, 1)


def test_own_ids_that_do_not_match_are_not_used_and_the_note_says_so() -> None:
    pairs = pair(keys(list("xyz"), ["a", "b", "c"]), keys(list("xyz"), ["1", "2", "3"]))
    assert pairs.pairing.by == "row"
    assert pairs.pairing.note.startswith("only 0 ids match; the files run parallel: 100 %")


def test_hash_ids_are_not_ids_of_the_data() -> None:
    """A rewritten row has another hash: only its position or its instruction identifies it."""
    before = keys(list("abcd"), [f"{i:016x}-0" for i in range(4)])
    after = keys(list("abcd"), [f"{i:016x}-0" for i in range(3, 7)])
    assert pair(before, after).pairing.by == "row"
    assert positions(pair(before, after)) == [(i, i) for i in range(4)]


def test_a_shuffled_file_is_paired_by_instruction() -> None:
    pairs = pair(keys(list("abcd")), keys(list("dbac")))
    assert pairs.pairing.by == "instruction"
    assert positions(pairs) == [(0, 2), (1, 1), (2, 3), (3, 0)]


def test_a_shuffled_copy_is_paired_exactly_even_if_instructions_repeat() -> None:
    """By instruction alone the two responses to x would be swapped."""
    before = keys(list("xxy"), [f"{i:016x}-0" for i in (1, 2, 3)])
    after = keys(list("xyx"), [f"{i:016x}-0" for i in (2, 3, 1)])
    pairs = pair(before, after)
    assert pairs.pairing.by == "id"
    assert "unchanged" in pairs.pairing.note
    assert positions(pairs) == [(0, 2), (1, 0), (2, 1)]


def test_files_of_unequal_length_do_not_run_parallel() -> None:
    assert pair(keys(list("abcd")), keys(list("abcde"))).pairing.by == "instruction"
    assert pair(keys(list("abcd")), keys(list("abcd"))).pairing.by == "row"


def test_rewritten_instructions_are_paired_by_position() -> None:
    pairs = pair(keys(list("abcd")), keys(list("wxyz")))
    assert pairs.pairing.by == "row"
    assert "the pairing uses the position alone" in pairs.pairing.note


def test_a_rejected_row_keeps_its_position() -> None:
    before = keys(list("acd"), rows=[0, 2, 3], n_rows=4)
    after = keys(list("abd"), rows=[0, 1, 3], n_rows=4)
    pairs = pair(before, after)
    assert pairs.pairing.by == "row"
    assert positions(pairs) == [(0, 0), (2, 2)]


def test_the_turn_is_part_of_the_key() -> None:
    before = keys(["go on"] * 3, ["a"] * 3, turns=[0, 1, 2], rows=[0] * 3, n_rows=1)
    after = keys(["go on"] * 2, ["a"] * 2, turns=[0, 2], rows=[0] * 2, n_rows=1)
    for by in ("id", "row", "instruction"):
        assert positions(pair(before, after, by)) == [(0, 0), (2, 1)], by


def test_duplicates_pair_by_occurrence_or_are_left_out() -> None:
    before = keys(None, ["a", "b", "a", "c", "c"])
    after = keys(None, ["c", "a", "b", "a"])
    pairs = pair(before, after, "id")
    assert positions(pairs) == [(0, 1), (1, 2), (2, 3)]
    assert pairs.pairing.ambiguous == 3
    assert pairs.pairing.ids_ambiguous == ("c",)
    assert pairs.pairing.unmatched_before == pairs.pairing.unmatched_after == 0


def test_whitespace_does_not_distinguish_instructions() -> None:
    assert fingerprint(" Say\n yes ") == fingerprint("Say yes") != fingerprint("Say  yess")


def test_without_texts_hash_ids_pair_and_then_the_position() -> None:
    by_id = pair(keys(None, ["f" * 16 + "-0", "e" * 16 + "-0"]), keys(None, ["e" * 16 + "-0"]))
    assert (by_id.pairing.by, positions(by_id)) == ("id", [(1, 0)])
    by_row = pair(keys(None, ["f" * 16 + "-0"]), keys(None, ["e" * 16 + "-0"]))
    assert by_row.pairing.by == "row"
    with pytest.raises(InputError, match="--pair-by row pairs by position"):
        pair(keys(None, ["f" * 16 + "-0"]), keys(None, ["e" * 16 + "-0", "d" * 16 + "-0"]))
    with pytest.raises(InputError, match="without texts"):
        pair(keys(None, ["a"]), keys(["x"], ["a"]), "instruction")


def test_all_unmatched_rows_are_counted_and_some_listed() -> None:
    pairs = pair(keys(None, [f"b{i}" for i in range(90)]), keys(None, ["a"]), "id")
    assert pairs.pairing.unmatched_before == 90
    assert len(pairs.pairing.ids_unmatched_before) == IDS_SHOWN
    assert len(pairs) == 0


def slow(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    """Slow reference: the rule as documented."""
    places: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for side, names in enumerate((before, after)):
        for i, name in enumerate(names):
            places[name][side].append(i)
    return sorted(
        couple
        for first, second in places.values()
        if len(first) == len(second)
        for couple in zip(first, second, strict=True)
    )


names = st.lists(st.sampled_from("abcdef"), max_size=12)


@given(names, names)
def test_pairs_are_those_of_the_rule(before: list[str], after: list[str]) -> None:
    pairs = pair(keys(None, before), keys(None, after), "id")
    assert positions(pairs) == slow(before, after)
    left_out = pairs.pairing.unmatched_before + pairs.pairing.unmatched_after
    assert left_out + pairs.pairing.ambiguous + 2 * len(pairs) == len(before) + len(after)


@pytest.mark.long
def test_a_million_rows_take_bounded_memory() -> None:
    """Besides the keys themselves: a dictionary and a few arrays, about 350 bytes per row."""
    n = 1_000_000
    order = np.random.default_rng(0).permutation(n)
    prints = np.arange(n, dtype=np.uint64) << np.uint64(20)
    rows, turns = np.arange(n), np.zeros(n, dtype=np.int64)
    ids, others = ["0" * 16 + "-0"] * n, ["1" * 16 + "-0"] * n
    tracemalloc.start()
    try:
        pairs = pair(Keys(ids, rows, turns, n, prints), Keys(others, rows, turns, n, prints[order]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pairs.pairing.by == "instruction"
    assert (prints[pairs.before] == prints[order][pairs.after]).all()
    assert peak < 400e6
