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

from rep_kedro.machine import keep_freed_memory
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.building import build_network
from rep_kedro.training.loop import train_network
from rep_kedro.training.monitors.registry import make_monitors
from rep_kedro.training.monitors.watching import Watching
from rep_kedro.training.objectives.protocol import Objective, embed
from rep_kedro.training.objectives.registry import make_objective
from rep_kedro.training.schedule import Schedule
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

BATCH, SIDE, N_STEPS, N_IMAGES, N_EPOCHS = 128, 32, 8, 4096, 2
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
    keep_freed_memory()  # as trainings do; here for both sides
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (N_IMAGES, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    found = _compare_steps(pixels) | _measure_monitor(pixels)
    print(json.dumps({name: round(value, 4) for name, value in found.items()}))  # noqa: T201 - its output


def _compare_steps(pixels: Tensor) -> dict[str, float]:
    """Time own and lightly's steps in turns, so that both meet the same load."""
    objective = make_objective("simclr", {"views": VIEWS})
    images, views = pixels[:BATCH], torch.Generator().manual_seed(1)

    def own(network: Any, projector: Any) -> Tensor:
        return objective.compute_losses(network, projector, images.float() / 255, torch.zeros(BATCH), views)[
            "loss"
        ]

    steps = {"own_step_s": _make_step(objective, own)}
    if importlib.util.find_spec("lightly") is not None:
        steps["lightly_step_s"] = _make_step(objective, _lightly_loss(images))
    times = [{name: _seconds_of(step) for name, step in steps.items()} for _ in range(N_STEPS)]
    found = {name: min(each[name] for each in times) for name in steps}
    if "lightly_step_s" in found:
        found["ratio"] = found["lightly_step_s"] / found["own_step_s"]
    return found


def _lightly_loss(images: Tensor) -> Callable[[Any, Any], Tensor]:
    from lightly.loss import NTXentLoss
    from lightly.transforms import SimCLRTransform
    from torchvision.transforms.functional import to_pil_image

    transform, loss = SimCLRTransform(input_size=SIDE, normalize=None), NTXentLoss(0.2)
    pictures = [to_pil_image(image) for image in images]

    def compute(network: Any, projector: Any) -> Tensor:
        pairs = [transform(picture) for picture in pictures]
        both = (torch.stack(each) for each in zip(*pairs, strict=True))
        return torch.as_tensor(loss(*(embed(network, projector, each) for each in both)))

    return compute


def _make_step(objective: Objective, compute_loss: Callable[[Any, Any], Tensor]) -> Callable[[], None]:
    network = build_network(load_architecture("cnn_a"), n_classes=None, seed=0)
    projector = objective.build_projector(network, torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW([*network.parameters(), *projector.parameters()], fused=True)

    def step() -> None:
        optimizer.zero_grad()
        compute_loss(network, projector).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _seconds_of(step: Callable[[], None]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def _measure_monitor(pixels: Tensor) -> dict[str, float]:
    """Time what the loop calls of the monitor, within one training, against all the rest of it."""
    spent = [0.0]

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.process_time()
            try:
                return method(*arguments)
            finally:
                spent[0] += time.process_time() - start

        return call

    for name in ("before_step", "after_step", "before_evaluation", "end_epoch", "_note_call"):
        setattr(Watching, name, timed(getattr(Watching, name)))
    start = time.process_time()
    train_network(
        "bench",
        load_architecture("cnn_a"),
        make_objective("simclr", {"views": VIEWS}),
        seed=0,
        schedule=Schedule(epochs=N_EPOCHS, batch_size=BATCH, learning_rate=0.01),
        stimuli=TrainingStimuli(LabelledImages(pixels, None), LabelledImages(pixels[:0], None), None),
        monitors=make_monitors({"collapse": {"lidar": True}}),
    )
    whole = time.process_time() - start
    return {"training_s": whole - spent[0], "monitor_share": spent[0] / (whole - spent[0])}


if __name__ == "__main__":
    main()
