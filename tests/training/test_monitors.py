"""Monitors see what happens, add to the history, may end a training, and leave the weights as they are."""

from typing import ClassVar

import pytest
import torch

from rep_kedro.errors import UserError
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.trained import MONITOR_PREFIX
from rep_kedro.training.loop import train_network
from rep_kedro.training.monitors.protocol import Monitor, MonitorSettings
from rep_kedro.training.monitors.registry import MONITORS, make_monitors
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

N_TRAIN, N_TEST, BATCH, EPOCHS = 40, 12, 16, 3
calls = []


class _Counter(Monitor):
    def __init__(self, settings, training):
        self.settings, self.training = settings, training
        self.outputs = torch.zeros(2, dtype=torch.float64)
        self.stream = training.stream("counter")
        layer = training.network.get_submodule(training.network.layer_names[0])
        self.hook = layer.register_forward_hook(self._count)

    def _count(self, module, inputs, output):
        self.outputs[int(module.training)] += len(output)

    def before_step(self, step):
        torch.rand(3, generator=self.stream)
        calls.append(("before", step.epoch, step.index, step.n_steps, self.training.network.training))

    def after_step(self, step, seen):
        calls.append(("after", tuple(seen.losses), [tuple(x.shape) for x in seen.embeddings]))
        assert not any(x.requires_grad for x in (*seen.representations, *seen.embeddings))
        if (step.epoch, step.index) == self.settings.end_at:
            self.reason_to_end = "asked to"

    def before_evaluation(self, epoch, split):
        calls.append(("evaluation", epoch, split, self.training.network.training))

    def end_epoch(self, epoch):
        calls.append(("end", epoch))
        return {self.settings.metric: self.outputs.sum().item()}

    def tensors(self):
        return {"outputs": self.outputs.clone()}

    def meta(self):
        return {"layer": self.training.network.layer_names[0]}

    def close(self):
        self.hook.remove()


class _Settings(MonitorSettings):
    id = "counter"
    source = "test"
    metric: str = "outputs_seen"
    end_at: tuple[int, int] | None = None

    def watch(self, training):
        return _Counter(self, training)


@pytest.fixture
def _registered(monkeypatch):
    calls.clear()
    monkeypatch.setitem(MONITORS, "counter", _Settings)


def _train(name="supervised", monitors=None):
    generator = torch.Generator().manual_seed(1)
    train, test = (
        LabelledImages(
            torch.randint(0, 255, (n, 3, 16, 16), generator=generator, dtype=torch.uint8), torch.arange(n) % 3
        )
        for n in (N_TRAIN, N_TEST)
    )
    return train_network(
        "net",
        load_architecture("cnn"),
        make_objective(name, {}),
        seed=0,
        schedule=Schedule(epochs=EPOCHS, batch_size=BATCH, learning_rate=0.01)
        if name != "untrained"
        else None,
        stimuli=TrainingStimuli(train, test, 3),
        monitors=make_monitors(monitors or {}),
    )


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize("name", ["supervised", "vicreg", "untrained"])
def test_weights_and_history_are_the_same_with_a_monitor(name):
    bare, watched = _train(name), _train(name, {"counter": {}})
    for key, value in bare.network.state_dict().items():
        assert torch.equal(value, watched.network.state_dict()[key]), key
    kept = [{k: v for k, v in row.items() if k != "outputs_seen"} for row in watched.history]
    assert kept == bare.history
    assert watched.ended is None
    assert bare.watched == {}


@pytest.mark.usefixtures("_registered")
def test_a_monitor_sees_steps_evaluations_and_epochs_in_order():
    trained = _train(monitors={"counter": {}})
    whole = ["evaluation", "evaluation", "end"]
    assert [call[0] for call in calls] == whole + ["before", "after", "before", "after", *whole] * EPOCHS
    assert [call[1:3] for call in calls[:2]] == [(0, "train"), (0, "test")]
    assert all(call[-1] is (call[0] == "before") for call in calls if call[0] in ("before", "evaluation"))
    assert calls[3] == ("before", 1, 0, 2, True)
    assert calls[4] == ("after", ("loss",), [(BATCH, 3)])
    per_epoch = N_TRAIN + N_TEST
    assert trained.watched["counter/outputs"].tolist() == [4.0 * per_epoch, 3.0 * 2 * BATCH]
    assert [row["outputs_seen"] for row in trained.history] == [52, 136, 220, 304]
    assert trained.watched_meta == {"counter": {"layer": "conv1"}}
    assert not trained.network.get_submodule("conv1")._forward_hooks


@pytest.mark.usefixtures("_registered")
def test_embeddings_are_those_of_the_projector():
    _train("simclr", {"counter": {}})
    width = make_objective("simclr", {}).projector_widths[-1]
    assert [call[2] for call in calls if call[0] == "after"] == [[(2 * BATCH, width)]] * 2 * EPOCHS


@pytest.mark.usefixtures("_registered")
def test_a_monitor_ends_the_training_with_a_reason():
    trained = _train(monitors={"counter": {"end_at": (2, 0)}})
    assert trained.ended == {"epoch": 2, "step": 1, "reason": "counter: asked to"}
    assert [row["epoch"] for row in trained.history] == [0, 1, 2]
    assert trained.history[-1]["loss"] > 0


@pytest.mark.usefixtures("_registered")
def test_a_metric_of_the_training_is_not_replaced():
    with pytest.raises(ValueError, match="'net': a monitor gives metric 'train_accuracy' of the training"):
        _train(monitors={"counter": {"metric": "train_accuracy"}})


@pytest.mark.usefixtures("_registered")
def test_names_and_settings_are_checked():
    with pytest.raises(ValueError, match=r"unknown monitor 'countr'; did you mean 'counter'\?"):
        make_monitors({"countr": {}})
    with pytest.raises(
        UserError, match=r"unknown key 'metrik' of monitor 'counter'; did you mean 'metric'\?"
    ):
        make_monitors({"counter": {"metrik": "x"}})


@pytest.mark.usefixtures("_registered")
def test_stored_tensors_of_monitors_are_no_weights():
    from rep_kedro.models.trained import restore_trained_network

    trained = _train(monitors={"counter": {}})

    class Handle:
        meta: ClassVar = {"definition": trained.network.architecture.as_json(), "n_classes": 3}
        tensors: ClassVar = {k: v.numpy() for k, v in trained.network.state_dict().items() if v.ndim} | {
            f"{MONITOR_PREFIX}{name}": value.numpy() for name, value in trained.watched.items()
        }
        names = sorted(tensors)

        def tensor(self, name):
            return self.tensors[name]

    restored = restore_trained_network(Handle())
    assert torch.equal(restored.get_submodule("conv1").weight, trained.network.get_submodule("conv1").weight)
