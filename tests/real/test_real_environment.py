"""The environment conf/real is sound: its parameters are those the pipelines take."""

import os

import pytest
from kedro.config import OmegaConfigLoader
from tests.real.published import PROJECT, needs_published

from rep_kedro.features.params import FeaturesParams
from rep_kedro.settings import CONFIG_LOADER_ARGS
from rep_kedro.stimuli.params import IngestParams
from rep_kedro.training.params import TrainingParams


@pytest.fixture
def parameters(monkeypatch):
    monkeypatch.setenv("REP_DATA", os.environ.get("REP_DATA") or "/published")
    options = {**CONFIG_LOADER_ARGS, "default_run_env": "real"}
    return OmegaConfigLoader(str(PROJECT / "conf"), env="real", **options)["parameters"]


def test_published_images_are_ingested_and_nothing_is_trained(parameters):
    ingest = IngestParams.model_validate(parameters["ingest"])
    assert {"cifar10", "mnist", "fashion-mnist", "clothing"} <= set(ingest.stimulus_sets)
    networks = TrainingParams.model_validate(parameters["training"]).networks()
    assert {spec.objective for spec in networks.values()} == {"untrained"}


def test_forty_one_published_networks_are_shown_the_published_images(parameters):
    features = FeaturesParams.model_validate(parameters["features"])
    assert len(features.models) == 41
    assert features.stimulus_sets == ["cifar10", "mnist", "fashion-mnist", "clothing"]


@needs_published
def test_every_file_that_the_environment_names_is_there(parameters):
    ingest = IngestParams.model_validate(parameters["ingest"])
    roots = [
        root for spec in ingest.stimulus_sets.values() for paths in spec.roots().values() for root in paths
    ]
    weights = [os.path.expandvars(entry["path"]) for entry in parameters["features"]["models"].values()]
    assert [str(path) for path in (*roots, *weights) if not os.path.exists(path)] == []
