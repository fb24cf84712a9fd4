"""The training loop: it learns, repeats itself on any number of threads, and reports divergence."""

from itertools import pairwise

import pytest
import torch

from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.network import scale_images_in_unit_range
from rep_kedro.training.loop import train_network
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

N_CLASSES = 3


def _make_images(n, seed):
    """Bright bar at one of three heights, on noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % N_CLASSES
    images = torch.randint(0, 120, (n, 3, 16, 16), generator=generator, dtype=torch.uint8)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 3 + 4 * label : 6 + 4 * label] = 220
    return LabelledImages(images, labels)


@pytest.fixture(scope="module")
def train():
    return _make_images(96, 0)


@pytest.fixture(scope="module")
def test():
    return _make_images(30, 1)


def _train(train, test, name="supervised", *, seed=0, options=None, **schedule):
    objective = make_objective(name, options or {})
    settings = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, **schedule}
    return train_network(
        "net",
        load_architecture("cnn"),
        objective,
        seed=seed,
        schedule=Schedule(**settings) if objective.trains else None,
        stimuli=TrainingStimuli(train, test, N_CLASSES),
    )


def _same(first, second):
    return all(
        torch.equal(a, b)
        for a, b in zip(
            first.network.state_dict().values(), second.network.state_dict().values(), strict=True
        )
    )


def test_a_supervised_network_learns_the_task(train, test):
    trained = _train(train, test, epochs=8, options={"views": {}})
    assert trained.history[0]["epoch"] == 0
    assert trained.history[0]["test_accuracy"] < 0.7
    assert trained.history[-1]["test_accuracy"] == 1.0
    assert len(trained.history) == 9
    assert not trained.network.training


def test_the_reported_accuracy_is_that_of_the_returned_network(train, test):
    trained = _train(train, test)
    scaled = scale_images_in_unit_range(test.images.float() / 255, trained.network.architecture)
    with torch.no_grad():
        is_right = trained.network(scaled).argmax(dim=1) == test.labels
    assert is_right.double().mean().item() == trained.history[-1]["test_accuracy"]


@pytest.mark.parametrize("name", ["supervised", "simclr", "vicreg"])
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(train, test, name):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = _train(train, test, name)
        torch.manual_seed(99)
        torch.set_num_threads(2)
        again = _train(train, test, name)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert _same(first, again)
    assert first.history == again.history
    assert not _same(first, _train(train, test, name, seed=1))


def test_settings_of_the_process_are_as_before(train, test):
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist())
    _train(train, test)
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist()) == before


def test_self_supervised_histories_hold_the_parts_of_the_loss_and_the_rank_of_the_embedding(train, test):
    history = _train(train, test, "vicreg").history
    assert set(history[-1]) == {"epoch", "loss", "invariance", "variance", "covariance", "embedding_rankme"}
    last = history[-1]
    weighted = 25 * last["invariance"] + 25 * last["variance"] + last["covariance"]
    assert last["loss"] == pytest.approx(weighted, rel=1e-5)
    assert set(history[0]) == {"epoch", "embedding_rankme"}


def test_self_supervised_networks_have_no_head_and_need_no_labels(train, test):
    unlabelled = LabelledImages(train.images, None)
    with_labels, without = _train(train, test, "simclr"), _train(unlabelled, test, "simclr")
    assert with_labels.network.n_classes is None
    assert _same(with_labels, without)


def test_the_control_stays_as_drawn(train, test):
    from rep_kedro.models.building import build_network

    trained = _train(train, test, "untrained", seed=5)
    drawn = build_network("cnn", n_classes=N_CLASSES, seed=5)
    state = drawn.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in trained.network.state_dict().items())
    assert [metrics["epoch"] for metrics in trained.history] == [0]


def test_all_objectives_start_from_the_same_weights(train, test):
    supervised = _train(train, test, "untrained").network.state_dict()
    contrastive = _train(train, test, "simclr", learning_rate=1e-30, weight_decay=0).network.state_dict()
    assert torch.equal(supervised["conv3.weight"], contrastive["conv3.weight"])


def test_divergence_names_network_epoch_and_what_to_do(train, test):
    with pytest.raises(
        FloatingPointError,
        match=r"'net' diverged in epoch 1, step \d+: loss = (nan|inf).*'conv\d'; lower the learning rate",
    ):
        _train(train, test, optimizer="sgd", learning_rate=1e30, warmup_fraction=0)


def test_divergence_of_a_self_supervised_network_is_reported_too(train, test):
    with pytest.raises(FloatingPointError, match=r"'net' diverged in epoch 1, step \d+: "):
        _train(train, test, "vicreg", optimizer="sgd", learning_rate=1e30, warmup_fraction=0)


def test_objectives_that_do_not_fit_the_images_are_refused(train, test):
    unlabelled = LabelledImages(train.images, None)
    with pytest.raises(ValueError, match="network 'net': objective 'supervised' needs labels"):
        _train(unlabelled, test)
    with pytest.raises(ValueError, match="batch_size 97 exceeds the 96 training images"):
        _train(train, test, batch_size=97)
    with pytest.raises(ValueError, match="objective 'simclr' needs a schedule"):
        train_network(
            "net",
            load_architecture("cnn"),
            make_objective("simclr", {}),
            seed=0,
            schedule=None,
            stimuli=TrainingStimuli(train, test, None),
        )


def test_weight_decay_leaves_biases_and_batch_norms_alone(train, test):
    plain = _train(train, test, weight_decay=0.0, learning_rate=1e-30).network.state_dict()
    decayed = _train(train, test, weight_decay=1e29, learning_rate=1e-30).network.state_dict()
    assert torch.equal(plain["bn1.weight"], decayed["bn1.weight"])
    assert not torch.equal(plain["conv1.weight"], decayed["conv1.weight"])


def test_the_learning_rate_rises_and_falls_and_ends_near_zero():
    schedule = Schedule(epochs=10, batch_size=2, learning_rate=1.0)
    rates = [schedule.rate(update, 10) for update in range(100)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.001
    assert schedule.changed({"warmup_fraction": 0.0}).rate(0, 10) == 1.0
