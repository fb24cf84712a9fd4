"""Which layers of which networks are compared; chosen before any features are read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.layer_similarity.params import EveryNth, LayerSimilarityParams
from rep_kedro.analyses.similarity.selection import Selection, select_features
from rep_kedro.errors import UserError, suggest
from rep_kedro.features.views import require_finite, share_memory

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, TensorsHandle
else:
    ArrowHandle = Tensor = TensorsHandle = Any  # so that Kedro can read the hints


@dataclass(frozen=True)
class LayerOf:
    """One layer of one network.

    Attributes:
        model: Name of the network.
        layer: Name of the layer.
        depth: Its place among the layers that have features, from the input, starting at 0.
    """

    model: str
    layer: str
    depth: int

    @property
    def label(self) -> str:
        """What matrices and messages call it; unique, as no name of a network contains a slash."""
        return f"{self.model}/{self.layer}"


def select_networks(
    features: Mapping[str, TensorsHandle],
    params: LayerSimilarityParams,
    stimulus_subsets: Mapping[str, ArrowHandle],
) -> Iterator[Selection]:
    """Choose the networks whose layers are compared, by stimulus set; see ``select_features``."""
    for whole in select_features(features, params, stimulus_subsets):
        names = sorted([*whole.sources, *whole.missing])
        if params.models == "all":
            names = names[: params.max_models]
        sources = {model: source for model, source in whole.sources.items() if model in names}
        if sources:
            missing = tuple(model for model in whole.missing if model in names)
            yield Selection(whole.stimulus_set, sources, missing)


def choose_layers(selection: Selection, params: LayerSimilarityParams) -> list[LayerOf]:
    """Return the layers to compare, network by network, each from the input to the output.

    Raises:
        UserError: If a name or pattern fits no layer of any network, or a network has none that is chosen.
    """
    known = {model: [str(name) for name in s.meta["layers"]] for model, s in selection.sources.items()}
    chosen = _choose(known, params)
    if without := [model for model, names in chosen.items() if not names]:
        there = known[without[0]]
        raise UserError(
            f"layer_similarity.layers fits no layer of {without[0]}, which has {', '.join(there[:8])}"
            f"{' and others' if len(there) > 8 else ''}; add a pattern for it, or leave it out of models"
        )
    return [LayerOf(model, layer, known[model].index(layer)) for model in known for layer in chosen[model]]


def _choose(known: Mapping[str, Sequence[str]], params: LayerSimilarityParams) -> dict[str, list[str]]:
    if isinstance(params.layers, EveryNth):
        return {model: list(names[:: -params.layers.every])[::-1] for model, names in known.items()}
    if params.layers == "all":
        return {model: list(names) for model, names in known.items()}
    patterns = [params.layers] if isinstance(params.layers, str) else params.layers
    found = {
        (model, pattern): _matching(pattern, names) for model, names in known.items() for pattern in patterns
    }
    for pattern in patterns:
        if not any(found[model, pattern] for model in known):
            every = list(dict.fromkeys(name for names in known.values() for name in names))
            raise UserError(
                f"{pattern!r} in layer_similarity.layers fits no layer that has features; "
                f"{suggest(pattern, every)}"
            )
    wanted = {model: {name for pattern in patterns for name in found[model, pattern]} for model in known}
    return {model: [name for name in names if name in wanted[model]] for model, names in known.items()}


def _matching(pattern: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return the layers of one network that a name or pattern fits; none is not an error here."""
    from rep_kedro.models.layers import select_layers

    try:
        return select_layers(names, [pattern])
    except UserError:
        return ()


def load_layers(selection: Selection, layers: Sequence[LayerOf]) -> dict[str, Tensor]:
    """Read the features of the chosen layers, by label, float32, shape (n_stimuli, n_features).

    Features that are seen as they are stored are not copied: their pages are those of the file.

    Raises:
        UserError: If a number is NaN or infinite, or a row that is to have length one has none.
    """
    readings = {model: source.open() for model, source in selection.sources.items()}
    found = {}
    for each in layers:
        found[each.label] = share_memory(readings[each.model].tensor(each.layer))
        require_finite(selection.sources[each.model].key, each.layer, found[each.label])
    return found


def describe_layers(layers: Sequence[LayerOf]) -> dict[str, Any]:
    """Return which layers rows and columns are, as plain data for headers and recipes."""
    return {
        "models": [each.model for each in layers],
        "layers": [each.layer for each in layers],
        "depths": [each.depth for each in layers],
    }


def read_layers(meta: Mapping[str, Any]) -> list[LayerOf]:
    """Return the layers of a stored member from its header."""
    return [LayerOf(*each) for each in zip(meta["models"], meta["layers"], meta["depths"], strict=True)]


def group_by_model(layers: Sequence[LayerOf]) -> tuple[list[str], list[int]]:
    """Return the networks in their order, and the place of each layer's network among them."""
    models = list(dict.fromkeys(each.model for each in layers))
    return models, [models.index(each.model) for each in layers]
