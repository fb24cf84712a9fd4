"""The measures as a table: meaning, range and invariances of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rep_kedro.errors import UserError
from rep_kedro.measures.measure import Measure
from rep_kedro.measures.registry import MEASURES

if TYPE_CHECKING:
    from pandas import DataFrame


def measures(family: str | None = None) -> DataFrame:
    """List the similarity measures.

    Args:
        family: Only this family: ``cka``, ``rsa``, ``linear_map``, ``matching``, ``neighbour``,
            ``alignment``, ``distance``, ``description`` or ``functional``; None lists all.

    Returns:
        One row for each measure, indexed by its id: ``title``, ``family``, the smallest and largest possible
        value (``low``, ``high``), ``larger_is_more_similar``, ``symmetric`` (False: entry (a, b) says what is
        asked from a of b), ``compares`` (``features``, or the ``outputs`` of classifiers),
        ``fewest_stimuli``, ``invariances`` (changes of one representation that leave the value unchanged) and
        ``source``.

    Raises:
        UserError: If the family is unknown.

    Example:
        >>> import rep_kedro
        >>> rep_kedro.measures("cka").at["cka_linear_debiased", "title"]
        'CKA (linear, debiased)'
    """
    import pandas as pd

    rows = {
        measure.id: {
            "title": measure.title,
            "family": measure.family.name.lower(),
            "low": measure.value_range[0],
            "high": measure.value_range[1],
            "larger_is_more_similar": measure.larger_is_more_similar,
            "symmetric": measure.symmetric,
            "compares": measure.compares,
            "fewest_stimuli": str(measure.fewest_stimuli),
            "invariances": tuple(sorted(measure.invariances)),
            "source": measure.source,
        }
        for measure in select_measures(family)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("id")


def select_measures(family: str | None = None) -> list[Measure]:
    """Return the measures of a family, or all, in the order of the registry.

    Raises:
        UserError: If the family is unknown.
    """
    families = sorted({measure.family.name.lower() for measure in MEASURES.values()})
    if family is not None and family.lower() not in families:
        raise UserError(f"unknown family {family!r}; known: {', '.join(families)}")
    return [m for m in MEASURES.values() if family is None or m.family.name.lower() == family.lower()]
