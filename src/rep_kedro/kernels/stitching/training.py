"""Trains stitches that end in one layer of one network, all at once.

They share the batch axis: weights are stacked, a step is one batched product and one call of the tail,
whatever front, start, target or penalty each has. What a stitch becomes does not depend on its neighbours
beyond rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rep_kedro.kernels.stitching.maps import AffineMap
from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer


@dataclass(frozen=True)
class Stitch:
    """One stitch to train: the name of its front, and how."""

    front: str
    recipe: StitchRecipe


@dataclass(frozen=True)
class TrainedStitch:
    """What training gave.

    Attributes:
        fitted: The map; None where there is a reason.
        start: The map before the first step; None where there is none.
        mask: Which entries could change, bool (n_end, n_front); None without a mask.
        losses: What was minimised, before each step taken, (n_steps_taken,), float64.
        history: The map after so many steps, for the steps of the schedule that were reached.
        reason: Why there is no map, with the step; empty where there is one.
    """

    fitted: AffineMap | None
    start: AffineMap | None
    mask: Tensor | None
    losses: Tensor
    history: dict[int, AffineMap]
    reason: str


def train_stitches(
    stitches: Sequence[Stitch],
    fronts: Mapping[str, FrontLayer],
    end: EndLayer,
    schedule: Schedule,
    *,
    device: torch.device | str = "cpu",
) -> list[TrainedStitch]:
    """Train stitches into one layer of one end network together.

    Each minimises its loss + l1 mean|W| + cka_penalty CKA + later_layers distance (see `StitchRecipe`). No
    parameter of a network changes. A stitch whose loss is not finite ends with a reason, the others go on.

    Args:
        stitches: What to train; widths of fronts may differ.
        fronts: By the names that stitches use; samples, moments, and logits where a target needs them.
        end: With logits and labels, and samples where a loss or penalty needs them.
        schedule: Steps that all take.
        device: Where steps are computed; samples may be elsewhere.

    Returns:
        One result per stitch, in their order.

    Raises:
        ValueError: If a recipe cannot be trained (see `check_recipe`), a front is unknown, something that a
            recipe needs is missing, or stimuli or positions of fronts and end differ.

    Cost:
        A step of k stitches: a product of (k, batch * n_positions, n_front) with (k, n_front, n_end), and the
        tail, forwards and backwards to its input, on k * batch activations.

    Source:
        Csiszárik et al. 2021, arXiv:2110.14633, section 4; activations are those without augmentation.
    """
    raise NotImplementedError
