"""Clean text documents, and the defects of web pages planted in them.

The clean documents are prose from the docstrings of `scipy`, `networkx`, `numpy` and `matplotlib`
(BSD or like it), which are installed with ifdkit: whole paragraphs of sentences, without code,
formulas and tables, joined until no filter of published corpora finds them too short.  Nothing of
them is in this repository.

    documents = clean_documents()             # 300 or more; the same on every run
    planted, places = plant_documents(documents, "lorem_ipsum", 12)
"""

from __future__ import annotations

import ast
import importlib.util
import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

PACKAGES = ("scipy", "networkx", "numpy", "matplotlib")
MIN_WORDS = 140
N_CLEAN = 320
_SENTENCES = re.compile(r"[A-Z][^{}<>|=`*_\\#@\[\]]*[.!?]")
_NOT_PROSE = re.compile(r">>>|::|https?:|\.\. |:[a-z]+:|--|\.\.\.|\d{4}|\bdoi\b", re.IGNORECASE)

Maker = Callable[[random.Random, str], str]


@cache
def clean_documents() -> tuple[str, ...]:
    """Documents of several paragraphs; empty if the packages are not installed."""
    # Packages repeat paragraphs with few changes: one of those that begin or end alike is kept.
    by_opening = {" ".join(p.split()[:6]): p for package in PACKAGES for p in _paragraphs(package)}
    by_closing = {" ".join(p.split()[-6:]): p for p in by_opening.values()}
    paragraphs = list(by_closing.values())
    random.Random(0).shuffle(paragraphs)
    documents, current = [], [""]
    for paragraph in paragraphs:
        current.append(paragraph)
        if sum(len(part.split()) for part in current) >= MIN_WORDS:
            documents.append("\n\n".join(current[1:]))
            current = [""]
    return tuple(documents[:N_CLEAN])


def _paragraphs(package: str) -> list[str]:
    """Paragraphs of two sentences or more, on one line each."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    found = []
    for file in sorted(Path(spec.origin).parent.rglob("*.py")):
        if "tests" in file.parts:
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                parts = text.split("\n\n")
                found += [
                    " ".join(part.replace("`", "").split())
                    for part in parts
                    if not part.startswith(" ")
                ]
    return [one for one in found if _is_prose(one)]


def _is_prose(paragraph: str) -> bool:
    return (
        len(paragraph.split()) >= 25
        and paragraph.count(". ") >= 1
        and bool(_SENTENCES.fullmatch(paragraph))
        and not _NOT_PROSE.search(paragraph)
        and sum(map(str.isupper, paragraph)) < 0.2 * len(paragraph)  # licences
    )


def _lines(document: str) -> list[str]:
    """The document with one sentence on each line."""
    return re.split(r"(?<=[.!?])\s+", document)


def _each_line(change: Callable[[str], str]) -> Maker:
    return lambda _, text: "\n".join(map(change, _lines(text)))


def _after(extra: str) -> Maker:
    return lambda _, text: f"{text}\n{extra}"


def _repeated_sentence(times: int, end: str) -> Maker:
    def make(rng: random.Random, text: str) -> str:
        lines = _lines(text)
        return "\n".join(lines) + end + end.join([max(lines, key=len)] * times)

    return make


GERMAN = (
    "Die Boote liegen am Morgen im Hafen, und die Fischer flicken ihre Netze, bevor der Wind"
    " auffrischt. Am Abend kehren sie mit vollen Körben zurück und erzählen von der See. Im Winter"
    " ruht die Arbeit, und die Netze hängen in den Scheunen hinter der Mühle. "
)
EVALUATION = (
    "How many barrels of rain does a roof of forty square metres give in a wet October week?",
    "Name the three rivers that meet below the old mill, from the shortest one to the longest one.",
)
MAKERS: dict[str, list[Maker]] = {
    "contaminated_document": [_after(text) for text in EVALUATION]
    + [lambda _, text: f"{text} As asked before: {EVALUATION[1].upper()} Nobody knows."],
    "other_language": [lambda rng, _: GERMAN * rng.randint(3, 5)],
    "too_few_words": [lambda _, text: " ".join(text.split()[:30]) + "."],
    "too_many_words": [lambda _, text: "\n\n".join([text] * (110_000 // len(text.split()) + 1))],
    "short_words": [lambda _, text: " ".join(" ".join(word) for word in text.split())],
    "long_words": [
        lambda _, text: " ".join(f"{word}-{word}-{word}-{word}" for word in text.split()),
    ],
    "many_symbols": [
        lambda _, text: " ".join(f"#{word}" for word in text.split()),
        lambda _, text: " ".join(f"{word}..." for word in text.split()),
    ],
    "bullet_lists": [_each_line(lambda line: f"- {line}"), _each_line(lambda line: f"• {line}")],
    "cut_off_lines": [
        _each_line(lambda line: f"{line[:60]}..."),
        _each_line(lambda line: f"{line[:60]}…"),
    ],
    "few_letters": [
        lambda rng, text: " ".join(f"{word} {rng.randint(1, 999)}" for word in text.split()),
    ],
    "few_stop_words": [
        lambda _, text: re.sub(
            r"\b(?:the|be|to|of|and|that|have|with)\b", "", text, flags=re.IGNORECASE
        ),
    ],
    "repeated_lines": [_repeated_sentence(12, "\n")],
    "repeated_line_characters": [_repeated_sentence(3, "\n")],
    "repeated_paragraphs": [_repeated_sentence(9, "\n\n")],
    "repeated_paragraph_characters": [lambda _, text: f"{text}\n\n{text}"],
    "top_ngram": [lambda _, text: f"{text} {'buy cheap boats ' * 40}"],
    "repeated_ngrams": [
        _repeated_sentence(3, " "),
        lambda rng, text: f"{text} {' '.join(rng.sample(_lines(text), 3))}",
    ],
    "few_sentences": [lambda _, text: re.sub(r"[.!?](\s|\Z)", r",\1", text) + " so it is."],
    "lorem_ipsum": [
        _after("Lorem ipsum dolor sit amet, consectetur adipiscing elit."),
        lambda _, text: f"LOREM IPSUM. {text}",
    ],
    "curly_bracket": [_after("function run() { return 1; }"), _after("Dear {name}, welcome.")],
    "web_boilerplate": [
        _after("This site uses cookies to give you the best service."),
        _after("Please enable JavaScript in your browser to see the comments."),
        _after("By signing up you accept our terms of use."),
        _after("JavaScript is disabled. Some parts of the page are missing."),
        _after("Wir verwenden Cookies."),  # hard: another language
    ],
    "navigation": [
        lambda _, text: (
            "Home\nProducts\nAbout\nContact\nCART\nSIGN UP NOW\n12 likes\nFREE DELIVERY OF ALL"
            f" THE BOATS AND NETS THIS WEEK\n{text}"
        ),
        _after(
            "3 comments\n15k followers\nShare\nTweet\n2014\n2013\n2012\n2011\n2010\n2009\n2008"
            "\n2007\nREAD MORE NEWS FROM THE WORLD OF BOATS AND HARBOURS"
        ),
    ],
    "unpunctuated_lines": [_each_line(lambda line: line.rstrip(".!?") + " and"),],
    "short_lines": [
        lambda _, text: re.sub(r"((?:\S+\s+){3}\S+)\s+", r"\1\n", text),
    ],
}  # fmt: skip
"""Rule → the ways to plant it in a document."""


def plant_documents(
    documents: Sequence[str], kind: str, n: int, seed: int = 0
) -> tuple[list[str], list[int]]:
    """New documents, `n` of them with the defect, and the 0-based positions of these, ascending."""
    rng = random.Random(f"{kind} {seed}")
    planted = list(documents)
    places = sorted(rng.sample(range(len(planted)), n))
    for number, place in enumerate(places):
        makers = MAKERS[kind]
        planted[place] = makers[number % len(makers)](rng, planted[place])
    return planted, places
