"""A training that is stopped anywhere and started again gives the same bytes; a bad state is named."""

import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from rep_kedro.models.architecture import Architecture
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.training.loop import train_in_moments
from rep_kedro.training.monitors.protocol import Monitor, MonitorSettings
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.state import StateFile
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

IDENTITY = {"recipe": "r"}
MOMENTS = ("epoch0", "step3", "epoch2")


class _Killed(BaseException):
    pass


@dataclass
class _KilledAfter:
    """A state file that ends the process, as it were, right after it was written so many times."""

    file: StateFile
    n_left: int

    def __getattr__(self, name):
        return getattr(self.file, name)

    def save(self, state):
        self.file.save(state)
        self.n_left -= 1
        if self.n_left == 0:
            raise _Killed


class _Sum(Monitor):
    """Sums embeddings that it draws by its own stream."""

    def __init__(self, training):
        self.stream, self.total = training.stream("sum"), torch.zeros(1, dtype=torch.float64)

    def after_step(self, step, seen):
        weights = torch.rand(len(seen.embeddings[0]), generator=self.stream)
        self.total += (weights @ seen.embeddings[0].mean(dim=1)).double()

    def end_epoch(self, epoch):
        return {"total": self.total.item()}

    def state(self):
        return {"total": self.total.clone(), "stream": self.stream.get_state()}

    def load_state(self, state):
        self.total = state["total"].clone()
        self.stream.set_state(state["stream"])


class _SumSettings(MonitorSettings):
    id: ClassVar[str] = "sum"
    source: ClassVar[str] = "test"

    def watch(self, training):
        return _Sum(training)


def _file(folder, **changes):
    how = {"seconds": 0.0, "steps": 1, **changes}
    return StateFile(folder, "net", IDENTITY, **how)


OPTIONS = {
    "simclr of rank 4": {"target_rank": 4},
    "byol": {"momentum": 0.5},
    "dino": {"momentum": 0.5, "frozen_fraction": 0.4},
}


def _with_dropout():
    definition = load_architecture("cnn").model_dump()
    *layers, head = definition["layers"]
    drop = {"name": "drop", "inputs": ["mean"], "kind": "dropout", "fraction": 0.5}
    return Architecture.model_validate(definition | {"layers": [*layers, drop, head | {"inputs": ["drop"]}]})


def _train(
    state_file, objective="supervised", moments=MOMENTS, precision="float32", architecture="cnn", **schedule
):
    generator = torch.Generator().manual_seed(1)
    train, test = (
        LabelledImages(
            torch.randint(0, 255, (n, 3, 16, 16), generator=generator, dtype=torch.uint8), torch.arange(n) % 3
        )
        for n in (40, 12)
    )
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, **schedule}
    return train_in_moments(
        "net",
        _with_dropout() if architecture == "dropout" else load_architecture(architecture),
        make_objective(objective.partition(" ")[0], OPTIONS.get(objective, {})),
        seed=0,
        schedule=Schedule(**settings),
        stimuli=TrainingStimuli(train, test, 3),
        precision=precision,
        monitors=[_SumSettings()],
        moments=moments,
        state_file=state_file,
    )


def _bytes(trained):
    state = trained.network.state_dict()
    return {name: value.numpy().tobytes() for name, value in state.items()}, trained.history, trained.watched


@pytest.mark.parametrize(
    ("objective", "schedule"),
    [
        ("supervised", {}),
        ("supervised", {"architecture": "dropout", "accumulate": 2}),
        ("supervised", {"optimizer": "sgd", "accumulate": 2, "precision": "float16"}),
        ("simclr", {"optimizer": "radam", "curve": "constant"}),
        ("vicreg", {"optimizer": "lars", "warmup_steps": 4}),
        ("simclr of rank 4", {}),
        ("byol", {"accumulate": 2}),
        ("dino", {}),
    ],
)
def test_stopped_after_each_state_gives_the_bytes_of_an_undisturbed_training(tmp_path, objective, schedule):
    whole = {moment: _bytes(trained) for moment, trained in _train(None, objective, **schedule)}
    assert list(whole) == [*MOMENTS, None]
    found, n_killed, waiting = {}, 0, list(MOMENTS)
    while None not in found:
        try:
            for moment, trained in _train(_KilledAfter(_file(tmp_path), 2), objective, waiting, **schedule):
                found[moment] = _bytes(trained)
                if moment is not None:
                    waiting.remove(moment)
        except _Killed:
            n_killed += 1
    assert found == whole
    assert n_killed > 3


def test_masks_of_dropout_depend_on_the_seed_and_the_step_alone():
    whole = _bytes(list(_train(None, moments=(), architecture="dropout"))[-1][1])
    torch.rand(7)  # a process that has drawn something else before
    before = torch.get_rng_state()
    assert _bytes(list(_train(None, moments=(), architecture="dropout"))[-1][1]) == whole
    assert torch.equal(torch.get_rng_state(), before)
    assert _bytes(list(_train(None, moments=()))[-1][1]) != whole


def test_a_moment_behind_the_state_is_trained_for_from_the_start(tmp_path):
    whole = {moment: _bytes(trained) for moment, trained in _train(None)}
    with pytest.raises(_Killed):
        list(_train(_KilledAfter(_file(tmp_path, steps=None), 2)))
    assert {moment: _bytes(trained) for moment, trained in _train(_file(tmp_path))} == whole


def test_a_damaged_state_is_named_and_not_used(tmp_path, caplog):
    whole = _bytes(list(_train(None, moments=()))[-1][1])
    with pytest.raises(_Killed):
        list(_train(_KilledAfter(_file(tmp_path), 3), moments=()))
    path = _file(tmp_path).path
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert _bytes(list(_train(_file(tmp_path), moments=()))[-1][1]) == whole
    assert "network 'net' is trained from the start: its stored state" in caplog.text
    assert f"{path} is damaged" in caplog.text


def test_a_state_of_another_recipe_is_not_used(tmp_path, caplog):
    with pytest.raises(_Killed):
        list(_train(_KilledAfter(_file(tmp_path), 3), moments=()))
    other = StateFile(tmp_path, "net", {"recipe": "other"}, seconds=0, steps=1)
    with caplog.at_level(logging.INFO):
        assert other.load() is None
    assert "is of another recipe or machine" in caplog.text


def test_states_are_stored_no_more_often_than_asked_for(tmp_path):
    file = _file(tmp_path, seconds=3600.0)
    list(_train(file))
    assert not file.path.exists()


def test_a_snapshot_that_never_comes_is_an_error_after_the_network(tmp_path):
    found = []
    with pytest.raises(ValueError, match="'net' has no snapshot step99: its training ended after 3 epochs"):
        found.extend(moment for moment, _ in _train(None, moments=("step99",)))


def test_a_killed_process_leaves_a_state_that_goes_on_to_the_same_bytes(tmp_path):
    whole = _bytes(list(_train(None, moments=()))[-1][1])
    code = (
        "from pathlib import Path; from tests.training.test_resumed_training import _file, _train\n"
        f"for _ in range(1000): list(_train(_file(Path({str(tmp_path)!r})), moments=(), epochs=3))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    path = _file(tmp_path).path
    while not path.exists():  # it is written after each step; the process starts again when it is done
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert _file(tmp_path).load() is not None
    assert _bytes(list(_train(_file(tmp_path), moments=()))[-1][1]) == whole
