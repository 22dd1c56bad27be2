"""`ifdkit.compare` through a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import ifdkit
from ifdkit.comparison.exploring import MAX_EXPLORED, choose
from ifdkit.comparison.headline import headline
from ifdkit.comparison.reference import PUBLISHED
from ifdkit.comparison.result import Comparison, LengthControl, Summary
from ifdkit.data.options import ReadOptions
from ifdkit.data.pairing import Pairing
from ifdkit.errors import InputError, UsageError
from ifdkit.scoring.inputs import open_data
from ifdkit.scoring.metrics import METRICS, groups, table_metrics
from ifdkit.scoring.rows import TOKEN_FIELDS
from ifdkit.scoring.run import score_to_file
from ifdkit.scoring.settings import Settings
from ifdkit.scoring.table import is_scores_file, read_scores
from ifdkit.stats.paired import MetricChange, compare_metric, with_holm
from tests.limits import PEAK_BYTES, needs_proc

pytestmark = pytest.mark.long

Make = Callable[..., Path]
WORDS = ("the", "sea", "is", "wide", "and", "blue", "cats", "sing", "of", "old", "walls", "at")


def some_rows(n: int = 24, seed: int = 0, *, words: int = 16) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "instruction": f"Write {i} about {' '.join(rng.choice(WORDS, 3))}",
            "output": " ".join(rng.choice(WORDS, int(rng.integers(words // 2, words)))),
        }
        for i in range(n)
    ]


def longer(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "output": f"{row['output']} {' '.join(WORDS[:8])}"} for row in rows]


@pytest.fixture(scope="module")
def settings(
    tiny_model: Path, tiny_embedder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    return {
        "model": str(tiny_model),
        "embedder": str(tiny_embedder),
        "dtype": "float32",
        "store": str(tmp_path_factory.mktemp("store") / "store.sqlite"),
        "window": 8,
    }


def forbid_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test fail if weights are loaded."""

    def explode(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("ifdkit.engine.huggingface.HuggingFaceBackend", explode)
    monkeypatch.setattr("ifdkit.engine.embedder.SentenceEmbedder", explode)


def score(data: Path, output: Path, settings: dict[str, Any], **more: Any) -> Path:
    chosen = {"metrics": groups()} | settings | more
    score_to_file(data, output, Settings(**chosen), ReadOptions())
    return output


def comparable(result: Comparison, *, names: bool = False) -> dict[str, Any]:
    """The summary without the fields that differ between two runs."""
    apart = {"created", "before", "after", "command"} | ({"name_before", "name_after"} - {names})
    return {k: v for k, v in asdict(result.summary).items() if k not in apart}


def test_a_file_compared_with_itself_has_not_changed(settings: dict[str, Any]) -> None:
    rows = some_rows()
    result = ifdkit.compare(rows, rows, **settings)
    summary = result.summary
    assert summary.headline.startswith("Nothing changed: in all 24 pairs")
    assert summary.pairing.n_pairs == 24
    for name, metric in summary.metrics.items():
        change = metric.change
        assert (change.mean, change.median, change.p, change.p_holm) == (0, 0, 1, 1), name
        assert (change.share_up, metric.distance.ks) == (0.5, 0), name
    assert list(summary.metrics) == [m for m in table_metrics() if not METRICS[m].is_optional]
    assert summary.length_control["ifd"].raw_change == 0
    assert {finding.kind for finding in summary.findings} <= {"copied_across"}
    assert summary.reference == PUBLISHED


def test_a_shuffled_copy_has_not_changed(settings: dict[str, Any]) -> None:
    rows = some_rows()
    order = np.random.default_rng(1).permutation(len(rows))
    result = ifdkit.compare(rows, [rows[i] for i in order], **settings)
    assert result.summary.pairing.by == "id"
    assert result.summary.headline.startswith("Nothing changed")
    assert (result.rows["row_after"].to_numpy() != result.rows["row_before"]).any()
    edited = [{**rows[i], "output": rows[i]["output"] + "."} for i in order]
    assert ifdkit.compare(rows, edited, **settings).summary.pairing.by == "instruction"


def test_planted_changes_are_found(settings: dict[str, Any]) -> None:
    rows = some_rows()
    result = ifdkit.compare(rows, longer(rows), **settings)
    lengths = result.summary.metrics["response_tokens"].change
    assert lengths.median is not None
    assert lengths.median > 10
    assert lengths.share_up == 1
    assert lengths.p_holm is not None
    assert lengths.p_holm < 0.001
    instruction = result.summary.metrics["instruction_tokens"].change
    assert (instruction.median, instruction.p) == (0, 1)
    assert result.summary.headline.startswith("Median response length rose from ")
    control = result.summary.length_control["ifd"]
    assert control.n_common_length == control.n_pairs == 24
    # Appended tokens cannot change the scores of the tokens before them.
    assert control.common_length_change == pytest.approx(0, abs=1e-4)
    assert result.rows["ifd_common_before"].to_numpy() == pytest.approx(
        result.rows["ifd_before"], rel=1e-4
    )


def test_scores_files_and_datasets_give_the_same_comparison(
    write: Make, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each format, with the NLLs of tokens in the file or in the store."""
    old, new = write("old.json", some_rows()), write("new.json", longer(some_rows()))
    whole = ifdkit.compare(old, new, **settings)
    forbid_models(monkeypatch)
    for ending, token_nll in ((".jsonl", False), (".parquet", True), (".csv", True)):
        before = score(old, tmp_path / f"old{ending}", settings, token_nll=token_nll)
        after = score(new, tmp_path / f"new{ending}", settings, token_nll=token_nll)
        kept = {"store": settings["store"]}
        result = ifdkit.compare(before, after, **(kept if not token_nll else {"store": "off"}))
        others = {"diversity", "coverage"} if token_nll else set()  # made of stored embeddings
        seen, expected = ({k: v for k, v in comparable(one).items() if k not in others}
                          for one in (result, whole))  # fmt: skip
        assert seen == expected, ending
        pd.testing.assert_frame_equal(result.rows, whole.rows)
        assert result.explored == whole.explored
        assert result.has_text
    frames = [ifdkit.score(one, metrics=groups(), **settings) for one in (old, new)]
    assert comparable(ifdkit.compare(*frames, store=settings["store"])) == comparable(whole)


def test_the_settings_of_a_scores_file_apply_to_the_other_side(
    write: Make, settings: dict[str, Any], tmp_path: Path
) -> None:
    old, new = write("old.json", some_rows()), write("new.json", longer(some_rows()))
    before = score(old, tmp_path / "old.jsonl", settings, metrics=("ifd",), window=6)
    kept = {k: v for k, v in settings.items() if k == "store"}
    result = ifdkit.compare(before, new, **kept)
    old_side, new_side = result.summary.before, result.summary.after
    assert old_side is not None
    assert new_side is not None
    assert new_side.window == old_side.window == 6
    assert new_side.weights_hash == old_side.weights_hash
    assert "coherence" not in result.summary.metrics
    with pytest.raises(InputError, match="not comparable: window 6 and 12"):
        ifdkit.compare(before, new, **kept, window=12)
    with pytest.raises(InputError, match="before was scored with window 6, not 12"):
        ifdkit.compare(before, before, **kept, window=12)


def test_differently_scored_sides_are_refused_unless_forced(
    write: Make, settings: dict[str, Any], tmp_path: Path
) -> None:
    data = write("data.json", some_rows())
    before = score(data, tmp_path / "a.jsonl", settings)
    after = score(data, tmp_path / "b.jsonl", settings, window=4, protocol="superfiltering")
    expected = "protocol aligned and superfiltering; window 8 and 4"
    with pytest.raises(InputError, match=expected):
        ifdkit.compare(before, after, store=settings["store"])
    forced = ifdkit.compare(before, after, store=settings["store"], force=True)
    forced_ones = [one for one in forced.summary.warnings if "--force" in one]
    assert any("window 8 and 4" in one for one in forced_ones)
    Path(f"{before}.manifest.json").unlink()
    with pytest.raises(InputError, match="has no manifest that matches it"):
        ifdkit.compare(before, after)
    assert ifdkit.compare(before, after, force=True).summary.metrics["ifd"].before.n == 24


def test_scores_without_their_datasets_are_compared(
    write: Make, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = write("old.json", some_rows()), write("new.json", longer(some_rows()))
    whole = ifdkit.compare(old, new, **settings)
    before = score(old, tmp_path / "old.jsonl", settings)
    after = score(new, tmp_path / "new.jsonl", settings, token_nll=True)
    forbid_models(monkeypatch)
    old.unlink()
    new.write_text(json.dumps(some_rows(3)))
    result = ifdkit.compare(before, after)
    assert not result.has_text
    assert result.summary.metrics == whole.summary.metrics
    assert any("old.json, their source, is not here" in w for w in result.summary.warnings)
    assert any("new.json, their source, has changed since" in w for w in result.summary.warnings)
    control = result.summary.length_control["ifd"]
    assert control.common_length_change is None
    assert "too few pairs have the NLLs of their tokens" in result.summary.headline
    assert (result.summary.findings, result.summary.texts_compared) == ((), False)
    assert all(one.before.response == "" and not one.before.tokens for one in result.explored)


def test_duplicates_pair_by_occurrence_or_are_listed_as_ambiguous(settings: dict[str, Any]) -> None:
    rows = some_rows(12)
    before = [*rows, rows[0], {**rows[1], "output": "a cat at noon"}]
    after = [*longer(rows), *longer(rows[:1])]
    pairing = ifdkit.compare(before, after, pair_by="instruction", **settings).summary.pairing
    assert pairing.n_pairs == 12  # row 0 twice, row 1 not at all
    assert pairing.ambiguous == 3
    assert len(pairing.ids_ambiguous) == 3


def test_turns_of_conversations_are_paired(settings: dict[str, Any]) -> None:
    def conversation(i: int, answers: list[str]) -> dict[str, Any]:
        turns = [t for a in answers for t in (("user", f"Go on {i}"), ("assistant", a))]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    before = [conversation(i, ["one two", "three four", "five six"]) for i in range(5)]
    after = [conversation(i, ["one two", "three four cats"]) for i in range(5)]
    result = ifdkit.compare(before, after, **settings | {"metrics": "ifd"})
    assert (result.summary.pairing.by, result.summary.pairing.n_pairs) == ("row", 10)
    assert result.summary.pairing.unmatched_before == 5
    assert (result.rows["turn_before"] == result.rows["turn_after"]).all()


def test_rows_that_are_not_compared_are_counted(settings: dict[str, Any]) -> None:
    rows = some_rows(12)
    after = [*rows[:9], {**rows[9], "output": ""}, {**rows[10], "output": 5}, rows[11]]
    result = ifdkit.compare(rows, after, **settings)
    assert result.summary.statuses["after"] == {"ok": 10, "empty_response": 1}
    assert "1 row after could not be read, and not compared" in result.summary.warnings
    assert result.summary.metrics["ifd"].before.n == result.summary.metrics["ifd"].after.n == 10
    assert np.isnan(result.rows["ifd_after"][9])
    left_out = "1 pair left out of IFD, which is undefined before in 0 and after in 1"
    assert left_out in result.summary.warnings


def test_a_metric_of_one_side_alone_is_left_out_with_a_warning(
    write: Make, settings: dict[str, Any], tmp_path: Path
) -> None:
    data = write("data.json", some_rows(12))
    before = score(data, tmp_path / "a.jsonl", settings)
    after = score(data, tmp_path / "b.jsonl", settings, metrics=("ifd",))
    result = ifdkit.compare(before, after, store=settings["store"])
    assert {"coherence", "rifd"}.isdisjoint(result.summary.metrics)
    (warning,) = [w for w in result.summary.warnings if w.startswith("left out, because only")]
    assert "the side before has numbers" in warning
    assert "coherence" in warning


def test_tokens_of_explored_pairs_equal_those_of_show(settings: dict[str, Any]) -> None:
    from ifdkit.scoring.inspect import find_example, inspect
    from ifdkit.scoring.scorer import Scorer

    rows = some_rows(12)
    result = ifdkit.compare(rows, longer(rows), **settings)
    assert len(result.explored) == 12
    with Scorer(Settings(**settings)) as scorer:
        for one in result.explored[:3]:
            example = find_example(open_data(rows, ReadOptions()), str(one.before.row))
            tokens = inspect(example, scorer).conditional
            assert [(t.text, t.nll) for t in one.before.tokens] == [
                (t.text, t.nats) for t in tokens
            ]
            assert "".join(t.text for t in one.before.tokens) == one.before.response


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair_by": "name"}, "--pair-by name: choose id, row, instruction"),
        ({"min_tokens": 1}, "--min-tokens 1"),
        ({"seed": -1}, "--seed -1"),
        ({"colour": "red"}, "no keyword 'colour'"),
    ],
)
def test_invalid_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ifdkit.compare(some_rows(2), some_rows(2), **options)


def test_sides_without_a_common_row_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no row of data in memory has the same"):
        ifdkit.compare(some_rows(3), some_rows(4, seed=9), **settings)


def test_scores_files_are_recognized(write: Make) -> None:
    row = dict.fromkeys(("id", "row", "turn", "status", "nll_response_direct", "response_tokens"))
    assert is_scores_file(write("scores.jsonl", json.dumps(row)))
    assert not is_scores_file(write("data.jsonl", json.dumps({"instruction": "a", "output": "b"})))
    assert not is_scores_file(write("data.csv", "instruction,output\na,b\n"))
    assert not is_scores_file(write("broken.jsonl", b"\xff{"))
    with pytest.raises(InputError, match=r"scores\.jsonl is not a readable scores file"):
        read_scores(write("scores.jsonl", json.dumps(row)))


def test_csv_ids_are_read_back_unchanged(
    write: Make, settings: dict[str, Any], tmp_path: Path
) -> None:
    rows = [
        {"id": name, **row} for name, row in zip(("=a", "'b", "c\nd"), some_rows(3), strict=True)
    ]
    output = score(write("data.json", rows), tmp_path / "x.csv", settings, metrics=("ifd",))
    assert list(read_scores(output).ids) == ["=a", "'b", "c\nd"]


def words_of(
    before: Any,
    after: Any,
    name: str = "ifd",
    control: LengthControl | None = None,
    controlled: MetricChange | None = None,
) -> str:
    metrics = with_holm({name: compare_metric(before, after, geometric=True, seed=0)})
    is_unchanged = bool(np.array_equal(before, after))
    pairing = Pairing(by="id", n_pairs=len(before), unmatched_before=0, unmatched_after=0)
    return headline(pairing, metrics, control, is_unchanged=is_unchanged, controlled=controlled)


@pytest.mark.parametrize("n", [0, 1, 9, 10, 150])
def test_the_headline_is_about_all_pairs_if_length_control_has_too_few(n: int) -> None:
    """With none it said that the median change in IFD is zero."""
    before = np.random.default_rng(0).uniform(0.3, 0.9, 200)
    control = LengthControl(min_tokens=8, n_pairs=n, sentence="Not estimated.")
    part = compare_metric(before[:n], before[:n] + 0.2, geometric=True, seed=0)
    words = words_of(before, before + 0.2, control=control, controlled=part)
    assert words.startswith("IFD rose by a median of 0.20 (95 % CI")
    assert ("in the" in words and "8 tokens or more" in words) == (n >= 10)


def test_the_headline_says_no_more_than_the_numbers() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.3, 0.9, 200)
    noise = rng.normal(0, 0.05, 200)
    assert words_of(before, before).startswith("Nothing changed: in all 200 pairs")
    risen = words_of(before, before + 0.2 + noise)
    assert "IFD rose by a median of 0.19 (95 % CI +0.18 to +0.20, p < 0.001); 100 % of" in risen
    assert "IFD fell by a median of 0.2" in words_of(before, before - 0.2 + noise)
    chance = words_of(before, before + noise - noise.mean())
    assert "IFD shows no change beyond chance in 200 pairs (p = " in chance
    few = words_of(before[:4], before[:4] + 0.2)
    assert "Too few pairs to tell a change from chance" in few
    assert "4 pairs (median change +0.20); 10 are needed" in few
    control = LengthControl(min_tokens=8, n_pairs=200, sentence="Of it, all is length.")
    assert words_of(before, before + 0.2, control=control).endswith("Of it, all is length.")
    other = words_of(before, before + 0.2, name="coherence")
    assert "Coherence rose" in other
    assert "The effect of length was not estimated" in other
    assert words_of(before, before + 1, name="instruction_tokens").endswith("was compared.")


def test_the_headline_counts_no_unchanged_pair_as_risen() -> None:
    """Where three quarters were left as they were, `share_up` is 62.5 %."""
    before = np.random.default_rng(0).uniform(0.3, 0.9, 200)
    after = before + np.where(np.arange(200) < 50, 0.2, 0.0)
    assert "25 % of 200 pairs rose, 75 % stayed the same" in words_of(before, after)


def test_the_headline_claims_no_length_that_the_numbers_do_not_show() -> None:
    few = words_of([10.0] * 5, [90.0] * 5, name="response_tokens")
    assert few.startswith("Response length shows no clear change (median 10 tokens before, 90")
    before = np.concatenate([np.full(60, 10.0), np.full(40, 100.0)])
    after = np.concatenate([np.full(60, 10.0), np.full(40, 300.0)])
    longer_ones = words_of(before, after, name="response_tokens")
    assert longer_ones.startswith("Responses tend to be longer pair by pair, but not in the median")
    shorter_ones = words_of(after, before, name="response_tokens")
    assert "tend to be shorter pair by pair, but not in the median (10 tokens" in shorter_ones
    lifted = words_of(before, before + 5, name="response_tokens")
    assert lifted.startswith("Median response length rose from 10 to 15 tokens.")


def test_explored_pairs_are_limited_and_have_reasons() -> None:
    rng = np.random.default_rng(0)
    before: dict[str, NDArray[np.float64]] = {
        "ifd": rng.uniform(0.2, 0.9, 5000),
        "response_tokens": rng.integers(5, 50, 5000).astype(np.float64),
    }
    after = {name: values.copy() for name, values in before.items()}
    after["ifd"][17] += 0.9
    after["ifd"][18] = np.nan
    after["response_tokens"][99] = 1
    chosen = choose(before, after, {3: "finding: refusal"}, 5000, seed=0)
    assert len(chosen) == MAX_EXPLORED
    assert chosen[17] == ("largest rise in IFD", "IFD of 1 or more after")
    assert chosen[99] == ("response shrank most",)
    assert chosen[3] == ("finding: refusal",)
    assert list(chosen.values()).count(("drawn at random",)) == MAX_EXPLORED - 3
    assert chosen == choose(before, after, {3: "finding: refusal"}, 5000, seed=0)
    assert chosen != choose(before, after, {3: "finding: refusal"}, 5000, seed=1)


def test_the_summary_is_strict_json(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = some_rows(3)
    result = ifdkit.compare(rows, longer(rows), **settings)
    result.save(tmp_path / "x")

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    found = json.loads((tmp_path / "x" / "summary.json").read_text(), parse_constant=refuse)
    unused = {"sources", "group_by", "map_layout"}  # there is one source, and the map is the usual
    assert set(found) == set(Summary.__dataclass_fields__) - unused
    assert found["before"]["schema"] == "ifdkit.scores/1"
    assert replace(result.summary).headline == found["headline"]


_MEMORY = f"""
import sys
from ifdkit.cli.main import main
{PEAK_BYTES}
code = main(sys.argv[1:])
print(peak_bytes(), file=sys.stderr)
sys.exit(code)
"""


@needs_proc
@pytest.mark.long
def test_memory_of_many_pairs_from_scores_files(
    write: Make, settings: dict[str, Any], tmp_path: Path
) -> None:
    """20,000 pairs add at most 10 kB each to what the libraries use."""
    data = write("data.json", some_rows(2))
    scored = score(data, tmp_path / "seed.jsonl", settings)
    (first, _) = (json.loads(line) for line in scored.read_text().splitlines())
    manifest = json.loads(Path(f"{scored}.manifest.json").read_text())
    peaks = {}
    for n in (200, 20_000):
        for side in ("before", "after"):
            rng = np.random.default_rng(len(side))
            path = tmp_path / f"{side}.jsonl"
            with path.open("w") as file:
                for i in range(n):
                    drawn = {"id": f"row {i}", "row": i, "ifd": float(rng.uniform(0.2, 1))}
                    file.write(json.dumps(first | drawn) + "\n")
            made = manifest | {"output_sha256": _digest(path), "rows_in": n, "input": "gone.json"}
            Path(f"{path}.manifest.json").write_text(json.dumps(made))
        arguments = ["compare", "before.jsonl", "after.jsonl", "-o", f"report-{n}", "-q"]
        done = subprocess.run(
            [sys.executable, "-c", _MEMORY, *arguments],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks[n] = int(done.stderr.splitlines()[-1])
    assert peaks[20_000] - peaks[200] < 20_000 * 10_000
    assert peaks[20_000] < 1e9


def _digest(path: Path) -> str:
    from ifdkit.data.sources import sha256

    return sha256(path)


def test_token_columns_are_read_back_as_written(
    write: Make, settings: dict[str, Any], tmp_path: Path
) -> None:
    data = write("data.json", [*some_rows(3), {"instruction": "x", "output": ""}])
    frame = ifdkit.score(data, **settings, token_nll=True)
    for ending in (".jsonl", ".csv", ".parquet"):
        path = score(data, tmp_path / f"x{ending}", settings, token_nll=True)
        table = read_scores(path)
        for name, column in zip(
            TOKEN_FIELDS, (table.token_nll_direct, table.token_nll_conditional), strict=True
        ):
            assert column is not None
            assert len(column) == 4
            for found, expected in zip(column, frame[name], strict=True):
                if expected is None:
                    assert found is None
                else:
                    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))
