"""One row for each stimulus set: what it holds, and what was left out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.schemas.ingest import STIMULUS_CARDS
from rep_kedro.stimuli.params import IngestParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle
else:
    ArrowHandle = DataFrame = Any  # so that Kedro can read the hints


def describe_stimulus_sets(stimulus_sets: "Mapping[str, ArrowHandle]", params: IngestParams) -> "DataFrame":
    """Return one row for each stimulus set.

    Args:
        stimulus_sets: Handles by set name; only their headers are read.
        params: What is said of the sets there.

    Returns:
        Columns as in docs/tables.md.
    """
    return STIMULUS_CARDS.frame(
        _describe(name, handle.meta, params) for name, handle in sorted(stimulus_sets.items())
    )


def _describe(name: str, meta: Mapping[str, Any], params: IngestParams) -> dict[str, Any]:
    from rep_kedro.stimuli.expectation import count_classes, count_other

    spec = params.stimulus_sets[name]
    return {
        "stimulus_set": name,
        "title": spec.title,
        "group": spec.group,
        "source": spec.source,
        "sha256": meta["sha256"],
        "n_stimuli": meta["n_stimuli"],
        "n_train": meta["counts"].get("train", 0),
        "n_test": meta["counts"].get("test", 0),
        "n_other": count_other(meta),
        "test_is": meta["test_is"],
        "n_classes": count_classes(meta),
        "image_size_px": meta["image_size_px"],
        "n_copies": meta["n_copies"],
        "n_copies_across_splits": meta["n_copies_across_splits"],
        "n_damaged": len(meta["damaged"]),
        "n_left_out": sum(meta["left_out"].values()),
        "n_ignored": len(meta["ignored"]),
    }
