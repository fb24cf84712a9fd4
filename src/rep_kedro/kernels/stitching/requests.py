"""What is asked of the training of stitches, checked before it starts, and what it gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from torch import Tensor

from rep_kedro.kernels.stitching.maps import AffineMap
from rep_kedro.kernels.stitching.recipes import StitchRecipe, check_recipe
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


def check_stitches(stitches: Sequence[Stitch], fronts: Mapping[str, FrontLayer], end: EndLayer) -> None:
    """Refuse stitches that cannot be trained together.

    Raises:
        ValueError: If some need the tail and others do not, a front is unknown or has no moments, a recipe
            does not fit the widths, something that a recipe needs is missing, or stimuli or positions differ.
    """
    if len({stitch.recipe.needs_tail for stitch in stitches}) > 1:
        raise ValueError("stitches trained together all need the tail, or none of them does")
    for stitch in stitches:
        if stitch.front not in fronts:
            close = get_close_matches(stitch.front, fronts)
            raise ValueError(f"unknown front {stitch.front!r}; known: {', '.join(close or fronts)}")
        _check_stitch(stitch, fronts[stitch.front], end)
    shapes = {stitch.front: tuple(fronts[stitch.front].samples.shape[:2]) for stitch in stitches}
    if len(set(shapes.values())) > 1 or any(n_stimuli == 0 for n_stimuli, _ in shapes.values()):
        raise ValueError(f"fronts must have samples of the same stimuli and positions, got {shapes}")


def _check_stitch(stitch: Stitch, front: FrontLayer, end: EndLayer) -> None:
    if front.moments is None:
        raise ValueError(f"front {stitch.front!r} has no moments; training needs them")
    check_recipe(stitch.recipe, n_front=front.moments.n_front, n_end=front.moments.n_end)
    needed = {
        "samples": stitch.recipe.needs_original,
        "logits": stitch.recipe.needs_tail,
        "labels": stitch.recipe.needs_tail,
        "tail_with_later": stitch.recipe.later_layers != 0.0,
    }
    for name, is_needed in needed.items():
        if is_needed and getattr(end, name) is None:
            raise ValueError(f"the stitch from {stitch.front!r} needs {name} of the end, got none")
        value = getattr(end, name)
        if is_needed and isinstance(value, Tensor) and len(value) != len(front.samples):
            raise ValueError(
                f"front {stitch.front!r} and end must have the same stimuli,"
                f" got {len(front.samples)} samples and {len(value)} {name}"
            )
    if end.samples is not None and end.samples.shape[1] != front.samples.shape[1]:
        raise ValueError(
            f"front {stitch.front!r} and end must have the same positions, got {front.samples.shape[1]}"
            f" and {end.samples.shape[1]}; see match_positions"
        )
