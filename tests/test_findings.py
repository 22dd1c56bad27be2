"""Findings: what is planted is found with exactly its rows, and clean data gives none."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ifdkit.findings import CHECKS, KINDS, TITLES, TextPair, find, near, phrases
from ifdkit.findings.checks import TextCheck
from ifdkit.findings.finding import Finding
from ifdkit.findings.incomplete import cut_off
from ifdkit.findings.pairs import MAX_EXAMPLES, MAX_IDS, PairedTexts
from ifdkit.findings.scripts import scripts_differ
from ifdkit.findings.stock_phrases import ai_disclaimer, opens_with_refusal, prompt_leak, refusal
from ifdkit.findings.texts import MAX_QUOTE_CHARS, Corpus, key, quote, words

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
SharedFile = Callable[..., Path]

# Invented words, so that two rows share something only by chance.
_SYLLABLES = ["".join(parts) for parts in product("bdfgklmnprstvz", "aeiou", "lmnrst")]


def prose(rng: random.Random, n_words: int) -> str:
    """Sentences of ten words."""
    made = [rng.choice(_SYLLABLES) + rng.choice(_SYLLABLES) for _ in range(n_words)]
    sentences = [" ".join(made[at : at + 10]).capitalize() for at in range(0, n_words, 10)]
    return ". ".join(sentences) + "."


def clean(n: int = 200, seed: int = 0) -> list[TextPair]:
    """Pairs in which every text is rewritten, without any finding."""
    rng = random.Random(seed)
    return [
        TextPair(
            id_before=f"row-{row}",
            id_after=f"row-{row}",
            instruction_before=prose(rng, 12),
            response_before=prose(rng, 40),
            instruction_after=prose(rng, 18),
            response_after=prose(rng, 60),
            ifd_before=0.5,
            ifd_after=0.6,
            status_before="ok",
            status_after="ok",
        )
        for row in range(n)
    ]


def planted(rows: Iterable[int], **made: Callable[[TextPair], Any]) -> list[TextPair]:
    """Clean pairs, in some rows of which some fields are replaced by a function of the pair."""
    pairs = clean()
    for row in rows:
        pairs[row] = replace(pairs[row], **{name: make(pairs[row]) for name, make in made.items()})
    return pairs


def of_kind(findings: Iterable[Finding], kind: str) -> list[Finding]:
    return [one for one in findings if one.kind == kind]


def ids(rows: Iterable[int]) -> set[str]:
    return {f"row-{row}" for row in rows}


def real_pairs(before: Path, after: Path) -> list[TextPair]:
    """Pairs of two files with the same rows."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in (before, after)]
    return pairs_of(*rows)


def pairs_of(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[TextPair]:
    def asked(row: dict[str, Any]) -> str:
        return f"{row['instruction']}\n{row.get('input') or ''}"

    return [
        TextPair(
            id_before=str(old.get("id", row)),
            id_after=str(new.get("id", row)),
            instruction_before=asked(old),
            response_before=str(old["output"]),
            instruction_after=asked(new),
            response_after=str(new["output"]),
        )
        for row, (old, new) in enumerate(zip(before, after, strict=True))
    ]


ROWS = (3, 17, 40, 41, 77, 120, 121, 150, 188, 199)
LEAD = "Here is a longer and more thorough text: "
CODE = "```python\nprint(1)\n"
RUSSIAN = "Это длинный ответ, который написан на другом языке, чем вопрос."

# kind, side, replaced fields
PLANTS: list[tuple[str, str, dict[str, Callable[[TextPair], Any]]]] = [
    ("shared_opening", "after", {"response_after": lambda p: LEAD + p.response_after}),
    ("shared_opening", "before", {"response_before": lambda p: "**" + LEAD + p.response_before}),
    (
        "shared_closing",
        "after",
        {"response_after": lambda p: p.response_after + " I hope that this helps you!"},
    ),
    (
        "shared_instruction_opening",
        "after",
        {"instruction_after": lambda p: "Think it over step by step. " + p.instruction_after},
    ),
    (
        "refusal",
        "after",
        {"response_after": lambda p: f"I’m sorry, but I can’t help with {p.response_after}"},
    ),
    (
        "ai_disclaimer",
        "before",
        {"response_before": lambda p: f"As an AI language model, {p.response_before}"},
    ),
    (
        "prompt_leak",
        "after",
        {"response_after": lambda p: f"[New Answer] {p.response_after} [End]"},
    ),
    ("prompt_leak", "after", {"instruction_after": lambda p: f"New prompt: {p.instruction_after}"}),
    ("empty", "after", {"response_after": lambda _: " \n\t"}),
    ("empty", "before", {"response_before": lambda _: ""}),
    (
        "response_repeats_instruction",
        "after",
        {"response_after": lambda p: p.instruction_after.upper()},
    ),
    ("language_switch", "after", {"response_after": lambda p: RUSSIAN + p.id_after[4:]}),
    (
        "language_switch",
        "both",
        {
            "instruction_after": lambda p: f"Напиши короткий рассказ {p.id_after[4:]}",
            "response_after": lambda p: RUSSIAN + p.id_after[4:],
        },
    ),
    ("cut_off", "after", {"response_after": lambda p: p.response_after + " " + prose_end(p)}),
    ("unbalanced_code_fence", "after", {"response_after": lambda p: CODE + p.response_after}),
    ("got_worse", "after", {"ifd_after": lambda _: 1.0}),
    (
        "no_longer_scored",
        "after",
        {"ifd_after": lambda _: None, "status_after": lambda _: "prompt_too_long"},
    ),
    ("copied_across", "both", {"response_after": lambda p: f" {p.response_before.upper()}\n"}),
    (
        "nearly_copied_across",
        "both",
        {"response_after": lambda p: p.response_before + " Quite so."},
    ),
    ("copied_instruction", "both", {"instruction_after": lambda p: p.instruction_before}),
    ("exact_duplicate", "after", {"response_after": lambda _: "The same five words again."}),
    (
        "exact_duplicate_instruction",
        "before",
        {"instruction_before": lambda _: "The same five words again."},
    ),
    (
        "near_duplicate",
        "after",
        {"response_after": lambda p: clean(1)[0].response_after + f" The end of {p.id_after}."},
    ),
]


def prose_end(pair: TextPair) -> str:
    return prose(random.Random(pair.id_after), 14).replace(".", "") + " and the"


def corpus_of(*rows: tuple[str, str]) -> Corpus:
    """Instructions and their responses."""
    return Corpus(
        ids=tuple(map(str, range(len(rows)))),
        instructions=tuple(instruction for instruction, _ in rows),
        responses=tuple(response for _, response in rows),
    )


def shows(check: TextCheck, instruction: str, response: str) -> bool:
    return bool(check(corpus_of((instruction, response))))


@pytest.mark.parametrize("seed", range(5))
def test_clean_pairs_give_no_findings(seed: int) -> None:
    assert find(clean(seed=seed)) == ()


@pytest.mark.parametrize(
    ("kind", "side", "made"), PLANTS, ids=[f"{kind}-{side}" for kind, side, _ in PLANTS]
)
def test_what_is_planted_is_found_with_its_rows(
    kind: str, side: str, made: dict[str, Callable[[TextPair], Any]]
) -> None:
    rows = ROWS
    (found,) = of_kind(find(planted(rows, **made)), kind)
    near_row = {0} if kind == "near_duplicate" else set()
    assert (found.side, set(found.row_ids)) == (side, ids({*rows, *near_row}))
    assert found.count == len(found.row_ids)
    assert found.share == found.count / 200
    assert 0 < len(found.examples) <= MAX_EXAMPLES
    assert all(0 < len(one) <= MAX_QUOTE_CHARS or kind == "empty" for one in found.examples)


def test_every_kind_is_declared_once_with_a_title() -> None:
    assert len(set(KINDS)) == len(CHECKS) == len(TITLES)
    for title in TITLES.values():
        assert title[:1].islower() or title.startswith(("AI ", "IFD "))
        assert not title.endswith(".")


def test_every_kind_but_mixed_up_rows_has_a_plant() -> None:
    assert {kind for kind, _, _ in PLANTS} == set(KINDS) - {"copied_from_other_row"}


def test_mixed_up_rows_are_found() -> None:
    pairs = clean()
    pairs[5] = replace(pairs[5], response_after=pairs[9].response_before)
    (found,) = find(pairs)
    assert (found.kind, found.row_ids) == ("copied_from_other_row", ("row-5",))


@pytest.mark.parametrize("plant", PLANTS, ids=[f"{kind}-{side}" for kind, side, _ in PLANTS])
def test_the_order_of_rows_does_not_matter(
    plant: tuple[str, str, dict[str, Callable[[TextPair], Any]]],
) -> None:
    def facts(findings: Iterable[Finding]) -> list[tuple[object, ...]]:
        return [
            (one.kind, one.side, one.count, one.other_count, one.text, set(one.row_ids))
            for one in findings
        ]

    pairs = planted(ROWS, **plant[2])
    shuffled = random.Random(1).sample(pairs, len(pairs))
    assert facts(find(shuffled)) == facts(find(pairs))


@pytest.mark.parametrize(
    ("field", "twin"),
    [("response_after", "response_before"), ("response_before", "response_after")],
)
def test_what_both_sides_of_a_pair_show_is_no_finding(field: str, twin: str) -> None:
    """Negative control: refusals, open code blocks and the like on both sides."""
    text = "I'm sorry, but I can't help with that, for as an AI model, I have no hands.\n```\n"
    pairs = planted(ROWS, **{field: lambda p: text + p.id_after, twin: lambda p: text + p.id_after})
    assert {one.kind for one in find(pairs)} == {"copied_across"}


def test_rows_that_differ_from_the_other_side_come_first() -> None:
    pairs = clean()
    for row in (1, 2, 3):
        pairs[row] = replace(
            pairs[row], response_after="As an AI model, I " + prose_end(pairs[row])
        )
    for row in (1, 2):
        pairs[row] = replace(pairs[row], response_before="As an AI model, we say no.")
    (found,) = of_kind(find(pairs), "ai_disclaimer")
    assert (found.count, found.other_count, found.row_ids[0]) == (3, 2, "row-3")
    assert "1 of these rows" in found.text


def test_a_response_that_continues_is_not_nearly_copied() -> None:
    """Negative controls: a long continuation, and a text with every fourth word changed."""
    old = prose(random.Random(1), 200)
    assert near.are_near(old, old + " Quite so.")
    assert not near.are_near(old, f"{old} {prose(random.Random(2), 200)}")
    changed = [word if at % 4 else "other" for at, word in enumerate(old.split())]
    assert not near.are_near(old, " ".join(changed))
    assert not near.are_near("Yes, of course.", "Yes, of course!!"), "too short to tell"


# Phrases


def test_a_phrase_is_shown_as_written_and_without_its_own_beginning() -> None:
    (found,) = of_kind(find(planted(ROWS, **PLANTS[0][2])), "shared_opening")
    assert (found.text, found.quotes_text, found.other_count) == (LEAD.strip(), True, 0)


def test_a_closing_is_shown_with_its_full_stop() -> None:
    (found,) = of_kind(find(planted(ROWS, **PLANTS[2][2])), "shared_closing")
    assert found.text == "I hope that this helps you!"


def test_a_shorter_phrase_is_reported_for_the_rows_without_the_longer_one() -> None:
    pairs = clean()
    for row in range(80):
        more = "a wholly new answer:" if row < 50 else prose(random.Random(row), 5)
        pairs[row] = replace(
            pairs[row], response_after=f"Here you have {more} {pairs[row].response_after}"
        )
    longer, shorter = of_kind(find(pairs), "shared_opening")
    assert (longer.text, longer.count) == ("Here you have a wholly new answer:", 50)
    assert (shorter.text, shorter.count) == ("Here you have", 30)


@pytest.mark.parametrize("opening", ["The ", "Yes, ", "Sure! ", "1. ", "- **"])
def test_ordinary_openings_are_not_reported(opening: str) -> None:
    """Negative control."""
    pairs = planted(range(150), response_after=lambda p: opening + p.response_after)
    assert find(pairs) == ()


def test_a_phrase_as_frequent_on_the_other_side_is_not_reported() -> None:
    """Negative control."""
    pairs = planted(
        range(100),
        response_after=lambda p: LEAD + p.response_after,
        response_before=lambda p: LEAD + p.response_before,
    )
    assert find(pairs) == ()


def test_a_phrase_only_twice_as_frequent_is_not_reported_however_significant() -> None:
    """Negative control: 110 against 50 of 200 rows, p < 10⁻⁸, is style."""
    assert phrases.TaroneTest(200, 200).p(50, 110) < 1e-8
    pairs = planted(range(110), response_after=lambda p: LEAD + p.response_after)
    for row in range(50):
        pairs[row] = replace(pairs[row], response_before=LEAD + pairs[row].response_before)
    assert find(pairs) == ()


def test_openings_are_found_in_scripts_without_spaces() -> None:
    rng = random.Random(0)
    letters = [chr(code) for code in range(0x4E00, 0x4F00)]

    def made(_: TextPair) -> str:
        return "以下是改写后的答案：" + "".join(rng.choices(letters, k=60)) + "。"

    (found,) = of_kind(find(planted(ROWS, response_after=made)), "shared_opening")
    assert found.text.startswith("以下是改写后的答")


def test_closed_phrases_match_a_brute_force_count() -> None:
    rng = random.Random(3)
    texts = [" ".join(rng.choices("ab", k=rng.randrange(0, 9))) for _ in range(400)]
    cut = [tuple(text.split()) for text in texts]
    expected = {}
    for start in {one[:n] for one in cut for n in range(3, len(one) + 1)}:
        rows = [row for row, one in enumerate(cut) if one[: len(start)] == start]
        next_words = {cut[row][len(start)] if len(cut[row]) > len(start) else None for row in rows}
        if len(rows) >= phrases.MIN_ROWS and (len(next_words) > 1 or next_words == {None}):
            expected[start] = rows
    found = {one.words: one.rows.tolist() for one in phrases.closed_phrases(texts)}
    assert len(expected) > 50
    assert found == expected


@pytest.mark.parametrize(("k", "other"), [(9, 0), (12, 1), (0, 9), (40, 25), (5, 5)])
def test_p_is_twice_the_smaller_tail_of_fishers_exact_test(k: int, other: int) -> None:
    from scipy.stats import fisher_exact

    table = [[k, 400 - k], [other, 300 - other]]
    tails = [fisher_exact(table, alternative=way).pvalue for way in ("greater", "less")]
    assert phrases.TaroneTest(400, 300).p(k, other) == pytest.approx(min(1, 2 * min(tails)))


def test_tarone_counts_only_phrases_that_can_reach_significance() -> None:
    # Five rows can be split no more unevenly than 5 : 0, and that has p = 2 / 2⁵ > 0.05.
    alone = phrases.TaroneTest.of([9], 400, 400)
    among_rare = phrases.TaroneTest.of([9] + [5] * 10_000, 400, 400)
    among_frequent = phrases.TaroneTest.of([9] + [30] * 10_000, 400, 400)
    assert alone.level == among_rare.level == phrases.ALPHA
    assert among_frequent.level == pytest.approx(phrases.ALPHA / 10_000, rel=0.01)


def test_random_halves_of_templated_text_share_a_phrase_no_more_often_than_alpha() -> None:
    """Negative control: 60 splits of openings drawn from one distribution."""
    rng = random.Random(5)
    heads = [
        f"{a} {b} {c}" for a in ("write", "make") for b in "xyz" for c in ("one", "two", "six")
    ]
    weights = [1 / (1 + rank) for rank in range(len(heads))]
    false_alarms = 0
    for _ in range(60):
        pairs = [
            replace(
                pair,
                response_before=f"{rng.choices(heads, weights)[0]} {pair.response_before}",
                response_after=f"{rng.choices(heads, weights)[0]} {pair.response_after}",
            )
            for pair in CLEAN_100
        ]
        found = phrases.shared_opening(PairedTexts.of(pairs, seed=0))
        false_alarms += bool(found)
    assert false_alarms <= 6  # of 60 at 5 %: more has a probability of 3 %


CLEAN_100 = clean(100)


# Stock phrases


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I am very sorry, I cannot provide medical advice.",
        "I cannot fulfill this request.",
        "Sorry, I won't write that.",
        "Sorry, the task involves sound. We cannot complete this task.",
        "Es tut mir leid, aber ich kann dabei nicht helfen.",
        "抱歉，我无法回答这个问题。",
        # Forms that once only one of the two patterns knew.
        "I'm sorry. I can't help with that.",
        "I'm afraid I can't do that.",
        "I decline to answer.",
        "I'm not going to write that.",
        "I cannot rewrite this text.",
    ],
)
def test_refusals(text: str) -> None:
    assert shows(refusal, "", text)
    assert opens_with_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I can't believe how fast the year went by.",
        "I'm sorry to hear that you are ill. Drink tea.",
        "Sorry is the hardest word, she wrote.",
        "I cannot wait to see you on Sunday.",
        "The bank said: I'm sorry, but I can't help you.",
        "You cannot provide two files at once. I can help.",
        "Dear Ms Lee, I am sorry that our parcel came late.",
    ],
)
def test_what_only_sounds_like_a_refusal(text: str) -> None:
    """Negative control."""
    assert not shows(refusal, "", text)
    assert not opens_with_refusal(text)


@pytest.mark.parametrize(
    ("text", "in_response", "in_reply"),
    [
        ("Unfortunately, I am not able to browse the internet.", True, False),
        ("As an AI language model, I cannot express opinions.", True, False),
        ("I can't access my account. What should I do?", True, False),
        ("I have to decline an invitation. How do I say it?", True, False),
        ("I cannot open the jar of pickles that my aunt sent.", True, False),
        ("Unfortunately, we cannot provide a refund for opened boxes.", False, True),
        ("I'm sorry for your loss. I cannot support you as I would like to.", False, True),
        ("I apologize for the confusion. However, I cannot assist with that.", False, True),
    ],
)
def test_a_reply_and_a_response_refuse_differently(
    text: str, in_response: bool, in_reply: bool
) -> None:
    """An oracle's reply may be an instruction, and a response may be anybody's letter."""
    assert shows(refusal, "", text) is in_response
    assert opens_with_refusal(text) is in_reply


def test_an_ai_is_more_than_the_word() -> None:
    assert shows(ai_disclaimer, "", "I'm just an AI model, but here goes.")
    assert not shows(ai_disclaimer, "", "As an AI researcher, Turing asked what a machine can do.")


@pytest.mark.parametrize(
    "text",
    [
        "Here is a new and more detailed answer: Paris.",
        "Sure! Here is the rewritten answer: Paris.",
        "Improved response:\n\nParis.",
        "#Rewritten Prompt#: Name a town.",
        "[New Instruction] Name a town. [End]",
        "Unlike the original answer, this one names Paris.",
    ],
)
def test_leaks(text: str) -> None:
    assert shows(prompt_leak, "Name a town.", text)
    assert shows(prompt_leak, text, "Paris.")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("Improve this answer: Paris", "Here is an improved answer: It is Paris."),
        ("Edit my poem.", "Here is an improved version of your poem:"),
        ("Tell the news.", "Here is a new dish that answers every wish."),
        ("What is a list?", "x[new] = answer[original]  # Given a prompt"),
    ],
)
def test_what_only_sounds_like_a_leak(asked: str, text: str) -> None:
    """Negative control."""
    assert not shows(prompt_leak, asked, text)


@pytest.mark.parametrize(
    "end",
    [
        "- one thing after another that is needed for the long way up there",
        "| a | b | c | d | e | f | g | h | i | j | k | l | m |",
        "Roses are red and violets are blue and so it goes on and on",
        "def run(a, b, c, d, e, f, g, h, i, j, k, l, m)",
    ],
)
def test_lists_tables_verse_and_code_are_not_cut_off(end: str) -> None:
    """Negative control."""
    verse = "The sun goes down behind the hill and I am on my way"
    texts = [f"{verse}\n{end}", *(pair.response_after for pair in clean(30))]
    rows = [("", text) for text in texts]
    assert cut_off(corpus_of(*rows)) == []


def test_nothing_is_cut_off_if_full_stops_are_unusual() -> None:
    """Negative control."""
    rows = [("", pair.response_after.rstrip(".")) for pair in clean(30)]
    assert cut_off(corpus_of(*rows)) == []


# Scripts


@pytest.mark.parametrize(
    ("asked", "answer", "switches"),
    [
        ("Why is the sky blue?", RUSSIAN, True),
        ("泡绿茶用多少度的水比较好?", "Use water of about eighty degrees Celsius.", True),
        (
            "泡绿茶用多少度的水比较好?",
            "緑茶を淹れるには、八十度くらいのお湯が良いでしょう。",
            False,
        ),
        ("Translate into Russian: good day to you", "Good day is «добрый день» there.", False),
        ("Warum ist der Himmel blau?", "Because the air scatters blue light.", False),
        ("用Python写一个函数", "```python\ndef f(): return 'a long line of Latin'\n```", False),
        ("Why is the sky blue?", "42 🎉🎉🎉", False),
    ],
)
def test_scripts_are_compared_not_languages(asked: str, answer: str, switches: bool) -> None:
    assert scripts_differ(asked, answer) is switches


# Near duplicates


def slow_near_duplicates(texts: list[str]) -> list[int]:
    """Every text against every other."""

    def shingles(text: str) -> set[tuple[str, ...]]:
        cut = words(text, near.MAX_WORDS)
        return set(zip(cut, cut[1:], cut[2:], strict=False))

    sets = [shingles(text) for text in texts]
    return [
        row
        for row, mine in enumerate(sets)
        if any(
            key(texts[row]) != key(texts[other])
            and len(mine & theirs) / len(mine | theirs) >= near.SIMILARITY
            for other, theirs in enumerate(sets)
        )
    ]


def test_near_duplicates_match_all_pairs() -> None:
    rng = random.Random(7)
    texts = []
    for _ in range(60):
        base = prose(rng, 50).split()
        for n_changed in (0, 1, 2, 3, 4, 6):
            copy = list(base)
            for at in rng.sample(range(50), n_changed):
                copy[at] = rng.choice(_SYLLABLES)
            texts.append(" ".join(copy))
    found = near.nearly_repeated(texts, [key(text) for text in texts], 0)
    assert list(found.indices) == slow_near_duplicates(texts)
    assert 100 < len(found.indices) < len(texts)


def edited(rng: random.Random, text: str, n_changed: int) -> str:
    cut = text.split()
    for at in rng.sample(range(len(cut)), n_changed):
        cut[at] = rng.choice(_SYLLABLES)
    return " ".join(cut)


def slow_groups(texts: list[str]) -> list[tuple[int, ...]]:
    """Connected components by comparing every text with every other."""
    cuts = [words(text, near.MAX_WORDS) for text in texts]
    sets = [set(zip(cut, cut[1:], cut[2:], strict=False)) for cut in cuts]

    def linked(one: int, other: int) -> bool:
        if key(texts[one]) == key(texts[other]):
            return bool(texts[one].split())
        both = sets[one] | sets[other]
        long_enough = min(len(cuts[one]), len(cuts[other])) >= near.MIN_WORDS
        return long_enough and len(sets[one] & sets[other]) / len(both) >= near.SIMILARITY

    groups, left = [], set(range(len(texts)))
    while left:
        group, fresh = set(), {min(left)}
        while fresh:
            group |= fresh
            left -= fresh
            fresh = {other for one in fresh for other in left if linked(one, other)}
        groups.append(tuple(sorted(group)))
    return [group for group in groups if len(group) > 1]


@pytest.mark.parametrize("seed", range(3))
def test_groups_of_near_duplicates_match_all_pairs(seed: int) -> None:
    rng = random.Random(seed)
    texts = ["", " ", "Yes.", "Yes.", "yes. ", "No."]
    for _ in range(25):
        base = prose(rng, rng.choice([24, 26, 50, 200])).replace(".", "")
        texts += [edited(rng, base, n_changed) for n_changed in (0, 0, 1, 2, 3, 6)]
        texts.append(base.upper())
    rng.shuffle(texts)
    groups = near.near_duplicates(texts)
    assert groups == slow_groups(texts)
    assert len(groups) >= 26
    assert max(len(group) for group in groups) > 4


def test_groups_are_chains_and_do_not_depend_on_the_order() -> None:
    rng = random.Random(2)
    chain = [prose(rng, 100).replace(".", "")]
    for at in (10, 30, 50, 70, 90):  # each is near the next; the ends are not near each other
        cut = chain[-1].split()
        chain.append(" ".join([*cut[:at], "other", "words", *cut[at + 2 :]]))
    assert not near.are_near(chain[0], chain[-1])
    texts = [*chain, *(pair.response_after for pair in clean(40))]
    order = rng.sample(range(len(texts)), len(texts))
    (group,) = near.near_duplicates([texts[index] for index in order])
    assert {order[index] for index in group} == set(range(6))


def test_different_texts_are_in_no_group() -> None:
    """Negative control."""
    assert near.near_duplicates([]) == []
    assert near.near_duplicates([""] * 3) == []
    assert near.near_duplicates([pair.response_after for pair in clean()]) == []


def test_exact_duplicates_are_not_near_ones() -> None:
    """Negative control."""
    texts = [clean(1)[0].response_after] * 5
    assert near.nearly_repeated(texts, [key(text) for text in texts], 0).indices == ()


def test_many_texts_are_sampled_with_the_seed_and_the_finding_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = planted(range(100), **PLANTS[-1][2])
    texts = [pair.response_after for pair in pairs]
    keys = [key(text) for text in texts]
    monkeypatch.setattr(near, "MAX_TEXTS", 50)
    one, same, other = (near.nearly_repeated(texts, keys, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert (one.n_searched, one.n_distinct) == (50, 200)
    (found,) = of_kind(find(pairs), "near_duplicate")
    assert "sample of 50 different responses" in found.text


def test_a_file_of_one_template_takes_linear_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts comparisons, not time: each text is compared with a bounded number of others."""
    plain = near.jaccard
    compared: list[float] = []

    def counting(a: near.Shingles, b: near.Shingles) -> float:
        compared.append(plain(a, b))
        return compared[-1]

    monkeypatch.setattr(near, "jaccard", counting)
    shared = prose(random.Random(0), 100)
    for n_own in (1, 20):  # nearly all similar, and all just below the threshold
        compared.clear()
        texts = [f"{shared} {prose(random.Random(row), n_own)} {row}" for row in range(1000)]
        near.nearly_repeated(texts, [key(text) for text in texts], 0)
        assert 0 < len(compared) <= near.MAX_CANDIDATES * len(texts)


# Real data


def test_a_real_rewriting_prompt_is_found_in_its_answers(shared_file: SharedFile) -> None:
    pairs = real_pairs(
        shared_file("data", "alpacaeval400_alpaca-7b.json"),
        shared_file("data", "alpacaeval400_recycled-wizardlm-7b-v1.json"),
    )
    findings = find(pairs)
    found = {one.text: one for one in of_kind(findings, "shared_opening")}
    leaked = found["Here is a new and"]
    opening = "here is a new and"
    planted_ids = {p.id_after for p in pairs if p.response_after.lower().startswith(opening)}
    assert (leaked.side, leaked.other_count) == ("after", 0)
    assert set(leaked.row_ids) >= planted_ids
    assert len(leaked.row_ids) == 9
    assert all(one.side == "after" for one in found.values())
    kinds = {one.kind for one in findings}
    assert "copied_instruction" not in kinds
    assert not kinds & {"exact_duplicate", "near_duplicate", "language_switch", "copied_across"}


def test_a_real_file_compared_with_itself_is_only_copied(shared_file: SharedFile) -> None:
    """Negative control."""
    rows = json.loads(shared_file("data", "alpaca_1k.json").read_text(encoding="utf-8"))[:500]
    (found,) = find(pairs_of(rows, rows))
    assert (found.kind, found.count, found.share) == ("copied_across", 500, 1.0)
    assert len(found.row_ids) == MAX_IDS


@pytest.mark.parametrize("seed", range(5))
def test_random_halves_of_a_real_file_share_no_phrase(seed: int, shared_file: SharedFile) -> None:
    """Negative control."""
    rows = json.loads(shared_file("data", "alpaca_1k.json").read_text(encoding="utf-8"))
    random.Random(100 + seed).shuffle(rows)
    found = find(pairs_of(rows[:500], rows[500:]))
    assert not {one.kind for one in found} & {
        "shared_opening",
        "shared_closing",
        "shared_instruction_opening",
        "near_duplicate",
        "language_switch",
        "copied_across",
    }


def test_the_examples_of_the_repository() -> None:
    pairs = real_pairs(ROOT / "examples" / "before.json", ROOT / "examples" / "after.json")
    found = {(one.kind, one.side): one for one in find(pairs)}
    assert found["prompt_leak", "after"].row_ids == ("compost-07", "sql-top-14", "budget-34")
    assert found["refusal", "before"].row_ids == ("bad-refusal",)
    assert found["cut_off", "before"].row_ids == ("bad-cut-off",)
    assert not {kind for kind, _ in found} & {"language_switch", "empty", "shared_opening"}


# Hostile text

HOSTILE = [
    "",
    " " * 1_000_000,
    "\n" * 300_000,
    "x" * 1_000_000,
    "x!" * 150_000,
    "word " * 60_000,
    "```\n" * 100_000,
    "`" * 300_000,
    "!" * 300_000,
    "#" * 300_000,
    "[" * 300_000 + "]",
    "\x00\x1b[31m\x07 control",
    "\ud800 lone \udfff surrogates \ud83d",
    "\u202eevil\u202c \u2066isolated\u2069 text of some words here",
    "Here is" + " a" * 100_000,
    "I'm sorry" + "," * 100_000,
    "漢" * 300_000,
    "e" + "\u0301" * 300_000,
    "<script>alert(1)</script> {{7*7}} =cmd() %s %n",
]


def test_hostile_text_neither_fails_nor_is_shown() -> None:
    rng = np.random.default_rng(0)
    pairs = [
        TextPair(
            id_before=str(row),
            id_after=str(row),
            instruction_before=HOSTILE[rng.integers(len(HOSTILE))],
            response_before=HOSTILE[rng.integers(len(HOSTILE))],
            instruction_after=HOSTILE[rng.integers(len(HOSTILE))],
            response_after=text,
        )
        for row, text in enumerate(HOSTILE)
    ]
    for one in find(pairs):
        for shown in (one.text, *one.examples):
            shown.encode()  # lone surrogates would fail
            assert not any(mark in shown for mark in "\x00\x1b\x07\n\u202e\u2066")
            assert len(shown) <= MAX_QUOTE_CHARS or not one.quotes_text


@pytest.mark.parametrize("end", ["head", "tail"])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_quotations_are_short(text: str, end: Any) -> None:
    assert len(quote(text, end)) <= MAX_QUOTE_CHARS
    quote(text, end).encode()


def test_quotations_are_cut_between_words() -> None:
    text = "word " * 100
    assert quote(text) == ("word " * 32).strip() + "…"
    assert quote(text, "tail") == "…" + ("word " * 32).strip()
    assert quote("  short\ntext ") == "short text"


def test_no_pairs_no_findings() -> None:
    assert find([]) == ()
