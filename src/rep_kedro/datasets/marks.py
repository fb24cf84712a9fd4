"""What the marks of a figure are, and where: for hover, search and CSV of the report.

Drawing functions describe marks in data coordinates, next to the code that draws them. Rendering turns these
into the drawing's own units and puts them into an element ``metadata``, as JSON::

    {"texts": [...], "groups": [group, ...]}

A group is a set of marks of one panel, whose corners are ``box``. ``columns`` has a list of values for each
column: a number or null, or for a column in ``coded`` the place of its text in ``texts``; ``fixed`` are the
columns with one value. Points have ``x`` and ``y``, and ``along`` says by which of them the nearest mark is
found. A map has ``names`` (the columns of row and column), ``order`` (its labels) and ``values``: whole rows,
or of a symmetric map those of each row from the diagonal on.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary
from xml.sax.saxutils import escape, unescape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

Along = Literal["x", "y", "xy", "panel"]
DIGITS = 4  # of values that are not whole numbers
_ELEMENT = re.compile(r'<metadata id="marks">([^<]*)</metadata>')
_START = re.compile(r"<svg\b[^>]*>")


@dataclass(frozen=True)
class _Points:
    """Marks of one panel, each with a row of values."""

    axes: "Axes"
    x: Sequence[float]
    y: Sequence[float]
    columns: Mapping[str, Sequence[Any]]
    fixed: Mapping[str, Any]
    along: Along


@dataclass(frozen=True)
class _Map:
    """A square map of one panel: cell (i, j) covers i to i + 1 and j to j + 1, from ``start`` on."""

    axes: "Axes"
    frame: "DataFrame"
    names: tuple[str, str]
    value: str
    fixed: Mapping[str, Any]
    start: float


_GROUPS: "WeakKeyDictionary[Figure, list[_Points | _Map]]" = WeakKeyDictionary()


def describe_points(
    axes: "Axes",
    x: Iterable[float],
    y: Iterable[float],
    columns: Mapping[str, Iterable[Any]],
    *,
    along: Along = "xy",
    **fixed: Any,
) -> None:
    """Say what marks are.

    Args:
        axes: Where they are drawn.
        x: Place of each mark, in data coordinates.
        y: The other place.
        columns: Values of each mark by column, in the order in which readers see them: texts, or numbers with
            NaN where undefined.
        along: Whether the nearest mark is found by both places, by one, as for rows of boxes, or anywhere in
            the panel, which it fills.
        **fixed: Columns with one value for all; ``_`` in a name is written as a space.
    """
    held = {name: list(values) for name, values in columns.items()}
    named = {name.replace("_", " "): value for name, value in fixed.items()}
    _groups_of(axes).append(_Points(axes, list(x), list(y), held, named, along))


def describe_map(
    axes: "Axes",
    frame: "DataFrame",
    value: str,
    names: tuple[str, str] = ("network", "other network"),
    *,
    start: float = 0.0,
    **fixed: Any,
) -> None:
    """Say what the cells of a square map are.

    Args:
        axes: Where it is drawn, its first cell from ``start`` on, each cell 1 wide.
        frame: Square, the same labels on both sides, in the order of display.
        value: Column of the values.
        names: Columns of the two labels.
        start: Where the first cell begins, on both axes.
        **fixed: As in :func:`describe_points`.
    """
    named = {name.replace("_", " "): text for name, text in fixed.items()}
    _groups_of(axes).append(_Map(axes, frame, names, value, named, start))


def add_marks(svg: str, figure: "Figure") -> str:
    """Return the drawing with what its marks are; unchanged where none is described."""
    groups = _GROUPS.get(figure, [])
    if not groups:
        return svg
    texts = _Texts()
    written = [_write_points(g, texts) if isinstance(g, _Points) else _write_map(g, texts) for g in groups]
    content = json.dumps({"texts": list(texts.places), "groups": written}, separators=(",", ":"))
    element = f'<metadata id="marks">{escape(content)}</metadata>'
    return _START.sub(lambda start: start[0] + element, svg, count=1)


def marks_in(svg: str) -> str | None:
    """Return what :func:`add_marks` put into a drawing, as JSON; None where it put nothing."""
    found = _ELEMENT.search(svg)
    return unescape(found[1]) if found else None


@dataclass
class _Texts:
    """All texts of a figure, each once."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: Any) -> int:
        return self.places.setdefault(str(text), len(self.places))


def _groups_of(axes: "Axes") -> "list[_Points | _Map]":
    figure: Any = axes.figure
    return _GROUPS.setdefault(figure, [])


def _write_points(group: _Points, texts: _Texts) -> dict[str, Any]:
    import numpy as np

    places = _in_drawing(group.axes, np.column_stack([group.x, group.y]).astype(np.float64).reshape(-1, 2))
    coded = [name for name, values in group.columns.items() if any(isinstance(v, str) for v in values)]
    columns = {
        name: [texts.place(value) if name in coded else _short(value) for value in values]
        for name, values in group.columns.items()
    }
    return {
        "box": _box(group.axes),
        "along": group.along,
        "fixed": {name: _plain(value) for name, value in group.fixed.items()},
        "coded": coded,
        "columns": columns,
        "x": places[:, 0].round().astype(int).tolist(),
        "y": places[:, 1].round().astype(int).tolist(),
    }


def _write_map(group: _Map, texts: _Texts) -> dict[str, Any]:
    import numpy as np

    n, values = len(group.frame), group.frame.to_numpy(dtype=np.float64)
    is_symmetric = np.array_equal(values, values.T, equal_nan=True)
    ends = np.array([[group.start] * 2, [group.start + n] * 2])
    (left, top), (right, bottom) = _in_drawing(group.axes, ends).round(1).tolist()
    return {
        "box": [left, min(top, bottom), right, max(top, bottom)],
        "fixed": {name: _plain(value) for name, value in group.fixed.items()},
        "names": list(group.names),
        "order": [texts.place(label) for label in group.frame.index],
        "value": group.value,
        "values": [
            [_short(value) for value in values[row, row if is_symmetric else 0 :]] for row in range(n)
        ],
    }


def _in_drawing(axes: "Axes", places: Any) -> Any:
    """Return places in the drawing's units: points (1/72 inch) from the upper left corner."""
    figure: Any = axes.figure
    shown = axes.transData.transform(places) * 72 / figure.dpi
    shown[:, 1] = 72 * figure.get_figheight() - shown[:, 1]
    return shown


def _box(axes: "Axes") -> list[float]:
    figure: Any = axes.figure
    box, height = axes.get_window_extent(), 72 * figure.get_figheight()
    x0, x1 = (edge * 72 / figure.dpi for edge in (box.x0, box.x1))
    y0, y1 = (height - edge * 72 / figure.dpi for edge in (box.y1, box.y0))
    return [round(float(edge), 1) for edge in (x0, y0, x1, y1)]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else _short(value)


def _short(value: Any) -> float | int | None:
    """Return a number with few digits; None where it is undefined."""
    if value is None or not math.isfinite(number := float(value)):
        return None
    short = float(f"{number:.{DIGITS}g}") if number != round(number) else number
    return int(short) if short == round(short) else short
