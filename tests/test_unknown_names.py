"""A name that does not exist: the nearest one is suggested."""

from __future__ import annotations

import pytest

from ifdkit.errors import unknown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("instr", "no name 'instr': did you mean 'instruction'?"),  # `history` has more in common
        ("histroy", "no name 'histroy': did you mean 'history'?"),
        ("x", "no name 'x': choose from history, instruction, input"),
        ("", "no name '': choose from history, instruction, input"),
    ],
)
def test_the_beginning_of_a_name_counts_first(value: str, expected: str) -> None:
    assert unknown("name", value, ["history", "instruction", "input"]) == expected
