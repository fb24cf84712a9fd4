"""The sweeps of conf/rankme and conf/rankme_small are those of the publication and of the small study."""

from collections import Counter

import pytest
from kedro.config import OmegaConfigLoader
from tests.real.published import PROJECT

from rep_kedro.features.params import FeaturesParams
from rep_kedro.settings import CONFIG_LOADER_ARGS
from rep_kedro.stimuli.params import IngestParams
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.params import TrainingParams


@pytest.fixture
def read(monkeypatch):
    monkeypatch.setenv("REP_DATA", "/published")
    monkeypatch.setenv("REP_RANKME_DATA", "/published")

    def _read(env):
        loader = OmegaConfigLoader(
            str(PROJECT / "conf"), env=env, **{**CONFIG_LOADER_ARGS, "default_run_env": env}
        )
        parameters = loader["parameters"]
        IngestParams.model_validate(parameters["ingest"])
        assert FeaturesParams.model_validate(parameters["features"]).embeddings
        return TrainingParams.model_validate(parameters["training"])

    return _read


def test_the_sweeps_of_the_study_have_its_runs(read):
    networks = read("rankme").networks()
    labels = Counter((spec.objective, "intended" in name) for name, spec in networks.items())
    assert labels == {
        ("simclr", False): 25,
        ("vicreg", False): 31,
        ("vicreg", True): 12,
        ("vicreg_ctr", False): 11,
    }
    vicreg = [
        (spec.options["variance_weight"], spec.schedule.weight_decay)
        for name, spec in networks.items()
        if "lr0.5-decay" in name
    ]
    assert vicreg == [(0.8, 1e-7), (1.0, 1e-5), (2.0, 1e-4), (4.0, 1e-3)]
    intended = [make_objective(s.objective, s.options) for name, s in networks.items() if "intended" in name]
    assert {each.variance_weight for each in intended} == {25.0}


def test_the_three_equal_runs_of_the_study_have_three_seeds(read):
    params = read("rankme")
    equal = [
        spec.seed
        for spec in params.networks().values()
        if spec.objective == "simclr"
        and (spec.schedule.learning_rate, spec.schedule.weight_decay) == (0.5, 1e-6)
        and spec.options["temperature"] == 0.15
    ]
    assert sorted(equal) == [0, 1, 2]
    assert len(params.repeats()) == 2


def test_the_small_study_has_three_replicates_of_eight_settings_down_to_collapse(read):
    networks = read("rankme_small").networks()
    settings = Counter(name.rpartition("_s")[0] for name in networks)
    assert list(settings.values()) == [3] * 8
    options = [spec.options for spec in networks.values()]
    assert {"variance_weight": 0.3, "covariance_weight": 25.0}.items() <= options[-1].items()
    assert {each.get("projector_batch_norm", True) for each in options} == {True, False}
