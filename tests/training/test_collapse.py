"""The monitor of collapses: what it measures, when it raises the alarm, what an alarm does."""

import math

import pytest
import torch
from sklearn.datasets import load_digits

from rep_kedro.kernels.training.spread import measure_rankme
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.training.loop import train_network
from rep_kedro.training.monitors.protocol import Seen, Step, Training
from rep_kedro.training.monitors.registry import make_monitors
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.params import TrainingParams
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

COLLAPSING = {"variance_weight": 0.3, "covariance_weight": 25.0}


def _train(options, epochs=12, **settings):
    pixels = torch.tensor(load_digits().images[:192] * 15).to(torch.uint8)[:, None]
    images = pixels.repeat(1, 3, 1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return train_network(
        "net",
        load_architecture("cnn"),
        make_objective("vicreg", options),
        seed=0,
        schedule=Schedule(epochs=epochs, batch_size=32, learning_rate=0.05),
        stimuli=TrainingStimuli(LabelledImages(images, None), LabelledImages(images[:0], None), None),
        monitors=make_monitors({"collapse": {"lidar": True, **settings}} if settings else {}),
    )


def test_a_collapse_that_the_rank_does_not_show_raises_the_alarm_and_ends_the_training(caplog):
    trained = _train(COLLAPSING, on_collapse="stop")
    last = trained.history[-1]
    assert last["variance"] > 0.98 * 0.99
    assert last["queue_embedding_rankme"] > 10
    assert [row["collapse_alarm"] for row in trained.history[1:]] == [0.0] * (len(trained.history) - 2) + [
        1.0
    ]
    (alarm,) = trained.watched_meta["collapse"]["alarms"]
    assert alarm["reason"].startswith("variance term 0.97")
    assert trained.ended == {"epoch": last["epoch"], "step": 6, "reason": f"collapse: {alarm['reason']}"}
    assert last["epoch"] < 12
    assert caplog.text.count("network 'net' may have collapsed in epoch") == 1


def test_a_warning_lets_a_training_go_on_and_a_sound_one_has_none():
    warned = _train({}, epochs=2, on_collapse="warn", lowest_rank=100)
    assert (warned.ended, warned.history[-1]["epoch"]) == (None, 2)
    assert [each["epoch"] for each in warned.watched_meta["collapse"]["alarms"]] == [1, 2]
    sound = _train({}, epochs=2, on_collapse="stop")
    assert sound.ended is None
    assert sound.watched_meta["collapse"] == {"alarms": []}
    plain = _train({}, epochs=2).network.state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in sound.network.state_dict().items())


def _watch(**settings):
    (found,) = make_monitors({"collapse": {"n_rows": 16, **settings}})
    return found.watch(Training("net", None, torch.nn.Identity(), None, 0, 3, 4, 4, "cpu"))


def _feed(monitor, n_steps=4, rank=4, first=0):
    rows = torch.randn(n_steps * 8, 4, generator=torch.Generator().manual_seed(0))
    rows[:, rank:] = 0
    for index in range(first, n_steps):
        part = rows[8 * index : 8 * index + 8]
        monitor.after_step(Step(1, index, n_steps), Seen({"loss": torch.tensor(1.0)}, (2 * part,), (part,)))
    return rows


def test_the_newest_rows_are_measured_and_a_low_rank_raises_the_alarm():
    monitor = _watch()
    rows = _feed(monitor)
    found = monitor.end_epoch(1)
    assert found["queue_embedding_rankme"] == pytest.approx(measure_rankme(rows[-16:]))
    assert found["queue_representation_std"] == pytest.approx(2 * rows[-16:].std(dim=0).mean().item())
    assert found["collapse_alarm"] == 0
    assert "queue_lidar" not in found
    assert monitor.end_epoch(2) == {}
    _feed(monitor, rank=2)
    found = monitor.end_epoch(3)
    assert (found["collapse_alarm"], found["queue_embedding_dead"]) == (1, 0.5)
    assert "RankMe of the representations 1.9" in monitor.meta()["alarms"][0]["reason"]
    assert monitor.reason_to_end is None


def test_a_stored_state_gives_the_numbers_of_an_undisturbed_training():
    whole, before, after = _watch(), _watch(), _watch()
    _feed(whole, rank=2)
    whole.end_epoch(1)
    _feed(before, rank=2)
    before.end_epoch(1)
    _feed(before, n_steps=3)
    after.load_state(before.state())
    _feed(whole, n_steps=3)
    assert after.end_epoch(2) == whole.end_epoch(2)
    assert after.meta() == whole.meta()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": "autoencoder", "monitors": {"collapse": {"lidar": True}}},
            "'autoencoder' draws one; set",
        ),
        ({"objective": "supervised", "monitors": {"collapse": {}}}, "'supervised' has class logits"),
        ({"monitors": {"colapse": {}}}, "unknown monitor 'colapse'; did you mean 'collapse'"),
        ({"monitors": {"collapse": {"n_rows": 5000}}}, "less than or equal to 4096"),
        ({"options": {"target_rank": 20}}, "target_rank 20 exceeds batch_size 16, which bounds the rank"),
        ({"options": {"projector_widths": []}}, "projector_widths is empty"),
        ({"options": {"variance_weight": math.inf}}, "should be a finite number"),
        ({"options": {"views": {"crop_area": [math.nan, 1.0]}}}, "should be a finite number"),
        (
            {"schedule": {"epochs": 1, "batch_size": 16, "learning_rate": math.inf}},
            "should be a finite number",
        ),
    ],
)
def test_what_cannot_be_watched_or_reached_is_refused_before_anything_runs(changes, message):
    grid = {
        "objective": "vicreg",
        "architectures": ["cnn"],
        "seeds": [0],
        "schedule": {"epochs": 1, "batch_size": 16, "learning_rate": 0.1},
    }
    with pytest.raises(ValueError, match=message):
        TrainingParams.model_validate({"stimulus_set": "s", "grids": [{**grid, **changes}]})
