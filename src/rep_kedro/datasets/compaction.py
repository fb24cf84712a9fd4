"""Makes matplotlib's SVG small without changing the picture.

What nothing refers to goes, what is said many times is said once: styles become classes, runs of like
elements share a group, paths are relative and in tenths of a point.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from rep_kedro.datasets.paths import shorten_number, shorten_path
from rep_kedro.datasets.png import shrink_png

_HREF = "{http://www.w3.org/1999/xlink}href"
_URL = re.compile(r"url\(#([^)]+)\)")
_TICK = re.compile(r"[xyz]tick_\d+")
_LONG_COLOUR = re.compile(r"#([0-9a-f])\1([0-9a-f])\2([0-9a-f])\3$")
_NUMBERS = re.compile(r"-?\d+\.\d+")
_FRACTION = re.compile(r"\b0\.(?=\d)")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SHORTEST_RUN = 3
_CLASS_CHARS = 4  # what naming a class takes
_PARTS_OF_TICKS = ("path", "use", "text")
_OPACITIES = ("fill-opacity", "stroke-opacity", "opacity")
_ROUNDED = ("x", "y", "width", "height")


@dataclass
class _Element:
    """An element with its style apart; ``text`` stands before the children."""

    tag: str
    attributes: dict[str, str]
    style: dict[str, str]
    children: "list[_Element]" = field(default_factory=list)
    text: str = ""
    tail: str = ""


def compact_svg(text: str, font_families: str) -> str:
    """Return an SVG document of matplotlib in few bytes; it shows the same picture to a tenth of a point.

    Args:
        text: As matplotlib's SVG backend writes it, text as text.
        font_families: Of all text that does not name its own.

    Returns:
        One line: root with the sizes and the shared style, classes, definitions, drawing.
    """
    root = _read(ET.fromstring(text))  # noqa: S314 - our own drawing
    definitions = [item for item in _take_definitions(root) if item.tag != "style"]
    root.children = list(_simplified(root.children))
    _share_definitions([root, *definitions], definitions)
    definitions = _in_use(root, definitions)
    _drop_what_definitions_say(root, definitions)
    root.children = _in_groups(_merged(root.children))
    _rename([root, *definitions], definitions)
    classes = _name_styles([*root.children, *definitions])
    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    head = f"<style>{rules}</style>" if rules else ""
    if definitions:
        head += f"<defs>{''.join(_write(item, classes) for item in definitions)}</defs>"
    sizes = "".join(f' {name}="{root.attributes[name]}"' for name in ("width", "height", "viewBox"))
    drawing = "".join(_write(item, classes) for item in root.children)
    style = _quoted(f"font-family:{font_families};stroke-linejoin:round")
    return f'<svg xmlns="http://www.w3.org/2000/svg"{sizes} style="{style}">{head}{drawing}</svg>\n'


def _read(element: ET.Element) -> _Element:
    attributes = {("href" if name == _HREF else name): value for name, value in element.attrib.items()}
    style = dict(part.strip().split(":", 1) for part in attributes.pop("style", "").split(";") if ":" in part)
    style = {name.strip(): _shortened_value(value.strip()) for name, value in style.items()}
    if "clip-path" in attributes:
        style["clip-path"] = attributes.pop("clip-path")
    tag = element.tag.rpartition("}")[2]
    children = [_read(child) for child in element]
    return _Element(tag, attributes, style, children, element.text or "", element.tail or "")


def _shortened_value(value: str) -> str:
    return _FRACTION.sub(".", _LONG_COLOUR.sub(r"#\1\2\3", value))


def _take_definitions(element: _Element) -> Iterator[_Element]:
    """Take all definitions out of the drawing."""
    kept = []
    for child in element.children:
        if child.tag == "defs":
            yield from child.children
        else:
            yield from _take_definitions(child)
            kept.append(child)
    element.children = kept


def _simplified(elements: Sequence[_Element]) -> Iterator[_Element]:
    """Yield the elements without groups that say nothing; lines, marks and labels of ticks stand together."""
    for is_tick, run in groupby(elements, key=_is_tick):
        simple = [part for item in run for part in _simplified_one(item)]
        if is_tick and all(item.tag in _PARTS_OF_TICKS for item in simple):
            simple.sort(key=lambda item: _PARTS_OF_TICKS.index(item.tag))
        yield from simple


def _is_tick(element: _Element) -> bool:
    return _TICK.fullmatch(element.attributes.get("id", "")) is not None


def _simplified_one(element: _Element) -> Iterator[_Element]:
    if element.tag != "g":
        _separate_opacity(element)
        if element.style.get("fill") != "none" or element.style.get("stroke", "none") != "none":
            yield element
        return
    element.children = list(_simplified(element.children))
    element.attributes.pop("id", None)
    if element.style or element.attributes:
        if element.children:
            yield element
    else:
        yield from element.children


def _separate_opacity(element: _Element) -> None:
    """Say the opacity of the one thing that is painted as that thing's, which a group can hand down."""
    is_filled = element.style.get("fill") != "none"
    is_stroked = element.style.get("stroke", "none") != "none"
    if element.tag in ("path", "use") and "opacity" in element.style and is_filled != is_stroked:
        element.style["fill-opacity" if is_filled else "stroke-opacity"] = element.style.pop("opacity")


def _all(elements: Sequence[_Element]) -> Iterator[_Element]:
    for element in elements:
        yield element
        yield from _all(element.children)


def _share_definitions(elements: Sequence[_Element], definitions: list[_Element]) -> None:
    """Let equal definitions be one."""
    first: dict[str, str] = {}
    shared = {}
    for item in list(definitions):
        name = item.attributes.pop("id")
        key = _write(item, {})
        item.attributes["id"] = name
        shared[name] = first.setdefault(key, name)
        if shared[name] != name:
            definitions.remove(item)
    _refer(elements, shared)


def _refer(elements: Sequence[_Element], names: dict[str, str]) -> None:
    for item in _all(elements):
        for values in (item.attributes, item.style):
            for key, value in values.items():
                if key == "href" and value.startswith("#"):
                    values[key] = f"#{names.get(value[1:], value[1:])}"
                elif "url(#" in value:
                    values[key] = _URL.sub(lambda found: f"url(#{names.get(found[1], found[1])})", value)


def _references(elements: Sequence[_Element]) -> Iterator[str]:
    for item in _all(elements):
        for value in (*item.attributes.values(), *item.style.values()):
            yield from _URL.findall(value)
        if item.attributes.get("href", "").startswith("#"):
            yield item.attributes["href"][1:]


def _in_use(root: _Element, definitions: Sequence[_Element]) -> list[_Element]:
    wanted = set(_references([root, *definitions]))
    return [item for item in definitions if item.attributes["id"] in wanted]


def _drop_what_definitions_say(root: _Element, definitions: Sequence[_Element]) -> None:
    """A mark's own style counts before that of its use: what both say, the use need not."""
    said = {f"#{item.attributes['id']}": item.style for item in definitions}
    for item in _all(root.children):
        if item.tag == "use":
            own = said.get(item.attributes["href"], {})
            item.style = {name: value for name, value in item.style.items() if name not in own}


def _merged(elements: Sequence[_Element]) -> list[_Element]:
    """Join lines and groups of one look that follow each other; see-through ones stay apart: they add up."""
    joined: list[_Element] = []
    for item in elements:
        last = joined[-1] if joined else None
        if last is None or item.style != last.style:
            joined.append(item)
        elif _is_plain_line(item) and _is_plain_line(last):
            last.attributes["d"] += f" {item.attributes['d']}"
        elif _is_plain_group(item) and _is_plain_group(last):
            last.children += item.children
        else:
            joined.append(item)
    for item in joined:
        if item.tag == "g":
            item.children = _merged(item.children)
    return joined


def _is_plain_group(element: _Element) -> bool:
    return element.tag == "g" and not element.attributes and "opacity" not in element.style


def _is_plain_line(element: _Element) -> bool:
    return (
        element.tag == "path"
        and element.style.get("fill") == "none"
        and not any(name in element.style for name in (*_OPACITIES, "stroke-dasharray"))
        and set(element.attributes) <= {"d", "id"}
    )


def _in_groups(elements: Sequence[_Element]) -> list[_Element]:
    """Put runs of like elements into a group that holds what their styles have in common."""
    for item in elements:
        if item.tag == "g":
            item.children = _in_groups(item.children)
    of_one_look = _with_groups(elements, lambda item: (item.tag, _css(item.style)))
    return _with_groups(of_one_look, lambda item: (item.tag, *sorted(item.style)))


def _with_groups(elements: Sequence[_Element], look: Callable[[_Element], Hashable]) -> list[_Element]:
    grouped: list[_Element] = []
    for _, found in groupby(elements, key=look):
        run = list(found)
        first = run[0]
        shared = {
            name: value
            for name, value in first.style.items()
            if all(item.style[name] == value for item in run)
        }
        if first.tag == "g" or len(run) < _SHORTEST_RUN or not shared or "opacity" in shared:
            grouped += run
            continue
        for item in run:
            item.style = {name: value for name, value in item.style.items() if name not in shared}
        grouped.append(_Element("g", {}, shared, run))
    return grouped


def _rename(elements: Sequence[_Element], definitions: Sequence[_Element]) -> None:
    """Give short names to what is referred to, and none to the rest."""
    names = {item.attributes["id"]: _short_name(index) for index, item in enumerate(definitions)}
    _refer(elements, names)
    for item in _all(elements):
        name = item.attributes.pop("id", None)
        if name in names and any(item is definition for definition in definitions):
            item.attributes["id"] = names[name]


def _short_name(index: int) -> str:
    name = ""
    while index >= 0:
        name = _LETTERS[index % len(_LETTERS)] + name
        index = index // len(_LETTERS) - 1
    return name


def _name_styles(elements: Sequence[_Element]) -> dict[str, str]:
    """Return a class for each style of more than one property that is used more than once."""
    counts = Counter(_css(item.style) for item in _all(elements) if len(item.style) > 1)
    often = [
        style for style, count in counts.most_common() if (count - 1) * len(style) > _CLASS_CHARS * count
    ]
    return {style: _short_name(index) for index, style in enumerate(often)}


def _css(style: dict[str, str]) -> str:
    return ";".join(f"{name}:{value}" for name, value in style.items())


def _write(element: _Element, classes: dict[str, str]) -> str:
    parts = [element.tag]
    style = _css(element.style)
    if style in classes:
        parts.append(f'class="{classes[style]}"')
    elif len(element.style) == 1:
        [(name, value)] = element.style.items()
        parts.append(f'{name}="{_quoted(value)}"')
    elif style:
        parts.append(f'style="{_quoted(style)}"')
    is_definition = "id" in element.attributes
    for name, value in element.attributes.items():
        shortened = _shortened(element.tag, name, value, is_definition=is_definition)
        parts.append(f'{name}="{_quoted(shortened)}"')
    inner = _quoted(element.text.strip()) + "".join(
        _write(child, classes) + _quoted(child.tail.strip()) for child in element.children
    )
    return f"<{' '.join(parts)}>{inner}</{element.tag}>" if inner else f"<{' '.join(parts)}/>"


def _quoted(text: str) -> str:
    return escape(text, {'"': "&quot;"})


def _shortened(tag: str, name: str, value: str, *, is_definition: bool) -> str:
    """Round to a tenth of a point; marks and text to a hundredth: glyphs would jump to the next pixel."""
    if name == "d":
        return shorten_path(value, digits=2 if is_definition else 1)
    if name in _ROUNDED and tag in ("text", "use", "tspan", "rect"):
        return shorten_number(value, 2 if tag != "use" else 1)
    if name == "href":
        return shrink_png(value)
    if name == "transform":
        return _NUMBERS.sub(lambda found: shorten_number(found[0], 4), value)
    return value
