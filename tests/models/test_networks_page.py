"""The page about networks: its examples are valid, and it names every key of every source."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from rep_kedro.models.sources.array_specs import DissimilaritiesModel, FeaturesModel
from rep_kedro.models.sources.specs import TrainedModel, ZooEntry
from rep_kedro.models.study import FeaturesParams

PAGE = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)]
ENTRIES = {name: entry for block in BLOCKS for name, entry in block.items()}
MODELS = (TrainedModel, *get_args(ZooEntry), FeaturesModel, DissimilaritiesModel)
SOURCES = {model.model_fields["source"].annotation: model for model in MODELS}


@pytest.mark.parametrize("name", ENTRIES)
def test_the_pages_examples_are_valid(name):
    study = {"allow_code": True, "models": {name: ENTRIES[name]}}
    assert FeaturesParams.model_validate(study).entries().keys() == {name}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: get_args(source)[0])
def test_every_source_has_an_example_and_every_key_is_described(source):
    assert get_args(source)[0] in {entry["source"] for entry in ENTRIES.values()}
    keys = [field.alias or key for key, field in SOURCES[source].model_fields.items()]
    undescribed = [key for key in keys if f"`{key}`" not in PAGE]
    assert not undescribed
