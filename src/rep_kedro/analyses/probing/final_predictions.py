"""Predictions of the final layers' probes on the test stimuli, for all networks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.probing.fitting import PROBABILITIES
from rep_kedro.analyses.probing.labels import label_frame
from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = TensorsHandle = Tensor = Any  # Kedro reads the hints


class StoredProbabilities(Mapping[str, Tensor]):
    """Class probabilities by network, read on access; networks without them are left out.

    A matrix is float64, shape (n_test, n_classes), with rows that sum to 1. It is stored in float16, so that
    a probability is off by up to a two-thousandth of it, and one below 3e-8 is zero.
    """

    def __init__(self, handles: Mapping[str, TensorsHandle]) -> None:
        self._stored: dict[str, tuple[TensorsHandle, str]] = {}
        for model, handle in handles.items():
            name = f"{_final_layer(handle)}/{PROBABILITIES}"
            if name in handle.names:
                self._stored[model] = (handle, name)

    def __getitem__(self, model: str) -> Tensor:
        """Return the probabilities of all test stimuli."""
        return self.read_rows(model, slice(None))

    def __iter__(self) -> Iterator[str]:
        """Return the networks that have probabilities."""
        return iter(self._stored)

    def __len__(self) -> int:
        """Return the number of networks that have probabilities."""
        return len(self._stored)

    def read_rows(self, model: str, rows: slice) -> Tensor:
        """Return the probabilities of some test stimuli; only they are read."""
        import torch

        handle, name = self._stored[model]
        rounded = torch.from_numpy(handle.rows(name, rows).astype("float64"))
        return rounded / rounded.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class FinalPredictions:
    """Final probes of all networks on one stimulus set; the same test stimuli in the same order.

    Attributes:
        stimulus_set: Its name.
        models: Networks, in alphabetical order.
        classes: Class labels in the order of the columns of the probabilities.
        labels: True class labels, int64, shape (n_test,).
        predictions: Class labels that the probes pick, int64, shape (n_models, n_test).
        probabilities: By network, shape (n_test, n_classes).
    """

    stimulus_set: str
    models: tuple[str, ...]
    classes: tuple[int, ...]
    labels: Tensor
    predictions: Tensor
    probabilities: StoredProbabilities


def read_final_predictions(
    probes: Mapping[str, TensorsHandle], stimulus_subsets: Mapping[str, ArrowHandle]
) -> Iterator[FinalPredictions]:
    """Read the final probes' predictions, one stimulus set after the other in alphabetical order.

    Args:
        probes: Handles by ``<stimulus set>/<model>``; combinations of networks, and stimuli
            with several labels, are left out.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``, for the test labels.

    Yields:
        Predictions of one stimulus set.

    Raises:
        ValueError: If the subset of a probe is missing or has changed since, or networks of one stimulus set
            were probed on different stimuli.
    """
    by_set: dict[str, dict[str, TensorsHandle]] = {}
    for key in sorted(probes):
        if {"combination", "several_labels"} & probes[key].meta.keys():
            continue
        stimulus_set, model = MemberKey.parse(key)
        by_set.setdefault(stimulus_set, {})[model] = probes[key]
    for stimulus_set, handles in by_set.items():
        yield _read_set(stimulus_set, handles, stimulus_subsets)


def _read_set(
    stimulus_set: str, handles: Mapping[str, TensorsHandle], stimulus_subsets: Mapping[str, ArrowHandle]
) -> FinalPredictions:
    import torch

    subset = _require_one_subset(stimulus_set, handles, stimulus_subsets)
    any_probe = next(iter(handles.values()))
    frame = label_frame(subset, str(any_probe.meta["label"]))
    is_test = frame["label"].notna() & (frame["split"] == "test")
    labels = torch.tensor(frame.loc[is_test, "label"].astype("int64").to_numpy())
    predictions = [
        torch.from_numpy(handle.tensor(f"{_final_layer(handle)}/predictions").astype("int64"))
        for handle in handles.values()
    ]
    classes = tuple(int(label) for label in any_probe.meta["classes"])
    return FinalPredictions(
        stimulus_set,
        models=tuple(handles),
        classes=classes,
        labels=labels,
        predictions=torch.stack(predictions),
        probabilities=StoredProbabilities(handles),
    )


def _final_layer(handle: TensorsHandle) -> str:
    return next(str(row["layer"]) for row in handle.meta["layers"] if row["is_final"])


def _require_one_subset(
    stimulus_set: str, handles: Mapping[str, TensorsHandle], stimulus_subsets: Mapping[str, ArrowHandle]
) -> ArrowHandle:
    """Return the subset that all networks were probed on."""
    found: dict[str, str] = {}
    for model, handle in handles.items():
        reference = handle.recipe["stimulus_subset"]
        key = str(reference["key"])
        if key not in stimulus_subsets or stimulus_subsets[key].digest != reference["digest"]:
            raise UserError(
                f"probes {stimulus_set}/{model} used stimulus subset {key}, which no longer exists; "
                "run the probing pipeline again"
            )
        found.setdefault(key, model)
    if len(found) > 1:
        (one, model_a), (other, model_b), *_ = found.items()
        raise UserError(
            f"networks of {stimulus_set} were probed on different stimuli: {model_a} on {one}, "
            f"{model_b} on {other}; run the probing pipeline with one probing.subset"
        )
    return stimulus_subsets[next(iter(found))]
