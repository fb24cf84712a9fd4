"""A sweep that is killed in the middle of a training goes on there: the same bytes, nothing trained twice."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.small_collections import ARROW, make_stimuli, run_plan, store

from rep_kedro.pipelines.training.nodes import plan_networks
from rep_kedro.training.params import TrainingParams
from rep_kedro.training.state import StateFile
from rep_kedro.training.steps import Steps

FIRST, SECOND, THIRD = (f"cnn_dino_momentum{momentum}_s0" for momentum in (0.9, 0.95, 0.99))
STEPS_OF_ONE, STEPS_BEFORE_KILL = 6, 4


def _train(folder):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 3), dtype=np.uint8)
    sets = store(folder / "sets", {"noise": make_stimuli(pixels, [0, 1] * 12, ["train"] * 24)}, ARROW)
    grid = {
        "objective": "dino",
        "architectures": ["cnn"],
        "seeds": [0],
        "schedule": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01},
        "monitors": {"collapse": {}},
        "product": {"options.momentum": [0.9, 0.95, 0.99]},
    }
    params = {
        "stimulus_set": "noise",
        "portable": False,
        "grids": [grid],
        "checkpoints": {"folder": str(folder / "states"), "seconds": 0, "steps": 1},
    }
    run_plan(folder / "networks", plan_networks(sets, TrainingParams.model_validate(params)))


def train_until_killed(folder):
    """Train, and wait to be killed when the second network's fourth state is stored."""
    save = StateFile.save

    def save_and_wait(self, state):
        save(self, state)
        if self.path.stem == SECOND and state.facts["n_updates"] == STEPS_BEFORE_KILL:
            (folder / "waits").touch()
            time.sleep(600)

    StateFile.save = save_and_wait
    _train(folder)


@pytest.mark.slow
def test_a_sweep_killed_in_a_training_trains_nothing_twice(tmp_path, monkeypatch, caplog):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    code = (
        "from pathlib import Path; from tests.training.test_killed_sweep import train_until_killed\n"
        f"train_until_killed(Path({str(killed)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    try:
        while not (killed / "waits").exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    stored = {path.stem: path.stat().st_mtime_ns for path in killed.glob("networks/*.safetensors")}
    assert list(stored) == [FIRST]

    taken, take = [], Steps.take
    monkeypatch.setattr(Steps, "take", lambda self, loss: taken.append(1) or take(self, loss))
    with caplog.at_level(logging.INFO):
        _train(killed)
    assert f"training of network '{SECOND}' goes on after 1 epochs and 1 forward passes" in caplog.text
    assert len(taken) == STEPS_OF_ONE - STEPS_BEFORE_KILL + STEPS_OF_ONE
    assert (killed / f"networks/{FIRST}.safetensors").stat().st_mtime_ns == stored[FIRST]
    assert not list((killed / "states").iterdir())

    _train(whole)
    for name in (FIRST, SECOND, THIRD):
        files = [(folder / f"networks/{name}.safetensors").read_bytes() for folder in (killed, whole)]
        assert files[0] == files[1]
