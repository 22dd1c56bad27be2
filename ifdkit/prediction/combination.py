"""A small combination of length and scores, evaluated on instructions that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ifdkit.prediction.result import Combination
from ifdkit.stats.columns import Column
from ifdkit.stats.discrimination import (
    Clusters,
    Labels,
    auc,
    auc_difference,
    brier,
    calibration,
)

FOLDS = 5
_MIN_DEFINED = 0.9
_MIN_PAIRS_PER_FEATURE = 10
"""Pairs of the rarer preference; with fewer a regression says more about chance than the scores."""


def combine(
    changes: Mapping[str, Column],
    length_field: str,
    labels: Labels,
    clusters: Clusters,
    is_matched: Labels,
    *,
    seed: int,
) -> Combination | None:
    """Cross-validated predictions of length with all scores, and of length alone.

    `changes` are the columns of all scores and of length, shape (n,), NaN if undefined.  Scores
    that are undefined for more than a tenth of the pairs are left out, then pairs with a missing
    score.  None if the rest is too small.
    """
    fields = [name for name, one in changes.items() if np.isfinite(one).mean() >= _MIN_DEFINED]
    if length_field not in fields:
        return None
    features = np.column_stack([changes[name] for name in fields])  # (n, scores)
    known = np.isfinite(features).all(axis=1)
    features, y, groups = features[known], labels[known], clusters[known]
    rarer = min(int(y.sum()), int((~y).sum()))
    if rarer < _MIN_PAIRS_PER_FEATURE * len(fields) or len(np.unique(groups)) < 2 * FOLDS:
        return None
    only_length = features[:, [fields.index(length_field)]]
    predicted = _out_of_fold(features, y, groups, seed)
    baseline = _out_of_fold(only_length, y, groups, seed)
    whole, alone = auc(predicted, y, groups), auc(baseline, y, groups)
    difference = auc_difference(predicted, baseline, y, groups)
    matched = is_matched[known]
    on_matched = auc(predicted[matched], y[matched], groups[matched])
    return Combination(
        n=len(y),
        folds=FOLDS,
        fields=tuple(fields),
        auc=whole.value,
        ci95=whole.ci95,
        auc_length=alone.value,
        difference=difference.value,
        difference_ci95=difference.ci95,
        difference_p=difference.p,
        n_length_matched=on_matched.n,
        auc_length_matched=on_matched.value,
        ci95_length_matched=on_matched.ci95,
        brier=brier(predicted, y),
        brier_length=brier(baseline, y),
        calibration=calibration(predicted, y),
    )


def _out_of_fold(
    features: NDArray[np.float64], labels: Labels, groups: Clusters, seed: int
) -> Column:
    """P(positive) of each row from a regression that saw no row of its group, shape (n,).

    A standardised L2-penalised logistic regression with scikit-learn's default C = 1.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    found: NDArray[np.float64] = cross_val_predict(
        model, features, labels, groups=groups, cv=folds, method="predict_proba"
    )
    return found[:, 1]
