"""What the probes of the final layers say of the test stimuli, side by side for all networks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.probing.fitting import PROBABILITIES

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = TensorsHandle = Tensor = Any  # Kedro reads the hints


@dataclass(frozen=True)
class FinalPredictions:
    """Final probes of all networks on one stimulus set; the same test stimuli in the same order.

    Attributes:
        stimulus_set: Its name.
        models: Networks, in alphabetical order.
        classes: Class labels in the order of the columns of the probabilities.
        labels: True class labels, int64, shape (n_test,).
        predictions: Class labels that the probes pick, int64, shape (n_models, n_test).
        probabilities: By network, float64, shape (n_test, n_classes), rows sum to 1; stored in float16, so
            that a probability is off by up to a two-thousandth of it; networks without them are left out.
    """

    stimulus_set: str
    models: tuple[str, ...]
    classes: tuple[int, ...]
    labels: Tensor
    predictions: Tensor
    probabilities: Mapping[str, Tensor]


def read_final_predictions(
    probes: Mapping[str, TensorsHandle], stimulus_subsets: Mapping[str, ArrowHandle]
) -> Iterator[FinalPredictions]:
    """Read the final probes' predictions, one stimulus set after the other in alphabetical order.

    Args:
        probes: Handles by ``<stimulus set>/<model>``.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``, for the test labels.

    Yields:
        Predictions of one stimulus set.

    Raises:
        ValueError: If the subset of a probe is missing or has changed since, or networks of one stimulus set
            were probed on different stimuli.
    """
    by_set: dict[str, dict[str, TensorsHandle]] = {}
    for key in sorted(probes):
        stimulus_set, _, model = key.partition("/")
        by_set.setdefault(stimulus_set, {})[model] = probes[key]
    for stimulus_set, handles in by_set.items():
        yield _read_set(stimulus_set, handles, stimulus_subsets)


def _read_set(
    stimulus_set: str, handles: Mapping[str, TensorsHandle], stimulus_subsets: Mapping[str, ArrowHandle]
) -> FinalPredictions:
    import numpy as np
    import torch

    subset = _require_one_subset(stimulus_set, handles, stimulus_subsets)
    frame = subset.frame(["label", "split"])
    is_test = frame["label"].notna() & (frame["split"] == "test")
    labels = torch.tensor(frame.loc[is_test, "label"].astype("int64").to_numpy())
    predictions, probabilities = [], {}
    for model, handle in handles.items():
        layer = next(str(row["layer"]) for row in handle.meta["layers"] if row["is_final"])
        predictions.append(torch.from_numpy(np.array(handle.tensor(f"{layer}/predictions"))).long())
        if f"{layer}/{PROBABILITIES}" in handle.names:
            rounded = torch.from_numpy(np.array(handle.tensor(f"{layer}/{PROBABILITIES}"))).double()
            probabilities[model] = rounded / rounded.sum(dim=1, keepdim=True)
    classes = tuple(int(label) for label in next(iter(handles.values())).meta["classes"])
    return FinalPredictions(
        stimulus_set, tuple(handles), classes, labels, torch.stack(predictions), probabilities
    )


def _require_one_subset(
    stimulus_set: str, handles: Mapping[str, TensorsHandle], stimulus_subsets: Mapping[str, ArrowHandle]
) -> ArrowHandle:
    """Return the subset that all networks were probed on."""
    found: dict[str, str] = {}
    for model, handle in handles.items():
        reference = handle.recipe["stimulus_subset"]
        key = str(reference["key"])
        if key not in stimulus_subsets or stimulus_subsets[key].digest != reference["digest"]:
            raise ValueError(
                f"probes {stimulus_set}/{model} are of a stimulus subset {key} that is no longer there; "
                "run the probing pipeline again"
            )
        found.setdefault(key, model)
    if len(found) > 1:
        (one, model_a), (other, model_b), *_ = found.items()
        raise ValueError(
            f"networks of {stimulus_set} were probed on different stimuli: {model_a} on {one}, "
            f"{model_b} on {other}; run the probing pipeline with one probing.subset"
        )
    return stimulus_subsets[next(iter(found))]
