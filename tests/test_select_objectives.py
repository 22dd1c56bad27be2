"""What `select` aims at beside one number: weighted z-scores, groups, diversity."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ifdkit
from ifdkit.cli.main import main
from ifdkit.diversity.measures import DIVERSITY
from ifdkit.errors import UsageError
from ifdkit.selection import set_diversity
from ifdkit.selection.groups import Groups, best_of_groups, cluster_groups
from ifdkit.selection.options import SelectOptions
from ifdkit.selection.quality import combined, parse_weights, quality_diverse
from ifdkit.selection.set_diversity import COVERAGE, SetDiversity
from tests.select_fixtures import rows_like, scored

Make = Callable[..., Path]
Vectors = NDArray[np.float32]
NAN = math.nan


def unit_rows(n: int, seed: int, dimensions: int = 6) -> Vectors:
    rows = np.random.default_rng(seed).normal(size=(n, dimensions))
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


# Weighted z-scores


def slow_combination(
    columns: dict[str, list[float]], weights: dict[str, float]
) -> list[float | None]:
    n = len(next(iter(columns.values())))
    whole = [i for i in range(n) if all(math.isfinite(columns[name][i]) for name in weights)]
    found: list[float | None] = [None] * n
    for i in whole:
        total = 0.0
        for name, weight in weights.items():
            values = [columns[name][j] for j in whole]
            mean = sum(values) / len(values)
            sd = math.sqrt(sum((x - mean) ** 2 for x in values) / len(values))
            total += weight * (columns[name][i] - mean) / sd if sd else 0.0
        found[i] = total
    return found


few = st.sampled_from([NAN, 0.0, 1.0, 2.0, 7.5])


@given(st.lists(st.tuples(few, few), min_size=1, max_size=12), st.floats(-2, 2))
def test_a_combination_is_that_of_a_slow_reference(
    pairs: list[tuple[float, float]], weight: float
) -> None:
    columns = {"ifd": [a for a, _ in pairs], "coherence": [b for _, b in pairs]}
    weights = {"ifd": 1.0, "coherence": weight}
    found = combined({k: np.array(v) for k, v in columns.items()}, weights)
    expected = slow_combination(columns, weights)
    assert [None if math.isnan(x) else x for x in found.tolist()] == [
        None if x is None else pytest.approx(x, abs=1e-9) for x in expected
    ]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.floats(0.1, 50), st.floats(-9, 9))
def test_units_do_not_change_a_combination(values: list[float], scale: float, shift: float) -> None:
    one, other = np.array(values).round(2), np.arange(len(values), dtype=np.float64)
    weights = {"ifd": 1.0, "coherence": -0.5}
    found = combined({"ifd": one, "coherence": other}, weights)
    moved = combined({"ifd": one * scale + shift, "coherence": other}, weights)
    assert moved == pytest.approx(found, abs=1e-6)


def test_one_weight_ranks_as_the_field_itself(tmp_path: Path) -> None:
    ifd = [0.3, 0.9, 1.2, None, 0.5, 0.7]
    source = scored(tmp_path, rows_like(6), ifd=ifd, coherence=[0.1, 0.2, 0.3, 0.4, None, 0.6])
    by = ifdkit.select(source, tmp_path / "a.jsonl", by="ifd", top=2)
    weighted = ifdkit.select(source, tmp_path / "b.jsonl", weights="ifd=2", top=2)
    assert by.kept_rows == weighted.kept_rows == (1, 5)
    both = ifdkit.select(source, tmp_path / "c.jsonl", weights="ifd=1,coherence=1", top=6)
    assert both.kept_rows == (0, 1, 5)
    assert both.dropped == {"undefined": 2, "ifd_above_one": 1}
    assert both.undefined == {"no_score": 2}
    assert both.parameters["weights"] == "ifd=1,coherence=1"
    lowest = ifdkit.select(source, tmp_path / "d.jsonl", weights="ifd=-1", top=2)
    assert lowest.kept_rows == (0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ifd", "'ifd' is not FIELD=NUMBER, such as ifd=0.5"),
        ("", "'' is not FIELD=NUMBER"),
        ("ifd=1,,", "'' is not FIELD=NUMBER"),
        ("idf=1", "no metric 'idf': did you mean 'ifd'"),
        ("ifd=1,ifd=2", "ifd is given twice"),
        ("ifd=0", "ifd has the weight 0: leave it out"),
        ("ifd=nan", "is not FIELD=NUMBER"),
    ],
)
def test_wrong_weights_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"--weights: .*{message}"):
        SelectOptions(weights=text, top=1)


def test_weights_are_read() -> None:
    assert parse_weights(" ifd = 1 , coherence=-.5,rifd=+2.") == {
        "ifd": 1.0, "coherence": -0.5, "rifd": 2.0}  # fmt: skip
    assert SelectOptions(weights="ifd=1,coherence=2", top=1).metrics == ("ifd", "coherence")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "ifd", "weights": "ifd=1", "top": 1}, "choose only one of --by"),
        ({"method": "random", "weights": "ifd=1", "top": 1}, "choose only one of --by"),
        ({"method": "quality-diverse", "top": 1}, "needs one of --by FIELD and --weights"),
        ({"method": "quality-diverse", "by": "ifd", "weights": "ifd=1", "top": 1}, "needs one of"),
        ({"method": "diverse"}, "choose how many rows"),
        ({"method": "diverse", "top": 1, "lowest": True}, "--lowest does not apply to diverse"),
        ({"by": "ifd", "per": "source", "min": 0.1}, "--per divides the rows of --top"),
        ({"by": "ifd", "quota": "equal", "top": 1}, "--quota is how --per divides"),
        ({"by": "ifd", "per": "source", "quota": "fair", "top": 1}, "no quota 'fair'"),
        ({"method": "length-controlled", "per": "source", "top": 1}, "--per does not apply to"),
        ({"method": "superfiltering", "diversity": True, "per": "source", "top": 1}, "leave --per"),
    ],
)
def test_combinations_of_options_that_mean_nothing_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        SelectOptions(**options)
    assert "\n" not in str(caught.value)


# Quality × diversity


def assert_greedy(found: list[int], values: list[float], vectors: Vectors, n: int) -> None:
    """Each row has the largest gain when it is chosen; of equal gains, rounding may decide."""
    ranked = [i for i, x in enumerate(values) if math.isfinite(x)]
    quality = {i: sum(values[j] <= values[i] for j in ranked) / len(ranked) for i in ranked}
    assert len(found) == len(set(found)) == min(n, len(ranked))
    for step, row in enumerate(found):
        near = {i: [(1 - float(vectors[i] @ vectors[j])) / 2 for j in found[:step]] for i in ranked}
        gains = {i: quality[i] * min([1.0, *near[i]]) for i in ranked if i not in found[:step]}
        assert gains[row] >= max(gains.values()) - 2e-6


@given(st.lists(st.sampled_from([NAN, 0.1, 0.4, 0.8]), min_size=1, max_size=15),
       st.integers(0, 99), st.integers(1, 16))  # fmt: skip
@settings(deadline=None)
def test_the_greedy_choice_is_that_of_a_slow_reference(
    values: list[float], seed: int, n: int
) -> None:
    vectors = unit_rows(len(values), seed)
    vectors[len(values) // 2] = vectors[0]
    found = quality_diverse(np.array(values), vectors, n, lowest=False)
    assert_greedy(found.tolist(), values, vectors, n)
    lowest = quality_diverse(-np.array(values), vectors, n, lowest=True)
    assert lowest.tolist() == found.tolist()


def test_copies_of_a_chosen_row_come_last() -> None:
    vectors = unit_rows(4, 0)[[0, 0, 1, 2, 3]]
    found = quality_diverse(np.array([0.9, 0.8, 0.1, 0.2, 0.3]), vectors, 5, lowest=False)
    assert (found[0], found[-1]) == (0, 1)


# Groups

groups_ = st.lists(st.tuples(st.integers(0, 3), few), min_size=1, max_size=30)


@given(groups_, st.integers(1, 30), st.booleans())
def test_each_group_contributes_its_best(
    rows: list[tuple[int, float]], n: int, equal: bool
) -> None:
    codes = np.array([code for code, _ in rows])
    values = np.array([value for _, value in rows])
    names = [f"g{i}" for i in range(4)]
    chosen, shares = best_of_groups(values, Groups(names, codes), n, equal=equal)
    assert len(set(chosen.tolist())) == len(chosen) == min(n, int(np.isfinite(values).sum()))
    assert sum(one.taken for one in shares) == len(chosen)
    for one in shares:
        inside = np.flatnonzero(codes == names.index(one.name))
        assert (one.rows, one.candidates) == (len(inside), int(np.isfinite(values[inside]).sum()))
        best = sorted(values[inside][np.isfinite(values[inside])].tolist(), reverse=True)
        taken = sorted(values[[i for i in chosen if i in inside]].tolist(), reverse=True)
        assert taken == best[: one.taken]
    if equal:  # no group has two more than one that has candidates left
        left = [one.taken for one in shares if one.taken < one.candidates]
        assert not left or max(one.taken for one in shares) - min(left) <= 1


def test_quotas_of_a_column(tmp_path: Path) -> None:
    category = ["a"] * 12 + ["b"] * 6 + [None] * 2
    ifd = [i / 40 for i in range(20)]
    source = scored(tmp_path, rows_like(20, category=category), ifd=ifd)

    def kept(**options: Any) -> Counter[str | None]:
        done = ifdkit.select(source, tmp_path / "b.jsonl", by="ifd", top=10, **options)
        shares = {one.name: one.taken for one in done.groups}
        counts = Counter(category[row] for row in done.kept_rows)
        if options:
            assert shares == {str(name or "(none)"): counts[name] for name in ("a", "b", None)}
            assert {one.name: one.rows for one in done.groups} == {"a": 12, "b": 6, "(none)": 2}
        return counts

    assert kept() == {"a": 2, "b": 6, None: 2}, "negative control: without quotas"
    assert kept(per="category") == {"a": 6, "b": 3, None: 1}
    assert kept(per="category", quota="equal") == {"a": 4, "b": 4, None: 2}
    done = ifdkit.select(source, tmp_path / "c.jsonl", method="random", top=10, per="category")
    assert Counter(category[row] for row in done.kept_rows) == {"a": 6, "b": 3, None: 1}
    assert done.parameters["quota"] == "proportional"


def test_quotas_of_several_inputs(write: Make, tmp_path: Path) -> None:
    for name, n in (("one", 30), ("two", 10)):
        write(f"{name}.json", [{**row, "source": "same"} for row in rows_like(n)])
    inputs = [str(tmp_path / f"{name}.json") for name in ("one", "two")]
    done = ifdkit.select(inputs, tmp_path / "kept.jsonl", by="response_words", top=8, per="source")
    assert [(one.rows, one.taken) for one in done.groups] == [(30, 6), (10, 2)]


@pytest.mark.parametrize(
    ("per", "message"),
    [
        ("categry", r"no row of .*data\.jsonl has it \(did you mean 'category'\?\)"),
        ("tags", r"row 0 .* has \"\['x'\]\", which names no group"),
        ("many", "has more than 1,000 different values"),
        ("cluster", "too few different rows for clusters"),
    ],
)
def test_columns_that_are_no_groups_are_refused(
    tmp_path: Path, per: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ifdkit.selection.inputs.Inputs.embed", lambda _, texts: np.ones((len(texts), 3))
    )
    n = 1_001
    columns: dict[str, list[Any]] = {
        "category": ["a"] * n,
        "tags": [["x"]] * n,
        "many": list(range(n)),
    }
    source = scored(tmp_path, rows_like(n, **columns), ifd=[0.5] * n)
    with pytest.raises(UsageError, match=message):
        ifdkit.select(source, tmp_path / "b.jsonl", by="ifd", top=3, per=per)


def test_clusters_are_groups_and_rows_without_an_embedding_are_one() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(90) % 3
    centres = np.eye(8)[:3]
    vectors = (centres[truth] + rng.normal(0, 0.02, (90, 8))).astype(np.float32)
    vectors[5] = 0
    texts = [f"about {('bread', 'moons', 'court')[i]} now" for i in truth]
    found = cluster_groups(texts, vectors, seed=0)
    assert found.names[found.codes[5]] == "(none)"
    for code in set(found.codes.tolist()) - {found.codes[5]}:
        assert len(set(truth[found.codes == code])) == 1


# Diversity of a selection


def test_the_measures_of_a_choice() -> None:
    vectors = unit_rows(60, 0)
    vectors[:30] = vectors[0]
    texts = [f"one two three four {i}" if i < 30 else f"{i} alone" for i in range(60)]
    found = SetDiversity(vectors, texts, 20, seed=0)
    same, mixed = np.arange(20), np.arange(20, 40)
    values = {name: found.statistic(name) for name in found.names}
    assert set(values) == {*DIVERSITY, COVERAGE}
    for name, measure in values.items():
        a, b = measure(same), measure(mixed)
        assert a is not None
        assert b is not None
        is_higher = name == COVERAGE or DIVERSITY[name].higher_is_more_diverse
        assert (a < b) is is_higher, name
    assert values["vendi"](same) == pytest.approx(1)
    everything = (vectors @ vectors.T).max(axis=1).mean()
    whole = SetDiversity(vectors, texts, 60, seed=0)
    assert whole.statistic(COVERAGE)(np.arange(60)) == pytest.approx(float(everything))


def test_large_choices_are_measured_on_as_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_diversity, "MAX_MEASURED", 15)
    vectors = unit_rows(100, 0, 40)
    found = SetDiversity(vectors, [""] * 100, 50, seed=0)
    vendi = found.statistic("vendi")(np.arange(50))
    assert vendi is not None
    assert 1 <= vendi <= 15


@pytest.fixture(scope="module")
def small(
    tiny_model: Path, tiny_embedder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    return {"model": str(tiny_model), "embedder": str(tiny_embedder), "store": str(store)}


def words_rows(n: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    words = ["the", "sea", "is", "wide", "and", "blue", "cats", "sing", "of", "old", "walls"]
    return [
        {"instruction": " ".join(rng.choice(words, 5)), "output": " ".join(rng.choice(words, 9))}
        for _ in range(n)
    ]


@pytest.mark.long
def test_methods_with_embeddings_and_what_they_show(write: Make, small: dict[str, Any]) -> None:
    source = write("data.json", words_rows(60))

    def pick(**options: Any) -> Any:
        return ifdkit.select(source, source.with_name("kept.jsonl"), **options, **small)

    plain = pick(by="response_words", top=12)
    assert plain.effect.diversity == ()
    shown = pick(by="response_words", top=12, show_diversity=True)
    assert shown.kept_rows == plain.kept_rows
    assert [one.name for one in shown.effect.diversity] == [*DIVERSITY, COVERAGE]
    assert all(one.random_range95 is not None for one in shown.effect.diversity)
    assert shown.effect.measures == plain.effect.measures
    diverse = pick(method="diverse", top=12)
    assert diverse.kept_rows == pick(method="diverse", top=12).kept_rows
    covered = diverse.effect.diversity[-1]
    assert covered.selection > covered.random_range95[1], "that is what it maximizes"
    both = pick(method="quality-diverse", by="response_words", top=12)
    assert (both.kept, both.field) == (12, "response_words")
    clusters = pick(by="response_words", top=12, per="cluster", quota="equal")
    assert sum(one.taken for one in clusters.groups) == 12
    part = pick(method="diverse", top=5, where="row < 30")
    assert max(part.kept_rows) < 30
    assert part.effect.diversity


@pytest.mark.long
def test_the_command_shows_groups_and_diversity(
    write: Make,
    small: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [{**row, "kind": "ab"[i % 2]} for i, row in enumerate(words_rows(40))]
    source = write("data.json", rows)
    monkeypatch.chdir(source.parent)
    flags = [f"--{name}={value}" for name, value in small.items()]
    chosen = ["--weights", "response_words=1,instruction_words=-1", "--top", "10"]
    more = ["--per", "kind", "--quota", "equal", "--show-diversity", "-q"]
    assert main(["select", "data.json", "-o", "b.json", *chosen, *more, *flags]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "40 rows, by response_words=1,instruction_words=-1: 10 kept" in said
    assert "kind rows candidates kept" in said
    assert "a 20 20 5" in said
    for name in ("NovelSum", "Vendi score", "self-repetition", "input covered"):
        assert name in said
    made = json.loads(Path("b.json.manifest.json").read_text())
    assert [one["taken"] for one in made["groups"]] == [5, 5]
    assert len(made["effect"]["diversity"]) == len(DIVERSITY) + 1
