"""A training on several devices: the numbers of one, for every objective; it goes on and fails as one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.small_collections import ARROW, make_stimuli, run_plan, store
from tests.training.in_two_processes import CASES, STOPPED, Stopped, StoppedAfter, join_norms, numbers, train

from rep_kedro.checks.options import require_devices
from rep_kedro.datasets import CollectionError
from rep_kedro.errors import UserError
from rep_kedro.pipelines.training.nodes import plan_networks, tabulate_trainings
from rep_kedro.training import processes
from rep_kedro.training.params import TrainingParams

ROOT = Path(__file__).parents[2]
SCHEDULE = {"preset": "sgd", "epochs": 1, "batch_size": 8, "learning_rate": 0.01}
GRID = {"objective": "vicreg", "architectures": ["cnn"], "seeds": [0], "schedule": SCHEDULE}


def _assert_close(found, wanted):
    for name, value in wanted[0].items():
        assert (found[0][name] - value).norm() <= 1e-5 * max(1.0, value.norm()), name
    for row, expected in zip(found[1], wanted[1], strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=2e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A state written with one device, and all that two processes make, see `in_two_processes`."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(Stopped):
        list(train(STOPPED, state_file=StoppedAfter(folder / "of one", 2)))
    script = [sys.executable, "-m", "tests.training.in_two_processes", str(folder)]
    subprocess.run(script, cwd=ROOT, check=True, timeout=600)
    return folder


@pytest.fixture(scope="module")
def of_two(folder):
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.parametrize("case", CASES)
def test_two_devices_give_the_numbers_of_one(of_two, case):
    _assert_close(of_two[case], numbers(train(case)))


def test_batch_norms_of_every_kind_are_joined_also_after_an_error(of_two):
    wanted = join_norms()
    assert set(of_two["norms"]) == set(wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(of_two["norms"][name], value, rtol=1e-5, atol=1e-5, msg=name)


def test_a_state_is_continued_on_another_number_of_devices(folder, of_two):
    wanted = numbers(train(STOPPED))
    _assert_close(of_two["gone on"], wanted)
    file = StoppedAfter(folder / "of two", -1)
    assert file.load().facts["n_passes"] == 2
    _assert_close(numbers(train(STOPPED, state_file=file)), wanted)


@pytest.fixture
def stimulus_sets(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    table = make_stimuli(pixels, [0, 1] * 12, ["train"] * 16 + ["test"] * 8, ["a", "b"])
    return store(tmp_path / "sets", {"noise": table}, ARROW)


def _plan(stimulus_sets, folder, grids=(GRID,), **changes):
    checkpoints = {"folder": str(folder / "states"), "seconds": 0.0}
    params = {
        "stimulus_set": "noise",
        "portable": False,
        "grids": grids,
        "checkpoints": checkpoints,
        **changes,
    }
    return plan_networks(stimulus_sets, TrainingParams.model_validate(params))


_TWO_GPUS = (
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
)


@pytest.mark.parametrize(
    ("device", "tolerance"),
    [pytest.param("cpu", 1e-5, marks=pytest.mark.slow), pytest.param("cuda", 1e-3, marks=_TWO_GPUS)],
)
def test_networks_of_a_study_are_trained_in_a_process_for_each_device(
    stimulus_sets, tmp_path, device, tolerance
):
    grid = {**GRID, "snapshots": {"steps": [1]}}
    two = _plan(stimulus_sets, tmp_path, (grid,), devices=2, device=device)
    one = _plan(stimulus_sets, tmp_path, (grid,), device=device)
    assert {name: each.recipe for name, each in two.items()} == {
        name: each.recipe for name, each in one.items()
    }
    found, wanted = run_plan(tmp_path / "two", two), run_plan(tmp_path / "one", one)
    assert sorted(found) == ["cnn_vicreg_s0", "cnn_vicreg_s0@step1"]
    for name, handle in wanted.items():
        assert found[name].names == handle.names
        for tensor in handle.names:
            np.testing.assert_allclose(found[name].tensor(tensor), handle.tensor(tensor), atol=tolerance)
    assert not list((tmp_path / "states").glob("*"))
    costs = tabulate_trainings(found)[1].set_index("model").loc["cnn_vicreg_s0"]
    assert costs["measured_memory_bytes"] > 0 or costs["reason"]


def test_a_failing_process_ends_its_training_alone_and_the_cause_is_named(
    stimulus_sets, tmp_path, monkeypatch
):
    monkeypatch.setattr(processes, "__name__", "tests.training.acting_process")
    monkeypatch.setattr(processes, "_GRACE_S", 0.5)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    grids = [
        {**GRID, "label": act, "seeds": [i]} for i, act in enumerate(("dies", "fails", "works", "stops"))
    ]
    with pytest.raises(CollectionError) as failed:
        run_plan(tmp_path / "networks", _plan(stimulus_sets, tmp_path, grids, devices=2))
    message = str(failed.value)
    assert "cnn_vicreg_dies_s0: a process of this training was ended by SIGKILL before" in message
    assert "cnn_vicreg_stops_s3: a process of this training was ended by SIGKILL before" in message
    assert "gloo" not in message
    assert "cnn_vicreg_fails_s1: the cause" in message
    assert "consequence" not in message
    assert [path.stem for path in (tmp_path / "networks").glob("*.safetensors")] == ["cnn_vicreg_works_s2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 3}, "'cnn_vicreg_s0': batch_size 8 is not divisible by training.devices 3"),
        ({"devices": 2, "portable": True}, "portable on one device only, but devices is 2"),
        ({"devices": 0}, "greater than 0"),
        (
            {"devices": 2, "grids": [{**GRID, "monitors": {"saturation": {}}}]},
            "monitor 'saturation' reads layers, of which each of training.devices 2 has a share",
        ),
    ],
)
def test_what_several_devices_cannot_share_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        TrainingParams.model_validate(
            {"stimulus_set": "noise", "portable": False, "grids": [GRID], **changes}
        )


@pytest.mark.parametrize(
    ("group", "message"),
    [
        (
            {"device": "cpu", "devices": 10_000},
            r"training.devices: this machine has \d+ devices of kind 'cpu'",
        ),
        (
            {"device": "cuda", "devices": 10_000},
            r"training.devices: this machine has \d+ devices of kind 'cuda'",
        ),
        ({"device": "mps", "devices": 2}, "several devices are of kind cpu or cuda, got 2 of 'mps'"),
        ({"device": "cuda:1", "devices": 2}, "several devices are of kind cpu or cuda, got 2 of 'cuda:1'"),
    ],
)
def test_more_devices_than_the_machine_has_are_refused(group, message):
    with pytest.raises(UserError, match=message):
        require_devices({"training": group})
