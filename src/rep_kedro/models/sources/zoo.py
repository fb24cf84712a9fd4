"""One interface to the sources that need no stored network: what they depend on, and how to load them."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any

from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.loaded import LoadedModel
from rep_kedro.models.sources.specs import FROM_FILES, OWN_CODE, ZooEntry

_TOLD_BY_SOURCES = frozenset({"weights", "preprocessing", "alignment"})


def source_module_name(spec: ZooEntry) -> str:
    """Return the dotted name of the module that loads this entry."""
    return f"{__package__}.{spec.source}"


def describe_model(spec: ZooEntry) -> dict[str, Any]:
    """Return, as plain JSON data, everything the network's features depend on; nothing is loaded.

    Raises:
        ValueError: If name, weights or file are unknown.
    """
    source = _source(spec)
    return {
        **spec.recipe(),
        "weights": source.identify_weights(spec),
        "preprocessing": resolve_preprocessing(spec).model_dump(mode="json"),
    }


def read_recipe(recipe: Mapping[str, Any]) -> ZooEntry:
    """Return an entry for the form of the network that a recipe describes, without the place of its weights.

    Args:
        recipe: What `describe_model` gave, with `layers`.

    Raises:
        ValueError: If the recipe is of an entry that this version does not know, of code (which is never run
            from a recipe) or of features without a network.
    """
    from pydantic import Field, TypeAdapter

    if recipe["source"] in OWN_CODE:
        raise UserError(f"a network of source {recipe['source']} is code, which is not run from a recipe")
    if recipe["source"] == "transformers" and recipe["name"] is None:
        raise UserError("a network of a local folder is not found by its recipe")
    if recipe["source"] == "features":
        raise UserError("features from a file have no network")
    content = {key: value for key, value in recipe.items() if key not in _TOLD_BY_SOURCES}
    if recipe["source"] == "torchvision":
        content["weights"] = recipe["weights"]["weights"]
    if recipe["source"] in FROM_FILES:
        content["path"] = "unknown"
    entry: ZooEntry = TypeAdapter(Annotated[ZooEntry, Field(discriminator="source")]).validate_python(content)
    return entry


def resolve_preprocessing(spec: ZooEntry) -> Preprocessing:
    """Return how the network's input is made."""
    preprocessing: Preprocessing = _source(spec).resolve_preprocessing(spec)
    return preprocessing


def build_model(spec: ZooEntry, *, with_weights: bool = True) -> nn.Module:
    """Return the network in evaluation mode; without weights it is only of the right form."""
    module: nn.Module = _source(spec).build(spec, with_weights=with_weights)
    return module


def require_fitting_weights(spec: ZooEntry, module: nn.Module) -> None:
    """Refuse a file of weights whose names, shapes or types are not the network's; no number is read.

    Args:
        spec: The network; entries without a file pass.
        module: The network on the meta device.

    Raises:
        ValueError: If the file is here and does not fit.
    """
    if spec.source in FROM_FILES:
        _source(spec).require_fitting_weights(spec, module)


def load_model(spec: ZooEntry, *, weights: Mapping[str, Any] | None = None) -> LoadedModel:
    """Return the network, ready to be read.

    Args:
        spec: Its entry.
        weights: What `describe_model` said of its weights; others are refused.

    Raises:
        ValueError: If the network does not exist or its weights are unavailable, or are others by now.
    """
    module = build_model(spec)
    if weights is not None and weights.get("sha256", "") is not None:  # None: it could not be known before
        _require_same(weights, _source(spec).identify_weights(spec))
    layers = spec.layers or getattr(module, "kept_layers", ())
    return LoadedModel(
        module,
        resolve_preprocessing(spec),
        tuple(layers),
        layout=spec.layout,
        n_prefix_tokens=spec.n_prefix_tokens,
        run=runner_of(module),
    )


def _require_same(planned: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if planned != found:
        raise UserError(
            f"the weights changed since planning, from {dict(planned)} to {dict(found)}; run again"
        )


def runner_of(module: nn.Module) -> Any:
    """Return how images go through the module: the image side of two-sided models."""
    return getattr(module, "encode_image", None) or getattr(module, "get_image_features", None)


def run_network(module: nn.Module, images: Any) -> Any:
    """Pass images through a network: through the image side of two-sided models."""
    return (runner_of(module) or module)(images)


def _source(spec: ZooEntry) -> ModuleType:
    return import_module(source_module_name(spec))
