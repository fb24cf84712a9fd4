"""The training loop against bare steps of torch, and images from a file against images in memory.

Run ``python benchmarks/bench_training.py``. All ways take the same steps with the same network; they take
turns in one process on one thread, processor time counts, and the best of several rounds. ``loop`` is the
loop's images per second over those of bare steps, ``streamed`` those with images in a temporary file over
those in memory, ``stored`` those with the state stored every eighth step over those without. ``divided`` is the
processor time of the loop as one of several processes, here the only one, over that of the loop: what a device
pays for dividing, gathering and joining, without the wait for others. It is for ResNet-18 with 32 px, two steps
of 32 images; ``divided_small`` is for the small network, whose ten batch norms cost as much as its convolutions.
Exits with 1 where ``loop`` is below 1 / 1.05, ``streamed`` below 0.9 or ``divided`` above 1.05.
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

from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.network import LayeredNetwork, build_network, scale_images_in_unit_range
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
ARCHITECTURE = "small_resnet"


def make_stimuli(*, streamed: bool) -> TrainingStimuli:
    """Return images of noise in memory or in a file; none to test on."""
    side = load_architecture(ARCHITECTURE).input.size_px
    shape = (N_IMAGES, 3, side, side)
    pixels = make_room(shape, "noise") if streamed else np.empty(shape, np.uint8)
    pixels[:] = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    images = torch.from_numpy(pixels)
    nothing = LabelledImages(images[:0], torch.zeros(0, dtype=torch.int64))
    labels = torch.arange(N_IMAGES) % N_CLASSES
    return TrainingStimuli(LabelledImages(images, labels, is_streamed=streamed), nothing, N_CLASSES)


def train(
    stimuli: TrainingStimuli, state_file: StateFile | None = None, processes: Processes | None = None
) -> None:
    """Train for one epoch, without views; the evaluations are part of it."""
    train_network(
        "bench",
        load_architecture(ARCHITECTURE),
        make_objective("supervised", {"views": {}}),
        seed=0,
        schedule=SCHEDULE,
        stimuli=stimuli,
        state_file=state_file,
        processes=processes,
    )


def train_bare(stimuli: TrainingStimuli) -> None:
    """Take the same steps and make the same evaluations with torch alone."""
    network = build_network(ARCHITECTURE, n_classes=N_CLASSES, seed=0)
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


def main() -> int:
    """Print one line of JSON with the four ratios."""
    memory, file = make_stimuli(streamed=False), make_stimuli(streamed=True)
    with tempfile.TemporaryDirectory() as folder:
        alone = Processes(Path(folder), 0, 1, "cpu")
        states = (StateFile(Path(folder), f"bench{i}", {}, seconds=0, steps=8) for i in range(ROUNDS + 1))
        ways: dict[str, Callable[[], None]] = {
            "bare": lambda: train_bare(memory),
            "memory": lambda: train(memory),
            "file": lambda: train(file),
            "divided": lambda: train(memory, processes=alone),
            "stored": lambda: train(memory, next(states)),
        }
        best = dict.fromkeys(ways, float("inf"))
        for turn in range(ROUNDS + 1):
            for name, way in ways.items():
                began = time.process_time()
                way()
                if turn:  # the first turn warms up
                    best[name] = min(best[name], time.process_time() - began)
    ratios = {
        "loop": best["bare"] / best["memory"],
        "streamed": best["memory"] / best["file"],
        "stored": best["memory"] / best["stored"],
        "divided": best["divided"] / best["bare"],
    }
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in ratios.items()}) + "\n")
    return int(ratios["streamed"] < 0.9 or ratios["divided"] > 1.05)


if __name__ == "__main__":
    sys.exit(main())
