"""The reports of an audit: what they must show, what they must not, and that they are valid."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from ifdkit.auditing import exploring
from ifdkit.auditing.result import AUDIT_SCHEMA, MAX_PLACES, Audit, Detail, Place, RuleResult
from ifdkit.auditing.run import audit as run_audit
from ifdkit.auditing.run import check_folder
from ifdkit.data.atomic import dumps
from ifdkit.errors import OutputError
from ifdkit.report.audit.html import render_audit_html
from ifdkit.report.audit.markdown import MAX_CHARACTERS, render_audit_markdown
from ifdkit.report.audit.sarif import artifact_uri, as_sarif
from ifdkit.report.audit.wording import allowed, basis, headline, rate, settings, state, where
from ifdkit.report.terminal.audit import print_audit
from tests.audit_fixtures import (
    CHECK,
    FAILED,
    OPENING,
    PASSED,
    UNAPPLIED,
    WARNS,
    make_audit,
    with_text_everywhere,
)

pytestmark = pytest.mark.long

SHOWN_TEXT = {"quote", "detail", "found", "instruction", "response"}
"""Words of the dataset, as `with_text_everywhere` names them."""
FILES = {"index.html", "audit.json", "report.md", "audit.sarif"}


@pytest.fixture(scope="module")
def audit() -> Audit:
    return make_audit()


@pytest.fixture(scope="module")
def page(audit: Audit) -> str:
    return render_audit_html(audit)


@pytest.fixture(scope="module")
def clean() -> Audit:
    """No failure, no warning, no model, the whole file read."""
    return make_audit(
        rules=PASSED[1:2],
        passed=True,
        sample=None,
        seed=None,
        rows_in_file=1000,
        template_check=None,
        manifest=None,
        against=(),
    )


def terminal(audit: Audit, width: int = 80, **options: Any) -> str:
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        print_audit(audit, console=console, **options)
    return captured.get()


def forms(audit: Audit) -> dict[str, str]:
    return {
        "page": render_audit_html(audit),
        "markdown": render_audit_markdown(audit),
        "terminal": terminal(audit),
        "sarif": dumps(as_sarif(audit)),
    }


# ---- the words


def test_a_rule_is_in_one_state() -> None:
    told = [state(rule) for rule in (*FAILED, *WARNS, *PASSED, *UNAPPLIED)]
    assert told == ["failed"] * 2 + ["warns"] * 3 + ["passed"] * 3 + ["skipped", "off"]
    for rule in (*FAILED, *WARNS, *PASSED, *UNAPPLIED):
        assert rule.fails == (state(rule) == "failed")
        assert rule.warns == (state(rule) == "warns")
    # A rule that was not applied cannot fail.
    assert state(replace(FAILED[0], skipped="needs a model")) == "skipped"
    assert state(replace(FAILED[0], severity="off")) == "off"


def test_the_headline_counts_and_names_checks(audit: Audit, clean: Audit) -> None:
    assert headline(audit) == (
        "2 of 8 checks failed (unreadable rows; leaked prompts); 3 gave warnings."
    )
    one = replace(audit, rules=(*FAILED[:1], *PASSED))
    assert headline(one) == "1 of 4 checks failed (unreadable rows)."
    warned = replace(audit, passed=True, rules=WARNS[:1] + PASSED)
    assert (
        headline(warned)
        == "Passed: none of 4 checks failed; 1 gave a warning (recurring openings)."
    )
    assert headline(clean) == "Passed: none of 1 check failed."
    nothing = replace(clean, rules=UNAPPLIED)
    assert headline(nothing) == "Passed: no check was applied."
    assert headline(replace(nothing, passed=False)) == "Failed: no check was applied."
    many = replace(audit, rules=FAILED * 5)
    assert " and 6 more)" in headline(many)


def test_the_basis_says_which_rows_were_checked(audit: Audit, clean: Audit) -> None:
    assert "1,000 of 52,002 rows, seed 0" in basis(audit)
    assert "estimate for the whole file" in basis(audit)
    assert basis(clean) == "The whole file was checked: 1,000 rows, 999 examples."
    first = replace(clean, rows=10)
    assert basis(first).startswith("Only the first 10 of 1,000 rows")


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (0.00001, "< 0.01 %"),
        (0.0004, "0.04 %"),
        (0.012, "1.2 %"),
        (0.02, "2 %"),
        (0.1, "10 %"),
        (0.1249, "12.5 %"),
        (0.99999, "99.9 %"),
        (1.0, "100 %"),
    ],
)
def test_shares_have_three_digits(share: float | None, shown: str) -> None:
    assert rate(share) == shown


def test_limits_and_places() -> None:
    assert allowed(FAILED[0]) == "none"
    assert allowed(WARNS[0]) == "2 %"
    assert where(Place(id="x", row=1234)) == "row 1,234"
    assert where(Place(id="x", row=12, turn=0)) == "row 12"
    assert where(Place(id="x", row=12, turn=1, line=13)) == "row 12, turn 1, line 13"


def test_the_settings_are_the_current_ones() -> None:
    found = tomllib.loads(settings((*FAILED, *WARNS)))["audit"]
    for rule in (*FAILED, *WARNS):
        expected = {"severity": rule.severity, "most": rule.most}
        if rule.threshold is not None:
            expected["threshold"] = rule.threshold
        assert found[rule.name] == expected


# ---- the page


def test_the_page_shows_the_headline_first(page: str, audit: Audit) -> None:
    order = ("<main", headline(audit), basis(audit)[:40], '<section id="rules"', "<article")
    places = [page.index(part) for part in order]
    assert places == sorted(places)


def test_every_rule_that_found_something_has_a_row_in_the_table(page: str) -> None:
    table = page[page.index('<section id="rules"') : page.index('<section id="findings"')]
    lines = table.split("<tr>")[2:]
    found = [rule for rule in (*FAILED, *WARNS, *PASSED) if rule.count]
    assert len(lines) == len(found)
    for line, rule in zip(lines, found, strict=True):
        for text in (rule.title[1:], f"{rule.count:,}", rate(rule.share), rule.severity):
            assert text in line
        assert allowed(rule) in line
    assert "18.8 % to 23.9 %" in table
    assert "1 check found nothing: empty responses." in table


def test_failures_and_warnings_have_a_block(page: str, audit: Audit) -> None:
    blocks = page[page.index('<section id="findings"') : page.index('<section id="others"')]
    articles = blocks.split("<article")[1:]
    assert len(articles) == len(FAILED) + len(WARNS)
    for article, rule in zip(articles, (*FAILED, *WARNS), strict=True):
        for text in (rule.name, rule.found, rule.fix):
            assert text.replace("'", "&#39;") in article
        for place in rule.places:
            assert where(place) in article
            assert place.id in article
        assert article.count("<li>") == len(rule.places) + len(rule.details)
    assert "162 more are not listed" in articles[1], "212 found, 50 listed"
    assert "47 more places" in articles[1]
    assert "212 ×" in articles[2]
    assert "threshold 1<" in articles[3]
    assert "1.05" in articles[3], "the number that is over the threshold"


def test_other_checks_are_folded(page: str) -> None:
    rest = page[page.index('<section id="others"') : page.index('<section id="templates"')]
    passed, unapplied = rest.split("<details>")[1:3]
    assert "3 checks passed" in passed
    assert where(PASSED[0].places[0]) in passed
    assert "2 checks not applied" in rest
    assert "needs --against" in rest
    assert unapplied


def test_the_template_check_has_a_section(page: str, audit: Audit, clean: Audit) -> None:
    assert "480 examples scored under the templates “plain” and “vicuna”" in page
    assert "6.2 % and 11.4 %" in page
    assert "+0.91" in page
    assert 'id="templates"' not in render_audit_html(clean)
    nothing = replace(CHECK, n=0, spearman=None, above_one=(None, None), agreement=None)
    assert "in – and – of them." in render_audit_html(replace(audit, template_check=nothing))


def test_where_the_scores_come_from(page: str, clean: Audit) -> None:
    assert "smollm2-135m" in page
    assert "c0ffee" in page
    assert "data/alpacaeval.json" in page
    bare = render_audit_html(clean)
    assert "No model was used" in bare
    assert "smollm2" not in bare


def test_a_clean_audit_has_nothing_to_fix(clean: Audit) -> None:
    page = render_audit_html(clean)
    assert 'id="findings"' not in page
    assert 'id="thresholds"' not in page
    assert "No check found a reason not to train on this dataset." in page


def test_references_resolve_and_ids_are_unique(page: str, clean: Audit) -> None:
    for one in (page, render_audit_html(clean)):
        ids = re.findall(r'\sid="([^"]+)"', one)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#([^"]+)"', one)) <= set(ids)
        labels = " ".join(re.findall(r'aria-labelledby="([^"]+)"', one)).split()
        assert set(labels) <= set(ids)
        assert set(re.findall(r"url\(#([^)]+)\)", one)) <= set(ids)  # clip paths of the figure


def test_undefined_numbers_are_dashes_and_never_nan(audit: Audit) -> None:
    bare = tuple(replace(rule, share=None, share_ci95=None) for rule in audit.rules)
    shown = forms(replace(audit, rules=bare, input_sha256=None, seed=None))
    for name in ("page", "markdown", "terminal"):
        text = re.sub(r"<head>.*</head>|<script>.*</script>", "", shown[name], flags=re.S)
        assert not re.search(r"\b(nan|None|NaN|inf)\b", text), name
    assert not re.search(r"NaN|Infinity", shown["sarif"])


def test_the_page_makes_no_request(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    text = policy[1].replace("&#39;", "'")
    assert text.startswith("default-src 'none'; ")
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in text
    assert not re.search(r"<[^>]+\s(style|on\w+)=", page), "the policy would refuse it"
    assert not re.search(r'(src|href|action)="(?!#|data:,")', page)
    assert not re.search(r"@import|url\((?!#)", page)


# ---- Markdown


def parsed(text: str) -> list[Any]:
    return MarkdownIt("gfm-like", {"linkify": False}).parse(text)


def test_markdown_says_the_same(audit: Audit) -> None:
    text = render_audit_markdown(audit)
    assert len(text) < 9000
    assert text.startswith("## Audit of `data/recycled.jsonl`: failed\n")
    assert headline(audit) in text
    head, failed, warns, others = text.split("<details")
    table = [line for line in head.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(FAILED) + len(WARNS)
    assert len({line.count("|") for line in table}) == 1
    assert "| **failed** | 212 of 999 | 21.2 % (18.8 % to 23.9 %) | none |" in head
    assert failed.startswith(" open>"), "failures are not folded"
    assert f"`{OPENING} the moon" in failed
    assert "… and 207 more" in failed
    assert f"212 × `{OPENING}`" in warns
    assert "Refusals: passed (4 of 999 examples, 0.4 %" in others
    assert "not applied, needs --against" in others
    assert "480 examples scored under" in others
    assert "model `smollm2-135m`" in others


def test_markdown_folds_are_closed_and_contain_markdown(audit: Audit) -> None:
    blocks = parsed(render_audit_markdown(audit))
    html = [block.content for block in blocks if block.type == "html_block"]
    assert [one.count("<details") for one in html] == [1, 0] * 3
    assert [one.count("</details>") for one in html] == [0, 1] * 3
    assert sum(block.type == "table_open" for block in blocks) == 1
    assert sum(block.type == "bullet_list_open" for block in blocks) >= 3


def test_markdown_always_fits_a_comment(audit: Audit) -> None:
    long = "`|*@" * 5000
    rule = replace(
        FAILED[1],
        title=long,
        found=long,
        fix=long,
        quotes_text=True,
        places=tuple(replace(one, quote=long, id=long) for one in FAILED[1].places),
        details=(Detail(text=long, count=3),) * 30,
    )
    off = replace(UNAPPLIED[0], title=long, skipped=long)
    crowded = replace(
        audit,
        rules=(rule,) * 100 + (off,) * 100,
        input=long,
        command=long,
        against=(long,) * 40,
        template_check=replace(CHECK, templates=(long, long)),
    )
    text = render_audit_markdown(crowded)
    assert len(text) <= MAX_CHARACTERS
    assert "more in audit.json" in text
    assert text.count("<details") == text.count("</details>")


def test_markdown_of_a_clean_audit_is_short(clean: Audit) -> None:
    text = render_audit_markdown(clean)
    assert "|" not in text
    assert "Scores: none." in text
    assert len(text) < 1000


# ---- SARIF

Shape = dict[str, Any]
# From the schema of SARIF 2.1.0 (OASIS), for the objects that are used: the type of each property,
# "!" if it is required.  Only a property bag may have other properties.
SARIF: dict[str, Shape] = {
    "sarifLog": {"version!": {"2.1.0"}, "runs!": ["run"], "$schema": str},
    "run": {
        "tool!": "tool",
        "results": ["result"],
        "automationDetails": "runAutomationDetails",
        "columnKind": {"utf16CodeUnits", "unicodeCodePoints"},
        "properties": dict,
    },
    "tool": {"driver!": "toolComponent"},
    "toolComponent": {"name!": str, "version": str, "rules": ["reportingDescriptor"]},
    "reportingDescriptor": {
        "id!": str,
        "shortDescription": "multiformatMessageString",
        "fullDescription": "multiformatMessageString",
        "help": "multiformatMessageString",
        "defaultConfiguration": "reportingConfiguration",
        "properties": dict,
    },
    "multiformatMessageString": {"text!": str, "markdown": str},
    "reportingConfiguration": {"enabled": bool, "level": {"none", "note", "warning", "error"}},
    "runAutomationDetails": {"id": str},
    "result": {
        "message!": "message",
        "ruleId": str,
        "ruleIndex": int,
        "level": {"none", "note", "warning", "error"},
        "locations": ["location"],
        "partialFingerprints": dict,
        "properties": dict,
    },
    "message": {"text!": str},
    "location": {"physicalLocation": "physicalLocation", "logicalLocations": ["logicalLocation"]},
    "physicalLocation": {"artifactLocation!": "artifactLocation", "region": "region"},
    "artifactLocation": {"uri": str, "uriBaseId": str},
    "region": {"startLine!": int},  # or an offset, which is not used
    "logicalLocation": {"name": str, "fullyQualifiedName": str, "kind": str},
}


def breaches(value: Any, kind: Any = "sarifLog", path: str = "$") -> Iterator[str]:
    """Violations of the schema in a log."""
    if isinstance(kind, list):
        if not isinstance(value, list):
            yield f"{path}: no list"
            return
        for i, item in enumerate(value):
            yield from breaches(item, kind[0], f"{path}[{i}]")
    elif isinstance(kind, set):
        if value not in kind:
            yield f"{path}: {value!r}"
    elif isinstance(kind, type):
        if type(value) is not kind:
            yield f"{path}: {value!r} is no {kind.__name__}"
    else:
        yield from _breaches_of_object(value, SARIF[kind], path)


def _breaches_of_object(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: no object"
        return
    known = {name.rstrip("!"): kind for name, kind in shape.items()}
    needed = {name[:-1] for name in shape if name.endswith("!")}
    for name in needed - value.keys():
        yield f"{path}.{name} is missing"
    for name, inner in value.items():
        if name not in known:
            yield f"{path}.{name} is unknown"
        else:
            yield from breaches(inner, known[name], f"{path}.{name}")


def test_sarif_follows_its_schema(audit: Audit, clean: Audit) -> None:
    for one in (audit, clean, replace(audit, rules=())):
        assert list(breaches(json.loads(dumps(as_sarif(one))))) == []


def test_the_schema_check_finds_violations(audit: Audit) -> None:
    """Negative control."""
    log = json.loads(dumps(as_sarif(audit)))
    del log["runs"][0]["tool"]["driver"]["name"]
    log["runs"][0]["results"][0]["level"] = "fatal"
    log["runs"][0]["results"][1]["row"] = 3
    found = sorted(breaches(log))
    assert [path.split(":")[0] for path in found] == [
        "$.runs[0].results[0].level",
        "$.runs[0].results[1].row is unknown",
        "$.runs[0].tool.driver.name is missing",
    ]


def run_of(audit: Audit) -> Any:
    return json.loads(dumps(as_sarif(audit)))["runs"][0]


def test_sarif_contains_rules_and_places(audit: Audit) -> None:
    run = run_of(audit)
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    assert [rule["id"] for rule in rules] == [rule.name for rule in audit.rules]
    levels = [rule["defaultConfiguration"]["level"] for rule in rules]
    assert levels == ["error"] * 2 + ["warning"] * 4 + ["error", "warning", "error", "none"]
    assert all(rule["shortDescription"]["text"] and rule["help"]["text"] for rule in rules)
    expected = {rule.name: max(1, len(rule.places)) for rule in (*FAILED, *WARNS)}
    told = [one["ruleId"] for one in results]
    assert {name: told.count(name) for name in told} == expected
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in results)
    second = results[2]
    place = FAILED[1].places[1]
    physical = second["locations"][0]["physicalLocation"]
    assert physical["region"] == {"startLine": place.line}
    assert physical["artifactLocation"] == {"uri": "data/recycled.jsonl", "uriBaseId": "%SRCROOT%"}
    assert second["locations"][0]["logicalLocations"][0]["name"] == place.id
    assert second["message"]["text"] == (
        "The text mentions its own rewriting: the prompt has leaked. Row 37, line 38:"
        f" “{place.quote}” {FAILED[1].fix}"
    )
    assert second["level"] == "error"


def test_an_unknown_line_is_left_out(audit: Audit) -> None:
    rule = replace(FAILED[1], places=(Place(id="a", row=3), Place(id="b", row=0, line=1)))
    first, second = run_of(replace(audit, rules=(rule,)))["results"]
    assert "region" not in first["locations"][0]["physicalLocation"]
    assert second["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}


def test_sarif_limits_the_places_per_rule(audit: Audit) -> None:
    rule = replace(FAILED[1], places=FAILED[1].places * 3)
    assert len(run_of(replace(audit, rules=(rule,)))["results"]) == MAX_PLACES


def fingerprints(audit: Audit) -> list[str]:
    found = [one["partialFingerprints"]["ifdkitExample/v1"] for one in run_of(audit)["results"]]
    assert all(isinstance(one, str) for one in found)
    return found


def test_fingerprints_depend_on_the_example_and_not_its_position(audit: Audit) -> None:
    first = fingerprints(audit)
    assert len(first) == len(set(first))
    moved = replace(
        FAILED[1],
        places=tuple(
            replace(one, row=one.row + 7, line=None, quote="otherwise") for one in FAILED[1].places
        ),
    )
    later = replace(audit, rules=(FAILED[0], moved, *audit.rules[2:]), created="later", rows=2000)
    assert fingerprints(later) == first
    # Another example, another turn and another rule are other findings.
    one = FAILED[1].places[0]
    others = (one, replace(one, id="z"), replace(one, turn=3), replace(one, turn=None))
    rules = (replace(FAILED[1], places=others), replace(WARNS[1], places=(one,)))
    assert len(set(fingerprints(replace(audit, rules=rules)))) == 5


def test_equal_ids_have_distinct_fingerprints(audit: Audit) -> None:
    rule = replace(FAILED[1], places=FAILED[1].places[:1] * 3)
    endings = [one.split(":")[1] for one in fingerprints(replace(audit, rules=(rule,)))]
    assert endings == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("data/x.jsonl", "data/x.jsonl"),
        ("./data/../x y.jsonl", "x%20y.jsonl"),
        ("/work/here/data/x.jsonl", "data/x.jsonl"),
        ("/home/somebody/x.jsonl", "x.jsonl"),
        ("../../secret/x.jsonl", "x.jsonl"),
        ("c:x%.jsonl", "c%3Ax%25.jsonl"),
        ("naïve.json", "na%C3%AFve.json"),
        ("-", "stdin"),
        ("", "dataset"),
        ("/", "dataset"),
        ("tatsu-lab/alpaca", "tatsu-lab/alpaca"),
    ],
)
def test_uris_are_relative(name: str, uri: str) -> None:
    assert artifact_uri(name, Path("/work/here")) == uri
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("", "")
    assert ".." not in unquote(uri).split("/")


def test_no_path_of_the_machine_is_in_the_log(audit: Audit) -> None:
    home = "/home/jdoe/projects"
    told = replace(audit, input=f"{home}/x.jsonl", command=f"ifdkit audit {home}/x.jsonl")
    assert "jdoe" not in dumps(as_sarif(told))
    assert "jdoe" in dumps(told.as_json()), "negative control"


def test_messages_contain_no_placeholder_and_no_link(audit: Audit) -> None:
    quote = "{0} and [click](https:/" + "/evil.example) but a[0] and (this)"
    rule = replace(FAILED[1], places=(Place(id="a", row=0, quote=quote),))
    text = run_of(replace(audit, rules=(rule,)))["results"][0]["message"]["text"]
    assert "{{0}} and \\[click](https:" in text
    assert "a[0] and (this)" in text


# ---- files


def test_saving_writes_every_form(tmp_path: Path, audit: Audit) -> None:
    folder = tmp_path / "a" / "b"
    audit.save(folder)
    assert {path.name for path in folder.iterdir()} == FILES
    saved = json.loads((folder / "audit.json").read_text(), parse_constant=pytest.fail)
    assert saved == json.loads(json.dumps(audit.as_json()))
    assert saved["schema"] == AUDIT_SCHEMA
    assert saved["rules"][1]["places"][0]["line"] == 1
    sarif = json.loads((folder / "audit.sarif").read_text(), parse_constant=pytest.fail)
    assert list(breaches(sarif)) == []
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    audit.save(folder)
    assert first == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_nan_is_refused_and_no_file_is_written(tmp_path: Path, audit: Audit) -> None:
    """JSON has no NaN."""
    rule = replace(FAILED[0], share=float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(audit, rules=(rule,)).save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_refused(tmp_path: Path, audit: Audit) -> None:
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    audit.save(tmp_path / "ours")
    check_folder(tmp_path / "ours")
    (tmp_path / "alien").mkdir()
    (tmp_path / "alien" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="alien is not empty and is not an earlier audit"):
        check_folder(tmp_path / "alien")
    comparison = {"schema": "ifdkit.comparison/1"}
    (tmp_path / "alien" / "audit.json").write_text(json.dumps(comparison))
    with pytest.raises(OutputError, match="not an earlier audit of ifdkit"):
        check_folder(tmp_path / "alien")
    with pytest.raises(OutputError, match=r"notes.txt is a file"):
        check_folder(tmp_path / "alien" / "notes.txt")
    with pytest.raises(OutputError, match=r"cannot write .*notes.txt"):
        audit.save(tmp_path / "alien" / "notes.txt")


def test_no_text_omits_all_text(tmp_path: Path, audit: Audit) -> None:
    secret = "SENTINEL-" + "7f3a"
    planted = with_text_everywhere(audit, lambda place: secret if place in SHOWN_TEXT else "plain")
    planted.save(tmp_path / "bare", text=False)
    for path in (tmp_path / "bare").iterdir():
        assert secret.encode() not in path.read_bytes(), path.name
    assert secret not in terminal(planted, text=False)
    assert secret not in dumps(planted.without_text().as_json())
    bare = json.loads((tmp_path / "bare" / "audit.json").read_text())
    for before, after in zip(planted.rules, bare["rules"], strict=True):
        assert after["count"] == before.count
        assert [one["id"] for one in after["places"]] == [one.id for one in before.places]
        assert [one["count"] for one in after["details"]] == [one.count for one in before.details]
    assert bare["rules"][-3]["details"][0]["text"] == "plain", "a pattern's name quotes nothing"
    page = (tmp_path / "bare" / "index.html").read_text()
    assert "dataset text was omitted" in page
    # Negative control: with text the sentinel is there.
    planted.save(tmp_path / "full")
    shown = {path.name for path in (tmp_path / "full").iterdir() if secret in path.read_text()}
    assert shown == FILES
    assert secret in terminal(planted)


def test_no_text_covers_every_string_of_a_rule() -> None:
    """A string field added later must be added to `--no-text` too: only these are known."""
    place, detail, rule = FAILED[1].places[0], WARNS[0].details[0], WARNS[0]
    assert {n for n in place.__slots__ if isinstance(getattr(place, n), str)} == {"id", "quote"}
    held = {n for n in detail.__slots__ if isinstance(getattr(detail, n), str | tuple)}
    assert held == {"text", "row_ids"}
    explored = make_audit().explored[0]
    held = {n for n in explored.__slots__ if isinstance(getattr(explored, n), str | dict)}
    assert held == {"findings"}
    held = {n for n in RuleResult.__slots__ if isinstance(getattr(rule, n), str)}
    assert held == {"name", "title", "severity", "unit", "found", "fix"}


# ---- the terminal


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_terminal_keeps_to_its_width(width: int, audit: Audit, tmp_path: Path) -> None:
    text = terminal(audit, width)
    assert max(map(len, text.splitlines())) <= width
    joined = " ".join(text.split())
    for words in (headline(audit), basis(audit), FAILED[1].fix, OPENING, "needs --against"):
        assert words in joined
    table = text[: text.index("row 411")]
    assert ("18.8 % to 23.9 %" in table) == (width >= 80), "intervals where there is room"
    assert "21.2 %" in table
    shown = terminal(audit, width, folder=tmp_path).replace("\n", "")
    assert str(tmp_path / "index.html") in shown


def test_only_a_sample_has_intervals(audit: Audit) -> None:
    assert "95 % CI" in terminal(audit, 80)
    assert "95 % CI" not in terminal(replace(audit, sample=None), 120)


def test_the_terminal_is_plain_when_piped(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    print_audit(audit)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert headline(audit) in " ".join(out.split())


def test_clean_checks_are_one_line(audit: Audit) -> None:
    text = terminal(audit, 120)
    assert "✓ nothing found: empty responses\n" in text
    assert "! warning" in text
    assert "✗ failed" in text
    assert "– not applied (needs --against): rows of an evaluation set\n" in text
    assert "– switched off: cut-off responses\n" in text
    assert "… and 209 more" in text


def test_the_figure_shows_what_was_found_and_what_is_allowed() -> None:
    audit = make_audit()
    page = render_audit_html(audit)
    (figure,) = re.findall(r"<svg[^>]*shares-title.*?</svg>", page, re.DOTALL)
    found = [rule for rule in audit.rules if rule.count and rule.share and state(rule) != "off"]
    assert found
    for rule in found[:12]:
        assert f"{rate(rule.share)}, allowed {allowed(rule)}" in unescape(figure)
    # Negative control: nothing found, no figure.
    clean = replace(audit, rules=tuple(replace(one, count=0, share=0.0) for one in audit.rules))
    assert "shares-title" not in render_audit_html(clean)


def test_a_histogram_counts_all_examples_and_those_with_a_finding(audit: Audit) -> None:
    page = unescape(render_audit_html(audit))
    (measured, *_) = audit.measured
    tips = re.findall(r'data-tip="[^"]*: all examples ([\d,]+) [^"]*with a finding (\d+) ', page)
    n_all, n_found = (sum(int(n.replace(",", "")) for n in one) for one in zip(*tips, strict=True))
    both = sum(len(one.values) for one in audit.measured)
    assert 0.98 * both < n_all <= both, "all but the tails outside the axis"
    assert 0.98 * 2 * measured.is_found.sum() < n_found <= 2 * measured.is_found.sum()
    # Negative control: without numbers there is no such figure.
    assert "with a finding, median" not in render_audit_html(replace(audit, measured=()))


# ---- the explorer


def explored_of(page: str) -> Any:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(data)


def test_an_explored_row_has_all_its_findings_and_the_words_that_show_them(audit: Audit) -> None:
    data = explored_of(render_audit_html(audit))
    assert len(data["rows"]) == len(audit.explored)
    titles = {one["kind"]: one["title"] for one in data["findings"]}
    assert titles["prompt_leak"] == "Leaked prompts"
    row = next(one for one in data["rows"] if one["example"]["row"] == 0)
    assert row["findings"] == ["prompt_leak", "recurring_opening", "ifd_above_one", "refusal",
                               "personal_data"]  # fmt: skip
    assert row["evidence"][0].startswith(OPENING)
    assert row["place"] == "row 0, line 1"
    assert row["example"]["percentiles"] == [0.0, 0.0]


def test_the_size_of_the_page_is_bounded(audit: Audit) -> None:
    long = with_text_everywhere(audit, lambda _: "<\U0001f600" * 20_000)
    page = render_audit_html(replace(long, explored=long.explored * 40))
    assert 1_000_000 < len(page.encode()) < 3_000_000
    assert len(explored_of(page)["rows"]) == 600


def some_rows() -> list[dict[str, str]]:
    """Rows in which rules about texts find little: no two are alike."""
    rng = np.random.default_rng(0)
    words = ["".join(one) for one in rng.choice(list("abdegilmnorstu"), (400, 6))]
    return [
        {
            "id": f"r{i}",
            "instruction": f"Explain the {' '.join(rng.choice(words, 6))}, please.",
            "output": f"{' '.join(rng.choice(words, 12)).capitalize()}.",
        }
        for i in range(60)
    ]


def test_the_rows_that_rules_name_are_explored_with_secrets_hidden() -> None:
    rows = some_rows()
    key = "AKIA" + "Q3EGRFZ7XK2PLMNB"
    rows[7]["output"] = f"Use {key} for it. " + "Then wait. " * 30
    rows[9]["output"] = "I am sorry, but as an AI language model I cannot help with that."
    rows[11]["output"] = ""
    found = run_audit([*rows, cast(Any, "not a row")], scores=False)
    named = {one.side.row: one for one in found.explored if one.findings}
    assert set(named[9].findings) >= {"refusal"}
    assert "sorry" in named[9].findings["refusal"]
    assert "empty_response" in named[11].findings
    assert any("secret" in name for name in named[7].findings)
    assert key not in named[7].side.response
    assert "Then wait." in named[7].side.response, "the rest is shown"
    assert named[60].side.status == "unreadable"
    assert named[60].findings["unreadable_row"]
    drawn = [one for one in found.explored if one.reasons == ("drawn at random",)]
    assert drawn
    assert not any(one.findings for one in drawn), "negative control"
    words = {one.side.row: one.side for one in found.explored}
    assert words[7].numbers["response_words"] == len(rows[7]["output"].split())
    assert words[7].percentiles["response_words"] == pytest.approx(100 * 59.5 / 60)
    assert words[11].percentiles["response_words"] == pytest.approx(100 * 0.5 / 60)
    (measured, *_) = found.measured
    assert (measured.field, len(measured.values)) == ("response_words", 60)
    assert measured.is_found[11]
    assert not measured.is_found[12]
    assert not {"explored", "measured"} & found.as_json().keys()


def test_no_rule_takes_all_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploring, "MAX_NAMED", 6)
    rows = some_rows()
    for i in range(20):
        rows[i]["output"] = ""
        rows[20 + i]["output"] = f"I am sorry, but as an AI language model I cannot do {i}."
    found = run_audit(rows, scores=False)
    kinds = [set(one.findings) for one in found.explored]
    assert sum("empty_response" in one for one in kinds[:6]) == 3
    assert sum("ai_disclaimer" in one for one in kinds[:6]) == 3
