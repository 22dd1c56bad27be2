"""Which tokens are scored: spans, anchors, boundaries and truncation, with a readable tokenizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifdkit.errors import UsageError
from ifdkit.prompting.alignment import Aligner
from ifdkit.prompting.protocols import PROTOCOLS, choose_template
from ifdkit.prompting.templates import JinjaTemplate, load_template
from ifdkit.prompting.tokens import Encoded
from ifdkit.records import PASSES, Example, Pass, Passes, Status, Turn

BOS = 0
ALL = frozenset(PASSES)


@dataclass(frozen=True)
class Words:
    """A tokenizer whose tokens are words with the space before them; `:` and a newline are one."""

    anchor_id: int | None = BOS
    adds_bos: bool = False
    added_ids: tuple[list[int], list[int]] | None = None

    def _pieces(self, text: str) -> list[tuple[int, int]]:
        return [m.span() for m in re.finditer(r":\n| ?\w+|\s|[^\w\s]", text)]

    def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        first = [BOS] if special and self.adds_bos else []
        return [
            first + [1 + hash(text[a:b]) % 10**6 for a, b in self._pieces(text)] for text in texts
        ]

    def encode_from(self, texts: Sequence[str], *, special: bool, first: int) -> list[Encoded]:
        offsets = [self.offsets(text, special=special) for text in texts]
        return [
            Encoded(ids, *((one[first - 1][1], one[-1][1]) if 0 < first <= len(one) else (0, 0)))
            for ids, one in zip(self.encode(texts, special=special), offsets, strict=True)
        ]

    def offsets(self, text: str, *, special: bool) -> list[tuple[int, int]]:
        return ([(0, 0)] if special and self.adds_bos else []) + self._pieces(text)


def pair(instruction: str, response: str, data: str = "") -> Example:
    return Example("x", 0, 0, (Turn("user", instruction, data),), response)


def align(
    example: Example,
    protocol: str = "aligned",
    tokenizer: Words | None = None,
    max_length: int = 100,
    wanted: frozenset[str] = ALL,
    template: str | None = None,
) -> Passes:
    chosen = PROTOCOLS[protocol]
    wording = load_template(choose_template(chosen, template))
    aligner = Aligner(tokenizer or Words(), chosen, wording, max_length, wanted)
    (passes,) = aligner.align([example])
    return passes


def ids(text: str) -> list[int]:
    return Words().encode([text], special=False)[0]


def span(one: Pass | None) -> list[int]:
    assert one is not None
    return [int(i) for i in one.requests[0].ids[one.requests[0].start : one.requests[0].stop]]


def context(one: Pass | None) -> list[int]:
    assert one is not None
    return [int(i) for i in one.requests[0].ids[: one.requests[0].start]]


def test_aligned_scores_the_same_ids_in_both_passes() -> None:
    passes = align(pair("Say hello", "Hello there friend"))
    assert span(passes.response_direct) == span(passes.response_conditional)
    assert span(passes.response_direct) == ids("Hello there friend")
    assert context(passes.response_direct) == [BOS]
    assert context(passes.response_conditional) == [BOS, *ids("Say hello\n")]
    assert span(passes.instruction_direct) == span(passes.instruction_conditional)
    assert span(passes.instruction_direct) == ids("Say hello")
    assert passes.status is Status.OK
    assert passes.scored_bytes == len("Hello there friend")


def test_without_an_anchor_the_first_token_is_scored_in_neither_pass() -> None:
    passes = align(pair("Say hello", "Hello there friend"), tokenizer=Words(anchor_id=None))
    for one in (passes.response_direct, passes.response_conditional):
        assert one is not None
        assert one.skipped == 1
        assert span(one) == ids("Hello there friend")[1:]
    assert context(passes.response_conditional) == ids("Say hello\nHello")
    assert passes.scored_bytes == len(" there friend")


def test_a_prompt_that_begins_with_the_anchor_gets_no_second_one() -> None:
    class WithBOS(Words):
        def encode(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
            return [[BOS, *t] if t else t for t in super().encode(texts, special=special)]

    passes = align(pair("Say hello", "Hello"), tokenizer=WithBOS())
    assert context(passes.response_conditional) == [BOS, *ids("Say hello\n")]


@given(
    st.text(alphabet="ab :\n", min_size=1, max_size=30),
    st.text(alphabet="ab :\n", min_size=1, max_size=60),
    st.integers(2, 40),
    st.booleans(),
)
def test_aligned_truncates_both_passes_alike_at_any_length(
    instruction: str, response: str, max_length: int, has_anchor: bool
) -> None:
    tokenizer = Words(anchor_id=BOS if has_anchor else None)
    passes = align(pair(instruction, response), tokenizer=tokenizer, max_length=max_length)
    for _, one in passes.present():
        assert one.requests[0].stop <= max_length
    direct, conditional = passes.response_direct, passes.response_conditional
    if direct and conditional:
        assert span(direct) == span(conditional)
        kept = len(span(direct)) + direct.skipped
        assert passes.truncated_tokens == len(ids(response)) - kept
        assert span(direct) == ids(response)[direct.skipped : kept]
    if passes.status is Status.OK:
        assert len(passes.present()) == 4
        assert passes.truncated_tokens == 0
        assert passes.reason is None
    else:
        assert passes.reason


@pytest.mark.parametrize(
    ("instruction", "response", "max_length", "status"),
    [
        ("Say hello", "Hello", 100, Status.OK),
        ("Say hello", "", 100, Status.EMPTY_RESPONSE),
        ("Say hello", " \n", 100, Status.EMPTY_RESPONSE),
        ("", "Hello", 100, Status.EMPTY_INSTRUCTION),
        ("Say hello", "one two three four", 6, Status.TRUNCATED),
        ("one two three four", "Hello", 5, Status.PROMPT_TOO_LONG),
        ("one two three four", "Hello", 6, Status.PROMPT_TOO_LONG),
    ],
)
def test_status(instruction: str, response: str, max_length: int, status: Status) -> None:
    wanted = frozenset({"response_direct", "response_conditional"})
    passes = align(pair(instruction, response), max_length=max_length, wanted=wanted)
    assert passes.status is status, passes.reason


def test_a_pair_with_an_empty_half_keeps_the_pass_that_is_defined() -> None:
    without_response = align(pair("Say hello", ""))
    assert [name for name, _ in without_response.present()] == ["instruction_direct"]
    without_instruction = align(pair(" ", "Hello you"))
    assert [name for name, _ in without_instruction.present()] == ["response_direct"]


def test_a_long_reverse_prompt_loses_the_end_of_the_response_not_the_instruction() -> None:
    long = " ".join(f"word{i}" for i in range(60))
    whole = align(pair("Say hello to them", long), max_length=200)
    cut = align(pair("Say hello to them", long), max_length=64)
    assert span(cut.instruction_conditional) == span(whole.instruction_conditional)
    assert cut.instruction_conditional is not None
    assert cut.instruction_conditional.requests[0].stop <= 64
    kept = context(cut.instruction_conditional)
    assert ids(" word0")[0] in kept or ids("\nword0")[0] in kept
    assert ids(" word59")[0] not in kept
    assert cut.status is Status.TRUNCATED


def test_joined_protocols_split_where_the_tokens_of_the_prompt_end() -> None:
    """`:` and a newline are one token here, so the joined text has one token less."""
    passes = align(pair("Say hello", "\nHello there"), "cherry")
    prompt = load_template("alpaca").render([Turn("user", "Say hello")])
    joined = ids(prompt + "\nHello there")
    assert len(joined) < len(ids(prompt)) + len(ids("\nHello there"))
    assert span(passes.response_conditional) == joined[len(ids(prompt)) :]
    assert (
        context(passes.response_direct) == ids("### Response:\nHello")[: len(ids("### Response:"))]
    )


@pytest.mark.parametrize("adds_bos", [False, True])
def test_without_a_prefix_the_first_token_is_scored_only_after_a_bos(adds_bos: bool) -> None:
    passes = align(
        pair("Say hello", "Hello there friend"), "superfiltering", Words(adds_bos=adds_bos)
    )
    assert passes.response_direct is not None
    assert passes.response_direct.skipped == (0 if adds_bos else 1)
    expected = ids("Hello there friend")
    assert span(passes.response_direct) == (expected if adds_bos else expected[1:])
    assert span(passes.response_conditional) == expected
    assert passes.scored_bytes == len("Hello there friend" if adds_bos else " there friend")


def test_a_one_token_response_has_nothing_to_score_if_its_first_token_is_context() -> None:
    passes = align(pair("Say hello", "Hello"), "superfiltering")
    assert passes.status is Status.NOTHING_TO_SCORE
    assert passes.response_direct is None
    assert passes.response_conditional is not None
    assert align(pair("Say hello", "Hello")).status is Status.OK


def test_the_last_occurrence_of_a_joined_instruction_is_the_boundary() -> None:
    """As in the published script; here the input repeats the instruction."""
    passes = align(pair("Copy", "Yes sir", "this:Copy"), "reflection", max_length=200)
    assert span(passes.instruction_conditional) == ids("Copy")
    assert passes.instruction_direct is not None
    assert len(span(passes.instruction_direct)) == len(ids("Copythis:Copy")) - 1


def test_every_earlier_turn_of_a_conversation_precedes_the_response() -> None:
    turns = (
        Turn("system", "Be kind"),
        Turn("user", "Hi"),
        Turn("assistant", "Hello"),
        Turn("user", "Sum", "1 2"),
        Turn("tool", "3"),
    )
    example = Example("x", 0, 1, turns, "Three", tools="adder")
    passes = align(example)
    assert example.instruction == "Sum\n1 2"
    expected = "adder\nBe kind\nHi\nHello\nSum\n1 2\n3\n"
    assert context(passes.response_conditional) == [BOS, *ids(expected)]


def test_a_template_that_cannot_express_a_row_makes_it_invalid() -> None:
    template = JinjaTemplate("strict", "{{ nothing_like_this }}")
    aligner = Aligner(Words(), PROTOCOLS["aligned"], template, 50, ALL)
    (passes,) = aligner.align([pair("Say hello", "Hello")])
    assert passes.status is Status.INVALID
    assert passes.present() == []


def test_only_wanted_passes_are_made() -> None:
    for wanted in (frozenset({"response_direct"}), frozenset({"instruction_conditional"})):
        passes = align(pair("Say hello", "Hello you"), wanted=wanted)
        assert {name for name, _ in passes.present()} == wanted
        assert passes.status is Status.OK


def test_token_counts_are_those_of_the_bare_texts_under_every_protocol() -> None:
    for protocol in PROTOCOLS:
        passes = align(pair("Say hello", "Hello there", "you"), protocol, Words(adds_bos=True))
        assert passes.instruction_tokens == len(ids("Say hello\nyou"))
        assert passes.response_tokens == 2


def test_a_published_protocol_rejects_other_templates() -> None:
    assert choose_template(PROTOCOLS["reflection"], None) == "vicuna"
    assert choose_template(PROTOCOLS["reflection"], "wizardlm") == "wizardlm"
    assert choose_template(PROTOCOLS["aligned"], "anything.jinja") == "anything.jinja"
    with pytest.raises(UsageError, match="vicuna or alpaca or wizardlm, not 'plain'"):
        choose_template(PROTOCOLS["reflection"], "plain")


def test_examples_align_alike_in_a_batch_and_alone() -> None:
    examples = [pair(f"Say {i}", f"word {i} again", "x" * (i % 2)) for i in range(5)]
    for protocol in PROTOCOLS.values():
        wording = load_template(protocol.templates[0])
        aligner = Aligner(Words(), protocol, wording, 100, ALL)
        for example, together in zip(examples, aligner.align(examples), strict=True):
            (alone,) = aligner.align([replace(example)])
            contents = [[one.content for one in passes.requests] for passes in (alone, together)]
            assert contents[0] == contents[1]


@pytest.mark.parametrize("protocol", ["superfiltering", "reflection", "cherry"])
def test_a_long_response_does_not_truncate_the_direct_instruction(
    protocol: str,
) -> None:
    """Only the conditional pass over the instruction has to fit the response in as well."""
    instruction = " ".join(f"word{i}" for i in range(12))
    response = " ".join(f"long{i}" for i in range(300))
    wanted = ALL - {"instruction_conditional"}
    passes = align(pair(instruction, response), protocol, max_length=400, wanted=wanted)
    assert span(passes.instruction_direct) == ids(instruction)[1:]
    assert passes.status is Status.OK, passes.reason
    crowded = align(pair(instruction, response), protocol, max_length=320, wanted=ALL)
    assert crowded.status is Status.PROMPT_TOO_LONG


def test_a_template_that_cannot_ask_for_an_instruction_makes_the_row_invalid() -> None:
    template = JinjaTemplate("second", "{{ turns[1].text }}")
    context = (Turn("system", "Be kind"), Turn("user", "Hi"))
    for wanted, status in ((ALL, Status.INVALID), (ALL - {"instruction_conditional"}, Status.OK)):
        aligner = Aligner(Words(), PROTOCOLS["aligned"], template, 50, wanted)
        (passes,) = aligner.align([Example("x", 0, 0, context, "Hello")])
        assert passes.status is status, passes.reason
