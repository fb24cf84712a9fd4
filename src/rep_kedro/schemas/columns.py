"""Columns of tables as data: type, range, meaning, and when a value may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

WITH_REASON = "the column `reason` says why"


class Kind(StrEnum):
    """What the values of a column are."""

    TEXT = "text"
    TEXTS = "list of texts"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: As stored.
        kind: Text, list of texts, integer, number (float64) or flag (true, false).
        meaning: For readers, in a few words, with the unit where there is one.
        missing: When a value may be missing; empty if never. With ``WITH_REASON`` a value may be missing
            only where the column ``reason`` of the row is not empty.
        low: Smallest value that a number may have.
        high: Largest one.
        values: All values that a text may have; empty if any.
    """

    name: str
    kind: Kind
    meaning: str
    missing: str = ""
    low: float = -inf
    high: float = inf
    values: tuple[str, ...] = ()

    @property
    def is_explained(self) -> bool:
        """Whether a value may be missing only with a reason."""
        return self.missing == WITH_REASON

    @property
    def dtype(self) -> str:
        """The type in pandas: integers that may be missing are nullable."""
        if self.kind is Kind.INTEGER:
            return "Int64" if self.missing else "int64"
        return {Kind.TEXT: "str", Kind.TEXTS: "object", Kind.NUMBER: "float64", Kind.FLAG: "bool"}[self.kind]

    @property
    def range_in_words(self) -> str:
        """The values allowed, for readers; empty if any."""
        if self.values:
            return ", ".join(f"`{value}`" for value in self.values)
        if self.low == -inf and self.high == inf:
            return ""
        if self.high == inf:
            return f"{self.low:g} or more"
        return f"at most {self.high:g}" if self.low == -inf else f"{self.low:g} to {self.high:g}"


def text(name: str, meaning: str, *, values: Sequence[str] = (), missing: str = "") -> Column:
    """Declare a column of text."""
    return Column(name, Kind.TEXT, meaning, missing, values=tuple(values))


def texts(name: str, meaning: str, *, missing: str = "") -> Column:
    """Declare a column of lists of texts."""
    return Column(name, Kind.TEXTS, meaning, missing)


def is_texts(value: object) -> bool:
    """Return whether a cell is a list of texts, as a node makes it or as a file gives it."""
    return type(value).__name__ in ("list", "ndarray") and all(isinstance(text, str) for text in value)  # type: ignore[attr-defined]


def integer(name: str, meaning: str, *, missing: str = "") -> Column:
    """Declare a column of integers, negative ones included."""
    return Column(name, Kind.INTEGER, meaning, missing)


def count(name: str, meaning: str, *, missing: str = "") -> Column:
    """Declare a column of integers that are 0 or more."""
    return Column(name, Kind.INTEGER, meaning, missing, low=0)


def number(name: str, meaning: str, *, low: float = -inf, high: float = inf, missing: str = "") -> Column:
    """Declare a column of numbers."""
    return Column(name, Kind.NUMBER, meaning, missing, low, high)


def fraction(name: str, meaning: str, *, missing: str = "") -> Column:
    """Declare a column of numbers from 0 to 1."""
    return Column(name, Kind.NUMBER, meaning, missing, 0, 1)


def correlation(name: str, meaning: str, *, missing: str = "") -> Column:
    """Declare a column of numbers from -1 to 1."""
    return Column(name, Kind.NUMBER, meaning, missing, -1, 1)


def flag(name: str, meaning: str) -> Column:
    """Declare a column of true and false."""
    return Column(name, Kind.FLAG, meaning)


def p_values(family: str, test: str, *, missing: str = WITH_REASON) -> tuple[Column, ...]:
    """Declare what a test gives: p-value, corrected p-value, the smallest possible one, size of the family.

    Args:
        family: Within which p-values are corrected.
        test: What the p-value is from.
        missing: When there is no p-value.
    """
    return (
        fraction("p_value", test, missing=missing),
        fraction("p_adjusted", f"p-value corrected within a family: {family}", missing=missing),
        fraction("p_smallest", "the smallest value that `p_adjusted` could have had", missing="no p-value"),
        count("n_tests", "tests in the family"),
    )


STIMULUS_SET = text("stimulus_set", "name of the stimulus set")
MEASURE = text("measure", "id of the similarity measure")
MODEL = text("model", "name of the network")
LAYER = text("layer", "name of the layer")
DEPTH = count("depth", "place of the layer among those that are read, from the input, starting at 0")
REASON = text("reason", "why values are missing; empty where none is")
