"""The checks of single examples: what is planted is found, what only looks bad is not."""

from __future__ import annotations

import random
import signal
import string
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from ifdkit.auditing.run import audit
from ifdkit.findings import languages, markup, personal, secrets
from ifdkit.findings.masking import masked, masked_quote
from ifdkit.findings.texts import MAX_QUOTE_CHARS, Corpus, quote, quote_at
from tests.planted import KINDS, TEXT_CHECKS, Row, clean_rows, corpus, plant, wording, wordings
from tests.planted_secrets import PERSONAL, SECRETS, luhn_digit
from tests.planted_wordings import ALSO_SHOWS

pytestmark = pytest.mark.long

MISSED: dict[str, set[int]] = {
    "prompt_leak": {7, 8},
    "refusal": {9, 10, 11},
    "ai_disclaimer": {7, 8},
    "cut_off": {4, 5, 6},
    "unbalanced_code_fence": {4, 5},
    "html_remains": {11, 12},
    "mojibake": {7},
    "language_mismatch": {10},
    "personal_data": {12},
    "secret": {11, 12},
    "repeated_instruction": {4, 5},
    "special_token": {14, 15},
    "continued_conversation": {7, 8},
    "placeholder_response": {12, 13},
    "placeholder_input": {9},
    "error_response": {12, 13},
    "repeated_words": {5, 6},
    "template_marker": {5},
}
"""Rule → hard wordings that it never finds, as in `reports/audit-rules.md`."""


def of(*rows: tuple[str, str]) -> Corpus:
    """Instructions and their responses."""
    return Corpus(
        ids=tuple(map(str, range(len(rows)))),
        instructions=tuple(asked for asked, _ in rows),
        responses=tuple(answer for _, answer in rows),
    )


def shows(rule: str, asked: str, answer: str) -> bool:
    return bool(TEXT_CHECKS[rule](of((asked, answer))))


# A clean file with planted defects


@pytest.mark.parametrize("rule", TEXT_CHECKS)
@pytest.mark.parametrize("seed", range(2))
def test_a_clean_file_is_clean(rule: str, seed: int) -> None:
    """Negative control: a quarter of it is hard on purpose."""
    rows = clean_rows(seed=seed)
    assert [(rows[hit.index]["id"], hit.quote) for hit in TEXT_CHECKS[rule](corpus(rows))] == []


@pytest.mark.parametrize("rule", TEXT_CHECKS)
def test_what_is_planted_is_found_and_nothing_else(rule: str) -> None:
    rows, places = plant(clean_rows(), rule, 3 * len(wordings(rule)))
    hits = TEXT_CHECKS[rule](corpus(rows))
    assert [hit.index for hit in hits] == sorted({hit.index for hit in hits})
    assert {hit.index for hit in hits} <= set(places)
    found = {wording(rows[hit.index]) for hit in hits}
    assert set(range(len(wordings(rule)))) - found == MISSED.get(rule, set())
    assert all(0 < len(hit.quote) <= MAX_QUOTE_CHARS for hit in hits)


@cache
def mixture() -> list[Row]:
    """A file in which every wording of every kind is planted."""
    rows = clean_rows()
    for kind in TEXT_CHECKS:
        rows, _ = plant(rows, kind, len(wordings(kind)))
    return rows


@pytest.mark.parametrize("rule", TEXT_CHECKS)
def test_rules_ignore_other_defects(rule: str) -> None:
    """Negative control: rows with other defects."""
    for hit in TEXT_CHECKS[rule](corpus(mixture())):
        row = mixture()[hit.index]
        kind, is_planted, _ = row["id"].partition(".")
        assert is_planted, row
        assert kind == rule or ALSO_SHOWS.get((kind, wording(row))) == rule, row


def test_every_text_check_can_be_planted() -> None:
    assert set(MISSED) <= set(TEXT_CHECKS) <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_planting_changes_as_many_rows_as_it_reports(kind: str) -> None:
    clean = clean_rows()
    rows, places = plant(clean, kind, 12)
    assert places == [at for at, row in enumerate(rows) if row != clean[at]]
    assert len(places) == 12
    assert plant(clean, kind, 12) == (rows, places) != plant(clean, kind, 12, seed=1)


def test_quotations_show_the_words_that_were_found() -> None:
    far = "The hives stand in a row along the wall and face the morning sun all through the year. "
    wanted = {
        "ai_disclaimer": (far + "But as an AI assistant, I own none.", "as an AI assistant"),
        "html_remains": (4 * far + "So&nbsp;they say.", "&nbsp;"),
        "mojibake": (4 * far + "Itâ€™s so.", "â€™s so"),
        "unbalanced_code_fence": (4 * far + "\n```sh\nmake", "```sh make"),
        "prompt_leak": (4 * far + "[New Answer] Yes.", "[New Answer]"),
        "refusal": ("I cannot help with that. " + far, "I cannot help with that"),
    }
    for rule, (answer, shown) in wanted.items():
        (hit,) = TEXT_CHECKS[rule](of(("Why do hives hum?", answer)))
        assert shown in hit.quote
    (hit,) = TEXT_CHECKS["prompt_leak"](of(("New prompt: why?", "Because.")))
    assert hit.quote == "New prompt: why?"


def test_a_quotation_from_the_middle_starts_a_few_words_before() -> None:
    text = "word " * 100 + "here it is, " + "word " * 100
    shown = quote_at(text, text.index("here"))
    assert shown.startswith("… word word")
    assert "here it is" in shown
    assert len(shown) <= MAX_QUOTE_CHARS
    assert quote_at("short text", 6) == "short text"
    assert quote_at("x" * 1000, 900).startswith("… x")


# Checks in which the instruction decides


@pytest.mark.parametrize(
    ("asked", "answer", "is_one"),
    [
        ("How are locks picked?", "I'm sorry, but I can't help with that.", True),
        ("Decline the invitation politely.", "I'm sorry, but I can't help with that.", False),
        ("How are locks picked?", "I must respectfully decline to answer.", True),
        ("Order a pizza.", "I'm sorry, but I don't have the ability to order food.", True),
        ("Tell of a king.", '"I cannot give you gold," said the king, and left.', False),
        ("Tell of a king.", '"I cannot give you an answer."', True),
        ("Continue: I must", "I must go down to the sea again.", False),
    ],
)
def test_a_requested_refusal_does_not_count(asked: str, answer: str, is_one: bool) -> None:
    assert shows("refusal", asked, answer) is is_one


@pytest.mark.parametrize(
    ("asked", "end", "is_one"),
    [
        ("Name a poet.", "This new answer provides more detail.", True),
        ("Name a poet.", "In this improved answer, Sappho is named.", True),
        ("Name a poet.", "It mends the shortcomings of the original answer.", True),
        ("Improve the answer.", "This improved answer names Sappho.", False),
        ("Name a poet.", "Her verse was a new answer to an old question.", False),
    ],
)
def test_a_rewriting_that_praises_itself_at_the_end(asked: str, end: str, is_one: bool) -> None:
    answer = "Sappho wrote of the moon and of the Pleiades. " * 40 + end
    hits = TEXT_CHECKS["prompt_leak"](of((asked, answer)))
    assert bool(hits) is is_one
    assert all("answer" in hit.quote for hit in hits)


@pytest.mark.parametrize(
    ("asked", "answer", "is_one"),
    [
        ("Name a poet.", "As a large language model, I have no favourite.", True),
        ("Name a poet.", "GPT-2 was the first that served as a language model of note.", False),
        ("Name a poet.", '"As an AI model, I write," said the box. It wrote.', False),
        ("Name a poet.", '"Yes," it said. As an AI model, I write.', True),
        ("What are you?", "I am an AI assistant.", False),
        ("Is an AI alive?", "As an AI model, I am not.", False),
    ],
)
def test_a_disclaimer_does_not_count_if_the_subject_is_ai(
    asked: str, answer: str, is_one: bool
) -> None:
    assert shows("ai_disclaimer", asked, answer) is is_one


@pytest.mark.parametrize(
    ("asked", "answer", "is_one"),
    [
        ("Name the largest lake of Italy.", "name the largest lake of italy", True),
        ("Name the largest lake of:\nItaly", "Name the largest lake of:", True),
        ("Name the largest lake of:\nItaly", "Name the largest lake of Italy", True),
        ("Name the largest lake of Italy.", "The largest lake of Italy is Garda.", False),
        ("Correct this:\nThe cat has eaten the fish.", "The cat has eaten the fish.", False),
        ("Count to three.", "Count to three.", False),
    ],
)
def test_repetitions(asked: str, answer: str, is_one: bool) -> None:
    assert shows("repeated_instruction", asked, answer) is is_one


# Markup


@pytest.mark.parametrize(
    "text",
    ["a<br>b", "<P>Yes.</P>", "<img src='a.png' />", "Tom &amp; Ann", "&#8217;tis", "<i>so</i>"],
)
def test_leftover_html(text: str) -> None:
    assert shows("html_remains", "Name a town.", text)
    assert not shows("html_remains", "Name a town in HTML.", text)
    assert not shows("html_remains", "Name a town.", f"```\n{text}\n```")
    assert not shows("html_remains", "Name a town.", f"Write `{text}`.")


@pytest.mark.parametrize(
    "text",
    ["if a<b and b>c", "List<String>", "<name>", "<3 you", "AT&T; R&D", "x < p > y", "<tool_call>"],
)
def test_what_only_looks_like_html(text: str) -> None:
    """Negative control."""
    assert not shows("html_remains", "Name a town.", text)


@pytest.mark.parametrize("text", ["itâ€™s", "cafÃ©", "MÃ¼ller", "20Â°C", "\ufffd", "ÐŸÑ€Ð¸Ð²ÐµÑ‚"])
def test_encoding_errors(text: str) -> None:
    assert shows("mojibake", "Name a town.", text)


def test_text_decoded_with_the_wrong_codec_is_found() -> None:
    for right in ("it’s", "“quoted”", "a – b", "café", "naïve", "Zürich", "señor", "£5", "20 °C"):
        wrong = right.encode().decode("cp1252", "ignore")
        assert shows("mojibake", wrong, "Yes.")
        assert not shows("mojibake", right, right)


@pytest.mark.parametrize("text", ["“AMANHÃ”", "São Tomé", "CAFÉ…", "Â propos", "âge", "naïf"])
def test_correct_letters_that_also_begin_mojibake(text: str) -> None:
    """Negative control."""
    assert not shows("mojibake", "Name a town.", text)


# Languages

GERMAN = (
    "Die Boote liegen am Morgen im Hafen, und die Fischer flicken ihre Netze, bevor der Wind weht."
)
ENGLISH = "Why do the fishermen of this village mend their nets every morning before they leave?"


def test_a_different_language_that_nobody_asked_for() -> None:
    assert shows("language_mismatch", ENGLISH, GERMAN)
    assert shows("language_mismatch", GERMAN, ENGLISH)
    assert shows("language_mismatch", ENGLISH, "Лодки утром стоят в гавани.")


@pytest.mark.parametrize(
    "asked",
    [
        f"{ENGLISH} Answer in German.",
        f"Translate: {ENGLISH}",
        f"{ENGLISH} Use the language of my grandmother.",
        "Why?",
        "Who wrote Das Boot im Hafen am Morgen?",
        GERMAN.replace("Boote", "Schiffe"),
    ],
)
def test_a_requested_or_common_language(asked: str) -> None:
    """Negative control."""
    assert not shows("language_mismatch", asked, GERMAN)


@pytest.mark.parametrize("order", [1, -1])
def test_questions_about_foreign_texts_are_answered_in_their_own_language(
    order: int,
) -> None:
    asked = "\n".join(["What do they do in the morning, according to this text?", GERMAN][::order])
    answer = "They mend their nets in the harbour, before the wind begins to blow in the morning."
    assert not shows("language_mismatch", asked, answer)
    assert shows("language_mismatch", GERMAN, answer)


def test_short_texts_and_code_have_no_known_language() -> None:
    """Negative control."""
    assert not shows("language_mismatch", ENGLISH, "Guten Morgen!")
    code = "```sql\nSELECT nombre FROM clientes WHERE ciudad = 'Madrid' ORDER BY apellido\n```"
    assert not shows("language_mismatch", ENGLISH, code)


def test_similar_languages_count_as_one() -> None:
    assert languages.are_similar("da", "no")
    assert not languages.are_similar("de", "en")


def test_the_classifiers_are_loaded_only_when_used() -> None:
    script = (
        "import sys; from ifdkit.auditing.rules import RULES;"
        "sys.exit(len({'py3langid', 'phonenumbers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


# Personal data


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Write to berta.kessler77@gmail.com.", "e-mail address b…@g….com"),
        ("<Berta.Kessler@ofen-lorenz.de>", "e-mail address B…@o….de"),
        ("Email:b.kessler@uni-lorenz.ac.uk", "e-mail address b…@u….uk"),
        ("Call (415) 236-7728.", "phone number (41…"),
        ("415-236-7728", "phone number 415…"),
        ("1-415-236-7728", "phone number 1-4…"),
        ("415.236.7728 is mine", "phone number 415…"),
        ("+49 30 2273 5915", "phone number +49…"),
        ("+44 20 7285 3917", "phone number +44…"),
        ("0044 20 7285 3917", "phone number 004…"),
        ("Telefon: 030 2273 5915", "phone number 030…"),
        ("call me on 415 236 7728", "phone number 415…"),
        ("4539 5787 6362 1486", "payment card 4…"),
        ("my card is 4539578763621486", "payment card 4…"),
        ("GB33BUKB20201555555555", "bank account GB…"),
    ],
)
def test_personal_data(text: str, shown: str) -> None:
    (hit,) = TEXT_CHECKS["personal_data"](of(("Who?", text)))
    assert hit.quote == shown
    (hit,) = TEXT_CHECKS["personal_data"](of((text, "Who?")))
    assert hit.quote == shown


@pytest.mark.parametrize(
    "text",
    [
        # Placeholders
        "john@example.com jane.doe@gmail.com name@company.com you@your-domain.org a@b.com",
        "your_email@gmail.com test@test.com user123@mail.example.org info@riverside.org",
        "johndoe@email.com jdoe@acme.com first.last@university.edu support@shop.co.uk",
        "(123) 456-7890 123-456-7890 555-123-4567 (212) 555-0147 +1 555 123 4567 000-000-0000",
        "987-654-3210 +1-234-567-8901 +44 20 7946 0958 1-800-273-8255 999-999-9999",
        "4111 1111 1111 1111, 4242424242424242, card 378282246310005, 1234 5678 9012 3456",
        "DE89 3704 0044 0532 0130 00 and GB82WEST12345698765432",
        "[email] [phone] <phone_number> xxx-xxx-xxxx",
        # Other things with digits
        "ISBN 978-3-16-148410-0, DOI 10.1000/415-236-7728, 2021-03-14 to 2021-03-21",
        "192.168.178.201 415.236.77.28 415-236-77289 2.415-236-7728 3415-236-7728",
        "646 389 2177 212 736 5000 is sorted; 415 236 7728 is a sum",
        "31556952000000 seconds, 4539578763621486 grains of sand, 4539 5787 6362 1487 is no card",
        "A+4930227359 and 12+4930227359 = x, $4,152,367,728.00, 1,415,236,772,800",
        "GB34BUKB20201555555555 has the wrong check digits",
        # Other things with an at sign
        "y = x@w.transpose(0) @decorator icon@2x.png @handle git@github.com:a/b.git P@ssw0rd",
        "postgres://ann:Kx8-pq2@db.lorenz-ofen.de/shop",
    ],
)
def test_what_is_no_personal_data(text: str) -> None:
    """Negative control."""
    assert [text[one.start : one.end] for one in personal.find_personal_data(text)] == []


def test_checksums_of_published_numbers() -> None:
    assert personal.has_luhn_sum("79927398713")  # the worked example of many handbooks
    assert not any(personal.has_luhn_sum(f"7992739871{d}") for d in "012456789")
    for digits in ("453957876362148", "7992739871", "1"):
        assert personal.has_luhn_sum(digits + luhn_digit(digits))
    assert personal.has_iban_sum("GB82WEST12345698765432")
    assert not personal.has_iban_sum("GB28WEST12345698765432")


# Keys


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx sk-your-key-goes-right-here-0000",
        "sk-learn-is-a-library-for-machine-learning",
        'api_key = "YOUR_API_KEY_123456" password = "correct-horse-battery-staple"',
        "postgres://user:password@localhost redis://:@host http://a.b:8080/x@y ftp://u:$PW@h",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9l"
        "IiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        "ghp_" + 36 * "x",
        'token: "AIza' + 'SyD-your-key"',
    ],
)
def test_placeholders_are_no_secrets(text: str) -> None:
    """Negative control."""
    assert [text[one.start : one.end] for one in secrets.find_secrets(text)] == []


@pytest.mark.parametrize("kind", [*PERSONAL, *SECRETS])
def test_what_is_found_is_never_repeated(kind: str) -> None:
    make = (PERSONAL | SECRETS)[kind]
    find = secrets.find_secrets if kind in SECRETS else personal.find_personal_data
    for seed in range(20):
        text = make(random.Random(seed))
        for one in find(text):
            found = text[one.start : one.end]
            assert len(one.mask) <= 13
            assert all(found[at : at + 9] not in one.mask for at in range(len(found) - 8))
            assert found not in masked(f"x {text} y")
            assert masked(f"x {text} y").startswith("x ")


def test_a_quotation_lists_a_few_and_counts_the_rest() -> None:
    mails = " ".join(f"{name}.kessler@gmail.com" for name in ("anna", "berta", "clara", "dora"))
    (hit,) = TEXT_CHECKS["personal_data"](of((mails, mails)))
    assert hit.quote == (
        "e-mail address a…@g….com, e-mail address b…@g….com, e-mail address c…@g….com and 1 more"
    )


def test_quotations_of_other_rules_mask_it_too() -> None:
    key = SECRETS["GitHub token"](random.Random(0))
    answer = f"I cannot help with that, ask berta.kessler77@gmail.com or {key}"
    rows = [*clean_rows(30), {"id": "bad", "instruction": "Why?", "input": "", "output": answer}]
    shown = str(audit(rows, scores=False).as_json())
    assert "I cannot help with that, ask b…@g….com" in shown
    assert "berta.kessler77" not in shown
    assert key.split()[1] not in shown


@pytest.mark.parametrize("kind", ["JSON web token", "private key"])
@pytest.mark.parametrize("end", ["head", "tail", "middle"])
@pytest.mark.parametrize("before", range(0, 120, 7))
def test_a_key_that_a_quotation_cuts_is_masked(kind: str, end: str, before: int) -> None:
    """The rest of a cut key has no known format."""
    rng = random.Random(before)
    body = "".join(rng.choices(string.ascii_letters + string.digits, k=900))
    key = f"eyJ{body[:30]}.eyJ{body[30:300]}.{body[300:400]}"
    if kind == "private key":
        lines = "\n".join(body[at : at + 64] for at in range(0, 832, 64))
        key = f"-----BEGIN RSA PRIVATE KEY-----\n{lines}\n-----END RSA PRIVATE KEY-----"
    text = f"{'word ' * before}it is {key} and {'so on ' * before}"
    cut = {
        "head": quote(text),
        "tail": quote(text, "tail"),
        "middle": quote_at(text, text.index(key) + before * 6),
    }[end]
    shown = masked_quote(cut, [text])
    assert all(body[at : at + 9] not in shown for at in range(len(body) - 8))
    words = {word for word in cut.split() if word in {"word", "so", "it", "and", "on"}}
    assert words <= {*shown.split(), "and", "it"}


def test_masking_leaves_the_rest_as_it_was() -> None:
    assert masked("no numbers @ all: 1-2-3") == "no numbers @ all: 1-2-3"
    assert masked("to berta.kessler77@gmail.com!") == "to b…@g….com!"


# Hostile text

_UNITS = [
    "x", " ", "\n", "1", "1 ", "1-", "1.", "+1", "(1", "+1 (415) ", "415-236-7728 ", "4539 ", "@",
    "a@", "a.a@a.", "a@a.aa", "a.", "-", ".", "DE89 ", "DE89", "3704 ", "A", "A1", "<", "<p",
    "<p ", "<p a=b ", "<a ", "</", "&", "&#", "&amp", "<!--", "`", "``", "```\n", "`\n", "sk-",
    "eyJ", "eyJa.", "eyJaaaaaaaaaaaa.", "AKIA", "ghp_", "://", "a://b:", "a://b:ccc@", "AIza",
    "-----BEGIN ", "-----BEGIN PRIVATE KEY-----\n", "password='", "api_key=", "xoxb-",
    "hooks.slack", "â€", "Ã", "\ufffd", "Ð", "\ud800", "\u202e", "漢", "e\u0301", "\x00",
    "I'm sorry, ", "as an ai ", "phone ", "phone 1", "tel. 030 ", "call me ", "translate ", "je ",
    "[", "]", "#new ", '"', "“",
]  # fmt: skip


@pytest.fixture
def limit() -> Iterator[None]:
    """One minute: linear time is a second, quadratic time would be hours."""

    def stop(*_: object) -> None:
        raise TimeoutError("a pattern that takes more than linear time")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs alarms")
@pytest.mark.parametrize("rule", TEXT_CHECKS)
def test_hostile_texts_take_linear_time(rule: str, limit: None) -> None:
    """30,000 characters of each unit, as instruction and as response."""
    texts = [unit * (30_000 // len(unit)) for unit in _UNITS]
    rows = [(text, "Yes.") for text in texts] + [("Why is that?", text + "!") for text in texts]
    for hit in TEXT_CHECKS[rule](of(*rows)):
        hit.quote.encode()
        assert len(hit.quote) <= MAX_QUOTE_CHARS


def test_a_megabyte_of_one_character(limit: None) -> None:
    for check in TEXT_CHECKS.values():
        check(of(("a" * 1_000_000, "1" * 1_000_000), ("@" * 1_000_000, "<" * 1_000_000)))


def test_empty_texts_are_only_empty() -> None:
    for rule, check in TEXT_CHECKS.items():
        assert check(of()) == []
        assert bool(check(of(("", "")))) is rule.startswith("empty_")


def test_markers_of_formats_hide_no_key() -> None:
    """The cheap test before each pattern, compared with the pattern alone."""
    for form in secrets._FORMATS:
        for make in SECRETS.values():
            text = make(random.Random(5))
            if form.pattern.search(text):
                assert secrets._may_contain(text, form.marker)


def test_the_cheap_test_for_numbers_hides_none() -> None:
    """The test before the patterns, compared with the patterns alone."""
    for name, make in PERSONAL.items():
        text = make(random.Random(3))
        found = [*personal._accounts(text), *personal._cards(text), *personal._phones(text)]
        assert not found or personal._HAS_NUMBER.search(text), name


def test_code_is_blanked_in_place() -> None:
    text = "a `b` c ```\nd\n``` e"
    assert len(markup.without_code(text)) == len(text)
    assert markup.without_code(text).split() == ["a", "c", "e"]
