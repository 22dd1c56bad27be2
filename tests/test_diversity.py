"""Diversity of sets: measures against slow references, properties, coverage, intervals."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from ifdkit.diversity import coverage as coverage_module
from ifdkit.diversity import measures, spread
from ifdkit.diversity.coverage import coverage
from ifdkit.diversity.measures import DIVERSITY, RowSet, row_set
from ifdkit.diversity.spread import change_errors, interval_of

pytestmark = pytest.mark.long

Vectors = NDArray[np.float32]


def random_rows(n: int, seed: int, dimensions: int = 8) -> Vectors:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dimensions)).astype(np.float32)


def texts_of(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(["a", "b", "c"], int(rng.integers(2, 12)))) for _ in range(n)]


def values_of(
    vectors: Vectors, texts: list[str] | None = None, reference: Vectors | None = None, **more: int
) -> dict[str, float]:
    found = row_set(vectors, texts, reference=reference).measure(**more)  # type: ignore[arg-type]
    return {name: one.value for name, one in found.items() if one.value is not None}


# Slow references, in float64 and with loops


def cosine_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return 1 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def slow_novelsum(vectors: Vectors, reference: Vectors) -> float:
    rows = [row.astype(np.float64) for row in vectors]
    pool = [row.astype(np.float64) for row in np.unique(reference, axis=0)]
    total = 0.0
    for i, row in enumerate(rows):
        near = sorted(2 * cosine_distance(row, other) for other in pool)
        near = [one for one in near if one > 1e-6][:10]
        density = 1 / math.sqrt(sum(near) / len(near) + 1e-9)
        others = sorted(cosine_distance(row, rows[j]) for j in range(len(rows)) if j != i)
        weights = [1 / rank for rank in range(1, len(others) + 1)]
        mean = sum(w * d for w, d in zip(weights, others, strict=True)) / sum(weights)
        total += density * mean
    return total / len(rows)


def slow_vendi(vectors: Vectors) -> float:
    n = len(vectors)
    kernel = np.array(
        [
            [1 - cosine_distance(a.astype(np.float64), b.astype(np.float64)) for b in vectors]
            for a in vectors
        ]
    )
    values = [float(one) for one in np.linalg.eigvalsh(kernel / n) if one > 1e-9]
    return math.exp(-sum(one * math.log(one) for one in values))


def slow_nearest(vectors: Vectors) -> float:
    rows = [row.astype(np.float64) for row in vectors]
    return sum(
        min(cosine_distance(row, other) for j, other in enumerate(rows) if j != i)
        for i, row in enumerate(rows)
    ) / len(rows)


def slow_repetition(texts: list[str]) -> float:
    found = []
    for text in texts:
        words = text.lower().split()
        found.append({tuple(words[i : i + 4]) for i in range(len(words) - 3)})
    counts = Counter(one for grams in found for one in grams)
    return sum(math.log(1 + sum(counts[g] - 1 for g in grams)) for grams in found) / len(found)


@pytest.mark.parametrize("n", [2, 3, 12, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_measures_are_those_of_slow_references(n: int, seed: int) -> None:
    vectors, texts = random_rows(n, seed), texts_of(n, seed)
    pool = np.concatenate([vectors, random_rows(30, seed + 10)])
    found = values_of(vectors, texts, pool)
    assert set(found) == set(DIVERSITY)
    assert found["novelsum"] == pytest.approx(slow_novelsum(vectors, pool), rel=1e-5)
    assert found["vendi"] == pytest.approx(slow_vendi(vectors), rel=1e-5)
    assert found["nearest_distance"] == pytest.approx(slow_nearest(vectors), rel=1e-5)
    assert found["self_repetition"] == pytest.approx(slow_repetition(texts), rel=1e-12)


def test_inertia_is_that_of_the_centres_found() -> None:
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(16, 16)))[0][:4]
    truth = rng.integers(0, 4, 200)
    vectors = (centres[truth] + rng.normal(0, 0.02, (200, 16))).astype(np.float32)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    slow = sum(
        float(((rows[truth == k] - rows[truth == k].mean(axis=0)) ** 2).sum()) for k in range(4)
    )
    found = values_of(vectors, n_clusters=4)["cluster_inertia"]
    assert found == pytest.approx(slow / 200, rel=1e-3)
    everything = values_of(vectors, n_clusters=1)["cluster_inertia"]
    assert everything == pytest.approx(
        float(((rows - rows.mean(axis=0)) ** 2).sum()) / 200, rel=1e-4
    )
    assert found < 0.05 * everything, "negative control: one centre is not enough"


# Properties

sets = st.builds(
    random_rows, st.integers(3, 30), st.integers(0, 10_000), st.sampled_from([3, 8, 40])
)


def less_diverse(name: str, less: float, more: float) -> bool:
    if not DIVERSITY[name].higher_is_more_diverse:
        less, more = more, less
    return less <= more + 1e-5 * max(1.0, abs(more))


@given(sets, st.integers(0, 100), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_repeating_every_row_does_not_raise_diversity(
    vectors: Vectors, seed: int, times: int
) -> None:
    texts = texts_of(len(vectors), seed)
    k = measures.clusters_of(vectors)
    once = values_of(vectors, texts, n_clusters=k)
    often = values_of(np.tile(vectors, (times, 1)), texts * times, n_clusters=k)
    for name in DIVERSITY:
        assert less_diverse(name, often[name], once[name]), name
    assert often["vendi"] == pytest.approx(once["vendi"], rel=1e-4)
    assert often["nearest_distance"] == 0


@given(sets, st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_the_order_of_rows_changes_nothing(vectors: Vectors, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(vectors))
    texts = texts_of(len(vectors), seed)
    shuffled = values_of(vectors[order], [texts[i] for i in order])
    found = values_of(vectors, texts)
    assert found.pop("self_repetition") == pytest.approx(shuffled.pop("self_repetition"))
    assert found == shuffled


@given(sets, st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_the_length_of_vectors_and_rows_without_an_embedding_do_not_count(
    vectors: Vectors, factor: float
) -> None:
    empty = np.zeros((2, vectors.shape[1]), dtype=np.float32)
    more = np.concatenate([empty, vectors * np.float32(factor), vectors[:1] * np.float32(np.nan)])
    found, expected = values_of(more), values_of(vectors)
    # Rounding changes the order of rows, and with it the start of k-means.
    assert found.pop("cluster_inertia") == pytest.approx(expected.pop("cluster_inertia"), rel=0.5)
    assert found == {name: pytest.approx(x, rel=1e-3, abs=1e-6) for name, x in expected.items()}


@given(sets, st.integers(2, 20))
@settings(max_examples=20, deadline=None)
def test_identical_rows_are_the_least_diverse_set(vectors: Vectors, n: int) -> None:
    text = "one two three four five"
    same = values_of(np.tile(vectors[:1], (n, 1)), [text] * n)
    assert same["vendi"] == pytest.approx(1)
    assert (same["novelsum"], same["nearest_distance"], same["cluster_inertia"]) == (0, 0, 0)
    assert same["self_repetition"] == pytest.approx(math.log(1 + 2 * (n - 1)))
    others = values_of(random_rows(n, n), [f"{i} {text} {i}" for i in range(n)])
    for name in set(DIVERSITY) - {"cluster_inertia"}:
        assert less_diverse(name, same[name], others[name]), name


@pytest.mark.parametrize("n", [2, 5, 40])
def test_orthogonal_rows_have_a_vendi_score_of_their_number(n: int) -> None:
    square = np.random.default_rng(n).normal(size=(64, 64))
    vectors: Vectors = np.linalg.qr(square)[0][:n].astype(np.float32)
    found = values_of(vectors)
    assert found["vendi"] == pytest.approx(n, rel=1e-5)
    assert found["nearest_distance"] == pytest.approx(1, abs=1e-5)
    nearly = values_of(vectors + np.float32(0.2))
    assert nearly["vendi"] < 0.99 * n, "negative control"


@given(sets)
@settings(max_examples=20, deadline=None)
def test_a_spread_of_the_same_shape_is_more_diverse_the_wider_it_is(vectors: Vectors) -> None:
    """Rows on a narrow cone against the same on a wide one."""
    axis = np.zeros(vectors.shape[1], dtype=np.float32)
    axis[0] = 20
    narrow, wide = (values_of((axis / by + vectors).astype(np.float32)) for by in (1, 4))
    for name in ("vendi", "nearest_distance"):
        assert narrow[name] < wide[name], name


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows_have_no_diversity(n: int) -> None:
    assert values_of(random_rows(3, 0)[:n]) == {}
    assert values_of(np.zeros((5, 4), dtype=np.float32)) == {}


def test_texts_without_four_words_repeat_nothing() -> None:
    assert values_of(random_rows(3, 0), ["", "a b c", "a b c"])["self_repetition"] == 0


# Large sets


def test_a_sample_of_rows_estimates_all_within_its_error() -> None:
    """Simulation: over 60 draws the error of the sample is what it says."""
    vectors = random_rows(400, 3)
    rows = row_set(vectors)
    exact = rows.measure()
    for name in ("novelsum", "nearest_distance"):
        truth = exact[name].value
        assert truth is not None
        assert exact[name].standard_error == 0
        scores = []
        for seed in range(60):
            one = rows.measure(max_distances=400 * 60, names=(name,), seed=seed)[name]
            assert one.value is not None
            assert one.standard_error > 0
            scores.append((one.value - truth) / one.standard_error)
        assert 0.7 < float(np.std(scores)) < 1.35, name
        assert abs(float(np.mean(scores))) < 0.45, name


def test_of_many_rows_some_are_drawn_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "MAX_ROWS", 50)
    vectors = random_rows(120, 5)
    first, second = row_set(vectors), row_set(vectors[::-1])
    assert len(first) == 50
    assert np.array_equal(first.vectors, second.vectors)
    assert sorted(first.origin.tolist()) == sorted((119 - second.origin).tolist())


def test_memory_does_not_grow_with_the_square_of_the_rows() -> None:
    rows = row_set(random_rows(6_000, 0, 4))
    tracemalloc.start()
    rows.measure(names=("novelsum", "vendi", "nearest_distance"), max_distances=6_000 * 1_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6_000**2 * 4 / 2, "half of all distances"


# Coverage


def slow_coverage(rows: Vectors, by: Vectors) -> float:
    own = [row.astype(np.float64) for row in rows]
    covered = 0
    for i, row in enumerate(own):
        radius = sorted(cosine_distance(row, own[j]) for j in range(len(own)) if j != i)[4]
        covered += min(cosine_distance(row, other.astype(np.float64)) for other in by) <= radius
    return covered / len(own)


@pytest.mark.parametrize("seed", range(4))
def test_coverage_is_that_of_a_slow_reference(seed: int) -> None:
    rows, by = random_rows(40, seed), random_rows(15, seed + 50)
    found = coverage(rows, by)
    assert found is not None
    assert found.share == pytest.approx(slow_coverage(rows, by))
    assert found.n_rows == 40


def test_a_set_covers_itself_and_its_parts_but_not_what_is_far_away() -> None:
    rows = random_rows(60, 0)
    own, part = coverage(rows, rows), coverage(rows[:20], rows)
    away = coverage(np.abs(rows), -np.abs(rows))
    assert own and part and away  # noqa: PT018
    assert (own.share, part.share, away.share) == (1, 1, 0)
    assert own.mean_cosine == pytest.approx(1)
    fewer = [coverage(rows, rows[:n]) for n in (5, 20, 40, 60)]
    shares = [one.share for one in fewer if one]
    assert shares == sorted(shares)
    assert shares[0] < 1


def test_too_few_rows_have_no_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(30, 0)
    assert coverage(rows[:5], rows) is None
    assert coverage(rows, rows[:0]) is None
    monkeypatch.setattr(coverage_module, "MAX_DISTANCES", 300)
    found = coverage(rows, rows)
    assert found is not None
    assert (found.share, found.n_rows) == (1, 10)


# Intervals


def paired_sets(n: int, seed: int, shift: float) -> tuple[RowSet, RowSet, dict[str, float]]:
    rng = np.random.default_rng(seed)
    axis = np.zeros(12, dtype=np.float32)
    axis[0] = 3
    noise = rng.normal(size=(n, 12)).astype(np.float32)
    after = noise * np.float32(1 + shift) + rng.normal(0, 0.3, (n, 12)).astype(np.float32)
    old, new = row_set(axis + noise), row_set(axis + after)
    names = ("vendi", "nearest_distance")
    change = {
        name: float(new.measure(names=(name,))[name].value or 0)
        - float(old.measure(names=(name,))[name].value or 0)
        for name in names
    }
    return old, new, change


def test_intervals_cover_the_mean_change() -> None:
    """Simulation: 95 % intervals, and the mean change over many datasets of this size."""
    truth = [paired_sets(80, 1_000 + seed, 0.1)[2] for seed in range(150)]
    mean = {name: float(np.mean([one[name] for one in truth])) for name in truth[0]}
    covered: Counter[str] = Counter()
    for seed in range(60):
        old, new, change = paired_sets(80, seed, 0.1)
        errors = change_errors(old, new, n_clusters=4, names=tuple(mean), draws=60, seed=seed)
        for name, error in errors.items():
            low, high = interval_of(change[name], error)
            covered[name] += low <= mean[name] <= high
    for name in mean:
        assert 51 <= covered[name] <= 60, (name, covered)


def test_a_change_of_nothing_has_no_error_and_few_pairs_no_interval() -> None:
    rows = row_set(random_rows(40, 0), texts_of(40, 0))
    errors = change_errors(rows, rows, n_clusters=4, draws=5)
    assert errors == dict.fromkeys(DIVERSITY, 0.0)
    assert change_errors(rows.take(np.arange(29)), rows, n_clusters=4) == {}


def test_of_many_pairs_some_are_halved_and_the_error_is_scaled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new, _ = paired_sets(400, 0, 0.1)
    names = ("vendi",)
    full = change_errors(old, new, n_clusters=4, names=names)["vendi"]
    monkeypatch.setattr(spread, "MAX_PAIRS", 200)
    part = change_errors(old, new, n_clusters=4, names=names)["vendi"]
    assert part == pytest.approx(full, rel=0.45)


@given(arrays.arrays(np.float32, (6, 3), elements=st.floats(-2, 2, width=32)))
@settings(max_examples=40, deadline=None)
def test_any_vectors_have_finite_measures_within_their_ranges(vectors: Vectors) -> None:
    found = values_of(vectors)
    assert all(math.isfinite(one) for one in found.values())
    if found:
        n = len(measures.row_set(vectors))
        assert 1 - 1e-6 <= found["vendi"] <= n + 1e-4
        assert 0 <= found["nearest_distance"] <= 2 + 1e-6
        assert found["novelsum"] >= 0
        assert 0 <= found["cluster_inertia"] <= 4
