"""The model cards: one row of facts for every network."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import MemberKey
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.sources.array_specs import FileModel
from rep_kedro.models.sources.code_specs import PythonModel
from rep_kedro.models.sources.specs import (
    CheckpointModel,
    ModelEntry,
    OpenClipModel,
    TimmModel,
    TorchvisionModel,
    TrainedModel,
    ZooEntry,
)
from rep_kedro.models.sources.transformers_spec import TransformersModel
from rep_kedro.schemas.features import MODEL_CARDS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import TensorsHandle
else:
    DataFrame = TensorsHandle = Any  # so that Kedro can read the hints

NONE: Mapping[str, TensorsHandle] = MappingProxyType({})

_WITH_DRAWN_WEIGHTS = (TimmModel, TorchvisionModel, OpenClipModel, TransformersModel)


def counted_parameters(params: FeaturesParams) -> dict[str, Any]:
    """Return what the cards depend on: the networks' entries, but not where their files are."""
    entries = {name: entry.without_places() for name, entry in params.entries().items()}
    return {"models": entries, "pooling": params.pooling}


def compute_model_cards(
    networks: Mapping[str, TensorsHandle],
    features: Mapping[str, TensorsHandle],
    params: FeaturesParams,
    dissimilarities: Mapping[str, TensorsHandle] = NONE,
) -> DataFrame:
    """List every network that has features, and all dissimilarities that were made elsewhere.

    Args:
        networks: Handles of the networks trained here, by name.
        features: Handles by `<stimulus set>/<model>`.
        params: The model registry.
        dissimilarities: Handles by `<stimulus set>/<entry>`.

    Returns:
        One row per model: `architecture` by its entry, else its name; `n_parameters` of the image side
        where there is also a text side; `n_flops` of one stimulus, two per multiply-accumulate (so twice the
        MACs); `n_layers` and `feature_width` (of the final layer) as stored; `test_accuracy` on the
        training's own stimulus set, null where there is no head.
    """
    entries = params.entries()
    stored = {MemberKey.parse(key).name: handle for key, handle in sorted(features.items(), reverse=True)}
    rows = []
    for model, handle in sorted(stored.items()):
        entry = entries.get(model, TrainedModel(source="trained", network=model))
        rows.append(
            {
                "model": model,
                "source": entry.source,
                **_describe(entry, networks),
                "n_layers": len(handle.meta["layers"]),
                "feature_width": handle.shape(handle.meta["final_layer"])[1],
            }
        )
    for model in sorted({MemberKey.parse(key).name for key in dissimilarities}):
        card = _describe(entries[model], networks)
        rows.append(
            {"model": model, "source": entries[model].source, **card, "n_layers": 0, "feature_width": None}
        )
    return MODEL_CARDS.frame(rows)


def _describe(entry: ModelEntry, networks: Mapping[str, TensorsHandle]) -> dict[str, Any]:
    if isinstance(entry, TrainedModel):
        return _describe_trained(networks[entry.network])
    return _describe_features(entry) if isinstance(entry, FileModel) else _describe_zoo_model(entry)


def _describe_features(entry: FileModel) -> dict[str, Any]:
    """Describe what was made elsewhere: nothing is known of a network."""
    unknown = dict.fromkeys(("seed", "n_parameters", "n_flops", "test_accuracy"))
    return {
        "architecture": entry.architecture_class or entry.source,
        "objective": entry.objective,
        "trained_on": entry.trained_on,
        **unknown,
    }


def _describe_trained(handle: TensorsHandle) -> dict[str, Any]:
    from rep_kedro.models.cost import count_trained_cost

    cost = count_trained_cost(handle)
    is_trained = handle.meta["objective"] != "untrained"
    return {
        "architecture": handle.meta["architecture"],
        "objective": handle.meta["objective"],
        "seed": handle.meta["seed"],
        "trained_on": handle.meta["stimulus_set"] if is_trained else None,
        "n_parameters": cost.n_parameters,
        "n_flops": cost.n_flops,
        "test_accuracy": handle.meta["test_accuracy"],
    }


def _describe_zoo_model(entry: ZooEntry) -> dict[str, Any]:
    from rep_kedro.models.cost import count_zoo_cost

    cost = count_zoo_cost(entry)
    drawn_with = None
    if isinstance(entry, _WITH_DRAWN_WEIGHTS) and not entry.has_published_weights:
        drawn_with = entry.seed
    return {
        "architecture": entry.architecture_class or _architecture_of(entry),
        "objective": entry.objective if drawn_with is None else "untrained",
        "seed": entry.seed if isinstance(entry, CheckpointModel) else drawn_with,
        "trained_on": entry.trained_on if drawn_with is None else None,
        "n_parameters": cost.n_parameters,
        "n_flops": cost.n_flops,
        "test_accuracy": None,
    }


def _architecture_of(entry: ZooEntry) -> str:
    if isinstance(entry, CheckpointModel):
        return entry.architecture
    if isinstance(entry, TransformersModel):
        return (entry.name or Path(str(entry.folder)).name).rpartition("/")[2].partition("@")[0]
    return entry.maker if isinstance(entry, PythonModel) else entry.name.partition(".")[0]
