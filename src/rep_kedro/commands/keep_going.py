"""``kedro run --keep-going``: what could not be made is listed at the end, and the exit code says so."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

INCOMPLETE = 3
"""Exit code of a run that went on although something could not be made."""

_SHOWN = 3  # keys in one line; the report lists all
_log = logging.getLogger("rep_kedro")


def list_incomplete(options: Mapping[str, Any], selection: "Pipeline") -> int:
    """Log what is missing among all that the run read or made, with reasons.

    Args:
        options: Of the run, as Kedro takes them.
        selection: The nodes that ran.

    Returns:
        How many members are missing, or were made without some of their inputs.
    """
    from kedro.io import DatasetError

    from rep_kedro.checks.planning import expect_configured
    from rep_kedro.commands.session import open_context
    from rep_kedro.datasets import CollectionDataset

    catalog = open_context(options["env"], options["params"], options["conf_source"]).catalog
    expect_configured(catalog, selection.inputs())
    gaps: dict[tuple[str, str], list[str]] = {}
    names = [*selection.inputs(), *(name for node in selection.nodes for name in node.outputs)]
    for name in dict.fromkeys(names):
        dataset = catalog.get(name) if name in catalog else None
        if isinstance(dataset, CollectionDataset):
            try:
                handles = dataset.load_partial()
                found = {**handles.missing, **handles.partial}
            except DatasetError as problem:
                found = {"*": str(problem)}
            for key, why in found.items():
                gaps.setdefault((name, why), []).append(key)
    n_gaps = sum(map(len, gaps.values()))
    if gaps:
        _log.warning("incomplete: %d results are missing, or made without some of their inputs", n_gaps)
    for (name, why), keys in gaps.items():
        more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
        _log.warning("  %s: %s%s: %s", name, ", ".join(keys[:_SHOWN]), more, why)
    return n_gaps
