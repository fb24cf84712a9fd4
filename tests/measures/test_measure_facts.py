"""What a measure declares of itself agrees with the kernels, and stays apart from other families."""

import pytest

from rep_kedro.datasets.revision import module_closure
from rep_kedro.kernels.statistics.linear_map_nulls import STATISTICS
from rep_kedro.measures import MEASURES, Family, closest_measures


def test_linear_maps_with_a_null_are_those_that_the_kernel_permutes() -> None:
    of_maps = [measure for measure in MEASURES.values() if measure.family is Family.LINEAR_MAP]
    for measure in of_maps:
        assert (measure.inference is not None) == (measure.parameters["statistic"] in STATISTICS), measure.id


def test_only_undirected_measures_have_a_null_and_only_these_an_interval() -> None:
    for measure in MEASURES.values():
        assert measure.symmetric or measure.inference is None, measure.id
        assert not measure.has_interval or measure.inference is not None, measure.id
    assert {m.family for m in MEASURES.values() if m.has_interval} == {Family.CKA, Family.RSA}


@pytest.mark.parametrize("family", Family)
def test_the_code_of_a_family_is_not_that_of_another(family: Family) -> None:
    modules = {m.module for m in MEASURES.values() if m.family is family}
    [module] = modules
    closure = module_closure(module)
    others = {m.module for m in MEASURES.values()} - modules
    assert not others & set(closure)
    assert not any(name.startswith("rep_kedro.measures.entries") for name in closure)
    assert any(name.startswith("rep_kedro.kernels.") for name in closure)


def test_the_closest_measures_are_among_those_that_may_be() -> None:
    found = closest_measures("pwcca", lambda measure: measure.inference is not None)
    assert "svcca_0.99" in found
    assert len(found) == 4
    assert all(MEASURES[name].inference for name in found)
