"""What to say of a training whose numbers are no longer finite."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.errors import NotFiniteError
from rep_kedro.models.network import scale_images_in_unit_range
from rep_kedro.training.monitors.protocol import Step, Training

_REMEDY = "lower the learning rate or lengthen the warm-up"


def describe_divergence(
    training: Training, step: Step, losses: Mapping[str, Tensor], images: Tensor
) -> NotFiniteError:
    """Return the error of a step whose loss is not finite, with the first layer whose output is not.

    Args:
        training: Whose network is run once more, on the step's images.
        step: Where it happened.
        losses: The loss and its parts.
        images: Of the step, (n, c, h, w) in [0, 1], before any view was drawn.
    """
    parts = ", ".join(f"{part} = {value.item():.4g}" for part, value in losses.items())
    layer = _first_not_finite(training, images)
    where = f"the first layer that is not finite is {layer!r}" if layer else "all layers are finite"
    return NotFiniteError(
        f"training of network {training.name!r} diverged in epoch {step.epoch}, step {step.index + 1}:"
        f" {parts}; {where}; {_REMEDY}"
    )


def require_finite(name: str, epoch: int, means: Mapping[str, float]) -> None:
    """Refuse means of an epoch that are not finite."""
    broken = [f"{part} = {value}" for part, value in means.items() if not math.isfinite(value)]
    if broken:
        raise NotFiniteError(
            f"training of network {name!r} diverged in epoch {epoch}: {', '.join(broken)}; {_REMEDY}"
        )


def _first_not_finite(training: Training, images: Tensor) -> str | None:
    """Return the first layer, in the order of execution, whose output is not finite."""
    network, found = training.network, list[str]()

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(name)

        return hook

    leaves = {name: module for name, module in network.named_modules() if not [*module.children()]}
    hooks = [module.register_forward_hook(note(name)) for name, module in leaves.items()]
    try:
        with torch.no_grad():
            network(scale_images_in_unit_range(images, network.architecture))
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None
