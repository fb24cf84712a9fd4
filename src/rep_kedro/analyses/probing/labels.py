"""Targets of probes: class labels of stimuli, and their split into training and test."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError
from rep_kedro.stimuli.label_columns import own_name, stored_column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from rep_kedro.datasets import ArrowHandle
else:
    ArrowHandle = Any


class Features(Protocol):
    """What is needed of features: a stored handle, or a view that looks like one."""

    @property
    def key(self) -> str:
        """``<stimulus set>/<model>``."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """Layers, final layer, and which stimuli."""

    def tensor(self, name: str) -> "np.ndarray[Any, Any]":
        """Return the features of a layer, (n_stimuli, n_features)."""


def choose_label(subset: ArrowHandle, chosen: Mapping[str, str]) -> str:
    """Return the name of the label that is probed: the one chosen for the stimulus set, else the set's own.

    Args:
        subset: A subset of the stimulus set.
        chosen: Name of a label column by stimulus set.

    Raises:
        UserError: If the set has no such column; the message has close matches.
    """
    stimulus_set = MemberKey.parse(subset.key).stimulus_set
    name = chosen.get(stimulus_set, own_name(subset.meta))
    stored_column(subset.meta, name, f"stimulus set {stimulus_set!r}")
    return name


def label_frame(subset: ArrowHandle, label: str) -> "pd.DataFrame":
    """Return the columns stimulus_id, label (of the named label column) and split of a subset."""
    column = stored_column(subset.meta, label, subset.key)
    return subset.frame(["stimulus_id", column, "split"]).rename(columns={column: "label"})


def read_labels(features: Features, subset: ArrowHandle, label: str) -> tuple[list[int], Any, Any, Any]:
    """Return classes, class indices, and which stimuli train and test; those without a label do neither.

    Args:
        features: Whose stimuli they must be.
        subset: The stimulus subset.
        label: Name of the label column.

    Returns:
        Class labels, ascending; of each stimulus the index of its class, -1 without one, int64 (n_stimuli,);
        whether it trains, and whether it tests, bool (n_stimuli,).

    Raises:
        ValueError: If the subset is not that of the features, or nothing is there to test on.
    """
    import torch

    frame = label_frame(subset, label)
    ids = "\n".join(frame["stimulus_id"])
    if hashlib.sha256(ids.encode()).hexdigest() != features.meta["stimulus_ids_sha256"]:
        raise UserError(
            f"features {features.key} ({features.meta['n_stimuli']} stimuli) do not match subset "
            f"{subset.key} ({len(frame)}); set probing.subset to the subset the features were made of"
        )
    labelled = frame["label"].notna()
    is_train, is_test = (labelled & (frame["split"] == split) for split in ("train", "test"))
    if not is_test.any():
        raise UserError(f"subset {subset.key} has no labelled stimulus in split 'test' to test probes on")
    classes = sorted(int(label) for label in frame.loc[is_train | is_test, "label"].unique())
    indices = frame["label"].map({label: i for i, label in enumerate(classes)}).fillna(-1).astype("int64")
    return (
        classes,
        torch.tensor(indices.to_numpy()),
        torch.tensor(is_train.to_numpy()),
        torch.tensor(is_test.to_numpy()),
    )
