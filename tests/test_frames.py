"""Tables of pandas, polars, `datasets` and pyarrow: in, and out again as the same kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ifdkit
from ifdkit.errors import InputError

pytestmark = pytest.mark.long

WORDS = ["the", "sea", "is", "wide", "and", "blue", "and", "old", "walls", "sing", "of", "cats"]
N_ROWS = 8


@pytest.fixture(scope="module")
def settings(tiny_model: Path) -> dict[str, Any]:
    return {"model": str(tiny_model), "dtype": "float32", "metrics": "ppl,ifd", "store": "off"}


@pytest.fixture(scope="module")
def plain() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "instruction": [f"Write {i} about {rng.choice(WORDS)}" for i in range(N_ROWS)],
            "output": [" ".join(rng.choice(WORDS, 12)) for _ in range(N_ROWS)],
            "weight": np.arange(N_ROWS, dtype=np.int8),
        }
    )


@pytest.fixture(scope="module")
def expected(plain: pd.DataFrame, settings: dict[str, Any]) -> pd.DataFrame:
    return ifdkit.score(plain, **settings)


def table_of(library: str, frame: pd.DataFrame) -> Any:
    module = pytest.importorskip(library)
    if library == "datasets":
        return module.Dataset.from_pandas(frame)
    if library == "polars":
        return module.DataFrame(frame.to_dict("list"))
    if library == "pyarrow":
        return module.Table.from_pandas(frame)
    return frame


def column(table: Any, name: str) -> list[Any]:
    found = table[name]
    return found.to_pylist() if hasattr(found, "to_pylist") else list(found)


OTHERS = ["polars", "datasets", "pyarrow"]


@pytest.mark.parametrize("library", OTHERS)
def test_a_table_comes_back_with_its_scores(
    library: str, plain: pd.DataFrame, expected: pd.DataFrame, settings: dict[str, Any]
) -> None:
    table = table_of(library, plain)
    found = ifdkit.score(table, **settings)
    assert type(found) is type(table)
    assert len(found) == len(table)
    for name in map(str, plain):
        assert column(found, name) == column(table, name)
    for name in ("status", "ifd", "response_tokens", "nll_response_direct"):
        assert column(found, name) == expected[name].tolist()
    assert "ifd" not in getattr(table, "column_names", getattr(table, "columns", ()))
    # Without joining it is what other data give.
    scores = ifdkit.score(table, join=False, **settings)
    assert isinstance(scores, pd.DataFrame)
    assert scores["ifd"].tolist() == expected["ifd"].tolist()
    assert "row" in scores


@pytest.mark.parametrize("library", ["pandas", *OTHERS])
def test_the_chosen_rows_come_back(
    library: str, plain: pd.DataFrame, expected: pd.DataFrame, settings: dict[str, Any]
) -> None:
    table = table_of(library, plain)
    found = ifdkit.score(table, where="weight >= 3", limit=4, join=True, **settings)
    assert column(found, "weight") == [3, 4, 5, 6]
    assert column(found, "ifd") == expected["ifd"].tolist()[3:7]


@pytest.mark.parametrize("library", ["pandas", *OTHERS])
def test_a_selection_without_a_file_is_of_the_same_kind(
    library: str, plain: pd.DataFrame, settings: dict[str, Any]
) -> None:
    chosen = {name: value for name, value in settings.items() if name != "metrics"}
    table = table_of(library, plain)
    kept = ifdkit.select(table, by="response_words", top=3, **chosen)
    assert type(kept) is type(table)
    assert column(kept, "weight") == [0, 1, 2]
    assert list(getattr(kept, "column_names", getattr(kept, "columns", ()))) == list(
        getattr(table, "column_names", getattr(table, "columns", ()))
    )
    converted = ifdkit.select(table, by="response_words", top=3, to="trl", **chosen)
    assert isinstance(converted, pd.DataFrame)
    assert "weight" not in converted
    assert converted.attrs["selection"]["kept"] == 3


def test_a_shuffled_dataset_keeps_its_order(settings: dict[str, Any], plain: pd.DataFrame) -> None:
    table = table_of("datasets", plain).shuffle(seed=1).select(range(5))
    found = ifdkit.score(table, **settings)
    assert found["weight"] == table["weight"]
    by_weight = dict(zip(plain["weight"], ifdkit.score(plain, **settings)["ifd"], strict=True))
    assert list(found["ifd"]) == [by_weight[weight] for weight in table["weight"]]
    assert "ifd" in found.features


def test_a_frame_keeps_its_index_and_types(
    settings: dict[str, Any], plain: pd.DataFrame, expected: pd.DataFrame
) -> None:
    table = plain.set_axis(["x"] * N_ROWS)  # not unique
    found = ifdkit.score(table, join=True, **settings)
    assert found.index.tolist() == table.index.tolist()
    assert found["weight"].dtype == np.int8
    assert found["ifd"].tolist() == expected["ifd"].tolist()
    assert found.dtypes["response_tokens"] == "int64"
    assert found.attrs["manifest"]["rows_scored"] == N_ROWS
    assert list(table.columns) == ["instruction", "output", "weight"]


def test_rows_without_scores_and_taken_names(settings: dict[str, Any]) -> None:
    table = pd.DataFrame(
        {
            "instruction": ["Add.", "Add.", None],
            "output": ["the sea is wide", "", 3],
            "status": ["new", "old", "old"],
        }
    )
    found = ifdkit.score(table, join=True, **settings)
    assert found["status"].tolist() == ["new", "old", "old"]
    assert found["ifdkit_status"].tolist() == ["ok", "empty_response", "rejected"]
    assert found["ifd"].isna().tolist() == [False, True, True]
    assert found.dtypes["response_tokens"] == "Int64"
    assert len(found.attrs["rejects"]) == 1
    with pytest.raises(InputError, match="scores were joined to it"):
        ifdkit.score(found, join=True, **settings)


def test_conversations_have_one_score_or_lists(settings: dict[str, Any]) -> None:
    turns = [
        {"role": role, "content": text}
        for role, text in (("user", "Hi"), ("assistant", "the sea"), ("user", "And?"),
                           ("assistant", "it is wide and blue"))
    ]  # fmt: skip
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([{"messages": turns}, {"messages": turns[:2]}])
    scores = ifdkit.score(table, join=False, **settings)
    assert len(scores) == 3
    assert list(ifdkit.score(table, **settings)["ifd"]) == scores["ifd"].tolist()[1:]
    lists = ifdkit.score(table, turns="all", **settings)["ifd"]
    assert [list(one) for one in lists] == [scores["ifd"].tolist()[:2], scores["ifd"].tolist()[2:]]


def test_rows_of_a_file_and_dictionaries_are_joined_in_a_frame(
    settings: dict[str, Any], plain: pd.DataFrame, expected: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "data.jsonl"
    plain.to_json(path, orient="records", lines=True)
    rows: Any = plain.to_dict("records")
    for data in (path, rows):
        found = ifdkit.score(data, join=True, **settings)
        assert found["weight"].tolist() == plain["weight"].tolist()
        assert found["ifd"].tolist() == expected["ifd"].tolist()


def test_compare_and_audit_read_every_kind(plain: pd.DataFrame, settings: dict[str, Any]) -> None:
    for library in OTHERS:
        table = table_of(library, plain)
        assert ifdkit.audit(table, scores=False).rows == N_ROWS
        result = ifdkit.compare(plain, table, **settings)
        assert result.summary.metrics["ifd"].change.mean == 0


def test_no_library_is_imported_for_the_data_of_another() -> None:
    script = (
        "import sys; from ifdkit.data.frames import kind_of; assert kind_of([{}]) is None;"
        "import pandas; assert kind_of(pandas.DataFrame()).module == 'pandas';"
        "sys.exit(','.join({'polars', 'datasets'} & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
