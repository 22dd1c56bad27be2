"""The plan of a run on the terminal."""

from __future__ import annotations

import click

from ifdkit.engine.flops import GPUS
from ifdkit.format import duration, percent, size
from ifdkit.scoring.cost import CostPlan

_STAND_INS = (
    "the embedder, which chooses the demonstrations, was not run: their tokens are those of random"
    " other examples"
)


def print_cost(plan: CostPlan) -> None:
    """Print what a run would cost."""
    click.echo("\n".join(cost_lines(plan)))


def cost_lines(plan: CostPlan) -> list[str]:
    """The lines of `score --plan`."""
    spent = plan.time
    rejected = f", {plan.rejects:,} of them not readable" if plan.rejects else ""
    stand_ins = [_STAND_INS] if plan.demonstrations_are_stand_ins else []
    lines = [
        f"{plan.rows:,} rows{rejected} → {plan.examples:,} examples, {plan.passes:,} passes",
        f"{plan.requests:,} distinct requests, {plan.requests_in_store:,} of them in the store",
        f"{plan.tokens:,} tokens to score in, of which {plan.shared_tokens:,} are shared:"
        f" {plan.computed_tokens:,} go through the model, {plan.scored_tokens:,} are scored",
        *stand_ins,
        f"{plan.flops:.3g} floating-point operations; the store grows by {size(plan.store_bytes)}",
        f"here: {duration(spent.total_s)} — {duration(spent.scoring_s)} scoring,"
        f" {duration(spent.embedding_s)} embedding, {duration(spent.reading_s)} reading,"
        f" {duration(spent.loading_s)} loading  (predicted from {spent.probed_batches} batches,"
        f" {spent.probe_s:.0f} s)",
        f"on other devices, computed from their peak rate at {percent(plan.utilisation)} of it, not"
        " measured; scoring alone:",
    ]
    lines += [
        f"  {name} ({GPUS[name]:,.0f} TFLOP/s): {duration(seconds)}"
        for name, seconds in plan.gpus.items()
    ]
    return lines
