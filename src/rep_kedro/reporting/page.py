"""The parts of which the page is made: sections, figures with captions, tables that can be sorted.

All text passes the template's escaping; only drawings, checked by :mod:`rep_kedro.reporting.svg`, are put in
as they are.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from markupsafe import Markup

from rep_kedro.errors import counted as counted  # noqa: PLC0414 - offered to all texts
from rep_kedro.reporting.citations import Piece, linked
from rep_kedro.reporting.texts import section_texts
from rep_kedro.schemas import TABLES

UNDEFINED = "undefined"
TEXTS = ("text", "source", "truth")
NETWORK_COLUMNS = {"model", "model_a", "model_b", "front_model", "end_model", "anchor", "key"}
WIDE_PX = 1062  # width of a drawing on a wide screen, without its frame
_VIEW_BOX = re.compile(r'viewBox="0 0 (?P<width>[\d.]+) (?P<height>[\d.]+)"')
_PLAIN_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class Column:
    """How one column of a table is written.

    Attributes:
        header: Heading, with the unit.
        kind: ``text``, ``source`` (text in which identifiers of papers become links), ``number``, ``percent``
            (given as a fraction), ``count`` or ``truth``.
        digits: Digits after the point.
        absent: What is written where there is no number.
        meaning: What a value is, for readers who point at the heading; empty: as the schema has it.
        is_network: Whether the search for networks looks into it.
    """

    header: str
    kind: str = "text"
    digits: int = 3
    absent: str = UNDEFINED
    meaning: str = ""
    is_network: bool = False

    @property
    def is_number(self) -> bool:
        """Whether values are numbers, written to the right."""
        return self.kind not in TEXTS


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and what sorting goes by; an empty key sorts last.

    Attributes:
        text: As it is read.
        sort_key: As it is sorted.
        is_number: Whether the key is a number.
        is_undefined: Whether there should have been a number.
        pieces: The text with addresses of its parts, where some part is a link.
    """

    text: str
    sort_key: str
    is_number: bool = False
    is_undefined: bool = False
    pieces: Sequence[Piece] = ()

    @property
    def written_key(self) -> str | None:
        """The key where the page has to hold it: where the text cannot be sorted as it is."""
        if self.sort_key == self.text:
            return None
        if self.is_number and _PLAIN_NUMBER.fullmatch(self.text):
            return None
        return f"{float(self.sort_key):.6g}" if self.is_number and self.sort_key else self.sort_key


@dataclass(frozen=True)
class Table:
    """A table with its heading; folded ones open on a click and in print."""

    caption: str
    headers: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str | None = None
    is_folded: bool = False

    @property
    def number_columns(self) -> str:
        """CSS classes that mark the columns of numbers, from 1: ``n2 n3``."""
        kinds = enumerate(self.headers, start=1)
        return " ".join(f"n{place}" for place, column in kinds if column.is_number)


@dataclass(frozen=True)
class FigureBlock:
    """A figure and what a reader needs to know about it.

    Attributes:
        drawing: SVG, safe to put in; None where the run made none or there was nothing to draw.
        title: The question, as in the figure.
        reading: How to read it.
        shown: What is shown: measure, stimulus set, counts.
        misleads: When it misleads.
        absence: Why there was nothing to draw.
        is_folded: Closed at first; opens on a click and in print.
        name: Of the files that readers download.
        choice: Its measure or stimulus set, where there are several.
        further: The same figure of other measures or stimulus sets, to which readers can switch.
        marks: What its marks are, as JSON that is safe to put in (:mod:`rep_kedro.datasets.marks`).
    """

    drawing: Markup | None
    title: str
    reading: str
    shown: str
    misleads: str
    absence: str | None = None
    is_folded: bool = False
    marks: Markup | None = None
    name: str = "figure"
    choice: str = ""
    further: Sequence["FigureBlock"] = ()

    @property
    def height_px(self) -> int:
        """About how high the drawing is on a wide screen: the room that it gets before it is laid out."""
        size = _VIEW_BOX.search(self.drawing or "")
        return round(WIDE_PX * float(size["height"]) / float(size["width"])) if size else 0


@dataclass(frozen=True)
class Section:
    """One question, its answers in words, its evidence; ``anchor`` names its fixed texts.

    Attributes:
        anchor: Names the section's fixed texts.
        answers: In words; the summary repeats them.
        details: Further answers, in the section alone.
        notes: What is missing or undefined; the summary repeats them.
        left_out: What the run's parameters did not ask for; in the section alone.
        figures: The evidence drawn.
        tables: The evidence listed.
        bibtex: Entries to copy.
    """

    anchor: str
    answers: Sequence[str] = ()
    details: Sequence[str] = ()
    notes: Sequence[str] = ()
    left_out: Sequence[str] = ()
    figures: Sequence[FigureBlock] = ()
    tables: Sequence[Table] = ()
    bibtex: str = ""

    @property
    def question(self) -> str:
        """The section's heading."""
        return section_texts(self.anchor)["question"]

    @property
    def why(self) -> str:
        """What the question means, for readers who meet it for the first time."""
        return section_texts(self.anchor)["why"]


def make_table(
    frame: pd.DataFrame,
    columns: Mapping[str, Column],
    caption: str,
    *,
    note: str | None = None,
    most_rows: int | None = None,
    is_folded: bool = False,
    of: Sequence[str] = (),
) -> Table:
    """Return a table for the page.

    Args:
        frame: The rows in the order of first display.
        columns: Which columns, in order, and how they are written.
        caption: Text above the table.
        note: Text below the table.
        most_rows: Longer tables are cut there, and say so.
        is_folded: Closed at first.
        of: The tables of the schema that declare columns of these names; the first counts.
    """
    shown = frame if most_rows is None else frame.head(most_rows)
    if len(shown) < len(frame):
        cut = f"{len(shown)} of {len(frame)} rows are shown; all are in the table of the run"
        note = f"{note} {cut}." if note else f"{cut}."
    rows = [
        [make_cell(value, column) for value, column in zip(row, columns.values(), strict=True)]
        for row in shown[list(columns)].itertuples(index=False, name=None)
    ]
    headers = [_explained(name, column, of) for name, column in columns.items()]
    return Table(caption, headers, rows, note, is_folded)


def _explained(name: str, column: Column, of: Sequence[str]) -> Column:
    """Return a column with its meaning and range from the schema, and whether it names networks."""
    declared = {own.name: own for table in reversed(of) for own in TABLES[table].columns}
    meaning = column.meaning
    if not meaning and name in declared:
        span = declared[name].range_in_words
        meaning = (declared[name].meaning + (f"; {span}" if span else "")).replace("`", "")
    return replace(column, meaning=meaning, is_network=name in NETWORK_COLUMNS)


def make_cell(value: Any, column: Column) -> Cell:
    """Return a cell; missing numbers say so, missing text is a dash."""
    if column.kind in TEXTS:
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            return Cell("–", "")
        text = ("yes" if value else "no") if column.kind == "truth" else str(value)
        return Cell(text, text, pieces=linked(text) if column.kind == "source" else ())
    text = write_number(value, column.kind, column.digits)
    if text == UNDEFINED:
        return Cell(column.absent, "", is_number=True, is_undefined=column.absent == UNDEFINED)
    return Cell(text, repr(float(value)), is_number=True)


def write_number(value: Any, kind: str = "number", digits: int = 3) -> str:
    """Return a number as people read it; NaN and None are called undefined.

    Example:
        >>> write_number(0.98765, "percent", 1), write_number(1234567, "count"), write_number(float("nan"))
        ('98.8 %', '1,234,567', 'undefined')
    """
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    match kind:
        case "percent":
            text = f"{100 * float(value):.{digits}f} %"
        case "count":
            text = f"{round(float(value)):,}"
        case _:
            text = f"{float(value):.{digits}f}"
    return text.replace("-", "−")


def write_difference(value: float, kind: str = "number", digits: int = 3) -> str:
    """Return a difference as people read it: of two percentages, in percentage points.

    Example:
        >>> write_difference(0.021, "percent", 1), write_difference(0.021, digits=2)
        ('2.1 percentage points', '0.02')
    """
    written = write_number(value, kind, digits)
    return written.replace(" %", " percentage points") if kind == "percent" else written


def written_r(r: float) -> str:
    """Return a correlation for a title.

    Example:
        >>> written_r(-0.456).split(), written_r(float("nan"))
        (['r', '=', '−0.46'], 'r undefined')
    """
    return "r undefined" if math.isnan(r) else f"r\u00a0=\u00a0{r:.2f}".replace("-", "−")


def list_in_words(names: Sequence[str], most: int = 6) -> str:
    """Return names joined for a sentence.

    Example:
        >>> list_in_words(["digits", "shapes", "patches"])
        'digits, shapes and patches'
    """
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
