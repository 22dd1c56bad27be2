"""Types of which there are several for each row: like frozen dataclasses, but quick to make."""

from __future__ import annotations

import pickle
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from ifdkit.data.examples import OccurrenceIds
from ifdkit.data.raw import Raw
from ifdkit.data.turns import Conversation, RowTurn, TextPlace
from ifdkit.records import Example, Noise, Pass, Passes, Request, Status, Turn
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


NOISE = Noise(b"s" * 16, 5.0, 3, 1, 2)
REQUEST = Request(np.arange(5, dtype=np.int32), 2, 4, True, NOISE)
PASS = Pass((REQUEST, REQUEST), 1)
WHOLE: list[Any] = [
    *(REQUEST, PASS, Turn("tool", "a", "b", "[]", "c")),
    Example("id", 3, 4, (Turn("user", "a"),), "r", "[]", True),
    Passes(1, 2, PASS, PASS, PASS, PASS, 3, 4, Status.TRUNCATED, "why", ("x",), ((REQUEST,) * 2,)),
]
"""With a value other than the default in every field."""


def plain(value: Any) -> Any:
    """Fields by name, all the way down, so that nothing is compared by identity."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    return value


@pytest.mark.parametrize("one", WHOLE, ids=lambda one: type(one).__name__)
def test_every_field_goes_to_another_process(one: Any) -> None:
    for field in fields(one):
        assert field.default is MISSING or plain(getattr(one, field.name)) != plain(field.default)
    assert plain(pickle.loads(pickle.dumps(one))) == plain(one)


def test_an_example_that_gets_an_id_keeps_every_other_field() -> None:
    (example,) = (one for one in WHOLE if isinstance(one, Example))
    with OccurrenceIds() as ids:
        found = ids.identify(replace(example, id=""))
    assert found.id
    assert replace(found, id="id") == example


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
