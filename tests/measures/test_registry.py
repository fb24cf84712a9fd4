"""The registry keeps its promises about names, recipes and imports."""

import json
import math
import subprocess
import sys

import pytest

from rep_kedro.measures import MEASURES, get_measure

DEFAULT_STUDY = (
    "cka_linear_debiased",
    "cka_linear_biased",
    "cka_rbf_median_0.4_debiased",
    "rsa_correlation_spearman",
)
ALL = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)


def test_the_default_study_finds_its_measures():
    assert [get_measure(name).id for name in DEFAULT_STUDY] == list(DEFAULT_STUDY)


def test_no_id_is_given_twice():
    from rep_kedro.measures.registry import ENTRIES

    assert len(ENTRIES) == len(MEASURES)


@ALL
def test_a_measure_says_what_it_is(measure):
    assert MEASURES[measure.id] is measure
    assert measure.id == measure.id.lower()
    assert measure.title
    assert measure.source
    low, high = measure.value_range
    assert low < high
    assert not math.isnan(low + high) or (low, high) == (-math.inf, math.inf)


@ALL
def test_a_recipe_is_plain_json_and_names_the_measure(measure):
    recipe = measure.recipe()
    assert json.loads(json.dumps(recipe)) == recipe
    assert recipe["id"] == measure.id
    assert recipe["parameters"] == dict(measure.parameters)


def test_measures_with_equal_parameters_have_recipes_of_their_own():
    recipes = [json.dumps(measure.recipe(), sort_keys=True) for measure in MEASURES.values()]
    assert len(set(recipes)) == len(recipes)


def test_an_unknown_name_is_answered_with_names_like_it():
    with pytest.raises(
        ValueError,
        match=r"unknown similarity measure 'cka_linear_unbiased'; did you mean .*cka_linear_d?e?biased",
    ):
        get_measure("cka_linear_unbiased")
    with pytest.raises(
        ValueError, match=r"unknown similarity measure 'zzz'; known: aligned_cosine, .* and \d+ more"
    ):
        get_measure("zzz")


def test_listing_measures_imports_neither_torch_nor_numpy():
    code = "import sys, rep_kedro.measures; print(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_a_formula_is_one_line_and_that_of_no_other_definition():
    by_formula = {}
    for measure in MEASURES.values():
        assert measure.formula.strip() == measure.formula != ""
        assert "\n" not in measure.formula
        facts = {
            name: value for name, value in measure.parameters.items() if name not in ("seed", "alpha", "mass")
        }
        facts = {name: value for name, value in facts.items() if name not in ("ridge", "distance")}
        by_formula.setdefault(measure.formula, []).append((measure.family, facts))
    for same in by_formula.values():
        assert all(facts == same[0] for facts in same)
