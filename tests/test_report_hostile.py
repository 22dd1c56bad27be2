"""Hostile text in every field stays text: in HTML, Markdown, LaTeX and on a terminal."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from ifdkit.comparison.result import ExploredPair, Summary
from ifdkit.report.comparison.html import render_html
from ifdkit.report.comparison.latex import latex, render_latex
from ifdkit.report.comparison.markdown import code, prose, render_markdown
from ifdkit.report.terminal.comparison import print_comparison
from ifdkit.visible import one_line, visible
from tests.report_fixtures import make_explored, make_summary, rows_frame, with_text_everywhere

pytestmark = pytest.mark.long

BELL, ESC, CSI, NUL, RLO = "\x07", "\x1b", "\x9b", "\0", "\u202e"
PAYLOADS = (
    # HTML
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</SCRIPT >",
    "<!--<script>",
    "-->",
    "</style><img src=x onerror=alert(1)>",
    "</title></head><body onload=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    '" autofocus onfocus=alert(1) x="',
    "<iframe srcdoc='<script>1</script>'>",
    "<a href=javascript:alert(1)>x</a>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//evil.example/>",
    "<style>*{display:none}</style>",
    "&lt;b&gt; &amp; &#60;i&#62; &nbsp",
    "<![CDATA[ x ]]>",
    "<bdi></bdi></bdi></main>",
    "<math><mtext></mtext><mglyph><style></math>",
    # templates and script
    "{{7*7}}",
    "{% for x in y %}",
    "{# comment #}",
    "${7*7}",
    "`${alert(1)}`",
    "#{7*7} <%= 7*7 %>",
    "\\u003cscript\\u003e",
    '","before":{"id":"x"}',
    "__proto__",
    "constructor",
    "%s %d %(x)s {0} {x!r}",
    # spreadsheets
    "=cmd()",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    # Markdown
    "[x](javascript:alert(1))",
    "![x](data:image/png;base64,xx)",
    "[x]: /y 'z'",
    "<https:/" + "/evil.example>",
    "https:/" + "/evil.example and www.evil.example",
    "# heading",
    "1. one",
    "1) one",
    "- item",
    "+ item",
    "> quote",
    "===",
    "---",
    "***bold*** __under__ ~~gone~~",
    "| a | b |",
    "|\n|---|\n| x |",
    "```\ncode\n```",
    "``` ` `` ```",
    "`",
    "~~~",
    "<details open><summary>x</summary>",
    "@someone #1 someone/else#2 :bomb: $x^2$",
    "    indented code",
    "line one\n\n# line two\n\n- three",
    "back\\slash\\",
    "ends with a backslash \\",
    "<!-- comment -->",
    # LaTeX
    "\\input{/etc/passwd}",
    "\\write18{rm -rf x}",
    "\\end{table}\\end{document}",
    "100% & _ # $ ^ ~ { }",
    "^^5cinput ^^M",
    "``quoted'' --- \"x\" ?` !`",
    "$$\\def\\x{\\x}\\x$$",
    # terminals
    f"{ESC}[31mred{ESC}[0m",
    f"{ESC}[2J{ESC}[H",
    f"{ESC}]0;title{BELL}",
    f"{ESC}]8;;file:/" + f"/x{ESC}\\link{ESC}]8;;{ESC}\\",
    f"{ESC}P1$r0m{ESC}\\",
    f"{CSI}31m",
    "a\rb",
    "a\bb\x7f",
    f"{BELL}{NUL}",
    "[bold red]rich[/bold red] [link=x]y[/link] :smile:",
    "[/]",
    # invisible characters
    f"{RLO}gpj.exe",
    "\u2066a\u2069 \u2067b\u2069 \u061c\u200f",
    "a\u2028b\u2029c\x85d\x0be\x0cf",
    "\ufeffzero\u200bwidth\u2060joiner\u00adsoft",
    "\U000e0041\U000e0042\U000e007f",
    "\ud800 \udfff \udc80",
    "\ufffe\uffff\ufdd0",
    # what ordinary writing needs
    "👩‍👩‍👧‍👦 🇬🇧 👍🏽 ❤️",
    "שלום עולם العربية فارسی می‌خواهم",
    "Ünïcödé 漢字 Z̷̡̛a̸l̵g̶o",
    "",
    " ",
    "\n\n\n",
    "x" * 1_000_000,
    "<" * 1_000_000,
    "\n" * 1_000_000,
)
Plain = tuple[Summary, tuple[ExploredPair, ...], pd.DataFrame]
NEVER = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that no output may contain."""


def name_of(payload: str) -> str:
    return f"{PAYLOADS.index(payload)}-{ascii(payload[:20])[1:-1]}"


@pytest.fixture(scope="module")
def plain() -> Plain:
    rows = rows_frame(12)
    summary = make_summary(rows)
    few = {"ifd": summary.metrics["ifd"]}
    # Figures contain no untrusted text, so none is drawn.
    return replace(summary, metrics=few), make_explored(rows, 2), rows[["id"]]


@pytest.fixture(params=PAYLOADS, ids=name_of)
def payload(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


class Outline(HTMLParser):
    """The elements and attributes of a page, and the text that a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.comments: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def html_of(plain: Plain, text: str) -> str:
    summary, pairs = with_text_everywhere(plain[0], plain[1], lambda _: text)
    kinds = tuple(replace(one, kind=text) for one in summary.findings)
    return render_html(replace(summary, headline=text, findings=kinds), plain[2], pairs)


def test_there_are_enough_payloads() -> None:
    assert len(set(PAYLOADS)) == len(PAYLOADS) >= 60


@pytest.fixture(scope="module")
def harmless(plain: Plain) -> Outline:
    return Outline(html_of(plain, "harmless"))


def test_html(payload: str, plain: Plain, harmless: Outline) -> None:
    page = html_of(plain, payload)
    outline, expected = Outline(page), harmless
    assert outline.elements == expected.elements
    assert outline.comments == expected.comments == []
    assert not NEVER.search(page.replace("\n", "").replace("\t", ""))
    text = "".join(outline.text)
    shown = one_line(payload, 80)
    assert text.count(shown) >= 4
    data = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert len(data) == 1
    pairs = json.loads(data[0])["rows"]
    start = visible(payload[:60])[:60]
    assert all(pair["before"]["instruction"].startswith(start) for pair in pairs)
    assert pairs[0]["before"].keys() == pairs[1]["before"].keys()


def markdown_of(plain: Plain, text: str) -> str:
    summary, _ = with_text_everywhere(plain[0], plain[1], lambda _: text)
    control = replace(summary.length_control["ifd"], notes=(text,), sentence=text)
    return render_markdown(replace(summary, headline=text, length_control={"ifd": control}))


def shape_of(text: str) -> list[tuple[str, ...]]:
    return [_shape(token) for token in MarkdownIt("gfm-like", {"linkify": False}).parse(text)]


@pytest.fixture(scope="module")
def harmless_shape(plain: Plain) -> list[tuple[str, ...]]:
    return shape_of(markdown_of(plain, "harmless"))


def test_markdown(payload: str, plain: Plain, harmless_shape: list[tuple[str, ...]]) -> None:
    text = markdown_of(plain, payload)
    assert not NEVER.search(text.replace("\n", ""))
    # An empty sentence or note leaves a line out; no other text may change the blocks.
    assert not one_line(payload) or shape_of(text) == harmless_shape


def _shape(token: Token) -> tuple[str, ...]:
    """A block, and the kinds of its inline tokens other than text and code."""
    harmless = {"text", "code_inline", "softbreak", "text_special"}
    inside = [child.type for child in token.children or [] if child.type not in harmless]
    return (token.type, token.tag, *inside)


def test_markdown_reads_back_as_the_text(payload: str) -> None:
    """The rendered comment shows the payload in one line."""
    shown = one_line(payload, 160)
    if not shown:
        return
    for text in (f"x {prose(payload, 160)}", f"x {code(payload, 160)}"):
        (_, inline, _) = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
        kinds = {child.type for child in inline.children or []}
        assert kinds <= {"text", "code_inline", "text_special"}
        read = "".join(child.content for child in inline.children or [])
        assert read == f"x {shown}"


def test_latex(payload: str, plain: Plain) -> None:
    summary, _ = with_text_everywhere(plain[0], plain[1], lambda _: payload)
    control = replace(summary.length_control["ifd"], sentence=payload)
    summary = replace(summary, length_control={"ifd": control})
    text = render_latex(summary)
    body = re.sub(r"^%.*$", "", text, flags=re.M)
    commands = set(re.findall(r"\\([a-zA-Z]+)", body))
    allowed = {"begin", "end", "centering", "small", "toprule", "midrule", "bottomrule"}
    allowed |= {"multicolumn", "cmidrule", "caption", "rightarrow", "div", "ldots"}
    assert {name for name in commands if not name.startswith("text")} <= allowed
    bare = re.sub(r"\\[\\{}$&#%_,]|\\[a-zA-Z]+(\{\})?", "", body)
    assert not re.search(r"[%#~^_\\]", bare)
    assert bare.count("{") == bare.count("}")
    assert bare.replace("$-$", "").replace("$p$", "").replace("$r$", "").count("$") == 0 or (
        "→" in payload
    )
    assert body.count("\\end{table}") == 1
    assert not NEVER.search(text.replace("\n", ""))
    assert all(line.startswith("%") for line in text.splitlines()[:2])


def test_latex_escapes_every_special_character() -> None:
    assert latex("a_b%$&#{}~^\\") == (
        r"a\_b\%\$\&\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert latex("--- ,,") == "-{}-- ,{},"
    assert latex("漢é") == "U+6F22é"


@pytest.mark.parametrize("width", [50, 80])
def test_terminal(
    width: int,
    payload: str,
    plain: Plain,
) -> None:
    summary, _ = with_text_everywhere(plain[0], plain[1], lambda _: payload)
    summary = replace(summary, headline=payload)
    console = Console(width=width, highlight=False, markup=False, emoji=False, force_terminal=True)
    with console.capture() as captured:
        print_comparison(summary, console=console)
    # rich's own colours are the only escape sequences there may be.
    text = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert not NEVER.search(text.replace("\n", ""))
    seen = re.sub(r"\s", "", text)
    assert re.sub(r"\s", "", one_line(payload, 60)) in seen


def test_a_colour_sequence_in_the_text_is_escaped() -> None:
    """The test above removes these sequences as rich's own; those of a text are escaped."""
    assert one_line(f"{ESC}[31mred") == "\\x1b[31mred"


def test_visible_leaves_ordinary_writing_alone() -> None:
    for text in ("naïve café", "👩‍👩‍👧‍👦", "می‌خواهم", "שלום", "a\tb\nc", "\\x1b is four letters"):
        assert visible(text) == text


def test_every_format_character_is_escaped_or_needed() -> None:
    """Unicode's control, format, surrogate and separator characters, one by one."""
    needed = {"\t", "\n", "\u200c", "\u200d"}
    left = {
        c
        for c in map(chr, range(0x110000))
        if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and visible(c) == c
    }
    rest = left - needed
    # Signs that are drawn: Arabic and Kaithi number signs, Egyptian and shorthand controls, music.
    assert all(unicodedata.category(c) == "Cf" for c in rest)
    assert not {c for c in rest if unicodedata.bidirectional(c) in {"RLO", "LRO", "RLE", "LRE"}}
    assert len(rest) < 60


def test_one_line_is_bounded() -> None:
    for text in PAYLOADS:
        assert len(one_line(text, 50)) <= 50
        assert "\n" not in one_line(text)
    assert one_line("x" * 51, 50) == "x" * 49 + "…"
    assert one_line("x" * 50, 50) == "x" * 50
