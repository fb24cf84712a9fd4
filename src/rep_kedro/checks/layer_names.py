"""Check before anything runs that ``layer_similarity.layers`` names layers whose features are requested."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError, suggest

if TYPE_CHECKING:
    from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams
    from rep_kedro.features.params import FeaturesParams
    from rep_kedro.training.params import TrainingParams


def find_unknown_layers(
    params: "LayerSimilarityParams", features: "FeaturesParams", training: "TrainingParams"
) -> Iterator[str]:
    """Yield why a name or pattern can fit no layer of any network.

    Layers that networks are given by patterns are not known yet: what could fit those is left to the run.
    """
    if params.layers == "all" or not isinstance(params.layers, str | list):
        return
    there = _requested_layers(features, training)
    chosen = set(there) if isinstance(params.models, str) else {*params.models}
    if not chosen or not chosen <= there.keys() or not all(there[name] for name in chosen):
        return
    requested = list(dict.fromkeys(layer for name in sorted(chosen) for layer in there[name]))
    for pattern in [params.layers] if isinstance(params.layers, str) else params.layers:
        if not any(_may_meet(pattern, each) for each in requested):
            yield f"{pattern!r} fits no layer that has features; {suggest(pattern, requested)}"


def _may_meet(one: str, other: str) -> bool:
    """Return whether some layer may fit both of two names or patterns."""
    from rep_kedro.models.layers import GLOB_CHARACTERS, select_layers

    for name, pattern in ((one, other), (other, one)):
        if not GLOB_CHARACTERS & set(name):
            with suppress(UserError):
                return bool(select_layers([name], [pattern]))
            return False
    first, second = (each[: min(map(each.find, GLOB_CHARACTERS & set(each)))] for each in (one, other))
    return first.startswith(second) or second.startswith(first)


def _requested_layers(features: "FeaturesParams", training: "TrainingParams") -> Mapping[str, Sequence[str]]:
    """Return names and patterns of the layers of each network; none where a file alone knows them."""
    from rep_kedro.models.architecture_files import load_architecture
    from rep_kedro.models.sources.array_specs import DissimilaritiesModel
    from rep_kedro.models.sources.specs import TrainedModel

    trained = training.networks()
    kept = {name: load_architecture(spec.architecture).keep for name, spec in trained.items()}
    found: dict[str, Sequence[str]] = {
        name: layers
        for name, layers in kept.items()
        if isinstance(features.networks, str) or name in features.networks
    }
    for name, entry in features.entries().items():
        if isinstance(entry, TrainedModel):
            found[name] = entry.layers or kept.get(entry.network, ())
        elif not isinstance(entry, DissimilaritiesModel):
            found[name] = entry.layers
    return found
