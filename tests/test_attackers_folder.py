"""A cloned folder whose author attacks: settings, model, template, data, server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.test_api_keys import KEY, MEANT, Recorder, reflect, shown
from tests.test_untrusted_models import CODE, SENTINEL, auto_map

pytestmark = pytest.mark.long


def test_nothing_runs_leaks_or_hangs(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    auto_map(tmp_path / "m")
    for name in ("m/modeling_evil", "m/configuration_evil", "xllamacpp", "matplotlib"):
        (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / "bomb.jinja").write_text(
        "{% for i in range(99999999) %}{{ instruction }}{% endfor %}"
    )
    row = {"id": "\x1b]0;owned\x07", "instruction": "\x1b[2Jx", "output": "\u202ey"}
    (tmp_path / "data.jsonl").write_text(json.dumps(row))
    with (
        Recorder(lambda *_: (200, "", {})) as other,
        Recorder(
            lambda key, _: (307, f"Location: {other.base_url}?{key}\r\n", {"error": key})
        ) as server,
    ):
        settings = f'model = "./m"\ntemplate = "bomb.jinja"\nbase-url = "{server.base_url}"\n'
        (tmp_path / "ifdkit.toml").write_text(settings + f'api-key-env = "{MEANT}"\n')
        refused = reflect(tmp_path)
        assert refused.returncode == 2
        assert "not read from a file of the working folder" in refused.stderr
        assert server.received == []
        (tmp_path / "ifdkit.toml").write_text('model = "./m"\ntemplate = "bomb.jinja"\n')
        asked = reflect(tmp_path, "--base-url", server.base_url, "--api-key-env", MEANT)
    assert asked.returncode == 2
    assert server.received
    assert other.received == []
    for done in (refused, asked):
        assert KEY not in shown(tmp_path, done)
        assert "\x1b" not in done.stdout + done.stderr
    assert not (tmp_path / SENTINEL).exists()
