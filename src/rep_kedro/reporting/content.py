"""Everything that one report is made from, checked once and read by all sections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from rep_kedro.datasets.figure import render_svg
from rep_kedro.reporting.page import FigureBlock
from rep_kedro.reporting.svg import inline_marks, inline_svg
from rep_kedro.reporting.tables import chosen_stimulus_set, require_table
from rep_kedro.reporting.texts import figure_number, figure_texts
from rep_kedro.schemas import TABLES


@dataclass(frozen=True)
class ReportContent:
    """Tables, figures and choices of one report.

    Attributes:
        tables: By the contract's names; every one present, those that were not made are empty.
        figures: Figures or SVG text by name (``similarity``, ...).
        parameters: The run's parameters, nested.
        measure: The similarity measure that the sentences speak of.
        delta: The threshold of saturation.
        stimulus_set: The images that figures per layer show; None where there are none.
        n_extreme_pairs: How many of the most and the least similar pairs are listed.
        n_run_rows: How many rows of the run table are listed.
        measure_facts: Per measure: id, what it is, range, invariances, source; from the registry.
        earlier: Tables of an earlier version by name; may be empty.
        absences: Why a figure shows nothing, by the figure's name.
    """

    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure | str | None]
    parameters: Mapping[str, Any]
    measure: str
    delta: float
    stimulus_set: str | None
    n_extreme_pairs: int = 8
    n_run_rows: int = 400
    measure_facts: Sequence[Mapping[str, str]] = ()
    earlier: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    absences: Mapping[str, str] = field(default_factory=dict)

    def table(self, name: str) -> pd.DataFrame:
        """Return a table by its name in the contract."""
        return self.tables[name]

    def of_measure(self, name: str) -> pd.DataFrame:
        """Return the rows of a table that are of the report's measure."""
        table = self.tables[name]
        return table[table["measure"] == self.measure]

    def block(self, name: str, shown: str, *, is_folded: bool = False) -> FigureBlock:
        """Return a figure with its caption; ``shown`` says what this run's figure shows."""
        choices = [key.partition("/")[2] for key in self.figures if key.startswith(f"{name}/")]
        measures = set(self.tables["similarities"]["measure"])
        default = self.measure if measures.issuperset(choices) else str(self.stimulus_set)
        further = [
            self._block(name, f"the same, of {choice} instead of {default}", choice) for choice in choices
        ]
        own = self._block(name, shown, default if choices else "")
        return replace(own, is_folded=is_folded, further=further)

    def _block(self, name: str, shown: str, choice: str) -> FigureBlock:
        """Return the figure of one choice; the default one has the figure's own key."""
        key = f"{name}/{choice}"
        place = list(self.figures).index(key) if key in self.figures else None
        key = name if place is None else key
        figure, absence = self.figures.get(key), self.absences.get(key)
        words: dict[str, Any] = dict(figure_texts(name)) | {"name": name, "shown": shown, "choice": choice}
        if figure is None or absence is not None:
            return FigureBlock(None, absence=absence, **words)
        svg = render_svg(figure) if isinstance(figure, Figure) else figure
        prefix = f"f{figure_number(name)}" + ("" if place is None else f"c{place}")
        return FigureBlock(inline_svg(svg, prefix, words["title"]), marks=inline_marks(svg), **words)


def make_content(
    tables: Mapping[str, pd.DataFrame | None],
    figures: Mapping[str, Figure | str | None],
    *,
    stimulus_set: str | None = None,
    earlier: Mapping[str, pd.DataFrame | None] | None = None,
    **choices: Any,
) -> ReportContent:
    """Return the content of a report, with every table of the contract present.

    Args:
        tables: Tables by name; missing ones become empty.
        figures: Figures by name; missing ones are reported on the page.
        stimulus_set: Wanted for the figures per layer; None: the first.
        earlier: ``similarities`` and ``consistency`` of an earlier version.
        **choices: The other fields of :class:`ReportContent`.

    Raises:
        ValueError: If a table is unknown or lacks columns.
    """
    unknown = sorted(set(tables) - set(TABLES))
    if unknown:
        raise ValueError(f"unknown tables {unknown}; known: {', '.join(TABLES)}")
    checked = {name: require_table(name, tables.get(name)) for name in TABLES}
    shown = chosen_stimulus_set(stimulus_set, checked["layer_diagnostics"], checked["probe_results"])
    before = {name: table for name, table in (earlier or {}).items() if table is not None and len(table)}
    return ReportContent(tables=checked, figures=figures, stimulus_set=shown, earlier=before, **choices)
