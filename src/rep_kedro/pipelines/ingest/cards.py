"""One row for each stimulus set: what it holds, and what was left out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.ingest.params import IngestParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle
else:
    ArrowHandle = DataFrame = Any  # so that Kedro can read the hints

COLUMNS: Mapping[str, str] = {
    **{name: "object" for name in ("stimulus_set", "title", "group", "source", "sha256")},
    **{name: "Int64" for name in ("n_stimuli", "n_train", "n_test", "n_classes", "image_size_px")},
    **{name: "Int64" for name in ("n_damaged", "n_left_out", "n_ignored")},
}


def describe_stimulus_sets(stimulus_sets: "Mapping[str, ArrowHandle]", params: IngestParams) -> "DataFrame":
    """Return one row for each stimulus set.

    Args:
        stimulus_sets: Handles by set name; only their headers are read.
        params: What is said of the sets there.

    Returns:
        Columns stimulus_set, title and group (as given in the parameters, else null), source, sha256 (of ids,
        images, labels and splits), n_stimuli, n_train, n_test, n_classes (with at least one stimulus),
        image_size_px (null unless all images are squares of one size), n_damaged (items left out because they
        cannot be used), n_left_out (stimuli outside of the label map), n_ignored (hidden or system files).
    """
    import pandas as pd

    rows = [_describe(name, handle.meta, params) for name, handle in sorted(stimulus_sets.items())]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


def _describe(name: str, meta: Mapping[str, Any], params: IngestParams) -> dict[str, Any]:
    from rep_kedro.stimuli.expectation import count_classes

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
        "n_classes": count_classes(meta),
        "image_size_px": meta["image_size_px"],
        "n_damaged": len(meta["damaged"]),
        "n_left_out": sum(meta["left_out"].values()),
        "n_ignored": len(meta["ignored"]),
    }
