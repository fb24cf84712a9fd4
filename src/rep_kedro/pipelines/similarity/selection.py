"""Which features are compared: networks, stimulus sets and layers, checked before anything is read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.similarity.params import SimilarityParams

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import TensorsHandle
else:
    Tensor = TensorsHandle = Any  # so that Kedro can read the hints


@dataclass(frozen=True)
class Selection:
    """The networks that are compared on one stimulus set.

    Attributes:
        stimulus_set: Its name.
        handles: Features by network, in alphabetical order.
    """

    stimulus_set: str
    handles: Mapping[str, TensorsHandle]

    @property
    def references(self) -> list[dict[str, Any]]:
        """What the features are, for recipes."""
        return [dict(handle.reference) for handle in self.handles.values()]

    def layers(self, layer: str) -> dict[str, str]:
        """Return the layer of each network; ``final`` means its last.

        Raises:
            ValueError: If a network has no such layer.
        """
        return {model: _layer_of(handle, layer) for model, handle in self.handles.items()}

    def load(self, layers: Mapping[str, str]) -> dict[str, Tensor]:
        """Read the features, one float32 matrix (n_stimuli, n_features) for each network.

        Raises:
            ValueError: If a number is NaN or infinite.
        """
        import numpy as np
        import torch

        found = {}
        for model, handle in self.handles.items():
            found[model] = torch.from_numpy(np.array(handle.tensor(layers[model])))
            _require_finite(f"{self.stimulus_set}/{model}", found[model])
        return found


def select_features(features: Mapping[str, TensorsHandle], params: SimilarityParams) -> Iterator[Selection]:
    """Choose the features that are compared, by stimulus set in alphabetical order; nothing is read.

    Args:
        features: Handles by ``<stimulus set>/<model>``.
        params: Which networks and stimulus sets.

    Yields:
        One selection for each stimulus set.

    Raises:
        ValueError: If a chosen stimulus set or network has no features, or two networks saw other stimuli or
            saw them in another order.
    """
    available: dict[str, list[str]] = {}
    for key in sorted(features):
        stimulus_set, _, model = key.partition("/")
        available.setdefault(stimulus_set, []).append(model)
    for stimulus_set in _choose("stimulus set", params.stimulus_sets, list(available)):
        models = _choose("network", params.models, available[stimulus_set])
        handles = {model: features[f"{stimulus_set}/{model}"] for model in models}
        _require_same_stimuli(stimulus_set, handles)
        yield Selection(stimulus_set, handles)


def choose_device(name: str) -> str:
    """Return the device to compute on: ``auto`` means the first GPU where there is one, else the CPU."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _choose(kind: str, wanted: str | list[str], available: list[str]) -> list[str]:
    """Return the wanted names, sorted, or all that are available.

    Raises:
        ValueError: If one is not available; the message has close matches.
    """
    if isinstance(wanted, str):
        return sorted(available)
    for name in wanted:
        if name not in available:
            close = get_close_matches(name, available, n=3)
            hint = f"did you mean {' or '.join(close)}" if close else f"there are: {', '.join(available)}"
            raise ValueError(f"no features of {kind} {name!r}; {hint}")
    return sorted(set(wanted))


def _layer_of(handle: TensorsHandle, layer: str) -> str:
    name = str(handle.meta["final_layer"]) if layer == "final" else layer
    if name not in handle.meta["layers"]:
        raise ValueError(f"{handle.key} has no layer {name!r}; there are: {', '.join(handle.meta['layers'])}")
    return name


def _require_same_stimuli(stimulus_set: str, handles: Mapping[str, TensorsHandle]) -> None:
    by_ids: dict[str, list[str]] = {}
    for model, handle in handles.items():
        by_ids.setdefault(str(handle.meta["stimulus_ids_sha256"]), []).append(model)
    if len(by_ids) > 1:
        groups = " and ".join(", ".join(models[:3]) for models in by_ids.values())
        raise ValueError(f"networks saw other stimuli of {stimulus_set}, or in another order: {groups}")


def _require_finite(key: str, features: Tensor) -> None:
    bad = (~features.isfinite()).sum().item()
    if bad:
        raise ValueError(
            f"features {key} hold {bad} values that are NaN or infinite; "
            f"rebuild them with --params recompute=features/{key}"
        )
