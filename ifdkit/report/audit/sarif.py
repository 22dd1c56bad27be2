"""An audit as SARIF 2.1.0, which code-review tools show beside the lines of a file.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.  Comments cite its
paragraphs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ifdkit.auditing.result import MAX_PLACES, Audit, Place, RuleResult
from ifdkit.format import number
from ifdkit.report.audit.wording import measured, state, title, where
from ifdkit.visible import one_line

SARIF_VERSION = "2.1.0"
_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_FINGERPRINT = "ifdkitExample/v1"
_LEVELS = {"error": "error", "warning": "warning", "off": "none"}
_LINK_START = re.compile(r"\[(?=[^\]]*\]\()")

Json = dict[str, Any]


def as_sarif(audit: Audit, *, root: Path | None = None) -> Json:
    """The log: one run, every rule, and a result for each place of the rules that fail or warn.

    At most MAX_PLACES results per rule.  Paths are relative to `root`, by default the working
    folder; of a file outside it only the name is given.  Lines are those of the reader.  Without
    a line, a result refers to the file as a whole.
    """
    uri = artifact_uri(audit.input, root or Path.cwd())
    uris = {one.name: artifact_uri(one.path, root or Path.cwd()) for one in audit.inputs}
    uris[""] = uri
    seen: Counter[str] = Counter()
    results = [
        result
        for index, rule in enumerate(audit.rules)
        if state(rule) in {"failed", "warns"}
        for result in _results(index, rule, uris, seen)
    ]
    driver = {
        "name": "ifdkit",
        "version": one_line(audit.version, 60),
        "rules": [_descriptor(rule) for rule in audit.rules],
    }
    run = {
        "tool": {"driver": driver},
        # Distinguishes the audits of several files of one commit (§3.17.3: ends in a slash).
        "automationDetails": {"id": f"ifdkit-audit/{uri}/"},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {
            "passed": audit.passed,
            "rows": audit.rows,
            "rowsInFile": audit.rows_in_file,
            "examples": audit.examples,
            "sample": audit.sample,
        },
    }
    return {"$schema": _SCHEMA, "version": SARIF_VERSION, "runs": [run]}


def artifact_uri(name: str, root: Path) -> str:
    """A relative reference to the input: its path below `root`, else its name."""
    if name == "-":
        return "stdin"
    path = Path(os.path.normpath(root / name))
    inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    name = inside.as_posix() if inside.parts else "dataset"
    # A lone surrogate in a file name has no encoding; an unescaped colon would end a scheme.
    return quote(name.encode(errors="surrogatepass"), safe="/")


def _descriptor(rule: RuleResult) -> Json:
    """The rule itself: what it looks for and how to fix it, whether it was applied or not."""
    settings = f"Severity and allowed share: [audit.{rule.name}] in ifdkit.toml."
    described = {"fullDescription": {"text": _message(rule.found)}} if rule.found else {}
    return {
        "id": one_line(rule.name, 80),
        "shortDescription": {"text": _message(title(rule))},
        **described,
        "help": {"text": _message(f"{rule.fix} {settings}".strip())},
        "defaultConfiguration": {
            "enabled": rule.severity != "off",
            "level": _LEVELS[rule.severity],
        },
        "properties": {
            "state": state(rule),
            "count": rule.count,
            "checked": rule.checked,
            "share": rule.share,
            "most": rule.most,
        },
    }


def _results(
    index: int, rule: RuleResult, uris: Mapping[str, str], seen: Counter[str]
) -> Iterator[Json]:
    for place in rule.places[:MAX_PLACES] or (None,):
        source = place.source if place is not None else None
        yield {
            "ruleId": one_line(rule.name, 80),
            "ruleIndex": index,
            "level": _LEVELS[rule.severity],
            "message": {"text": _message(_description(rule, place))},
            "locations": [_location(uris.get(source or "", uris[""]), place)],
            "partialFingerprints": {_FINGERPRINT: _fingerprint(rule, place, seen)},
        }


def _description(rule: RuleResult, place: Place | None) -> str:
    """What was found, where, the number or quotation that shows it, and the fix."""
    found = one_line(rule.found, 600) or f"{title(rule)}."
    if place is None:  # a rule about the dataset as a whole
        evidence = f"{measured(rule)}."
    else:
        value = "" if place.value is None else f", {number(place.value)}"
        quoted = f": “{one_line(place.quote, 200)}”" if place.quote else "."
        evidence = f"{where(place).capitalize()}{value}{quoted}"
    return f"{found} {evidence} {rule.fix}".rstrip()


def _message(text: str) -> str:
    """A plain text message without placeholders or links.

    Braces are doubled (§3.11.5); a bracket that would begin a link is escaped (§3.11.6).
    """
    braces_doubled = one_line(text, 1000).replace("{", "{{").replace("}", "}}")
    return _LINK_START.sub(r"\\[", braces_doubled)


def _location(uri: str, place: Place | None) -> Json:
    physical: Json = {"artifactLocation": {"uri": uri, "uriBaseId": "%SRCROOT%"}}
    if place is None:
        return {"physicalLocation": physical}
    if place.line is not None:
        physical["region"] = {"startLine": place.line}
    name = one_line(place.id, 80) or where(place)
    logical = {"name": name, "fullyQualifiedName": where(place), "kind": "object"}
    return {"physicalLocation": physical, "logicalLocations": [logical]}


def _fingerprint(rule: RuleResult, place: Place | None, seen: Counter[str]) -> str:
    """The same for the same example in every run, wherever it is in the file.

    A row that could not be read has no id: its position is used.  Equal fingerprints are numbered.
    """
    key = (rule.name,) if place is None else (rule.name, place.id or f"row {place.row}")
    turn = "" if place is None else str(place.turn)
    digest = hashlib.sha256("\0".join((*key, turn)).encode(errors="backslashreplace")).hexdigest()
    seen[digest] += 1
    return f"{digest[:32]}:{seen[digest]}"
