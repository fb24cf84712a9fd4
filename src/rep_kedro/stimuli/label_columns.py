"""Label columns of stored stimulus sets: a set has one label, and further ones where a table gave them.

The set's own label is the column ``label``; each further one is ``label:<name>``, int32, null where there is
none. Columns with several labels of a stimulus are called likewise and hold lists.
"""

from collections.abc import Mapping
from typing import Any

from rep_kedro.errors import UserError, suggest

OWN = "label"
META = ("own_label", "label_columns", "multi_label_columns")
"""Keys of the meta of sets with a table of labels: name of the set's own, and class names by column, of one
label or of several. Stored meta are sorted by keys, so that the order of columns says nothing."""


def further_column(name: str) -> str:
    """Return the stored column of a label that is not the set's own."""
    return f"{OWN}:{name}"


def further_columns(meta: Mapping[str, Any]) -> list[str]:
    """Return the stored columns of labels that a set has in addition to its own.

    Example:
        >>> columns = {"label_columns": {"breed": [], "kind": []}, "multi_label_columns": {"tags": []}}
        >>> further_columns({"own_label": "kind", **columns})
        ['label:breed', 'label:tags']
    """
    names = [*meta.get("label_columns", {}), *meta.get("multi_label_columns", {})]
    return [further_column(name) for name in names if name != own_name(meta)]


def own_name(meta: Mapping[str, Any]) -> str:
    """Return the name of the set's own label: that of its column in the table, or ``label``."""
    return str(meta.get("own_label") or next(iter(meta.get("label_columns", {})), OWN))


def stored_column(meta: Mapping[str, Any], name: str, where: str) -> str:
    """Return the stored column of a label.

    Raises:
        UserError: If it has no such column.

    Example:
        >>> meta = {"own_label": "kind", "label_columns": {"breed": ["cat"], "kind": ["wild"]}}
        >>> stored_column(meta, "kind", "pets"), stored_column(meta, "breed", "pets")
        ('label', 'label:breed')
    """
    names = list(meta.get("label_columns", {OWN: None}))
    several = list(meta.get("multi_label_columns", {}))
    if name not in [*names, *several]:
        raise UserError(f"{where} has no label column {name!r}; {suggest(name, [*names, *several])}")
    return OWN if name == own_name(meta) else further_column(name)


def has_several(meta: Mapping[str, Any], name: str) -> bool:
    """Return whether a label column may give a stimulus several labels."""
    return name in meta.get("multi_label_columns", {})


def find_labels(meta: Mapping[str, Any], name: str | None, where: str) -> tuple[str, list[str] | None]:
    """Return the stored column of a label, of one or several labels of a stimulus, and its class names.

    Args:
        meta: Of the stimulus set.
        name: Of a label column; None for the set's own label.
        where: The set, for messages.

    Raises:
        UserError: If it has no such column.

    Example:
        >>> meta = {"class_names": ["cat"], "multi_label_columns": {"tags": ["wild"]}}
        >>> find_labels(meta, None, "pets"), find_labels(meta, "tags", "pets")
        (('label', ['cat']), ('label:tags', ['wild']))
    """
    if name is None:
        return OWN, meta.get("class_names") or None
    several = meta.get("multi_label_columns", {})
    if name in several:
        return further_column(name), list(several[name])
    single = meta.get("label_columns", {})
    if name not in single:
        raise UserError(f"{where} has no label column {name!r}; {suggest(name, [*single, *several])}")
    return stored_column(meta, name, where), list(single[name])
