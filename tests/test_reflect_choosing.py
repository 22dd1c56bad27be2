"""The student's choice, compared with a table made by hand and with the published selection."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from ifdkit.reflection.choosing import VARIANTS, Choice, Variant, VariantScores, choose

Table = Mapping[Variant, tuple[float | None, float | None]]


def scores(table: Table) -> dict[Variant, VariantScores]:
    return {name: VariantScores(*pair) for name, pair in table.items()}


# IFD and r-IFD of each variant; a missing variant is a rewrite that failed.
FULL: Table = {
    "original": (0.50, 0.80),
    "instruction": (0.60, 0.70),
    "response": (0.55, 0.75),
    "both": (0.65, 0.60),
}


def changed(**new: tuple[float | None, float | None] | None) -> Table:
    merged = {name: new.get(name, FULL[name]) for name in VARIANTS}
    return {name: pair for name, pair in merged.items() if pair is not None}


HAND: list[tuple[str, Table, Variant]] = [
    ("both win", FULL, "both"),
    ("IFD falls, r-IFD falls", changed(instruction=(0.40, 0.70)), "response"),
    ("IFD rises, r-IFD of the new answer rises", changed(both=(0.65, 0.71)), "instruction"),
    ("neither", changed(instruction=(0.40, 0.70), response=(0.55, 0.81)), "original"),
    ("IFD ties", changed(instruction=(0.50, 0.70)), "response"),
    ("IFD ties, r-IFD ties", changed(instruction=(0.50, 0.1), response=(0.5, 0.80)), "original"),
    ("r-IFD ties", changed(both=(0.65, 0.70)), "instruction"),
    ("no new instruction", changed(instruction=None, both=None), "response"),
    ("no answer to the new instruction", changed(both=None), "instruction"),
    ("no answer to the old one", changed(instruction=(0.4, 0.7), response=None), "original"),
    ("nothing new", changed(instruction=None, response=None, both=None), "original"),
    ("IFD of the original undefined", changed(original=(None, 0.80)), "response"),
    ("all of the original undefined", changed(original=(None, None)), "original"),
    ("IFD of the new instruction undefined", changed(instruction=(None, 0.70)), "response"),
    ("r-IFD of the new answer undefined", changed(both=(0.65, None)), "instruction"),
    ("IFD of the new answer undefined", changed(both=(None, 0.60)), "original"),
    ("r-IFD of the instruction undefined", changed(instruction=(0.60, None)), "original"),
    ("IFD of exactly 1", changed(instruction=(1.0, 0.70)), "response"),
    ("IFD above 1", changed(instruction=(7.0, 0.70)), "response"),
    ("IFD of both above 1", changed(both=(1.2, 0.60)), "original"),
    ("r-IFD of both above 1", changed(instruction=(0.6, 1.5), both=(0.65, 1.2)), "original"),
    ("r-IFD of the instruction alone above 1", changed(instruction=(0.6, 1.5), both=None),
     "original"),
    ("an original above 1 stays", changed(
        original=(1.5, 1.4), instruction=(1.6, 0.9), response=(1.2, 1.3)), "original"),
    ("an original above 1 is replaced by a response that fits", changed(
        original=(1.5, 1.4), instruction=(0.9, 0.9), response=(0.8, 0.7)), "response"),
    ("the lowest r-IFD is of a failure", changed(both=(0.65, None), response=(0.5, 0.0)),
     "instruction"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "variant"), [pytest.param(t, v, id=n) for n, t, v in HAND])
def test_choice_agrees_with_the_table(table: Table, variant: Variant) -> None:
    choice = choose(scores(table))
    assert choice.variant == variant
    assert choice.accepts_instruction == (variant in ("instruction", "both"))
    assert choice.accepts_response == (variant in ("response", "both"))
    assert (choice.why_instruction is None) == ("instruction" not in table)


def test_reason_names_the_numbers() -> None:
    choice = choose(scores(FULL))
    assert choice.why_instruction == "IFD rises from 0.5 to 0.6"
    assert choice.why_response == "r-IFD falls from 0.7 to 0.6"
    tie = choose(scores(changed(instruction=(0.5, 0.7))))
    assert tie.why_instruction == "IFD is unchanged at 0.5: a tie keeps the original"
    undefined = choose(scores(changed(instruction=(None, 0.7))))
    assert undefined.why_instruction == "IFD of the new pair is undefined"


def published(table: dict[Variant, VariantScores]) -> Variant | None:
    """The selection of the paper's scripts, for defined scores; None if they drop the row.

    Written from a description of their branches; shares no code with `choose`.
    """
    ifd = {name: one.ifd or 0 for name, one in table.items()}
    rifd = {name: one.rifd or 0 for name, one in table.items()}
    wins = ifd["instruction"] > ifd["original"]
    base: Variant = "instruction" if wins else "original"
    other: Variant = "both" if wins else "response"
    found = other if rifd[other] < rifd[base] else base
    return found if ifd[found] < 1 and rifd[found] < 1 else None


def test_choice_agrees_with_the_published_selection_if_that_keeps_the_row() -> None:
    generator = random.Random(5)
    kept = dropped = 0
    for _ in range(3000):
        table = {v: VariantScores(generator.uniform(0.2, 1.1), generator.uniform(0.2, 1.1))
                 for v in VARIANTS}  # fmt: skip
        reference, variant = published(table), choose(table).variant
        new_ifd = table["instruction"].ifd
        assert new_ifd is not None
        if new_ifd >= 1:
            continue  # here it is never accepted
        if reference is None:
            assert variant == "original"
            dropped += 1
        else:
            assert variant == reference
            kept += 1
    assert kept > 1000
    assert dropped > 100


def test_failure_is_never_accepted() -> None:
    """Every pattern of failed rewrites and undefined scores, with the best scores otherwise."""
    best: Table = dict.fromkeys(VARIANTS, (0.9, 0.1)) | {"original": (0.5, 0.5)}
    for missing in itertools.product([True, False], repeat=3):
        for undefined in itertools.product([None, 0, 1], repeat=3):
            table = scores(best)
            for name, is_missing, which in zip(VARIANTS[1:], missing, undefined, strict=True):
                if is_missing:
                    del table[name]
                elif which is not None:
                    pair: list[float | None] = [0.9, 0.1]
                    pair[which] = None
                    table[name] = VariantScores(*pair)
            chosen = choose(table).variant
            assert chosen in table
            assert chosen == "original" or None not in (table[chosen].ifd, table[chosen].rifd)


@pytest.mark.parametrize("kind", [float, np.float64, np.float32])
def test_any_float_type_works(kind: Callable[[float], float]) -> None:
    rising = {
        name: VariantScores(*(kind(x) for x in pair if x is not None))
        for name, pair in FULL.items()
    }
    assert choose(rising).variant == "both"
    falling = rising | {"instruction": VariantScores(kind(0.4), kind(0.7))}
    assert choose(falling).variant == "response"


def test_choices_compare_by_value() -> None:
    assert choose(scores(FULL)) == choose(scores(FULL))
    assert Choice("original").why_response is None
