"""The faults planted in tests/cases/dirty.jsonl: each is found, and by its rule."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from ifdkit.cli.main import main
from tests.test_cases_reading import CASES

PLANTED = {
    **dict.fromkeys(("k1", "k3", "k10"), "special_token"),
    "k2": "continued_conversation",
    **dict.fromkeys(("k4", "k5"), "placeholder_input"),
    **dict.fromkeys(("k6", "k8", "k9", "k13", "k17"), "placeholder_response"),
    "k11": "template_marker",
    "k12": "empty_response",
    "k14": "mojibake",
    "k15": "error_response",
    "k16": "repeated_words",
}


def test_planted_faults_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = CASES.resolve() / "dirty.jsonl"
    assert main(["audit", str(data), "--no-model", "-o", "report"]) == 1
    rules = json.loads(Path("report/audit.json").read_text(encoding="utf-8"))["rules"]
    found: defaultdict[str, set[str]] = defaultdict(set)
    for rule in rules:
        for place in rule["places"]:
            found[place["id"]].add(rule["name"])
    capsys.readouterr()
    # The sentences of the clean rows were made from one pattern.
    found_alone = {name: rules - {"recurring_phrase"} for name, rules in found.items()}
    assert found_alone["k6"] == {"placeholder_response", "duplicate_id"}
    for name, rule in PLANTED.items():
        assert rule in found_alone[name], name
    clean = [f"k{n}" for n in (0, 7, *range(18, 40))]
    assert [name for name in clean if found_alone.get(name)] == []
