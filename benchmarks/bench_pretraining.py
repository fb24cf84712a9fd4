"""A step of SimCLR with its views, and what the monitor of collapses adds, in seconds of one processor.

Run with ``python benchmarks/bench_pretraining.py``. The competitor is lightly's transform of one image after
the other and its loss, on the same network with the same optimiser; it is left out where lightly is not
installed (``PYTHONPATH`` may name a folder with it). Blur is part of both.
"""

import importlib.util
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rep_kedro._torchvision import declare_torchvision_operators
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.network import build_network
from rep_kedro.training.loop import train_network
from rep_kedro.training.monitors.registry import make_monitors
from rep_kedro.training.objectives.protocol import Objective, embed
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

BATCH, SIDE, N_STEPS, N_IMAGES = 128, 32, 8, 4096
VIEWS = {
    "crop_area": [0.08, 1.0],
    "flip_probability": 0.5,
    "brightness": 0.8,
    "contrast": 0.8,
    "saturation": 0.8,
    "hue": 0.2,
    "jitter_probability": 0.8,
    "colour_order": "random",
    "grey_probability": 0.2,
    "blur_probability": 0.5,
}


def main() -> None:
    """Print one line of JSON."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (N_IMAGES, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    found = _compare_steps(pixels) | _compare_monitors(pixels)
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))  # noqa: T201 - its output


def _compare_steps(pixels: Tensor) -> dict[str, float]:
    objective = make_objective("simclr", {"views": VIEWS})
    images, views = pixels[:BATCH], torch.Generator().manual_seed(1)

    def own(network: Any, projector: Any) -> Tensor:
        return objective.compute_losses(network, projector, images.float() / 255, torch.zeros(BATCH), views)[
            "loss"
        ]

    found = {"own_step_s": _time_steps(objective, own)}
    if importlib.util.find_spec("lightly") is not None:
        found["lightly_step_s"] = _time_steps(objective, _lightly_step(images))
        found["ratio"] = found["lightly_step_s"] / found["own_step_s"]
    return found


def _lightly_step(images: Tensor) -> Callable[[Any, Any], Tensor]:
    declare_torchvision_operators()
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform
    from torchvision.transforms.functional import to_pil_image

    transform, loss = SimCLRTransform(input_size=SIDE, normalize=None), NTXentLoss(0.2)
    pictures = [to_pil_image(image) for image in images]

    def step(network: Any, projector: Any) -> Tensor:
        pairs = [transform(picture) for picture in pictures]
        both = (torch.stack(each) for each in zip(*pairs, strict=True))
        return torch.as_tensor(loss(*(embed(network, projector, each) for each in both)))

    return step


def _time_steps(objective: Objective, step: Callable[[Any, Any], Tensor]) -> float:
    """Return the seconds of one step, the least of several."""
    network = build_network(load_architecture("cnn_a"), n_classes=None, seed=0)
    projector = objective.build_projector(network, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW([*network.parameters(), *projector.parameters()], fused=True)
    times = []
    for _ in range(N_STEPS):
        start = time.process_time()
        optimizer.zero_grad()
        step(network, projector).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        times.append(time.process_time() - start)
    return min(times)


def _compare_monitors(pixels: Tensor) -> dict[str, float]:
    def train(**settings: Any) -> float:
        start = time.process_time()
        train_network(
            "bench",
            load_architecture("cnn_a"),
            make_objective("simclr", {"views": VIEWS}),
            seed=0,
            schedule=Schedule(epochs=2, batch_size=BATCH, learning_rate=0.01),
            stimuli=TrainingStimuli(LabelledImages(pixels, None), LabelledImages(pixels[:0], None), None),
            monitors=make_monitors(settings),
        )
        return time.process_time() - start

    train()
    without = min(train() for _ in range(2))
    watched = min(train(collapse={"lidar": True}) for _ in range(2))
    return {"training_s": without, "monitor_share": watched / without - 1}


if __name__ == "__main__":
    main()
