"""Training on a GPU: repeats itself, and goes the way of the CPU."""

import pytest
import torch

from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.training.loop import train_network
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("name", ["supervised", "simclr", "vicreg"])
def test_a_gpu_repeats_itself_and_starts_on_the_cpus_path(name):
    images = torch.randint(
        0, 256, (64, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    split = LabelledImages(images, torch.arange(64) % 3)

    def train(device):
        return train_network(
            "net",
            load_architecture("cnn"),
            make_objective(name, {}),
            seed=0,
            schedule=Schedule(epochs=2, batch_size=32, learning_rate=0.001),
            stimuli=TrainingStimuli(split, split, 3),
            device=device,
        )

    first, again, on_cpu = train("cuda"), train("cuda"), train("cpu")
    weights = [trained.network.state_dict()["conv3.weight"] for trained in (first, again, on_cpu)]
    assert torch.equal(weights[0], weights[1])
    torch.testing.assert_close(weights[0], weights[2], rtol=1e-3, atol=1e-4)
    assert first.history[1]["loss"] == pytest.approx(on_cpu.history[1]["loss"], rel=1e-3)
