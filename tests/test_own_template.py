"""A function of the caller's as the template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ifdkit
from ifdkit.cli.main import main
from ifdkit.errors import UsageError

pytestmark = pytest.mark.long

ROWS = [
    {"instruction": f"Write {word} about the sea", "output": f"The {word} sea is {word}."}
    for word in ("one", "two", "three")
]
NUMBERS = ["nll_response_conditional", "nll_response_direct", "ifd"]


def plain(messages: list[dict[str, Any]]) -> str:
    """As the built-in template of that name."""
    return "".join(f"{one['content']}\n" for one in messages)


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> dict[str, Any]:
    return {"model": str(tiny_model), "metrics": "ifd", "store": str(tmp_path / "store.sqlite")}


def test_a_function_makes_the_prompts(settings: dict[str, Any]) -> None:
    expected = ifdkit.score(ROWS, template="plain", **settings)
    found = ifdkit.score(ROWS, template=plain, **settings)
    pd.testing.assert_frame_equal(found[NUMBERS], expected[NUMBERS])
    assert found.attrs["manifest"]["template"] == "function plain"
    assert found.attrs["manifest"]["template_text"] == "Hi\n"
    # Negative control: another function makes other numbers, though rows of the same content
    # are in the store, and only the direct pass is the same.
    other = ifdkit.score(ROWS, template=lambda messages: f"Q: {plain(messages)}A:", **settings)
    assert (other["nll_response_direct"] == found["nll_response_direct"]).all()
    assert (other["nll_response_conditional"] != found["nll_response_conditional"]).all()


def test_finished_rows_of_a_function_are_not_kept(settings: dict[str, Any]) -> None:
    """What it makes of a row can change with what it closes over."""
    before = ["A"]

    def changing(messages: list[dict[str, Any]]) -> str:
        is_probe = messages[-1]["content"] == "Hi"
        return "Hi" if is_probe else before[0] + plain(messages)

    first = ifdkit.score(ROWS, template=changing, **settings)
    before[0] = "Something else: "
    second = ifdkit.score(ROWS, template=changing, **settings)
    assert first.attrs["manifest"]["template_text"] == second.attrs["manifest"]["template_text"]
    assert (first["nll_response_conditional"] != second["nll_response_conditional"]).all()


def test_what_a_function_leaves_out_is_said(settings: dict[str, Any]) -> None:
    rows = [
        {"messages": [{"role": "system", "content": "Be as brief as a telegram."},
                      {"role": "user", "content": row["instruction"]},
                      {"role": "assistant", "content": row["output"]}]}
        for row in ROWS
    ]  # fmt: skip
    found = ifdkit.score(rows, template=lambda messages: plain(messages[-1:]), **settings)
    assert found.attrs["manifest"]["template_omissions"] == {"system": len(rows)}
    whole = ifdkit.score(rows, template=plain, **settings)
    assert whole.attrs["manifest"]["template_omissions"] == {}


def fails(messages: list[dict[str, Any]]) -> str:
    if "two" in messages[0]["content"]:
        raise KeyError("two")
    return plain(messages)


def test_a_function_that_fails_on_a_row(settings: dict[str, Any]) -> None:
    found = ifdkit.score(ROWS, template=fails, **settings)
    assert found["status"].tolist() == ["ok", "invalid", "ok"]
    assert "KeyError: 'two'" in found["reason"][1]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (lambda _: 5, "function .*: returns int, not the text of a prompt"),
        (lambda messages: messages[7], "function .*: IndexError"),
        (3, "template=3 has the wrong type"),
    ],
)
def test_wrong_functions(template: Any, message: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=message):
        ifdkit.score(ROWS, template=template, **settings)


def test_published_protocols_take_none(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="published with template"):
        ifdkit.score(ROWS, template=plain, protocol="superfiltering", **settings)


def test_scores_of_a_function_are_not_scored_again_by_name(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    arguments = ["score", str(data), "-m", settings["model"], "--store", "off"]
    assert main([*arguments, "--template", "function plain"]) == 2
    assert "was a function in memory" in capsys.readouterr().err
