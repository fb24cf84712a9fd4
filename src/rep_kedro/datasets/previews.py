"""What Kedro-Viz shows of a dataset, made from plain values.

The types by which Kedro-Viz recognises a preview come from a private module, imported here only.
"""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kedro_datasets._typing import HTMLPreview, ImagePreview, JSONPreview, PlotlyPreview, TablePreview

from rep_kedro.datasets.member import MemberHandle

__all__ = [
    "HTMLPreview",
    "ImagePreview",
    "JSONPreview",
    "PlotlyPreview",
    "TablePreview",
    "describe_field",
    "preview_heat_maps",
    "preview_svg",
    "preview_table",
]

_LISTED = 6
_MAX_LABELS = 200
_MAX_CELLS = 100_000
# readable on both themes, and under the near white that Plotly gives the item pointed at
_MENU_COLOURS = {"bgcolor": "#E4E9EE", "bordercolor": "#8A97A3", "font": {"color": "#1A1A1A"}}


def preview_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> TablePreview:
    """Return rows as Kedro-Viz shows them: numbers with six digits, gaps empty, the rest as text."""
    shown = [[_cell(value) for value in row] for row in rows]
    return TablePreview({"index": list(range(len(shown))), "columns": list(columns), "data": shown})


def _cell(value: Any) -> Any:
    """Return a cell as JSON can hold it: gaps as null, what JSON does not know as text."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None if math.isnan(value) else str(value)
    if value is None or isinstance(value, str | int):
        return value
    text = str(value)
    return None if text in ("<NA>", "NaT") else text


def describe_field(name: str, value: Any) -> Any:
    """Return a field of a header in a few words: short lists by item, long or nested ones by count."""
    if isinstance(value, Mapping):
        if any(isinstance(item, Mapping | list) for item in value.values()):
            return f"{len(value)} {name}"
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        if len(value) > _LISTED or any(isinstance(item, Mapping | list) for item in value):
            return f"{len(value)} {name}"
        return ", ".join(map(str, value))
    return value


def preview_svg(svg: str) -> HTMLPreview:
    """Return a drawing as an image within HTML: Kedro-Viz strips SVG elements but keeps images."""
    encoded = base64.b64encode(svg.encode()).decode()
    return HTMLPreview(
        f'<img alt="figure" style="width: 100%; background: white" src="data:image/svg+xml;base64,{encoded}">'
    )


def preview_heat_maps(
    matrices: Iterable[tuple[str, Sequence[str], Any]], *, colorscale: str
) -> PlotlyPreview:
    """Return heat maps of square matrices, the first shown, with a menu to choose among them.

    Args:
        matrices: Name, labels and values of each, values an array of shape (n, n). Of a large matrix the
            first 200 rows and columns are shown; of many, as many as make 100,000 cells.
        colorscale: A colour scale of Plotly.
    """
    traces: dict[str, dict[str, Any]] = {}
    n_cells = 0
    for name, labels, values in matrices:
        shown = list(labels[:_MAX_LABELS])
        n_cells += len(shown) ** 2
        if traces and n_cells > _MAX_CELLS:
            break
        cells = [
            [float(f"{value:.4g}") if math.isfinite(value) else None for value in row[:_MAX_LABELS]]
            for row in values[:_MAX_LABELS]
        ]
        traces[name] = {"z": cells, "x": shown, "y": shown}
    buttons = [
        {"label": name, "method": "restyle", "args": [{key: [part] for key, part in trace.items()}]}
        for name, trace in traces.items()
    ]
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", **_MENU_COLOURS}
    axis = {"automargin": True, "type": "category"}
    return PlotlyPreview(
        {
            "data": [{"type": "heatmap", "colorscale": colorscale, **next(iter(traces.values()))}],
            "layout": {
                "title": {"text": ""},
                "updatemenus": [menu],
                "xaxis": axis,
                "yaxis": {**axis, "autorange": "reversed"},
            },
        }
    )


def preview_members(handles: Iterable[MemberHandle], columns: Sequence[str]) -> TablePreview:
    """Return a row for each member: key, fields of the header, seconds, size, recipe digest."""
    rows = [
        [
            handle.key,
            *(describe_field(column, handle.meta.get(column)) for column in columns),
            handle.journal.get("seconds"),
            round(handle.path.stat().st_size / 1000, 1),
            handle.digest[:8],
        ]
        for handle in handles
    ]
    return preview_table(["member", *columns, "seconds", "kB", "recipe"], rows)
