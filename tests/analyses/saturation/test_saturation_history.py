"""Spectra of a training, kept or evaluated again from the weights, and the table of their measures."""

import math

import numpy as np
import pytest
import torch
from tests.reference import spectrum as reference
from tests.small_collections import ARROW, make_stimuli, run_plan, store

from rep_kedro.analyses.diagnostics.params import DiagnosticsParams
from rep_kedro.datasets import Handles, Tensors
from rep_kedro.pipelines.diagnostics.saturation import plan_training_spectra, tabulate_saturation_history
from rep_kedro.pipelines.training.nodes import plan_networks
from rep_kedro.schemas.training import SATURATION_HISTORY
from rep_kedro.training.params import TrainingParams

NAME = "cnn_supervised_s0"
LABELS = [0, 1, 2] * 14
SPLITS = ["train"] * 30 + ["test"] * 12


def _params(snapshots=(), **monitors):
    grid = {
        "objective": "supervised",
        "architectures": ["cnn"],
        "seeds": [0],
        "n_test": 9,
        "schedule": {"epochs": 2, "batch_size": 10, "learning_rate": 0.01},
        "monitors": monitors,
        "snapshots": {"epochs": list(snapshots), "steps": [1] if snapshots else []},
    }
    return TrainingParams(stimulus_set="noise", portable=False, grids=[grid])


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    pixels = np.random.default_rng(0).integers(0, 256, size=(len(LABELS), 16, 16, 3), dtype=np.uint8)
    members = {"noise": make_stimuli(pixels, LABELS, SPLITS, ["a", "b", "c"])}
    return store(tmp_path_factory.mktemp("sets"), members, ARROW)


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    settings = {"positions": 4, "n_neighbours": 12}
    return {
        "watched": run_plan(folder / "watched", plan_networks(sets, _params(saturation=settings))),
        "bare": run_plan(folder / "bare", plan_networks(sets, _params(snapshots=[0, 1]))),
        "settings": settings,
    }


def _spectra(folder, sets, networks, **settings):
    return run_plan(folder, plan_training_spectra(sets, networks, _params(saturation=settings)))


def test_the_monitor_does_not_change_the_recipe_of_a_network(trained):
    assert trained["watched"][NAME].reference == trained["bare"][NAME].reference
    for name in trained["bare"][NAME].names:
        assert np.array_equal(trained["bare"][NAME].tensor(name), trained["watched"][NAME].tensor(name))


def test_weights_give_the_spectra_that_the_monitor_stored(trained, sets, tmp_path):
    kept = _spectra(tmp_path / "kept", sets, trained["watched"], **trained["settings"])[NAME]
    made = _spectra(tmp_path / "made", sets, trained["bare"], **trained["settings"])[NAME]
    assert (kept.meta["is_watched"], made.meta["is_watched"]) == (True, False)
    assert kept.digest != made.digest
    assert kept.meta["eval"]["epochs"] == [0, 1, 2]
    assert kept.meta["train"]["epochs"] == [1, 2]
    assert (made.meta["eval"]["epochs"], made.meta["train"]["epochs"]) == ([0, 1, 2], [])
    for layer in made.meta["layers"]:
        name = f"eval/{layer}/eigenvalues"
        assert np.array_equal(made.tensor(name), kept.tensor(name)), layer
    assert made.meta["eval"] == kept.meta["eval"]


def test_other_settings_are_evaluated_from_the_weights(trained, sets, tmp_path):
    made = _spectra(tmp_path, sets, trained["watched"], positions="all")[NAME]
    assert made.meta["is_watched"] is False
    layer = made.meta["layers"][0]
    assert made.meta["eval"]["layers"][layer]["n_samples"] == [9 * 16 * 16]


def test_nothing_is_planned_without_the_monitor(trained, sets):
    plan = plan_training_spectra(sets, trained["bare"], _params())
    assert not plan
    table = tabulate_saturation_history({}, DiagnosticsParams())
    assert list(table.columns) == [column.name for column in SATURATION_HISTORY.columns]
    assert not len(table)


def test_the_table_has_every_delta_and_both_rules(trained, sets, tmp_path):
    spectra = _spectra(tmp_path, sets, trained["watched"], **trained["settings"])
    table = tabulate_saturation_history(spectra, DiagnosticsParams(deltas=(0.9, 0.99)))
    layers = spectra[NAME].meta["layers"]
    assert len(table) == len(layers) * (2 + 3) * 2 * 2
    for row in table.sample(25, random_state=0).itertuples():
        epochs = spectra[NAME].meta[row.mode]["epochs"]
        values = spectra[NAME].tensor(f"{row.mode}/{row.layer}/eigenvalues")[epochs.index(row.epoch)].tolist()
        count = reference.smallest_k_reaching if row.rule == "reach" else reference.delve_dimension
        assert row.intrinsic_dimension == count(values, row.delta)
        assert row.saturation == row.intrinsic_dimension / row.n_features
        assert row.participation_ratio == pytest.approx(reference.participation_ratio(values))
        assert row.effective_rank == pytest.approx(reference.exp_entropy(values))
        assert row.stable_rank == pytest.approx(math.fsum(values) / max(values))
        assert math.isnan(row.two_nn_dimension) == (row.mode == "train")
        assert not row.reason  # of what was not asked for there is nothing to explain


def test_a_layer_without_spectrum_has_a_reason():
    about = {"n_samples": [8], "two_nn": [None], "reason": ["the layer does not vary"], "two_nn_reason": [""]}

    class Handle:
        key = "net"
        meta = {
            "layers": ["conv"],
            "train": {"epochs": [], "layers": {}},
            "eval": {"epochs": [0], "layers": {"conv": about}},
        }

        def tensor(self, _):
            return np.zeros((1, 3))

    table = tabulate_saturation_history({"net": Handle()}, DiagnosticsParams())
    assert table["saturation"].isna().all()
    assert set(table["reason"]) == {"the layer does not vary"}


def test_a_missing_network_is_left_out(trained, sets, tmp_path):
    networks = store(tmp_path, {"other": Tensors({"a": torch.zeros(1)}, {})})
    networks = Handles(networks, {NAME: "it failed"}, {})
    plan = plan_training_spectra(sets, networks, _params(saturation={}))
    assert plan.left_out == {NAME: f"networks/{NAME} is missing"}
