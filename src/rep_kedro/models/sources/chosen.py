"""A network that a study names, trained here or an entry of `features.models`: how to load it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from rep_kedro.datasets import code_revision
from rep_kedro.errors import UserError, require_known
from rep_kedro.models.sources.array_specs import FileModel
from rep_kedro.models.sources.specs import ModelEntry, TrainedModel, ZooEntry

if TYPE_CHECKING:
    from rep_kedro.datasets import TensorsHandle
    from rep_kedro.models.sources.loaded import LoadedModel


class ChosenNetwork(NamedTuple):
    """A network by its name.

    Attributes:
        handle: Of a network that was trained here.
        entry: What describes one from elsewhere; None of one trained here.
        layers: Names and patterns of its entry, or those that the network keeps.
        recipe: As plain JSON, what its results depend on.
        load: Gives the network, with these layers.
    """

    handle: "TensorsHandle | None"
    entry: ZooEntry | None
    layers: tuple[str, ...]
    recipe: dict[str, Any]
    load: "Callable[[], LoadedModel]"


def choose_network(
    name: str, networks: "Mapping[str, TensorsHandle]", entries: Mapping[str, ModelEntry], *, place: str
) -> ChosenNetwork:
    """Return a network by its name; nothing is loaded.

    Args:
        name: Of a network trained here, or of an entry.
        networks: Handles of the networks trained here.
        entries: Those of `features.models`.
        place: The parameter that names it, for messages.

    Raises:
        UserError: If there is none of that name, or it is an array that was made elsewhere.
    """
    require_known("network", name, [*networks, *entries])
    entry = entries.get(name)
    if isinstance(entry, FileModel):
        raise UserError(f"{place}: {name!r} is an array made elsewhere, not a network")
    if entry is None or isinstance(entry, TrainedModel):
        own = name if entry is None else entry.network
        require_known("network", own, networks)
        recipe: dict[str, Any] = {"source": "trained", "network": networks[own].reference}
        layers = (entry.layers if entry else ()) or tuple(networks[own].meta["definition"]["keep"])
        load = partial(_load_trained, networks[own], layers)
        return ChosenNetwork(networks[own], None, layers, recipe, load)
    from rep_kedro.models.sources.zoo import describe_model, load_model, source_module_name

    described = describe_model(entry)
    recipe = {**described, "code": code_revision(source_module_name(entry))}
    load = partial(load_model, entry, weights=described["weights"])
    return ChosenNetwork(None, entry, entry.layers, recipe, load)


def _load_trained(handle: "TensorsHandle", layers: tuple[str, ...]) -> "LoadedModel":
    from rep_kedro.models.sources.loaded import LoadedModel
    from rep_kedro.models.trained import preprocessing_of, restore_trained_network

    return LoadedModel(restore_trained_network(handle), preprocessing_of(handle), layers)
