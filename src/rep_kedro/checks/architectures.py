"""Check before anything runs that the layers of architectures to train fit together."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rep_kedro.models.architecture import DefinedNetwork
    from rep_kedro.training.params import TrainingParams

_SOME_CLASSES = 10


def find_unsound_architectures(
    training: "TrainingParams", built: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Yield the name of each architecture to train whose layers do not fit together, and why.

    Args:
        training: Which architectures are to be trained.
        built: Definitions of which a network has been built, as canonical JSON; they need no check.
    """
    from rep_kedro.datasets.plan import canonical_json

    specs = {(spec.architecture, spec.input_px): spec for spec in training.networks().values()}
    definitions = {
        name if px is None else f"{name} at {px} px": spec.load_definition()
        for (name, px), spec in specs.items()
    }
    unbuilt = [name for name, found in definitions.items() if canonical_json(found.as_json()) not in built]
    if not unbuilt:
        return
    for name in unbuilt:
        try:
            _require_sound(definitions[name])
        except ValueError as problem:
            yield name, str(problem)


def _require_sound(definition: "DefinedNetwork") -> None:
    """Build a network without numbers, or one of others, whose code may need them, with numbers."""
    import torch

    from rep_kedro.models.building import build_network
    from rep_kedro.models.foreign import ForeignDefinition
    from rep_kedro.models.foreign_network import list_reached_layers

    if isinstance(definition, ForeignDefinition):
        list_reached_layers(definition)
        return
    with torch.device("meta"):
        build_network(definition, n_classes=_SOME_CLASSES, seed=0)


def stored_definitions(catalog: Any) -> set[str]:
    """Return the definitions of the networks that are stored, as canonical JSON."""
    from rep_kedro.datasets import CollectionError
    from rep_kedro.datasets.plan import canonical_json

    if "networks" not in catalog:
        return set()
    try:
        networks = catalog.get("networks").load_partial()
    except CollectionError:  # none has been trained yet
        return set()
    return {canonical_json(handle.meta.get("definition")) for handle in networks.values()}
