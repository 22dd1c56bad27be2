"""What the oracle makes of each row, in the order of the file and with few rows in memory.

The rows are asked about side by side; what came of them is laid down in a temporary file, so that
the student's model is loaded when the oracle is done, and a local one gone.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import IO, Any, Protocol

from ifdkit.data.examples import examples_of
from ifdkit.data.layouts import Columns
from ifdkit.data.raw import Raw
from ifdkit.data.rewriting import NotRewritableError, with_texts
from ifdkit.records import Example, Reject
from ifdkit.reflection.answers import parse
from ifdkit.reflection.choosing import Choice, Variant
from ifdkit.reflection.outcomes import Answer, Call, Outcome, Reply, Stage

Answers = Mapping[Variant, Answer]
"""What came of each variant that was asked for: `instruction`, `response` or `both`."""

ANY_TEXT = "x"
"""Stands for a new text where the question is only whether the row has a place for one."""


class Asks(Protocol):
    """What answers calls: an Oracle."""

    async def ask(self, call: Call) -> Reply:
        """The reply to one call."""
        ...


class Questions(Protocol):
    """What makes calls of examples: Prompts, bound to a model and its sampling."""

    def __call__(self, stage: Stage, example: Example) -> Call:
        """The call for one stage of an example."""
        ...


@dataclass(frozen=True, slots=True)
class Draft:
    """What the oracle made of one example."""

    turn: int
    answers: Answers


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask about every example."""

    columns: Columns
    stages: tuple[Stage, ...]
    every_variant: bool = False
    """Answer the old instruction too where there is a new one, for the student to choose from."""


def available(
    example: Example, answers: Answers, stages: tuple[Stage, ...]
) -> dict[Variant, Example]:
    """The variants that were had, the original first.

    A new instruction to which no clean response was had is none of them: the old response was not
    written for it.
    """
    found: dict[Variant, Example] = {"original": example}
    new, both, response = (answers.get(v) for v in ("instruction", "both", "response"))
    if response is not None and response.text is not None:
        found["response"] = replace(example, response=response.text)
    if new is None or new.text is None:
        return found
    asked = with_instruction(example, new.text)
    if Stage.RESPONSE not in stages or (both and both.outcome in _CLEAN):
        found["instruction"] = asked
    if both is not None and both.text is not None:
        found["both"] = replace(asked, response=both.text)
    return found


_CLEAN = (Outcome.REWRITTEN, Outcome.KEPT)
_ORPHAN = "no clean response to it was had, and the old one was not written for it"


def most_rewritten(answers: Answers, variants: Iterable[Variant]) -> Choice:
    """What stands where no student chooses: all that was rewritten."""
    there = set(variants)
    order: tuple[Variant, ...] = ("both", "instruction", "response", "original")
    variant = next(one for one in order if one in there)
    new = answers.get("instruction")
    is_orphan = new is not None and new.text is not None and "instruction" not in there
    return Choice(variant, _ORPHAN if is_orphan else None)


def chosen_texts(answers: Answers, choice: Choice) -> dict[str, str]:
    """The new texts that a choice takes, as `with_texts` takes them."""
    texts: dict[str, str] = {}
    if choice.takes_instruction:
        texts["instruction"] = _text(answers["instruction"])
    if choice.takes_response:
        texts["response"] = _text(answers[choice.variant])
    return texts


def _text(answer: Answer) -> str:
    assert answer.text is not None, "a variant is available only with its text"
    return answer.text


def with_instruction(example: Example, text: str) -> Example:
    """The example with another instruction; its `input` stays."""
    *before, last = example.context
    return replace(example, context=(*before, replace(last, text=text)))


class Drafter:
    """Asks about rows, one after the other within a row and side by side across rows."""

    def __init__(self, oracle: Asks, questions: Questions, plan: Plan, window: int) -> None:
        self._oracle, self._questions, self._plan, self._window = oracle, questions, plan, window

    async def drafts(
        self, rows: Iterable[tuple[Raw, list[Example] | Reject]]
    ) -> AsyncGenerator[list[Draft]]:
        """The drafts of each row, in order; none for a rejected one.

        At most `window` rows are in memory.  Where the block that iterates ends early, what is in
        flight is cancelled.
        """
        under_way: deque[asyncio.Task[list[Draft]]] = deque()
        try:
            for raw, found in rows:
                examples = [] if isinstance(found, Reject) else found
                under_way.append(asyncio.create_task(self._row(raw, examples)))
                if len(under_way) >= self._window:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _row(self, raw: Raw, examples: list[Example]) -> list[Draft]:
        """One turn after the other: each sees those before it as they were rewritten."""
        drafts, value = [], raw.value
        for example in examples:
            is_new = value is not raw.value
            current = reread(example, value, self._plan.columns) if is_new else example
            answers = await self._example(value, current)
            drafts.append(Draft(example.turn, answers))
            if len(examples) > 1:
                variants = available(current, answers, self._plan.stages)
                choice = most_rewritten(answers, variants)
                if texts := chosen_texts(answers, choice):
                    value = with_texts(value, self._plan.columns, current, **texts)
        return drafts

    async def _example(self, value: Mapping[str, Any], example: Example) -> Answers:
        answers: dict[Variant, Answer] = {}
        stages = self._plan.stages
        if Stage.INSTRUCTION in stages:
            answers["instruction"] = await self._answer(Stage.INSTRUCTION, value, example)
        if Stage.RESPONSE not in stages:
            return answers
        new = answers.get("instruction")
        wanted: dict[Variant, str | None] = {}
        if new is not None and new.text is not None:
            wanted["both"] = new.text
        if not wanted or self._plan.every_variant:
            wanted["response"] = None
        found = await asyncio.gather(
            *(self._answer(Stage.RESPONSE, value, example, text) for text in wanted.values())
        )
        return {**answers, **dict(zip(wanted, found, strict=True))}

    async def _answer(
        self,
        stage: Stage,
        value: Mapping[str, Any],
        example: Example,
        instruction: str | None = None,
    ) -> Answer:
        """What comes of one call; nothing is asked where no new text could stand in the row."""
        columns = self._plan.columns
        if problem := unaskable(value, columns, example, {str(stage): ANY_TEXT}):
            return Answer(Outcome.KEPT, f"not asked: {problem}")
        asked = example if instruction is None else with_instruction(example, instruction)
        call = self._questions(stage, asked)
        answer = parse(call, await self._oracle.ask(call))
        if answer.text is None:
            return answer
        texts = {str(stage): answer.text}
        if instruction is not None:
            texts["instruction"] = instruction
        if problem := unaskable(value, columns, example, texts):
            return replace(answer, outcome=Outcome.UNPARSED, reason=problem, text=None)
        return answer


def unaskable(
    value: Mapping[str, Any], columns: Columns, example: Example, texts: Mapping[str, str]
) -> str | None:
    """Why these texts, by stage, could not stand in the row; None where they could."""
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
    """Lay down the drafts of one row."""
    plain = [[d.turn, {name: asdict(one) for name, one in d.answers.items()}] for d in drafts]
    # ASCII, so that no text can fail to encode.
    file.write(json.dumps(plain).encode() + b"\n")


def read_drafts(file: IO[bytes]) -> Iterator[list[Draft]]:
    """The drafts of each row, as they were laid down."""
    file.seek(0)
    for line in file:
        yield [
            Draft(turn, {name: _answer(one) for name, one in answers.items()})
            for turn, answers in json.loads(line)
        ]


def _answer(plain: dict[str, Any]) -> Answer:
    return Answer(**{**plain, "outcome": Outcome(plain["outcome"]), "notes": tuple(plain["notes"])})
