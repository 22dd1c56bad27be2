"""What a run would ask and cost, told without asking anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ifdkit.data.dataset import Dataset
from ifdkit.records import Example, Reject
from ifdkit.reflection.drafting import ANY_TEXT, Plan, Questions, unaskable
from ifdkit.reflection.limits import Bounds, Usage
from ifdkit.reflection.outcomes import Call, Form, Stage

PROMPTS_SHOWN = 3
_CRITICISM_TOKENS = 100
_GROWTH = 2
"""A rewritten text is taken to be so many times as long as its original."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Calls and tokens of a run that asks about every row."""

    rows: int
    calls: dict[str, int]
    """Stage → calls, if every instruction is rewritten."""
    likely: Usage
    """One token in four bytes; answers of a short criticism and a text twice its original."""
    most_completion_tokens: int
    """Every answer as long as it may be."""
    likely_cost: float | None
    most_cost: float | None
    prompts: tuple[tuple[str, str], ...]
    """Stage and text of the first calls, as they would be sent."""

    def as_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return asdict(self)


def estimate(dataset: Dataset, questions: Questions, plan: Plan, bounds: Bounds) -> Estimate:
    """Go through a dataset as a run would; a new instruction is taken to be like the old one."""
    calls: Counter[str] = Counter()
    prompts: list[tuple[str, str]] = []
    used, most = Usage(), 0
    for raw, found in zip(dataset.raw_rows(), dataset, strict=True):
        for example in [] if isinstance(found, Reject) else found:
            for call in _calls(raw.value, example, questions, plan):
                calls[str(call.stage)] += 1
                if len(prompts) < PROMPTS_SHOWN:
                    prompts = list(dict.fromkeys([*prompts, (str(call.stage), _as_sent(call))]))
                used += Usage(call.likely_prompt_tokens, _likely_answer(call))
                most += call.sampling.max_tokens
    return Estimate(
        rows=dataset.n_rows,
        calls=dict(calls),
        likely=used,
        most_completion_tokens=most,
        likely_cost=bounds.cost(used),
        most_cost=bounds.cost(Usage(used.prompt_tokens, most)),
        prompts=tuple(prompts),
    )


def _calls(
    value: Mapping[str, Any], example: Example, questions: Questions, plan: Plan
) -> Iterator[Call]:
    can = {
        stage: unaskable(value, plan.columns, example, {str(stage): ANY_TEXT}) is None
        for stage in plan.stages
    }
    for stage in plan.stages:
        if can[stage]:
            yield questions(stage, example)
    if plan.every_variant and len(plan.stages) == 2 and all(can.values()):
        yield questions(Stage.RESPONSE, example)  # to the old instruction as well as the new


def _likely_answer(call: Call) -> int:
    tokens = _CRITICISM_TOKENS + _GROWTH * len(call.original.encode()) // 4
    return min(tokens, call.sampling.max_tokens)


def _as_sent(call: Call) -> str:
    return "\n\n".join(
        f"[{message['role']}]\n{message['content']}" for message in call.messages(Form.SCHEMA)
    )
