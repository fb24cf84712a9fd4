"""What a trained stitch is: where it starts, what it may be, what it minimises, and by which steps."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from rep_kedro.kernels.stitching.forms import FORMS
from rep_kedro.kernels.stitching.losses import LOSSES
from rep_kedro.kernels.stitching.masks import MASKS
from rep_kedro.kernels.stitching.optimisers import OPTIMISERS
from rep_kedro.kernels.stitching.starts import LOW_RANK_STARTS, SQUARE_STARTS, STARTS
from rep_kedro.kernels.stitching.targets import TARGETS


@dataclass(frozen=True, kw_only=True)
class StitchRecipe:
    """How one stitch is trained; names are those of the literal dicts of this package.

    Attributes:
        start: One of ``STARTS``, with ``rank`` one of ``LOW_RANK_STARTS``.
        rank: At most this rank, as a product of two factors; None for a full matrix.
        mask: One of ``MASKS``: which entries of the weight may differ from zero.
        mask_percentile: Of the mask ``variance``, in (0, 100]: the share of entries that change least.
        loss: One of ``LOSSES``: ``task`` is the cross-entropy with ``target``; ``mse`` and ``cka`` (1 - CKA)
            compare activations at the joint alone and run no tail.
        target: One of ``TARGETS``; ignored unless ``loss`` is ``task``.
        temperature: Divides the logits of both target and stitched network; of soft targets only.
        l1: Weight of mean |W|.
        cka_penalty: Weight of linear CKA between stitched and original activation at the joint; a positive
            one pushes CKA down, a negative one up.
        later_layers: Weight of the distance at layers behind the joint, see `losses.distance_of_layers`; it
            needs ``EndLayer.tail_with_later``.
        optimiser: One of ``OPTIMISERS``.
        learning_rate: Of the first third of the steps; divided by 10 at one third and again at two thirds.
        weight_decay: Adds this times the parameter to its gradient.
        seed: Of start, mask and order of the stimuli.
    """

    start: str = "ps_inv"
    rank: int | None = None
    mask: str = "identity"
    mask_percentile: float = 10.0
    loss: str = "task"
    target: str = "soft_2"
    temperature: float = 1.0
    l1: float = 0.0
    cka_penalty: float = 0.0
    later_layers: float = 0.0
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0

    @property
    def form(self) -> str:
        """Which of ``FORMS`` the weight has."""
        if self.rank is not None:
            return "low_rank"
        return "full" if self.mask == "identity" else "masked"

    @property
    def needs_tail(self) -> bool:
        """Whether a step runs the layers behind the joint."""
        return self.loss == "task" or self.later_layers != 0.0

    @property
    def needs_original(self) -> bool:
        """Whether a step compares activations with those of the end network itself."""
        return self.loss != "task" or self.cka_penalty != 0.0 or self.later_layers != 0.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps that stitches trained together share.

    Attributes:
        n_epochs: Passes over the stimuli, each in a fresh order.
        batch_size: Stimuli of a step; what is left of an epoch is dropped. Of fewer stimuli all are a batch.
        history_steps: After how many steps the map is kept, 0 for the start; beyond the last one none is.
    """

    n_epochs: int = 30
    batch_size: int = 128
    history_steps: tuple[int, ...] = ()

    def n_steps(self, n_stimuli: int) -> int:
        """Return the number of steps over so many stimuli."""
        return self.n_epochs * max(1, n_stimuli // self.batch_size)


def check_recipe(recipe: StitchRecipe, *, n_front: int | None = None, n_end: int | None = None) -> None:
    """Refuse a recipe that cannot be trained.

    Args:
        recipe: To check.
        n_front: Width of the front layer; None where unknown, then what depends on it is not checked.
        n_end: Width of the end layer; as `n_front`.

    Raises:
        ValueError: If a name is unknown (with close matches), a number is out of range, start and rank or
            rank and mask conflict, a temperature is given to hard labels, or a start for square maps meets
            unequal widths.
    """
    _check_names(recipe)
    _check_numbers(recipe)
    if recipe.rank is not None and recipe.mask != "identity":
        raise ValueError(f"a map has a rank or a mask, got rank {recipe.rank} with mask {recipe.mask!r}")
    if recipe.loss == "task" and recipe.target == "hard" and recipe.temperature != 1.0:
        raise ValueError(f"temperature {recipe.temperature} belongs to soft targets, not to hard labels")
    if n_front is None or n_end is None:
        return
    if recipe.start in SQUARE_STARTS and n_front != n_end:
        raise ValueError(f"start {recipe.start!r} needs layers of equal width, got {n_front} and {n_end}")
    if recipe.rank is not None and recipe.rank > min(n_front, n_end):
        raise ValueError(
            f"rank {recipe.rank} is above the largest between widths {n_front} and {n_end},"
            f" which is {min(n_front, n_end)}"
        )


def _check_names(recipe: StitchRecipe) -> None:
    if recipe.rank is None:
        _require_known("start", recipe.start, STARTS, unless=LOW_RANK_STARTS, then="give a rank")
    else:
        _require_known("start", recipe.start, LOW_RANK_STARTS, unless=STARTS, then="leave out the rank")
    for kind, known in (
        ("mask", MASKS),
        ("loss", LOSSES),
        ("target", TARGETS),
        ("optimiser", OPTIMISERS),
        ("form", FORMS),
    ):
        _require_known(kind, getattr(recipe, kind), known)


def _check_numbers(recipe: StitchRecipe) -> None:
    if recipe.rank is not None and recipe.rank < 1:
        raise ValueError(f"the rank of a map must be at least 1, got {recipe.rank}")
    for name in ("temperature", "learning_rate"):
        if not 0.0 < getattr(recipe, name) < math.inf:
            raise ValueError(f"{name} must be above 0 and finite, got {getattr(recipe, name)}")
    for name in ("l1", "later_layers", "weight_decay"):
        if not 0.0 <= getattr(recipe, name) < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {getattr(recipe, name)}")
    if not math.isfinite(recipe.cka_penalty):
        raise ValueError(f"cka_penalty must be finite, got {recipe.cka_penalty}")
    if not 0.0 < recipe.mask_percentile <= 100.0:
        raise ValueError(f"mask_percentile must be in (0, 100], got {recipe.mask_percentile}")


def _require_known(
    kind: str, name: str, known: Collection[str], *, unless: Collection[str] = (), then: str = ""
) -> None:
    if name in known:
        return
    if name in unless:
        raise ValueError(f"{kind} {name!r} does not fit the rank; {then}, or choose: {', '.join(known)}")
    close = get_close_matches(name, known)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(known)}"
    raise ValueError(f"unknown {kind} {name!r}; {hint}")
