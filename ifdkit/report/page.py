"""What every report page is made of: one layout, one stylesheet, one policy.

A page asks nothing of any network.  Everything is inlined, and the page's own
content-security-policy forbids every request and every script and style but the two whose hashes
it names.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ifdkit.data.atomic import dumps
from ifdkit.report.comparison.wording import (
    NOTHING,
    effect,
    finding_kind,
    interval,
    p_value,
    percent,
    printed,
    sentence,
    signed,
    value,
    wording,
)
from ifdkit.report.format import plural
from ifdkit.report.visible import one_line

if TYPE_CHECKING:
    from jinja2 import Environment

_MANIFEST_CHARACTERS = 300


def render_page(template: str, scripts: Sequence[str], /, **values: Any) -> str:
    """A page of `templates/` with its scripts, in their order, as one."""
    style, script = _style(), "\n".join(map(_template_file, scripts))
    return (
        _environment()
        .get_template(template)
        .render(
            policy=content_security_policy(script, style),
            style=safe(style),
            script=safe(script),
            **values,
        )
    )


def content_security_policy(script: str, style: str) -> str:
    """A policy under which nothing is fetched and only this script and this style count."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def safe(markup: str) -> Any:
    """Markup of our own making (our files, JSON without < > &), which is not to be escaped."""
    from markupsafe import Markup

    return Markup(markup)


def manifest_value(x: Any) -> str:
    """What a manifest says under one name, in one line of text."""
    if x is None:
        return NOTHING
    return one_line(x if isinstance(x, str) else dumps(x), _MANIFEST_CHARACTERS)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _template_file(name: str) -> str:
    folder = importlib.resources.files("ifdkit.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def _style() -> str:
    return _template_file("style.css").replace(
        "{{ palette_dark }}", _template_file("palette_dark.css")
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_template_file), autoescape=True, undefined=StrictUndefined
    )
    filters: dict[str, Callable[..., str]] = {
        "definition": lambda field: wording(field).definition,
        "effect": effect,
        "interval": interval,
        "kind": lambda kind: one_line(finding_kind(kind), 60),
        "label": lambda field: one_line(wording(field).label, 60),
        "one_line": one_line,
        "p_value": p_value,
        "percent": percent,
        "printed": printed,
        "sentence": sentence,
        "plural": plural,
        "signed": signed,
        "unit": _table_unit,
        "value": value,
    }
    environment.filters |= filters
    return environment


def _table_unit(field: str) -> str:
    """The unit where a label does not tell it already."""
    unit = wording(field).unit
    return unit if unit in {"tokens", "cosine"} else ""
