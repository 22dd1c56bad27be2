"""Hostile text in every field of an audit stays text: page, Markdown, SARIF, terminal."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from ifdkit.auditing.result import Audit
from ifdkit.report.audit.html import render_audit_html
from ifdkit.report.audit.markdown import render_audit_markdown
from ifdkit.report.audit.sarif import as_sarif
from ifdkit.report.terminal.audit import print_audit
from ifdkit.visible import one_line
from tests.audit_fixtures import make_audit, with_text_everywhere
from tests.test_audit_report import breaches
from tests.test_report_hostile import NEVER, PAYLOADS, Outline, name_of, shape_of

pytestmark = pytest.mark.long


@pytest.fixture(params=PAYLOADS, ids=name_of)
def payload(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


def hostile(text: str) -> Audit:
    """An audit in which every string is `text`."""
    audit = make_audit()
    few = tuple(replace(rule, places=rule.places[:10]) for rule in audit.rules)
    some = replace(audit, rules=few, explored=audit.explored[:3])
    told = with_text_everywhere(some, lambda _: text)
    rules = tuple(
        replace(
            rule,
            name=text,
            title=text,
            found=text if rule.found else "",
            fix=text if rule.fix else "",
            skipped=rule.skipped and text,
        )
        for rule in told.rules
    )
    return replace(told, rules=rules, version=text, created=text)


@pytest.fixture(scope="module")
def harmless_page() -> Outline:
    return Outline(render_audit_html(hostile("harmless")))


@pytest.fixture(scope="module")
def harmless_shape() -> list[tuple[str, ...]]:
    return shape_of(render_audit_markdown(hostile("harmless")))


def test_html(payload: str, harmless_page: Outline) -> None:
    page = render_audit_html(hostile(payload))
    outline = Outline(page)
    # An empty text leaves its element out; no other may change the elements.
    assert not one_line(payload) or outline.elements == harmless_page.elements
    assert outline.comments == []
    assert not NEVER.search(page.replace("\n", "").replace("\t", ""))
    text = "".join(outline.text)
    assert text.count(one_line(payload, 60)) >= 20
    assert len(page) < 450_000


def test_markdown(payload: str, harmless_shape: list[tuple[str, ...]]) -> None:
    text = render_audit_markdown(hostile(payload))
    assert not NEVER.search(text.replace("\n", ""))
    assert not one_line(payload) or shape_of(text) == harmless_shape


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [one for item in value for one in strings(item)] if isinstance(value, list) else []


def test_sarif(payload: str) -> None:
    log = as_sarif(hostile(payload), root=Path("/work/here"))
    assert list(breaches(log)) == []
    assert not any(NEVER.search(one) for one in strings(log))
    for result in log["runs"][0]["results"]:
        text = result["message"]["text"]
        assert not re.search(r"(?<!\\)\[[^\]]*\]\(", text), "no link"
        assert "{" not in text.replace("{{", "").replace("}}", ""), "no placeholder"
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri
        assert uri.isascii()
        parts = urlsplit(uri)
        assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
        assert not uri.startswith("/")


@pytest.mark.parametrize("width", [50, 80])
def test_terminal(width: int, payload: str) -> None:
    console = Console(width=width, highlight=False, markup=False, emoji=False, force_terminal=True)
    with console.capture() as captured:
        print_audit(hostile(payload), console=console)
    # rich's own colours are the only escape sequences there may be.
    text = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    assert not NEVER.search(text.replace("\n", ""))
    assert re.sub(r"\s", "", one_line(payload, 60)) in re.sub(r"\s", "", text)


def test_every_payload_can_be_saved(tmp_path: Path) -> None:
    """Lone surrogates too: each file is written, and its JSON is strict."""
    for text in ("\ud800 \udfff", "\0", "</script>"):
        hostile(text).save(tmp_path)
        for name in ("audit.json", "audit.sarif"):
            json.loads((tmp_path / name).read_text(), parse_constant=pytest.fail)
