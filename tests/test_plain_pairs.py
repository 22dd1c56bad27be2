"""Rows of two texts are read quickly, exactly as the general reader reads them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.data.columns import Columns
from ifdkit.data.dataset import open_dataset
from ifdkit.data.examples import OccurrenceIds, examples_of
from ifdkit.data.plain_pairs import PlainPairs
from ifdkit.data.read_log import ReadLog
from ifdkit.data.turns import BadContentError
from ifdkit.records import Example, Turn

PAIR = Columns(instruction="instruction", input="input", response="output")
COLUMNS = (
    PAIR,
    Columns(instruction="instruction", response="output", id="id", label="label"),
    Columns(instruction="instruction", response="output", drops_reasoning=True),
    # Rows of these are no plain pairs, whatever they contain.
    Columns(instruction="instruction", response="instruction"),
    Columns(instruction="instruction", response="output", system="input"),
    Columns(instruction="instruction", response="output", tools="input"),
    Columns(instruction="instruction", response="output", history="input"),
    Columns(instruction="instruction", response="output", reasoning="input"),
    Columns(instruction="instruction", response="output", other_side="input"),
    Columns(text="output"),
    Columns(messages="output"),
)
MESSAGES = json.dumps([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
TEXTS = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    ["", "a", "é\n", "<image>", "1 < 2", "[{", MESSAGES, "\0", "\ud800", "Human: q Assistant: a"]
)
VALUES = TEXTS | st.sampled_from(
    [None, 0, 1, 1.0, 2.5, True, [], {}, ["q", "a"], json.loads(MESSAGES), {"content": "a"}]
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "instruction": TEXTS | VALUES,
        "output": TEXTS | VALUES,
        "input": TEXTS | VALUES,
        "id": VALUES,
        "label": VALUES,
        "source": VALUES,
        "functions": VALUES,
    },
)


def outcome(read: Any) -> tuple[Any, Any, Any]:
    """What a reader returns or raises, and what it notes."""
    log = ReadLog()
    try:
        found = read(log)
    except BadContentError as error:
        found = str(error)
    return found, log.unread, log.facts


@given(ROWS, st.sampled_from(COLUMNS))
def test_a_plain_pair_is_read_as_by_the_general_reader(row: Any, columns: Columns) -> None:
    def quick(log: ReadLog) -> Any:
        example = PlainPairs(columns).example(3, row, log)
        return examples_of(3, row, columns, log=log) if example is None else [example]

    assert outcome(quick) == outcome(lambda log: examples_of(3, row, columns, log=log))


def test_most_rows_are_plain_pairs() -> None:
    row = {"instruction": "q", "input": None, "output": "é\n", "source": "a"}
    example = PlainPairs(PAIR).example(3, row, ReadLog())
    assert example == Example("", 3, 0, (Turn("user", "q"),), "é\n")


@pytest.mark.parametrize("row", ["a", None, ["q", "a"], {}, {"instruction": "q"}])
def test_what_is_no_plain_pair_is_left_to_the_general_reader(row: Any) -> None:
    assert PlainPairs(PAIR).example(3, row, ReadLog()) is None


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=3), TEXTS, TEXTS)
def test_an_id_is_made_of_the_json_of_the_content(
    turns: list[tuple[str, str]], response: str, tools: str
) -> None:
    context = tuple(Turn("user", text, data) for text, data in turns)
    content = json.dumps([[["user", *turn] for turn in turns], response, tools])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    with OccurrenceIds() as ids:
        found = [ids.identify(Example("", i, 0, context, response, tools)) for i in range(2)]
    assert [one.id for one in found] == [f"{digest}-0", f"{digest}-1"]


def test_a_dataset_with_plain_and_other_rows_is_read_in_order(tmp_path: Path) -> None:
    plain = {"instruction": "q", "input": "", "output": "a"}
    rows = [plain, {**plain, "output": "<image>"}, {**plain, "output": "\0"}, {**plain, "x": 1}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = ReadLog()
    found = list(open_dataset(path).read(log))
    assert [one.row if not isinstance(one, list) else one[0].row for one in found] == [0, 1, 2, 3]
    assert [isinstance(one, list) for one in found] == [True, True, False, True]
    assert log.n_rows == 4
    assert log.notes() == [
        "1 of 4 rows: `x` not used",
        "1 of 4 rows: a placeholder such as <image> is scored as text",
    ]
