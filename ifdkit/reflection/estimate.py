"""The calls, tokens and cost of a run, estimated without asking anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ifdkit.data.dataset import Dataset
from ifdkit.oracle.calls import Form
from ifdkit.oracle.limits import Bounds, Usage
from ifdkit.records import Example, Reject
from ifdkit.reflection.drafting import PLACEHOLDER, CallMaker, Plan, why_not_rewritable
from ifdkit.reflection.outcomes import Call, Stage

MAX_PROMPTS_SHOWN = 3
_CRITICISM_TOKENS = 100
_GROWTH = 2
"""Assumed length of a rewritten text, relative to its original."""


@dataclass(frozen=True, slots=True)
class CallEstimate:
    """Calls, tokens and cost of a run over all rows."""

    rows: int
    calls: dict[str, int]
    """Stage → calls, if every instruction is rewritten."""
    likely: Usage
    """At one token per four bytes; replies of a short criticism and a text twice its original."""
    most_completion_tokens: int
    """If every reply is as long as allowed."""
    likely_cost: float | None
    """Cost of `likely`; None if no prices are given."""
    most_cost: float | None
    """Cost if every reply is as long as allowed; None if no prices are given."""
    prompts: tuple[tuple[str, str], ...]
    """Stage and text of the first prompts."""

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self)


def estimate(dataset: Dataset, make_call: CallMaker, plan: Plan, bounds: Bounds) -> CallEstimate:
    """Make the calls of a run without sending them.

    A response call uses the old instruction in place of the new one.
    """
    calls: Counter[str] = Counter()
    prompts: list[tuple[str, str]] = []
    likely, most_completion_tokens = Usage(), 0
    for raw, found in zip(dataset.raw_rows(), dataset, strict=True):
        for example in [] if isinstance(found, Reject) else found:
            for call in _calls(raw.value, example, make_call, plan):
                calls[str(call.stage)] += 1
                if len(prompts) < MAX_PROMPTS_SHOWN:
                    prompts = list(dict.fromkeys([*prompts, (str(call.stage), _as_sent(call))]))
                likely += Usage(call.likely_prompt_tokens, _likely_completion_tokens(call))
                most_completion_tokens += call.sampling.max_tokens
    return CallEstimate(
        rows=dataset.n_rows,
        calls=dict(calls),
        likely=likely,
        most_completion_tokens=most_completion_tokens,
        likely_cost=bounds.cost(likely),
        most_cost=bounds.cost(Usage(likely.prompt_tokens, most_completion_tokens)),
        prompts=tuple(prompts),
    )


def _calls(
    value: Mapping[str, Any], example: Example, make_call: CallMaker, plan: Plan
) -> Iterator[Call]:
    """The calls about one example, if its instruction is rewritten."""
    columns = plan.columns_of(example.row)
    stages = [
        stage for stage in plan.stages
        if why_not_rewritable(value, columns, example, {str(stage): PLACEHOLDER}) is None
    ]  # fmt: skip
    for stage in stages:
        yield make_call(stage, example)
    if plan.every_variant and len(stages) == 2:
        yield make_call(Stage.RESPONSE, example)  # to the old instruction as well as the new


def _likely_completion_tokens(call: Call) -> int:
    tokens = _CRITICISM_TOKENS + _GROWTH * len(call.original.encode()) // 4
    return min(tokens, call.sampling.max_tokens)


def _as_sent(call: Call) -> str:
    return "\n\n".join(
        f"[{message['role']}]\n{message['content']}" for message in call.messages(Form.SCHEMA)
    )
