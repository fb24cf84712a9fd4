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
    **{name: "Int64" for name in ("n_stimuli", "n_train", "n_test", "n_other")},
    "test_is": "object",
    **{name: "Int64" for name in ("n_classes", "image_size_px", "n_copies", "n_copies_across_splits")},
    **{name: "Int64" for name in ("n_damaged", "n_left_out", "n_ignored")},
}


def describe_stimulus_sets(stimulus_sets: "Mapping[str, ArrowHandle]", params: IngestParams) -> "DataFrame":
    """Return one row for each stimulus set.

    Args:
        stimulus_sets: Handles by set name; only their headers are read.
        params: What is said of the sets there.

    Returns:
        Columns stimulus_set, title and group (as given in the parameters, else null), source, sha256 (of ids,
        images, labels and splits), n_stimuli, n_train, n_test, n_other (in other splits), test_is (where the
        split test comes from: ``test``, ``val`` or ``drawn``; null without one), n_classes (with at least one
        stimulus), image_size_px (null unless all images are squares of one size), n_copies (exact ones,
        beyond the first), n_copies_across_splits (of training stimuli, in other splits), n_damaged (items
        left out because they cannot be used), n_left_out (stimuli, or files of stimuli, that the parameters
        leave out), n_ignored (hidden files and files without stimuli).
    """
    import pandas as pd

    rows = [_describe(name, handle.meta, params) for name, handle in sorted(stimulus_sets.items())]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict(COLUMNS))


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
