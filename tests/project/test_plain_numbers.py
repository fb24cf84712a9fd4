"""Numbers among the parameters take no true or false."""

import importlib
import pkgutil

import pytest
from pydantic import BaseModel, ValidationError

import rep_kedro
from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.parameter_model import Parameters
from rep_kedro.stimuli.labels import LabelMap
from rep_kedro.stimuli.sources import parse_source


def test_every_model_of_the_project_has_plain_numbers():
    for module in pkgutil.walk_packages(rep_kedro.__path__, "rep_kedro."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, todo = set(), [BaseModel]
    while todo:
        todo += [kind for kind in todo.pop().__subclasses__() if kind not in found and not found.add(kind)]
    own = {kind for kind in found if kind.__module__.startswith("rep_kedro.")}
    assert len(own) > 50
    assert {kind.__qualname__ for kind in own if not issubclass(kind, Parameters)} == set()


@pytest.mark.parametrize("value", [True, False])
def test_true_is_no_number(value):
    for given in ({"memory_bytes": value}, {"transform": [{"pca": {"n_components": value}}]}):
        with pytest.raises(ValidationError, match="Input should be a number"):
            SimilarityParams(measures=["cka_linear_debiased"], **given)
    for given in ({"limits": {"stimuli": value}}, {"test_fraction": value}, {"expected": {"train": value}}):
        with pytest.raises(ValidationError, match="Input should be a number"):
            parse_source({"source": "parquet", "path": "x", **given})
    for given in ({"memory_bytes": 2.0e9}, {"memory_bytes": "2000000000"}):
        assert SimilarityParams(measures=["cka_linear_debiased"], **given).memory_bytes == 2_000_000_000


@pytest.mark.parametrize(
    ("label", "shown"), [(True, "true"), (float("nan"), "nan"), (1.5, "1.5"), (None, "None"), ([1], r"\[1\]")]
)
@pytest.mark.parametrize("by_split", [True, False])
def test_a_label_that_is_none_gives_one_reason(label, shown, by_split):
    labels = {"train": [0, label]} if by_split else [0, label]
    with pytest.raises(ValidationError) as caught:
        LabelMap(classes={"x": labels})
    assert caught.value.error_count() == 1
    assert caught.match(f"should be a whole number or the name of a class in quotes, got {shown}")
    assert LabelMap(classes={"x": {"train": [0]}, "y": {"train": [1, "c"]}}).new_labels(
        "train", ["a", "b", "c"]
    )
