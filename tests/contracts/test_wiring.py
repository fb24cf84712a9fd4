"""The wiring keeps its promises: hints, parameters, catalog, names."""

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.pipeline.node import Node
from pydantic import BaseModel

from rep_kedro.checks.parameters import UNTYPED, read_parameters
from rep_kedro.measures import MEASURES
from rep_kedro.pipeline_registry import register_pipelines
from rep_kedro.pipelines import PIPELINES, SIMILARITY_PARTS
from rep_kedro.schemas import TABLES

ROOT = Path(__file__).parents[2]
REGISTERED = register_pipelines()
WHOLE = REGISTERED["__default__"]
NODES = {node.name: node for node in WHOLE.nodes}
DERIVED = ("parameters",)
OTHERWISE_NAMED = {"study_figures": "figures", "model_maps": "model_positions"}
MOST_ELEMENTS = 100  # more in one graph of Kedro-Viz nobody can read


def catalog() -> dict[str, dict[str, Any]]:
    """Return the base catalog's own entries: without anchors and patterns."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((ROOT / "conf/base").glob("catalog*.yml")):
        for name, entry in yaml.safe_load(path.read_text()).items():
            if not name.startswith("_") and "{" not in name:
                assert name not in found, f"{name} is in two files of the catalog"
                found[name] = entry
    return found


CATALOG = catalog()


def test_the_pipelines_are_those_of_the_documentation() -> None:
    assert set(REGISTERED) == {*PIPELINES, *SIMILARITY_PARTS, "__default__"}
    named = [node.name for name in PIPELINES for node in REGISTERED[name].nodes]
    assert sorted(named) == sorted(NODES)
    parts = [node.name for name in SIMILARITY_PARTS for node in REGISTERED[name].nodes]
    assert sorted(parts) == sorted(node.name for node in REGISTERED["similarity"].nodes)


@pytest.mark.parametrize("name", NODES)
def test_the_hints_of_a_node_resolve_and_name_every_input(name: str) -> None:
    function = NODES[name].func
    hints = typing.get_type_hints(function)
    assert set(inspect.signature(function).parameters) | {"return"} <= set(hints) | _variadic(function)


def _variadic(function: Any) -> set[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds}


@pytest.mark.parametrize("name", NODES)
def test_parameters_come_as_models_that_refuse_unknown_keys(name: str) -> None:
    for model in _parameter_models(NODES[name]).values():
        for inner in _models_in(model):
            assert inner.model_config.get("extra") == "forbid", f"{inner.__name__} takes unknown keys"


def _parameter_models(node: Node) -> dict[str, type[BaseModel]]:
    bound = _inputs_by_argument(node)
    hints = typing.get_type_hints(node.func)
    found = {}
    for argument, dataset in bound.items():
        if dataset.startswith("params:"):
            assert issubclass(hints[argument], BaseModel), f"{dataset} comes to {node.name} without a model"
            found[dataset] = hints[argument]
    return found


def _inputs_by_argument(node: Node) -> dict[str, str]:
    inputs = node._inputs
    if isinstance(inputs, dict):
        return dict(inputs)
    names = [inputs] if isinstance(inputs, str) else list(inputs or [])
    return dict(zip(inspect.signature(node.func).parameters, names, strict=False))


def _models_in(annotation: Any, seen: set[Any] | None = None) -> Iterator[type[BaseModel]]:
    """Yield a model and the models of its fields."""
    seen = set() if seen is None else seen
    if isinstance(annotation, type) and not typing.get_args(annotation):
        if issubclass(annotation, BaseModel) and annotation not in seen:
            seen.add(annotation)
            yield annotation
            for field in annotation.model_fields.values():
                yield from _models_in(field.annotation, seen)
        return
    for inner in typing.get_args(annotation):
        yield from _models_in(inner, seen)


def test_the_graph_has_few_enough_elements_to_be_read() -> None:
    drawn = {name for name in WHOLE.datasets() if not name.startswith("param")}  # the others are hidden
    assert len(WHOLE.nodes) + len(drawn) < MOST_ELEMENTS


def test_every_parameter_is_read_by_a_node() -> None:
    given: set[str] = set()
    for path in sorted((ROOT / "conf/base").glob("parameters*.yml")):
        keys = set(yaml.safe_load(path.read_text()))
        assert not keys & given, f"{path.name} repeats {keys & given}"
        given |= keys
    assert given == read_parameters(WHOLE) | UNTYPED


def test_every_parameter_group_of_the_base_configuration_is_valid_and_complete() -> None:
    values: dict[str, Any] = {}
    for path in sorted((ROOT / "conf/base").glob("parameters*.yml")):
        values.update(yaml.safe_load(path.read_text()))
    for node in WHOLE.nodes:
        for name, model in _parameter_models(node).items():
            model.model_validate(values[name.removeprefix("params:")])


def test_every_result_has_an_entry_with_a_layer() -> None:
    for name in WHOLE.all_outputs():
        assert name in CATALOG, f"{name} would stay in memory"
        assert CATALOG[name]["metadata"]["kedro-viz"]["layer"]


def test_every_entry_has_a_maker_or_reads_an_earlier_revision() -> None:
    unmade = {name for name in CATALOG if name not in WHOLE.all_outputs()}
    assert all(CATALOG[name]["filepath"].startswith("dvc://") for name in unmade), unmade
    assert unmade <= WHOLE.inputs()


def test_every_input_is_made_or_configured() -> None:
    free = {n for n in WHOLE.inputs() if not n.startswith("params:") and n not in DERIVED}
    assert free <= set(CATALOG)


def test_every_table_has_the_contract_of_its_name() -> None:
    made = [name for name in WHOLE.all_outputs() if CATALOG[name]["type"].endswith(".TableDataset")]
    assert set(made) == set(TABLES)
    for name in made:
        assert CATALOG[name]["validator"]["options"] == {"table": name}


def test_results_stand_in_folders_of_their_own() -> None:
    paths = [CATALOG[name]["filepath"] for name in WHOLE.all_outputs()]
    assert len(set(paths)) == len(paths)
    assert all(path.startswith("${globals:data}/") for path in paths)


@pytest.mark.parametrize("name", NODES)
def test_a_node_has_the_name_of_what_it_makes_first(name: str) -> None:
    assert NODES[name].outputs[0] == OTHERWISE_NAMED.get(name, name)


@pytest.mark.parametrize("measure_id", MEASURES)
def test_a_measure_says_what_it_is(measure_id: str) -> None:
    measure = MEASURES[measure_id]
    low, high = measure.value_range
    assert measure.id == measure_id
    assert measure.title
    assert low < high
    assert any(mark in measure.source for mark in ("arXiv:", "doi:", "http", "JMLR", "ISBN")), measure.source
