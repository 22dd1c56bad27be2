"""Types of which there are several for each row: like frozen dataclasses, but quick to make."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from ifdkit.data.raw import Raw
from ifdkit.data.turns import Conversation, RowTurn, TextPlace
from ifdkit.records import Example, Pass, Passes, Request, Turn
from ifdkit.row_type import row_type
from ifdkit.scoring.rows import ScoreRow


@row_type(frozen=True, slots=True)
class Quick:
    """As the types of rows are declared."""

    name: str
    places: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Frozen:
    """What it stands for."""

    name: str
    places: tuple[int, ...] = ()


def test_a_row_type_compares_hashes_and_shows_itself_like_a_frozen_dataclass() -> None:
    quick, frozen = Quick("a", (1, 2)), Frozen("a", (1, 2))
    assert hash(quick) == hash(frozen)
    assert quick == Quick("a", (1, 2)) != Quick("a", (1,))
    assert repr(quick) == repr(frozen).replace("Frozen", "Quick")
    assert replace(quick, name="b") == Quick("b", (1, 2))
    assert pickle.loads(pickle.dumps(quick)) == quick
    with pytest.raises(AttributeError):
        quick.other = 1  # type: ignore[attr-defined]


def test_a_request_is_still_compared_by_identity() -> None:
    one, same = (Request(np.arange(3, dtype=np.int32), 1, 3) for _ in range(2))
    assert one != same
    assert len({one, same}) == 2
    assert one.content == same.content


ROW_TYPES: list[Any] = [
    *(Raw, TextPlace, RowTurn, Conversation),
    *(Turn, Example, Request, Pass, Passes, ScoreRow),
]


@pytest.mark.parametrize("one", ROW_TYPES, ids=lambda one: one.__name__)
def test_making_what_each_row_needs_several_of_assigns_plainly(one: Any) -> None:
    # A frozen dataclass calls `object.__setattr__` for each field of each object.
    assert "__setattr__" not in vars(one)


def test_the_type_checker_refuses_to_change_one() -> None:
    turn = Turn("user", "a")
    # Where it did not, mypy would report that nothing is ignored here.
    turn.text = "b"  # type: ignore[misc]
    assert turn == Turn("user", "b")
