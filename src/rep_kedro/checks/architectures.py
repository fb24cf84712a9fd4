"""Check before anything runs that the layers of architectures to train fit together."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        name if px is None else f"{name} at {px} px": spec.load_architecture()
        for (name, px), spec in specs.items()
    }
    unbuilt = [name for name, found in definitions.items() if canonical_json(found.as_json()) not in built]
    if not unbuilt:
        return
    import torch

    from rep_kedro.models.network import build_network

    for name in unbuilt:
        try:
            with torch.device("meta"):
                build_network(definitions[name], n_classes=_SOME_CLASSES, seed=0)
        except ValueError as problem:
            yield name, str(problem)


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
