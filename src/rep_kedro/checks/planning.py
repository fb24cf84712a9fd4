"""Plan collections by the current configuration, whatever plans are stored, without computing anything."""

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.checks.stale import make_pipeline
from rep_kedro.pipelines import PIPELINES

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from rep_kedro.datasets import Planned

_log = logging.getLogger("rep_kedro")


def expect_configured(catalog: Any, names: Iterable[str]) -> None:
    """Make collections expect the members that the configuration plans, and no others.

    All planners upstream run, starting from the images. What cannot be planned now, for example because
    images are not on this machine, is used as stored, and the log reports it.

    Args:
        catalog: Its collections change for this process only; nothing is written.
        names: Collections that a run reads.
    """
    for node in _planners(catalog, names):
        try:
            plans = plan_node(catalog, node)
        except Exception as problem:  # the pipeline that makes the collection reports it
            _log.debug("%s is used as it is stored: %s", node.name, problem)
            continue
        for name in node.outputs:
            n_stored = catalog.get(name).expect(plans[name], or_as_stored=True)
            if n_stored and name in names:
                _log.warning("%s: %d members cannot be planned now and are used as stored", name, n_stored)


def load_handles(catalog: Any, pipeline: "Pipeline") -> None:
    """Make the tables of a run load as lazy handles, so that only what is needed is read.

    Args:
        catalog: Its tables change for this process only.
        pipeline: The nodes of the run.
    """
    from rep_kedro.datasets import TableDataset

    for name in pipeline.datasets():
        dataset = catalog.get(name)
        if isinstance(dataset, TableDataset):
            dataset.loads_handles = True


def open_tables(node: "Node", inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables among a node's inputs, read from their handles; nothing for a node with a recipe."""
    from rep_kedro.datasets import RecipeNode, TableHandle

    if isinstance(node, RecipeNode):
        return {}
    return {name: value.frame() for name, value in inputs.items() if isinstance(value, TableHandle)}


def plan_node(catalog: Any, node: "Node") -> dict[str, Any]:
    """Run a planner on the inputs in the catalog.

    Returns:
        Plans by collection; for a node with a recipe, the planned single files by name.
    """
    inputs = {name: _load_input(catalog, node, name) for name in node.inputs}
    plans: dict[str, Any] = node.run(inputs | open_tables(node, inputs))
    return plans


def as_saved(catalog: Any, name: str, planned: "Planned") -> "Planned":
    """Return the plan of a single file as the catalog saves it, with its contract in the recipe."""
    from kedro.validation.core import resolve_validator

    spec = catalog.validator_specs.get(name)
    if spec is None:
        return planned
    checked: Planned = resolve_validator(spec).validate(planned)
    return checked


def free_inputs(node: "Node") -> list[str]:
    """Return the inputs of a node that are not parameters."""
    return [name for name in node.inputs if name != "parameters" and not name.startswith("params:")]


def _planners(catalog: Any, names: Iterable[str]) -> "list[Node]":
    """Return the nodes that plan collections from collections only, and on which the names depend."""
    from kedro.pipeline import Pipeline

    from rep_kedro.datasets import CollectionDataset

    def is_collection(name: str) -> bool:
        return isinstance(catalog.get(name), CollectionDataset)

    whole: Pipeline = sum((make_pipeline(name) for name in PIPELINES), Pipeline([]))
    wanted = [name for name in names if name in whole.all_outputs() and is_collection(name)]
    if not wanted:
        return []
    chosen = whole.to_outputs(*wanted).nodes
    return [node for node in chosen if all(map(is_collection, [*free_inputs(node), *node.outputs]))]


def _load_input(catalog: Any, node: "Node", name: str) -> Any:
    """Load the existing members of a collection, or parameters as the model in the node's signature."""
    from rep_kedro.datasets import CollectionDataset, CollectionError

    dataset = catalog.get(name)
    if isinstance(dataset, CollectionDataset) and (why := dataset.why_missing()):
        raise CollectionError(f"{name} is missing: {why}")
    value = dataset.load_partial() if isinstance(dataset, CollectionDataset) else catalog.load(name)
    if not name.startswith("params:") or not isinstance(value, Mapping):
        return value
    from inspect import signature
    from typing import get_type_hints

    from pydantic import BaseModel

    function = getattr(node.func, "func", node.func)
    bound = signature(function).bind_partial(*node.inputs).arguments
    kind = next((get_type_hints(function).get(key) for key, source in bound.items() if source == name), None)
    return kind.model_validate(value) if isinstance(kind, type) and issubclass(kind, BaseModel) else value
