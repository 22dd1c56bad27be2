"""Topics: clusters of embeddings, their titles, the table of a comparison, the map, neighbors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from ifdkit.comparison.result import TopicChange
from ifdkit.comparison.topics import topic_changes
from ifdkit.errors import UsageError
from ifdkit.topics.layouts import check_layout
from ifdkit.topics.model import MAX_FITTED, MIN_ROWS, fit, n_topics
from ifdkit.topics.neighbors import all_nearest, nearest
from ifdkit.topics.titles import titles

pytestmark = pytest.mark.long

Numbers = NDArray[np.float64]
SUBJECTS = ("bread oven flour yeast", "moon orbit planet star", "contract court law judge")


def planted(
    n: int, seed: int = 0, *, dimensions: int = 24
) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    """Embeddings around three centres, the centre of each row, and its words."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (3, dimensions))
    truth = rng.integers(0, 3, n)
    vectors = centres[truth] + rng.normal(0, 0.25, (n, dimensions))
    texts = [f"Please write about the {rng.choice(SUBJECTS[i].split())} and "
             f"{rng.choice(SUBJECTS[i].split())} today" for i in truth]  # fmt: skip
    return vectors.astype(np.float32), truth, texts


def purity(labels: NDArray[np.int32], truth: NDArray[np.int64]) -> float:
    """Share of the rows whose cluster is mostly of their own centre."""
    same = [np.bincount(truth[labels == one]).max() for one in set(labels.tolist())]
    return float(sum(same) / len(truth))


def test_planted_clusters_are_found_and_named() -> None:
    vectors, truth, texts = planted(400)
    model = fit(vectors, seed=0)
    assert model is not None
    labels = model.labels(vectors)
    assert purity(labels, truth) > 0.98
    shuffled = np.random.default_rng(1).permutation(truth)
    assert purity(labels, shuffled) < 0.6, "negative control"
    names = titles(texts, labels, len(model.centres))
    for i, name in enumerate(names):
        subject = SUBJECTS[int(np.bincount(truth[labels == i]).argmax())]
        assert set(name.partition(" (")[0].split(" · ")) <= set(subject.split()), name


def test_the_model_is_a_function_of_vectors_and_seed() -> None:
    vectors, _, _ = planted(300)
    first, second, other = fit(vectors, seed=0), fit(vectors, seed=0), fit(vectors[:200], seed=0)
    assert first and second and other  # noqa: PT018
    assert np.array_equal(first.centres, second.centres)
    assert np.array_equal(first.positions(vectors), second.positions(vectors))
    assert not np.array_equal(first.centres, other.centres)


def test_the_map_is_that_of_a_plain_pca() -> None:
    vectors, _, _ = planted(300)
    model = fit(vectors, seed=0)
    assert model is not None
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    reference = PCA(2).fit_transform(unit)
    found = model.positions(vectors)
    for axis in range(2):
        assert abs(np.corrcoef(found[:, axis], reference[:, axis])[0, 1]) > 0.9999


def test_rows_without_embeddings_have_no_topic() -> None:
    vectors, _, _ = planted(100)
    vectors[3], vectors[5, 0] = 0, np.nan
    model = fit(vectors, seed=0)
    assert model is not None
    labels, places = model.labels(vectors), model.positions(vectors)
    assert np.flatnonzero(labels < 0).tolist() == [3, 5]
    assert np.flatnonzero(np.isnan(places).any(axis=1)).tolist() == [3, 5]


@pytest.mark.parametrize("n", [0, 1, MIN_ROWS - 1])
def test_too_few_rows_have_no_topics(n: int) -> None:
    assert fit(planted(100)[0][:n], seed=0) is None


def test_equal_rows_have_no_topics() -> None:
    assert fit(np.ones((200, 8), dtype=np.float32), seed=0) is None


def test_the_number_of_topics_is_bounded() -> None:
    counts = [n_topics(n) for n in (40, 400, 3200, 10**7)]
    assert counts == [2, 7, 20, 20]
    assert MAX_FITTED < 10**6


def change_of(
    ifd_after: Numbers, truth: NDArray[np.int64], before: Numbers
) -> tuple[TopicChange, ...]:
    tokens = np.full(len(truth), 80.0)
    return topic_changes(("a", "b", "c"), truth.astype(np.int32), (before, ifd_after),
                         (tokens, tokens), (before, ifd_after), seed=0)  # fmt: skip


def test_a_planted_shift_of_one_topic_is_found_and_a_shuffled_one_is_not() -> None:
    """Simulation: one topic of three rises by 0.1, the noise of a pair is 0.1."""
    found, falsely = 0, 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 3, 240)
        before = rng.uniform(0.3, 0.9, 240)
        after = before + rng.normal(0, 0.1, 240) + np.where(truth == 1, 0.1, 0.0)
        table = change_of(after, truth, before)
        found += (table[1].p_holm or 0.0) < 0.05
        shuffled = rng.permutation(truth)
        falsely += any((one.p_holm or 0.0) < 0.05 for one in change_of(after, shuffled, before))
    assert found == 40
    assert falsely <= 6, "5 % of 40 are expected; 7 or more have p = 0.005"


def test_nothing_is_found_where_nothing_changed() -> None:
    rng = np.random.default_rng(0)
    before, truth = rng.uniform(0.3, 0.9, 200), rng.integers(0, 3, 200)
    for one in change_of(before, truth, before):
        assert (one.change, one.change_ci95, one.p_holm) == (0, (0, 0), 1.0)


def test_the_intervals_of_the_table_cover_the_true_change() -> None:
    """Simulation: the median change of each topic is known; 95 % of the intervals have it."""
    covered, n = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 3, 150)
        before = rng.uniform(0.3, 0.9, 150)
        shift = np.array([0.0, 0.08, -0.05])
        table = change_of(before + shift[truth] + rng.laplace(0, 0.1, 150), truth, before)
        for one, true in zip(table, shift, strict=True):
            assert one.change_ci95 is not None
            covered += one.change_ci95[0] <= true <= one.change_ci95[1]
            n += 1
    assert 0.90 <= covered / n <= 0.99


def test_the_table_says_what_each_topic_has() -> None:
    before = np.array([0.4] * 12 + [0.6] * 12)
    after = before + np.array([0.1] * 12 + [0.0] * 12)
    after[0] = np.nan
    tokens = (np.full(24, 50.0), np.full(24, 90.0))
    labels = np.repeat([0, 1], 12).astype(np.int32)
    one, other = topic_changes(("a", "b"), labels, (before, after), tokens, None, seed=0)
    assert (one.title, one.n_pairs, one.n_change) == ("a", 12, 11)
    assert (one.share_rose, other.share_rose) == (1.0, 0.0)
    assert one.change == pytest.approx(0.1)
    assert one.ifd_before == pytest.approx(0.4)
    assert one.ifd_after == pytest.approx(0.5)
    assert (one.tokens_before, one.tokens_after) == (50, 90)
    assert not one.is_at_common_length
    assert one.p_holm is not None
    assert one.p_holm < 0.001


def test_nearest_rows_are_those_of_a_full_sort() -> None:
    vectors, _, _ = planted(150)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    unit[9] = 0
    cosines = unit.astype(np.float64) @ unit.T.astype(np.float64)
    for row in (0, 17, 149):
        order = [i for i in np.argsort(-cosines[row], kind="stable") if i not in (row, 9)]
        assert [i for i, _ in nearest(unit, row, 6)] == order[:6]
    assert nearest(unit, 9, 6) == []
    rows, distances = all_nearest(unit[10:], 5)
    for row in (0, 77):
        order = [i for i in np.argsort(-cosines[row + 10, 10:], kind="stable") if i != row]
        assert rows[row].tolist() == order[:5]
    assert (np.diff(distances, axis=1) >= 0).all()


def test_umap_keeps_planted_clusters_together_and_is_a_function_of_the_seed() -> None:
    pytest.importorskip("umap", reason="needs the extra `umap`")
    vectors, truth, _ = planted(240)
    models = [fit(vectors, seed=seed, layout="umap") for seed in (0, 0, 1)]
    places = [model.positions(vectors) for model in models if model is not None]
    assert np.array_equal(places[0], places[1])
    assert not np.array_equal(places[0], places[2]), "negative control: the seed matters"
    near = np.linalg.norm(places[0][:, None] - places[0][None], axis=2).argsort(axis=1)[:, 1:6]
    assert (truth[near] == truth[:, None]).mean() > 0.98
    shuffled = np.random.default_rng(0).permutation(truth)
    assert (shuffled[near] == shuffled[:, None]).mean() < 0.6, "negative control"
    assert models[0] is not None
    moved = models[0].positions(vectors[:7] + 0.01)  # rows that it was not fitted on
    assert np.linalg.norm(moved - places[0][:7], axis=1).max() < np.ptp(places[0], axis=0).max() / 4
    unknown = np.vstack([vectors[:3], np.zeros((1, vectors.shape[1]), np.float32)])
    assert np.isnan(models[0].positions(unknown)[3]).all()


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(UsageError, match="--map: no layout 'tsne': choose from pca, umap"):
        check_layout("tsne")
    check_layout("pca")
