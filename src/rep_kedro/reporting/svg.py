"""Figures inside a page: only a drawing's elements, with ids that are unique on the page.

What a drawing may hold is decided by its elements and attributes; its words are text, whatever they say. Each
style is written once, as the rule of a class of this drawing alone. Indentation, unused ids, digits beyond a
hundredth of a point and matplotlib's one style rule (the page has it too) are left out.
"""

import json
import re
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from markupsafe import Markup
from matplotlib.figure import Figure

from rep_kedro.datasets.figure import render_svg
from rep_kedro.datasets.marks import marks_in
from rep_kedro.errors import UserError

_PROLOGUE = re.compile(r"^.*?(?=<svg[\s>])", re.DOTALL)
_WITH_WORDS = {"text", "tspan", "title"}
_ELEMENTS = _WITH_WORDS | {
    *("svg", "g", "defs", "path", "use", "image", "clipPath", "pattern", "rect", "circle", "ellipse"),
    *("line", "polygon", "polyline", "linearGradient", "radialGradient", "stop"),
}
_LEFT_OUT = {"metadata", "style"}
_OF_THE_PAGE = {"width", "height", "id", "role", "aria-label"}
_REFERENCE = re.compile(r"url\(\s*(?!#)|expression\(|@|\\", re.IGNORECASE)
_GEOMETRY = {"d", "x", "y", "points", "transform", "width", "height"}
_NO_TURN = re.compile(r"rotate\(-?0 [^)]*\)")
_PLAIN_RULE = re.compile(r"[\w\s:;#.,()%'-]+", re.ASCII)
_LONG_NUMBER = re.compile(r"\d+\.\d{3,}")
_LOCAL_URL = re.compile(r"url\(#([^)]+)\)")


def inline_svg(figure: Figure | str, prefix: str, title: str) -> Markup:
    """Return a figure ready to be part of an HTML page.

    Args:
        figure: A figure, or the text of an SVG document that was made from one.
        prefix: Put before every id; letters, digits and ``-``.
        title: Read aloud by screen readers in place of the drawing.

    Raises:
        ValueError: If the text is no SVG document or holds anything that could run or be fetched.
    """
    document = render_svg(figure) if isinstance(figure, Figure) else figure
    drawing = _PROLOGUE.sub("", document, count=1)
    try:
        if "<!" in drawing:
            raise UserError(f"figure {prefix!r} holds active content: a declaration")
        root = ET.fromstring(drawing)  # noqa: S314 - without declarations there are no entities to expand
    except ET.ParseError as problem:
        raise UserError(
            f"figure {prefix!r} is no SVG document ({problem}), received text that starts {document[:40]!r}"
        ) from problem
    active = next(_active_content(root), None)
    if active is not None:
        raise UserError(
            f"figure {prefix!r} holds active content ({active}); only drawings are put into the report"
        )
    attributes = {name: value for name, value in root.attrib.items() if name not in _OF_THE_PAGE}
    root.attrib = {**attributes, "role": "img", "aria-label": title}
    writer = _Writer(prefix, _references(root))
    drawn = writer.write(root)
    start = drawn.index(">") + 1
    return Markup(f"{drawn[:start]}{writer.style()}{drawn[start:]}")  # noqa: S704 - checked above


def inline_marks(svg: str) -> Markup | None:
    """Return what the marks of a drawing are, as JSON that no text in it can leave, or None.

    Raises:
        ValueError: If it is no JSON.
    """
    marks = marks_in(svg)
    if marks is None:
        return None
    try:
        content = json.dumps(json.loads(marks), separators=(",", ":"))
    except json.JSONDecodeError as problem:
        raise UserError(
            f"the marks of a figure are no JSON ({problem}), received {marks[:40]!r}"
        ) from problem
    return Markup(content.replace("<", "\\u003c"))  # noqa: S704 - a data block ends at a < alone


def _active_content(root: ET.Element) -> Iterator[str]:
    """Yield what is more than a drawing: unknown elements, event handlers, references out of the drawing."""
    for element in root.iter():
        tag = _local(element.tag)
        if tag in _LEFT_OUT:
            continue
        if tag not in _ELEMENTS:
            yield f"element {tag}"
        for name, value in element.attrib.items():
            if _local(name).lower().startswith("on"):
                yield f"attribute {_local(name)}"
            elif _local(name) == "href":
                if not value.startswith("#") and not (tag == "image" and value.startswith("data:image/png;")):
                    yield f"reference to {value[:40]}"
            elif _REFERENCE.search(value):
                yield f"attribute {_local(name)} with {value[:40]}"


def _references(root: ET.Element) -> Iterator[str]:
    """Yield the ids that something in the drawing refers to."""
    for element in root.iter():
        for name, value in element.attrib.items():
            yield from _LOCAL_URL.findall(value)
            if _local(name) == "href" and value.startswith("#"):
                yield value[1:]


class _Writer:
    """Writes elements of one drawing with short ids and classes that are unique on the page."""

    def __init__(self, prefix: str, wanted: Iterable[str]) -> None:
        self._prefix = prefix
        self._ids = {name: f"{prefix}i{place}" for place, name in enumerate(dict.fromkeys(wanted))}
        self._rules: dict[str, str] = {}

    def style(self) -> str:
        """Return the rules of all elements that were written, as an element."""
        rules = "".join(f".{name}{{{rule}}}" for rule, name in self._rules.items())
        return f"<style>{rules}</style>" if rules else ""

    def write(self, element: ET.Element) -> str:
        """Return an element and all in it as text."""
        tag = _local(element.tag)
        if tag in _LEFT_OUT:
            return ""
        attributes = (self._attribute(_local(name), value) for name, value in element.attrib.items())
        opening = " ".join([tag, *filter(None, attributes)])
        has_words = tag in _WITH_WORDS
        inner = escape(element.text or "") if has_words else ""
        for child in element:
            inner += self.write(child) + (escape(child.tail or "") if has_words else "")
        if opening == "g":
            return inner  # a group without attributes changes nothing
        return f"<{opening}>{inner}</{tag}>" if inner else f"<{opening}/>"

    def _attribute(self, name: str, value: str) -> str:
        """Return an attribute as text; empty for an id to which nothing refers."""
        if name == "id":
            return f"id={quoteattr(self._ids[value])}" if value in self._ids else ""
        if name == "href" and value.startswith("#"):
            value = f"#{self._ids[value[1:]]}"
        elif name in _GEOMETRY:
            short = " ".join(_NO_TURN.sub("", value).split())
            value = _LONG_NUMBER.sub(lambda n: f"{float(n[0]):.2f}".rstrip("0").rstrip("."), short)
        elif name != "aria-label":
            value = _LOCAL_URL.sub(lambda url: f"url(#{self._ids[url[1]]})", value)
        if name == "style" and _PLAIN_RULE.fullmatch(value):
            return f'class="{self._rules.setdefault(value, f"{self._prefix}s{len(self._rules)}")}"'
        return f"{name}={quoteattr(value)}"


def _local(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition("}")[2]
