"""Check, before anything runs, that layers to project or to probe as maps are layers of their network."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError, suggest

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.analyses.probing.layer_params import LayerProbesParams
    from rep_kedro.analyses.projections.params import ProjectionParams
    from rep_kedro.models.sources.loaded import LoadedModel
    from rep_kedro.models.study import FeaturesParams
    from rep_kedro.training.params import TrainingParams

_UNKNOWN_CLASSES = 2  # no name of a layer depends on their number


def find_layers_without_projection(
    params: "ProjectionParams", features: "FeaturesParams", training: "TrainingParams"
) -> Iterator[str]:
    """Yield why a name or pattern fits no layer of a network that can be projected.

    Networks that are neither trained here nor entries are left to the planning of the projections.
    """
    if params.layers == type(params).model_fields["layers"].default:
        return
    from rep_kedro.analyses.projections.directions import choose_layers

    for name in params.models:
        outlined = _outline(name, features, training)
        try:
            if outlined is not None:
                choose_layers(*outlined, params)
        except UserError as problem:
            yield f"network {name!r}: {problem}"


def find_layers_without_probe(
    params: "LayerProbesParams", features: "FeaturesParams", training: "TrainingParams"
) -> Iterator[str]:
    """Yield why a name is not a layer of a network that is probed, or a layer cannot be probed so.

    Networks that are neither trained here nor entries are left to the planning of the probes.
    """
    from rep_kedro.analyses.probing.layer_shapes import outputs_by_formula
    from rep_kedro.analyses.probing.layer_tasks import list_tasks
    from rep_kedro.models.architecture import Architecture
    from rep_kedro.models.architecture_files import load_definition

    trained, entries = training.networks(), features.entries()
    for name in [*trained, *entries] if isinstance(params.models, str) else params.models:
        own = params.of(name)
        definition = load_definition(trained[name].architecture) if name in trained else None
        try:
            if isinstance(definition, Architecture):
                known = [layer.name for layer in definition.layers]
                wanted = own.layers if isinstance(own.layers, list) else []
                unknown = [layer for layer in wanted if layer not in known]
                for layer in unknown:
                    yield f"{layer!r} is not a layer of network {name!r}; {suggest(layer, known)}"
                if not unknown:
                    list_tasks(
                        outputs_by_formula(name, definition, definition.keep, _UNKNOWN_CLASSES, own), own
                    )
                continue
            outlined = _outline(name, features, training)
            if outlined is not None:
                _require_tasks(*outlined, own)
        except UserError as problem:
            yield f"network {name!r}: {problem}"


def _require_tasks(model: "LoadedModel", image: "Tensor", params: "LayerProbesParams") -> None:
    """Refuse layers that are not there, or that cannot be probed so."""
    from rep_kedro.analyses.probing.layer_shapes import choose_patterns, outputs_of
    from rep_kedro.analyses.probing.layer_tasks import list_tasks
    from rep_kedro.models.outline import Undrawn
    from rep_kedro.models.sources.loaded import read_layers

    layers = choose_patterns(params, model.layers)
    with Undrawn():
        list_tasks(outputs_of(read_layers(replace(model, layers=layers), image)), params)


def _outline(
    name: str, features: "FeaturesParams", training: "TrainingParams"
) -> "tuple[LoadedModel, Tensor] | None":
    """Return a network without numbers and an image for it; None where it is not known yet."""
    import torch

    from rep_kedro.models.architecture_files import load_definition
    from rep_kedro.models.building import build_network, plain_module
    from rep_kedro.models.foreign import ForeignDefinition
    from rep_kedro.models.outline import outline_network
    from rep_kedro.models.preprocessing import Preprocessing
    from rep_kedro.models.sources.array_specs import DissimilaritiesModel, FileModel
    from rep_kedro.models.sources.loaded import LoadedModel
    from rep_kedro.models.sources.specs import TrainedModel
    from rep_kedro.models.sources.zoo import runner_of

    entry, trained = features.entries().get(name), training.networks()
    if isinstance(entry, TrainedModel):
        name, entry = entry.network, None
    if isinstance(entry, FileModel | DissimilaritiesModel) or (entry is None and name not in trained):
        return None
    if entry is not None:
        found = outline_network(entry)
        model = LoadedModel(
            found.module,
            found.preprocessing,
            entry.layers,
            layout=entry.layout,
            n_prefix_tokens=entry.n_prefix_tokens,
            run=runner_of(found.module),
        )
        return model, found.image
    definition = load_definition(trained[name].architecture)
    is_own_code = isinstance(definition, ForeignDefinition) and definition.library == "python"
    device = "cpu" if is_own_code else "meta"  # code that computes with numbers of its own needs real ones
    module = plain_module(build_network(definition, n_classes=_UNKNOWN_CLASSES, seed=0)).to(device).eval()
    preprocessing = Preprocessing.of_definition(definition)
    side = preprocessing.size_px
    image = torch.zeros(1, len(preprocessing.mean), side, side, device=device)
    keep = tuple(definition.as_json()["keep"])
    return LoadedModel(module, preprocessing, keep), image
