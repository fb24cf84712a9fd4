"""Names that become folders are refused before a run if a file system would refuse them."""

import pytest
from pydantic import ValidationError

from rep_kedro.models.study import FeaturesParams
from rep_kedro.stimuli.params import IngestParams


@pytest.mark.parametrize(("n_chars", "is_sound"), [(200, True), (201, False)])
def test_names_of_sets_are_bounded(n_chars, is_sound):
    entry = {"stimulus_sets": {"a" * n_chars: {"source": "digits"}}}
    if is_sound:
        assert len(next(iter(IngestParams.model_validate(entry).stimulus_sets))) == n_chars
    else:
        with pytest.raises(ValidationError, match=r"name 'a{40}...' has 201 characters; give at most 200"):
            IngestParams.model_validate(entry)


def test_names_of_networks_are_bounded():
    with pytest.raises(ValidationError, match="at most 200 characters"):
        FeaturesParams.model_validate({"models": {"a" * 201: {"source": "timm", "architecture": "resnet18"}}})
