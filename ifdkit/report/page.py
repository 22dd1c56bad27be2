"""What every HTML report shares: one layout, one stylesheet, one set of filters, one policy.

A page makes no network request.  Everything is inlined, and the page's own content-security-policy
forbids every request, and every script and style but the two whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ifdkit.data.atomic import dumps
from ifdkit.format import (
    NOTHING,
    as_written,
    correlation,
    duration,
    interval,
    number,
    p_value,
    percent,
    plural,
    signed,
)
from ifdkit.report.audit import wording as audit
from ifdkit.report.comparison.wording import definition, finding_title, metric_of
from ifdkit.visible import one_line, sentence

if TYPE_CHECKING:
    from jinja2 import Environment

_MAX_MANIFEST_CHARACTERS = 300


def _table_unit(field: str) -> str:
    """The unit, if a label does not name it already."""
    unit = metric_of(field).unit
    return unit if unit in {"tokens", "cosine"} else ""


FILTERS: Mapping[str, Callable[..., str]] = {
    # text
    "one_line": one_line,
    "sentence": sentence,
    # numbers
    "as_written": as_written,
    "correlation": correlation,
    "count": lambda n: NOTHING if n is None else f"{n:,}",
    "duration": duration,
    "interval": interval,
    "number": number,
    "p_value": p_value,
    "percent": percent,
    "percent_interval": lambda ends: interval(ends, percent),
    "plural": plural,
    "signed": signed,
    # metrics and findings of a comparison
    "definition": definition,
    "kind": lambda kind: one_line(finding_title(kind), 60),
    "label": lambda field: one_line(metric_of(field).label, 60),
    "unit": _table_unit,
    # rules of an audit
    "allowed": audit.allowed,
    "measured": audit.measured,
    "rate": audit.rate,
    "rate_interval": audit.rate_interval,
    "state": audit.state,
    "title": audit.title,
    "where": audit.where,
    "by_input": audit.by_input,
}
"""Name in a template → the function that turns a value into text."""

EXPLORER_SCRIPTS = ("theme.js", "tips.js", "elements.js", "explorer.js")
"""Scripts of a page with rows to explore."""


def render_page(template: str, scripts: Sequence[str], /, **values: Any) -> str:
    """A page of `templates/`; its scripts are joined in their order into one."""
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
    """A policy that allows no request, and no script or style but these."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def safe(markup: str) -> Any:
    """Markup of our own (our files, JSON without < > &), which must not be escaped."""
    from markupsafe import Markup

    return Markup(markup)


def manifest_value(x: Any) -> str:
    """A value of a manifest in one line of text."""
    if x is None:
        return NOTHING
    return one_line(x if isinstance(x, str) else dumps(x), _MAX_MANIFEST_CHARACTERS)


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
    environment.filters.update(FILTERS)
    return environment
