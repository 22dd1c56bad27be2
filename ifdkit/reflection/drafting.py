"""The oracle's rewrites of each row, in the order of the file and with few rows in memory.

Rows are processed concurrently.  Their results go to a temporary file, so that the student's model
is loaded only after the oracle has finished and a local one has stopped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import starmap
from typing import IO, Any, Protocol

from ifdkit.data.columns import Columns
from ifdkit.data.examples import examples_of
from ifdkit.data.raw import Raw
from ifdkit.data.rewriting import NotRewritableError, with_texts
from ifdkit.oracle.calls import Reply
from ifdkit.oracle.session import in_order
from ifdkit.records import Example, Reject
from ifdkit.reflection.answers import parse
from ifdkit.reflection.choosing import Choice, Variant
from ifdkit.reflection.outcomes import Answer, Call, Outcome, Stage

Answers = Mapping[Variant, Answer]
"""The answer for each variant that was asked for: `instruction`, `response` or `both`."""

PLACEHOLDER = "x"
"""Stands for a new text when the question is only whether the row can take one."""

_CLEAN = (Outcome.REWRITTEN, Outcome.KEPT)


class Asker(Protocol):
    """Answers calls; implemented by `Oracle`."""

    async def ask(self, call: Call) -> Reply:
        """The reply to one call."""
        ...


class CallMaker(Protocol):
    """Makes calls from examples: `Prompts.call` with a model and its sampling."""

    def __call__(self, stage: Stage, example: Example) -> Call:
        """The call for one stage of an example."""
        ...


@dataclass(frozen=True, slots=True)
class Draft:
    """The oracle's answers for one example."""

    turn: int
    answers: Answers


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask about every example."""

    columns_of: Callable[[int], Columns]
    """How the row at a position is read."""
    stages: tuple[Stage, ...]
    every_variant: bool = False
    """Answer the old instruction as well as the new one, for the student to choose from."""


def available_variants(
    example: Example, answers: Answers, stages: tuple[Stage, ...]
) -> dict[Variant, Example]:
    """The variants that can be in the output, the original first.

    A new instruction without a clean response to it is not one of them, because the old response
    was not written for it.
    """
    variants: dict[Variant, Example] = {"original": example}
    new, both, response = (answers.get(v) for v in ("instruction", "both", "response"))
    if response is not None and response.text is not None:
        variants["response"] = replace(example, response=response.text)
    if new is None or new.text is None:
        return variants
    asked = with_instruction(example, new.text)
    if Stage.RESPONSE not in stages or (both and both.outcome in _CLEAN):
        variants["instruction"] = asked
    if both is not None and both.text is not None:
        variants["both"] = replace(asked, response=both.text)
    return variants


def most_rewritten(answers: Answers, variants: Iterable[Variant]) -> Choice:
    """The choice if there is no student: everything that was rewritten."""
    available = set(variants)
    order: tuple[Variant, ...] = ("both", "instruction", "response", "original")
    variant = next(one for one in order if one in available)
    new = answers.get("instruction")
    if new is not None and new.text is not None and "instruction" not in available:
        return Choice(variant, "there is no clean response to it, and the old response was not"
                      " written for it")  # fmt: skip
    return Choice(variant)


def chosen_texts(answers: Answers, choice: Choice) -> dict[str, str]:
    """The new texts of a choice, as keywords of `with_texts`."""
    texts: dict[str, str | None] = {}
    if choice.accepts_instruction:
        texts["instruction"] = answers["instruction"].text
    if choice.accepts_response:
        texts["response"] = answers[choice.variant].text
    # None is for the type checker: a variant is available only if its texts are.
    return {name: text for name, text in texts.items() if text is not None}


def with_instruction(example: Example, text: str) -> Example:
    """The example with another instruction and the same `input`."""
    *before, last = example.context
    return replace(example, context=(*before, replace(last, text=text)))


class Drafter:
    """Asks about rows: sequentially within a row, concurrently across rows."""

    def __init__(self, oracle: Asker, make_call: CallMaker, plan: Plan, window: int) -> None:
        """At most `window` rows are in memory."""
        self._oracle, self._make_call, self._plan, self._window = oracle, make_call, plan, window

    def drafts(
        self, rows: Iterable[tuple[Raw, list[Example] | Reject]]
    ) -> AsyncGenerator[list[Draft]]:
        """The drafts of each row, in order; none for a rejected row.

        Closing the generator early cancels the calls in flight.
        """
        rows_with_examples = (
            (raw, [] if isinstance(found, Reject) else found) for raw, found in rows
        )
        return in_order(starmap(self._row, rows_with_examples), self._window)

    async def _row(self, raw: Raw, examples: list[Example]) -> list[Draft]:
        """One turn after the other: each sees the rewritten turns before it."""
        drafts, value = [], raw.value
        columns = self._plan.columns_of(raw.row)
        for example in examples:
            is_changed = value is not raw.value
            current = reread(example, value, columns) if is_changed else example
            answers = await self._example(value, current)
            drafts.append(Draft(example.turn, answers))
            if len(examples) > 1:
                variants = available_variants(current, answers, self._plan.stages)
                choice = most_rewritten(answers, variants)
                if texts := chosen_texts(answers, choice):
                    value = with_texts(value, columns, current, **texts)
        return drafts

    async def _example(self, value: Mapping[str, Any], example: Example) -> Answers:
        answers: dict[Variant, Answer] = {}
        stages = self._plan.stages
        if Stage.INSTRUCTION in stages:
            answers["instruction"] = await self._answer(Stage.INSTRUCTION, value, example)
        if Stage.RESPONSE not in stages:
            return answers
        new = answers.get("instruction")
        instructions: dict[Variant, str | None] = {}
        if new is not None and new.text is not None:
            instructions["both"] = new.text
        if not instructions or self._plan.every_variant:
            instructions["response"] = None
        found = await asyncio.gather(
            *(self._answer(Stage.RESPONSE, value, example, text) for text in instructions.values())
        )
        return {**answers, **dict(zip(instructions, found, strict=True))}

    async def _answer(
        self,
        stage: Stage,
        value: Mapping[str, Any],
        example: Example,
        instruction: str | None = None,
    ) -> Answer:
        """The answer to one call; nothing is asked if the row cannot take a new text."""
        columns = self._plan.columns_of(example.row)
        if problem := why_not_rewritable(value, columns, example, {str(stage): PLACEHOLDER}):
            return Answer(Outcome.KEPT, f"not asked: {problem}")
        asked = example if instruction is None else with_instruction(example, instruction)
        call = self._make_call(stage, asked)
        answer = parse(call, await self._oracle.ask(call))
        if answer.text is None:
            return answer
        texts = {str(stage): answer.text}
        if instruction is not None:
            texts["instruction"] = instruction
        if problem := why_not_rewritable(value, columns, example, texts):
            return replace(answer, outcome=Outcome.UNPARSED, reason=problem, text=None)
        return answer


def why_not_rewritable(
    value: Mapping[str, Any], columns: Columns, example: Example, texts: Mapping[str, str]
) -> str | None:
    """Why the row cannot take these texts, by stage; None if it can."""
    if example.last_user_turn is None or not example.instruction.strip():
        return "there is no instruction"
    try:
        with_texts(value, columns, example, **texts)
    except NotRewritableError as error:
        return str(error)
    return None


def reread(example: Example, value: Mapping[str, Any], columns: Columns) -> Example:
    """The same turn of a row whose earlier turns have been rewritten."""
    found = examples_of(example.row, value, columns)
    same = next(one for one in found if one.turn == example.turn)
    return replace(same, id=example.id)


def write_drafts(file: IO[bytes], drafts: list[Draft]) -> None:
    """Append the drafts of one row to a temporary file."""
    plain = [[d.turn, {name: asdict(one) for name, one in d.answers.items()}] for d in drafts]
    # ASCII throughout, so that every text can be encoded.
    file.write(json.dumps(plain).encode() + b"\n")


def read_drafts(file: IO[bytes]) -> Iterator[list[Draft]]:
    """The drafts of each row, as `write_drafts` wrote them."""
    file.seek(0)
    for line in file:
        yield [
            Draft(turn, {name: _parsed(one) for name, one in answers.items()})
            for turn, answers in json.loads(line)
        ]


def _parsed(plain: dict[str, Any]) -> Answer:
    return Answer(**{**plain, "outcome": Outcome(plain["outcome"]), "notes": tuple(plain["notes"])})
