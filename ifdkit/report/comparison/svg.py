"""A matplotlib figure as a small inline SVG that takes its colours from the page.

Figures are drawn in the colours of `Ink`, which are placeholders: each becomes a class (`f-before`
for a fill, `s-before` for a stroke) that the stylesheet of the page defines for both themes.  Style
attributes become presentation attributes, since the content-security-policy of the page forbids
inline style.  Text stays text, and the figure refers to nothing outside itself.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from ifdkit.report.plotting import load_matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Ink:
    """Placeholders for colours, in the form that matplotlib takes."""

    TEXT = "#010101"
    MUTED = "#020202"
    BEFORE = "#030303"
    AFTER = "#040404"
    RULE = "#050505"


_CLASSES = {
    Ink.TEXT: "ink",
    Ink.MUTED: "muted",
    Ink.BEFORE: "before",
    Ink.AFTER: "after",
    Ink.RULE: "rule",
}
FONT_SIZE = 11
RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ifdkit",
    "font.size": FONT_SIZE,
    "text.color": Ink.TEXT,
    "axes.edgecolor": Ink.MUTED,
    "axes.labelcolor": Ink.MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "xtick.color": Ink.MUTED,
    "ytick.color": Ink.MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "figure.dpi": 72,  # one point is one pixel of the SVG
}
"""matplotlib settings under which a figure is drawn and saved."""
_PRESENTATION = {
    "fill",
    "fill-opacity",
    "opacity",
    "stroke",
    "stroke-dasharray",
    "stroke-dashoffset",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-opacity",
    "stroke-width",
    "text-anchor",
}
_DROPPED = {"metadata", "style"}
_LONG_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_FONT_SIZE = re.compile(r"(\d+(?:\.\d+)?)px")
_REFERENCE = re.compile(r"#([\w-]+)")


@dataclass(frozen=True, slots=True)
class Tip:
    """A part of a figure with the numbers that are shown when the pointer is over it.

    Pixels of the figure from its left upper corner.
    """

    x: float
    y: float
    width: float
    height: float
    text: str


def inline_svg(
    figure: Figure,
    *,
    key: str,
    title: str,
    description: str,
    tips: Sequence[Tip] = (),
    attributes: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The figure as an `<svg>` element; `key` makes its ids unique on a page.

    `attributes` are further ones of the element, for the page's script.
    """
    mpl = load_matplotlib()
    out = io.StringIO()
    with mpl.rc_context(RC), warnings.catch_warnings():
        # The text stays text, and the browser has the glyphs.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font", UserWarning)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(out.getvalue())
    _clean(root, key)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    for name, value in attributes.items():
        root.set(name, value)
    root.set("aria-labelledby", f"{key}-title {key}-desc")
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(tag, {"id": f"{key}-{tag}"})
        element.text = text
        root.insert(place, element)
    if tips:
        group = ET.SubElement(root, "g", {"class": "tips"})
        for tip in tips:
            sizes = {name: f"{getattr(tip, name):.1f}" for name in ("x", "y", "width", "height")}
            ET.SubElement(group, "rect", {**sizes, "data-tip": tip.text})
    return ET.tostring(root, encoding="unicode")


def _clean(root: ET.Element, key: str) -> None:
    used = {
        name
        for element in root.iter()
        for attribute, text in element.items()
        if _local(attribute) in {"href", "clip-path"}
        for name in _REFERENCE.findall(text)
    }
    for element in list(root.iter()):
        element.tag = _local(element.tag)
        element.text = (element.text or "").strip() or None
        element.tail = None
        for child in [child for child in element if _local(child.tag) in _DROPPED]:
            element.remove(child)
        attributes = dict(_attributes(element, used, key))
        element.attrib.clear()
        element.attrib.update(attributes)


def _attributes(element: ET.Element, used: set[str], key: str) -> list[tuple[str, str]]:
    """The attributes to keep: numbers shortened, styles and colours replaced."""
    kept: dict[str, str] = {}
    for name, text in element.items():
        name = _local(name)
        if name == "style":
            kept |= _presentation(text)
        elif name == "id":
            kept |= {"id": f"{key}-{text}"} if text in used else {}
        elif name in {"href", "clip-path"}:
            kept[name] = text.replace("#", f"#{key}-")
        elif not (name == "transform" and text.startswith("rotate(-0 ")):
            kept[name] = " ".join(text.split())
    classes = [
        f"{name[0]}-{_CLASSES[kept.pop(name)]}"
        for name in ("fill", "stroke")
        if kept.get(name) in _CLASSES
    ]
    if classes:
        kept["class"] = " ".join(classes)
    return [(name, _LONG_NUMBER.sub(_short, text)) for name, text in kept.items()]


def _presentation(style: str) -> dict[str, str]:
    """The declarations of a style attribute that exist as presentation attributes."""
    found = {}
    for declaration in style.split(";"):
        name, _, text = (part.strip() for part in declaration.partition(":"))
        if name in _PRESENTATION:
            found[name] = text
        elif name.startswith("font") and (size := _FONT_SIZE.search(text)):
            found["font-size"] = size[1]
    return found


def _short(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def _local(name: str) -> str:
    """A name without its XML namespace."""
    return name.rpartition("}")[2]
