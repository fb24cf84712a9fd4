"""Targets of probes: class labels of stimuli, and their split into training and test."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError
from rep_kedro.stimuli.label_columns import has_several, own_name, stored_column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

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


@dataclass(frozen=True)
class Targets:
    """What probes read, and of which stimuli; those without a label neither train nor test.

    Attributes:
        classes: Class labels, ascending.
        labels: Index of the class of each stimulus, -1 without one, int64 (n_stimuli,); where stimuli have
            several, which ones, int64 (n_stimuli, n_classes), 0 or 1.
        is_train: Whether a stimulus trains, bool (n_stimuli,).
        is_test: Whether it tests.
    """

    classes: list[int]
    labels: "Tensor"
    is_train: "Tensor"
    is_test: "Tensor"


def read_labels(features: Features, subset: ArrowHandle, label: str) -> Targets:
    """Return the targets of a subset of stimuli.

    Args:
        features: Whose stimuli they must be.
        subset: The stimulus subset.
        label: Name of the label column.

    Raises:
        ValueError: If the subset is not that of the features, or nothing is there to test on.
    """
    ids = "\n".join(subset.frame(["stimulus_id"])["stimulus_id"])
    if hashlib.sha256(ids.encode()).hexdigest() != features.meta["stimulus_ids_sha256"]:
        raise UserError(
            f"features {features.key} ({features.meta['n_stimuli']} stimuli) do not match subset "
            f"{subset.key} ({subset.n_rows()}); set probing.subset to the subset the features were made of"
        )
    return read_targets(subset, label)


def read_targets(subset: ArrowHandle, label: str) -> Targets:
    """Return the targets of a subset of stimuli, in its order.

    Raises:
        UserError: If it has nothing to test on.
    """
    import torch

    frame, several = label_frame(subset, label), is_several(subset, label)
    labelled = frame["label"].notna()
    is_train, is_test = (labelled & (frame["split"] == split) for split in ("train", "test"))
    if not is_test.any():
        raise UserError(f"subset {subset.key} has no labelled stimulus in split 'test' to test probes on")
    used = frame.loc[is_train | is_test, "label"]
    classes = sorted({int(each) for each in (used.explode().dropna() if several else used)})
    place = {each: i for i, each in enumerate(classes)}
    if several:
        labels = torch.zeros(len(frame), len(classes), dtype=torch.int64)
        for row in (is_train | is_test).to_numpy().nonzero()[0]:
            labels[row, [place[int(one)] for one in frame["label"].iloc[row]]] = 1
    else:
        labels = torch.tensor(frame["label"].map(place).fillna(-1).astype("int64").to_numpy())
    return Targets(classes, labels, torch.tensor(is_train.to_numpy()), torch.tensor(is_test.to_numpy()))


def draw_few(targets: Targets, few_shot: int | None, seed: int) -> "Tensor":
    """Return which stimuli train: all of the training split, or so many of each class drawn from it.

    Args:
        targets: Classes and splits.
        few_shot: Stimuli of each class; None for all.
        seed: Of the draw.

    Returns:
        Bool, (n_stimuli,).

    Raises:
        UserError: If a class has fewer.
    """
    import torch

    if few_shot is None:
        return targets.is_train
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros_like(targets.is_train)
    for label in torch.unique(targets.labels[targets.is_train]).tolist():
        members = (targets.is_train & (targets.labels == label)).nonzero().flatten()
        if len(members) < few_shot:
            raise UserError(
                f"probing.few_shot is {few_shot}, but class {targets.classes[label]} has {len(members)}"
                " training stimuli"
            )
        chosen[members[torch.randperm(len(members), generator=generator)[:few_shot]]] = True
    return chosen


def count_training(subset: ArrowHandle, label: str) -> "dict[int, int]":
    """Return how many stimuli of the training split have each class."""
    frame = label_frame(subset, label)
    training = frame.loc[frame["split"] == "train", "label"].dropna()
    each = training.explode().dropna() if is_several(subset, label) else training
    return Counter(int(one) for one in each)


def is_several(subset: ArrowHandle, label: str) -> bool:
    """Return whether stimuli may have several labels."""
    return has_several(subset.meta, label)
