"""The configuration of the paper study, merged with the default as Kedro does."""

import csv
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader

from rep_kedro.features.params import FeaturesParams
from rep_kedro.stimuli.params import IngestParams

ROOT = Path(__file__).parents[2]
PUBLISHED = Path(__file__).with_name("published_networks.csv")


@pytest.fixture(scope="session")
def parameters():
    loader = OmegaConfigLoader(
        str(ROOT / "conf"),
        env="paper",
        base_env="base",
        default_run_env="local",
        merge_strategy={"parameters": "soft"},
    )
    return loader["parameters"]


@pytest.fixture(scope="session")
def networks(parameters):
    return FeaturesParams.model_validate(parameters["features"])


@pytest.fixture(scope="session")
def all_groups(parameters):
    return FeaturesParams.model_validate({**parameters["features"], "groups": "aligned+places+middle"})


@pytest.fixture
def ingest(parameters, monkeypatch):
    monkeypatch.setenv("REP_PAPER_DATA", "/nowhere")
    return IngestParams.model_validate(parameters["ingest"])


@pytest.fixture(scope="session")
def published():
    """What the study's own list of networks says, by name."""
    with PUBLISHED.open(newline="") as stream:
        return {row["network"]: row for row in csv.DictReader(stream)}
