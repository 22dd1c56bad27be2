"""Which weights to try next: Optuna's tree-structured Parzen estimator (Bergstra et al. 2011)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from ifdkit.selection.tuned import WeightTrial

Evaluate = Callable[[int, Mapping[str, float]], float]
"""Number of a trial, 1-based, and field → weight: the number to minimize."""
_DECIMALS = 2


def alone(fields: Sequence[str]) -> list[dict[str, float]]:
    """Each field alone, its highest and then its lowest values."""
    return [{name: weight} for name in fields for weight in (1.0, -1.0)]


def try_weights(
    fields: Sequence[str], n_trials: int, seed: int, evaluate: Evaluate
) -> list[WeightTrial]:
    """Minimize over weights in −1…1: each field alone, then what the sampler draws.

    A function of its arguments: repeated, it makes the same trials, and more of them begin with
    the same.
    """
    import optuna

    with _quiet_optuna():
        study = optuna.create_study(
            direction="minimize", sampler=optuna.samplers.TPESampler(seed=seed)
        )
        space = {name: optuna.distributions.FloatDistribution(-1.0, 1.0) for name in fields}
        for weights in alone(fields):
            study.enqueue_trial(dict.fromkeys(fields, 0.0) | weights)
        trials: list[WeightTrial] = []
        while len(trials) < n_trials:
            asked = study.ask(space)
            rounded = {name: round(asked.params[name], _DECIMALS) for name in fields}
            weights = {name: weight for name, weight in rounded.items() if weight}
            if not weights:  # they rank nothing
                study.tell(asked, state=optuna.trial.TrialState.FAIL)
                continue
            nll = evaluate(len(trials) + 1, weights)
            study.tell(asked, nll)
            trials.append(WeightTrial(number=len(trials) + 1, weights=weights, nll=nll))
    return trials


def sampler_name() -> str:
    """What drew the weights, with its version."""
    import optuna

    return f"TPE, optuna {optuna.__version__}"


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silence Optuna's line per trial inside the block."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
