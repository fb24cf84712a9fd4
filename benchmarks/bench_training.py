"""The training loop against bare steps of torch, and images from a file against images in memory.

Run ``python benchmarks/bench_training.py``. All ways take the same steps with the same network; they take
turns in one process on one thread, processor time counts, and the best of several rounds. ``loop`` is the
loop's images per second over those of bare steps, ``streamed`` those with images in a temporary file over
those in memory, ``stored`` those with the state stored every eighth step over those without. ``divided`` is
the processor time of the loop as one of several processes, here the only one, over that of the loop: what a
device pays for dividing, gathering and joining, without the wait for others. It is for ResNet-18 on two times
64 images of 32 px; ``divided_small`` is for the small network, whose ten batch norms cost as much as its
convolutions. Exits with 1 where ``loop`` is below 1 / 1.05 or ``streamed`` below 0.9.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rep_kedro.models.architecture_files import load_definition
from rep_kedro.models.building import build_network
from rep_kedro.models.network import LayeredNetwork, scale_images_in_unit_range
from rep_kedro.training.data_parallel import Processes
from rep_kedro.training.decoding import make_room
from rep_kedro.training.loop import train_network
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.repeatable import repeatable
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.state import StateFile
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

N_IMAGES, N_CLASSES, ROUNDS = 1024, 10, 5
SCHEDULE = Schedule(preset="lrs", epochs=1, batch_size=64)
SMALL, LARGE = "small_resnet", "resnet18"


def make_stimuli(architecture: str, n_images: int = N_IMAGES, *, streamed: bool = False) -> TrainingStimuli:
    """Return images of noise in memory or in a file; none to test on."""
    side = load_definition(architecture).input.size_px
    shape = (n_images, 3, side, side)
    pixels = make_room(shape, "noise") if streamed else np.empty(shape, np.uint8)
    pixels[:] = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    images = torch.from_numpy(pixels)
    nothing = LabelledImages(images[:0], torch.zeros(0, dtype=torch.int64))
    labels = torch.arange(n_images) % N_CLASSES
    return TrainingStimuli(LabelledImages(images, labels, is_streamed=streamed), nothing, N_CLASSES)


def train(
    stimuli: TrainingStimuli,
    architecture: str = SMALL,
    state_file: StateFile | None = None,
    processes: Processes | None = None,
) -> None:
    """Train for one epoch, without views; the evaluations are part of it."""
    train_network(
        "bench",
        load_definition(architecture),
        make_objective("supervised", {"views": {}}),
        seed=0,
        schedule=SCHEDULE,
        stimuli=stimuli,
        state_file=state_file,
        processes=processes,
    )


def train_bare(stimuli: TrainingStimuli) -> None:
    """Take the same steps and make the same evaluations with torch alone."""
    network = build_network(SMALL, n_classes=N_CLASSES, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    images, labels = stimuli.train.images, stimuli.train.labels_or_zeros(torch.arange(N_IMAGES))
    with repeatable("cpu"):
        _evaluate(network, images)
        network.train()
        for rows in torch.randperm(len(images)).split(SCHEDULE.batch_size):
            inputs = scale_images_in_unit_range(images[rows].float() / 255, network.architecture)
            loss = nn.functional.cross_entropy(network.run(inputs), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        _evaluate(network, images)


def _evaluate(network: LayeredNetwork, images: Tensor) -> None:
    network.eval()
    with torch.no_grad():
        for part in images.split(512):
            network.run(scale_images_in_unit_range(part.float() / 255, network.architecture))


def measure(ways: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the least processor time of each way over several turns."""
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if turn:  # the first turn warms up
                best[name] = min(best[name], time.process_time() - began)
    return best


def main() -> int:
    """Print one line of JSON with the ratios."""
    memory, file = make_stimuli(SMALL), make_stimuli(SMALL, streamed=True)
    few = make_stimuli(LARGE, 2 * SCHEDULE.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        alone = Processes(Path(folder), 0, 1, "cpu")
        states = (StateFile(Path(folder), f"bench{i}", {}, seconds=0, steps=8) for i in range(ROUNDS + 1))
        best = measure(
            {
                "bare": lambda: train_bare(memory),
                "memory": lambda: train(memory),
                "file": lambda: train(file),
                "stored": lambda: train(memory, state_file=next(states)),
                "divided_small": lambda: train(memory, processes=alone),
                "few": lambda: train(few, LARGE),
                "divided": lambda: train(few, LARGE, processes=alone),
            }
        )
    ratios = {
        "loop": best["bare"] / best["memory"],
        "streamed": best["memory"] / best["file"],
        "stored": best["memory"] / best["stored"],
        "divided": best["divided"] / best["few"],
        "divided_small": best["divided_small"] / best["memory"],
    }
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in ratios.items()}) + "\n")
    return int(ratios["loop"] < 1 / 1.05 or ratios["streamed"] < 0.9)


if __name__ == "__main__":
    sys.exit(main())
