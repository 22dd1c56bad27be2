"""`--group-by`: changes and findings by the values of a column, or by input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ifdkit
from ifdkit.comparison.result import Comparison
from ifdkit.data.groups import MAX_GROUPS, NO_GROUP, row_groups
from ifdkit.data.options import ReadOptions
from ifdkit.errors import InputError, UsageError
from ifdkit.report.audit.html import render_audit_html
from ifdkit.report.comparison.html import render_html
from ifdkit.report.comparison.markdown import render_markdown
from ifdkit.scoring.inputs import open_data
from tests.test_comparison import longer, some_rows

pytestmark = pytest.mark.long

Make = Callable[..., Path]
GROUPS = st.one_of(st.sampled_from(["de", "en", "", None]), st.integers(0, 3), st.booleans())


def with_groups(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{**row, "lang": names[i % len(names)]} for i, row in enumerate(rows)]


@given(st.lists(GROUPS, min_size=1, max_size=20))
def test_every_row_is_in_one_group(values: list[Any]) -> None:
    rows = [{**row, "lang": v} for row, v in zip(some_rows(len(values)), values, strict=True)]
    groups = row_groups(open_data(rows, ReadOptions()), "lang")
    found = [groups.of(row) for row in range(len(rows))]
    assert [name == NO_GROUP for name in found] == [v in ("", None) for v in values]
    for i, j in zip(range(len(values)), range(1, len(values)), strict=False):
        if values[i] == values[j] and type(values[i]) is type(values[j]):
            assert found[i] == found[j]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("lagn", "de", "no row of .* has a column 'lagn' .*did you mean 'lang'"),
        ("lang", ["de"], "has a list there: name a column of texts or numbers"),
        ("lang", {"a": 1}, "has a dict there"),
    ],
)
def test_what_is_no_group(column: str, value: Any, message: str) -> None:
    rows = [{**row, "lang": value} for row in some_rows(4)]
    with pytest.raises(UsageError, match=f"--group-by.*{message}"):
        row_groups(open_data(rows, ReadOptions()), column)


def test_a_column_of_too_many_values() -> None:
    rows = [{**row, "n": i} for i, row in enumerate(some_rows(MAX_GROUPS + 1))]
    with pytest.raises(UsageError, match=f"more than {MAX_GROUPS} different values"):
        row_groups(open_data(rows, ReadOptions()), "n")
    groups = row_groups(open_data(rows[1:], ReadOptions()), "n")
    assert len({groups.of(row) for row in range(MAX_GROUPS)}) == MAX_GROUPS


@pytest.fixture(scope="module")
def compared(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Only the responses of `de` became longer."""
    rows = with_groups(some_rows(40), ("de", "en"))
    changed = [new if new["lang"] == "de" else old
               for old, new in zip(rows, longer(rows), strict=True)]  # fmt: skip
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    return ifdkit.compare(rows, changed, group_by="lang", model=str(tiny_model), metrics="ifd",
                          store=str(store))  # fmt: skip


def test_the_changes_of_each_group(compared: Comparison) -> None:
    found = {one.name: one for one in compared.summary.sources}
    assert compared.summary.group_by == "lang"
    assert {name: one.n_pairs for name, one in found.items()} == {"de": 20, "en": 20}
    for name, rows in (("de", slice(0, 40, 2)), ("en", slice(1, 40, 2))):
        frame = compared.rows.iloc[rows]
        change = (frame["response_tokens_after"] - frame["response_tokens_before"]).median()
        assert found[name].medians["response_tokens"][2] == change
    assert found["de"].medians["response_tokens"][2] > 5
    assert found["en"].change_ci95["response_tokens"] == (0, 0)


def test_groups_are_in_every_form_of_the_report(compared: Comparison) -> None:
    page = render_html(compared.summary, compared.rows, compared.explored)
    assert 'id="groups"' in page
    assert "<bdi>lang</bdi>" in page
    assert "| lang | pairs |" in render_markdown(compared.summary)
    assert compared.as_json()["group_by"] == "lang"
    hidden = compared.without_text()
    assert [one.name for one in hidden.summary.sources] == ["group 1", "group 2"]
    # Negative control: without groups the page has no such section.
    plain = Comparison(_without_groups(compared), compared.rows)
    assert 'id="groups"' not in render_html(plain.summary, plain.rows)
    assert "group_by" not in plain.as_json()


def _without_groups(compared: Comparison) -> Any:
    from dataclasses import replace

    return replace(compared.summary, sources=(), group_by=None)


def test_an_audit_counts_by_group() -> None:
    rows = with_groups(some_rows(60), ("de", "en", "<b>"))
    for i in (0, 3, 4, 6):  # de, de, en, de
        rows[i]["output"] = ""
    found = ifdkit.audit(rows, scores=False, group_by="lang")
    (empty,) = (rule for rule in found.rules if rule.name == "empty_response")
    assert empty.sources == {"de": 3, "en": 1}
    assert empty.group_by == "lang"
    assert found.group_rows == Counter(row["lang"] for row in rows)
    page = render_audit_html(found)
    assert "By lang: 3 in de, 1 in en." in page
    assert '<th scope="row"><bdi>de</bdi></th><td>20</td>' in page
    assert "<b>" not in page
    hidden = json.dumps(found.without_text().as_json())
    assert '"<b>"' not in hidden
    assert '"group 1": 20' in hidden
    # Negative controls: nothing of it without the option, and the verdict is the same.
    alone = ifdkit.audit(rows, scores=False)
    assert "group_by" not in json.dumps(alone.as_json())
    assert [rule.count for rule in alone.rules] == [rule.count for rule in found.rules]
    with pytest.raises(UsageError, match="--group-by: no row of"):
        ifdkit.audit(rows, scores=False, group_by="nothing")


def test_groups_by_input(write: Make, tmp_path: Path) -> None:
    rows = some_rows(20)
    write("a.json", rows[:8])
    write("b.json", [{**row, "output": ""} for row in rows[8:]])
    found = ifdkit.audit([tmp_path / "a.json", tmp_path / "b.json"], scores=False,
                         group_by="source")  # fmt: skip
    assert found.group_rows == {"b.json": 12, "a.json": 8}
    (empty,) = (rule for rule in found.rules if rule.name == "empty_response")
    assert empty.sources == {"b.json": 12}
    assert np.sum(list(found.group_rows.values())) == found.rows


def test_a_misspelled_column_is_an_error_before_anything_is_scored(
    write: Make, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[str] = []
    monkeypatch.setattr(
        "ifdkit.comparison.sides.score_dataset", lambda one, *_, **__: scored.append(one.name)
    )
    before = write("before.json", with_groups(some_rows(8), ("de", "en")))
    after = write("after.json", some_rows(8))
    given: dict[str, Any] = {"model": str(tiny_model), "metrics": "ifd", "store": "off"}
    for sides in ((before, after), (after, before), (after, after)):
        with pytest.raises(
            UsageError, match=r"--group-by: no row of .* has a column 'lagn'"
        ) as caught:
            ifdkit.compare(*sides, group_by="lagn", **given)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="did you mean 'lang'"):
        ifdkit.compare_several(before, [after, after], group_by="lagn", **given)
    assert not scored


def test_the_column_may_be_that_of_the_side_after_alone(tiny_model: Path, tmp_path: Path) -> None:
    before, after = some_rows(12), with_groups(some_rows(12), ("de", "en", "fr"))
    given: dict[str, Any] = {"model": str(tiny_model), "metrics": "ifd", "store": "off"}
    found = ifdkit.compare(before, after, group_by="lang", limit=9, **given)
    assert {one.name: one.n_pairs for one in found.summary.sources} == dict.fromkeys(
        ("de", "en", "fr"), 3
    )
    bare = ifdkit.score(before, **given)
    with pytest.raises(InputError, match="without their rows: give the dataset itself"):
        ifdkit.compare(bare, bare, group_by="lang", store="off")
