"""The saturation monitor: one spectrum for each layer, epoch and mode; weights as without it."""

import pytest
import torch

from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.network import scale_images_in_unit_range
from rep_kedro.training.loop import train_network
from rep_kedro.training.monitors.protocol import Step, Training
from rep_kedro.training.monitors.registry import make_monitors
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

N_TRAIN, N_TEST, BATCH, EPOCHS = 40, 12, 16, 2
LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "head"]


def _stimuli():
    generator = torch.Generator().manual_seed(1)
    train, test = (
        LabelledImages(
            torch.randint(0, 255, (n, 3, 16, 16), generator=generator, dtype=torch.uint8), torch.arange(n) % 3
        )
        for n in (N_TRAIN, N_TEST)
    )
    return TrainingStimuli(train, test, 3)


def _train(objective="supervised", **settings):
    return train_network(
        "net",
        load_architecture("cnn"),
        make_objective(objective, {}),
        seed=0,
        schedule=None
        if objective == "untrained"
        else Schedule(epochs=EPOCHS, batch_size=BATCH, learning_rate=0.01),
        stimuli=_stimuli(),
        monitors=make_monitors({"saturation": settings} if settings else {}),
    )


@pytest.fixture(scope="module")
def watched():
    return _train(positions="all", every=1, n_neighbours=12)


def test_weights_and_history_are_those_without_it(watched):
    bare = _train()
    assert bare.history == watched.history
    for key, value in bare.network.state_dict().items():
        assert torch.equal(value, watched.network.state_dict()[key]), key


def test_there_is_a_spectrum_for_each_layer_epoch_and_mode(watched):
    about = watched.watched_meta["saturation"]
    assert about["train"]["epochs"] == [1, 2]
    assert about["eval"]["epochs"] == [0, 1, 2]
    assert len(about["layers"]) == len(about["eval"]["layers"]) == len(watched.watched) // 2
    first = about["layers"][0]
    side = 16 * 16
    assert about["eval"]["layers"][first]["n_samples"] == [N_TEST * side] * 3
    assert about["train"]["layers"][first]["n_samples"] == [2 * BATCH * side] * 2
    assert all(value > 0 for value in about["eval"]["layers"][first]["two_nn"])
    assert about["train"]["layers"][first]["two_nn"] == [None, None]


def test_the_last_evaluation_is_that_of_the_weights(watched):
    network = watched.network
    about = watched.watched_meta["saturation"]
    images = scale_images_in_unit_range(_stimuli().test.images.float() / 255, network.architecture)
    first = about["layers"][0]
    with torch.no_grad():
        rows = network.get_submodule(first)(images).permute(0, 2, 3, 1).flatten(0, 2).double()
    expected = torch.linalg.eigvalsh(torch.cov(rows.T, correction=0)).flip(0)
    found = watched.watched[f"saturation/eval/{first}/eigenvalues"][-1]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * expected[0].item())


def test_an_untrained_network_has_one_evaluation():
    about = _train("untrained", positions=4).watched_meta["saturation"]
    assert about["eval"]["epochs"] == [0]
    assert about["train"] == {"epochs": [], "layers": {}}
    assert about["eval_amount"]["n_positions"] == 4


def test_networks_without_a_head_are_read_on_the_training_images():
    about = _train("vicreg", positions={"nearest": 2}).watched_meta["saturation"]
    assert about["split"] == "train"
    assert about["eval"]["layers"][about["layers"][0]]["n_samples"] == [4 * N_TRAIN] * 3


def _run(monitor, network, steps, epoch=1):
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    network.train()
    for index in steps:
        monitor.before_step(Step(epoch, index, 4))
        network(images)
        monitor.after_step(Step(epoch, index, 4), None)


def test_a_resumed_training_has_the_same_spectra(watched):
    settings = make_monitors({"saturation": {"positions": 3}})[0]
    network, stimuli = watched.network, _stimuli()
    projector = torch.nn.Identity()
    about = Training("net", network, projector, stimuli, 0, 1, 4, 8, "cpu")
    whole = settings.watch(about)
    _run(whole, network, range(4))
    whole.before_evaluation(1, "test")
    whole.close()
    first = settings.watch(about)
    _run(first, network, range(2))
    state = first.state()
    first.close()
    second = settings.watch(about)
    second.load_state(state)
    _run(second, network, range(2, 4))
    second.before_evaluation(1, "test")
    second.close()
    again = settings.watch(about)
    again.load_state(second.state())
    again.close()
    for name, value in whole.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name
        assert torch.equal(value, again.tensors()[name]), name
    assert whole.meta() == again.meta()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positons": 4}, "positons"),
        ({"positions": 0}, "positions"),
        ({"way": "sum"}, "way"),
        ({"share": 0}, "share"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        make_monitors({"saturation": settings})


def test_sums_beyond_the_memory_are_refused_before_the_training():
    with pytest.raises(
        ValueError, match=r"'net'.*take [\d,]+ bytes, of layer '\w+' alone.*memory_bytes is 1,000"
    ):
        _train(way="flatten", memory_bytes=1000)
