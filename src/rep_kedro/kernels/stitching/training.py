"""Trains stitches that end in one layer of one network, all at once.

They share the batch axis: weights are stacked, a step is one batched product and one call of the tail,
whatever front, start, target or penalty each has. What a stitch becomes does not depend on its neighbours
beyond rounding.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from rep_kedro.kernels.precision import full_precision
from rep_kedro.kernels.stitching.batches import Batches
from rep_kedro.kernels.stitching.maps import AffineMap, rank_of
from rep_kedro.kernels.stitching.masks import FEWEST_STEPS_OF_VARIANCE, MASKS, MaskSource
from rep_kedro.kernels.stitching.objective import Objective
from rep_kedro.kernels.stitching.recipes import Schedule
from rep_kedro.kernels.stitching.requests import Stitch, TrainedStitch, check_stitches
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer, map_positions
from rep_kedro.kernels.stitching.stacks import Parameters, Stack, kind_of, start_parameters

BYTES_TOGETHER = 6 * 2**20
"""Fits the last cache of a processor; an accelerator takes far more."""

__all__ = [
    "BYTES_TOGETHER",
    "Start",
    "Stitch",
    "StitchTraining",
    "TrainedStitch",
    "share_out",
    "start_stitch",
    "train_stitches",
]


def train_stitches(
    stitches: Sequence[Stitch],
    fronts: Mapping[str, FrontLayer],
    end: EndLayer,
    schedule: Schedule,
    *,
    device: torch.device | str = "cpu",
    bytes_together: int = BYTES_TOGETHER,
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
        bytes_together: Changes memory and speed, not the result beyond rounding: so many stitches share a
            step that their activations at the joint take at most about this much, at least one does.

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
    for needs_tail in (True, False):  # all are checked before the first is trained
        check_stitches([s for s in stitches if s.recipe.needs_tail == needs_tail], fronts, end)
    found: dict[int, TrainedStitch] = {}
    for own in share_out(stitches, fronts, end, schedule, bytes_together=bytes_together):
        training = StitchTraining([stitches[i] for i in own], fronts, end, schedule, device=device)
        while training.take_step():
            pass
        found |= dict(zip(own, training.results(), strict=True))
    return [found[i] for i in range(len(stitches))]


def share_out(
    stitches: Sequence[Stitch],
    fronts: Mapping[str, FrontLayer],
    end: EndLayer,
    schedule: Schedule,
    *,
    bytes_together: int = BYTES_TOGETHER,
) -> list[list[int]]:
    """Return the places of the stitches that share their steps, equally many each; see `train_stitches`.

    Beyond the caches of a processor a larger batch is slower, not faster.
    """
    parts = []
    for needs_tail in (True, False):
        own = [i for i, stitch in enumerate(stitches) if stitch.recipe.needs_tail == needs_tail]
        if not own:
            continue
        samples = fronts[stitches[own[0]].front].samples
        n_stimuli = min(schedule.batch_size, len(samples))
        each = n_stimuli * math.prod(end.shape) * samples.element_size()
        n_parts = math.ceil(len(own) / max(1, bytes_together // each))
        parts += [own[part::n_parts] for part in range(n_parts)]
    return parts


class StitchTraining:
    """Training that is taken step by step, and can continue from its state; see `train_stitches`.

    The stitches all need the tail, or none of them.

    Attributes:
        n_taken: Steps taken so far.
        n_steps: Steps of the schedule.
    """

    def __init__(
        self,
        stitches: Sequence[Stitch],
        fronts: Mapping[str, FrontLayer],
        end: EndLayer,
        schedule: Schedule,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        check_stitches(stitches, fronts, end)
        self.n_taken, self.n_steps = 0, schedule.n_steps(len(fronts[stitches[0].front].samples))
        self._n_stitches, self._schedule = len(stitches), schedule
        starts = [start_stitch(stitch, fronts, end, schedule, device) for stitch in stitches]
        self._masks = [start.mask for start in starts]
        self._reasons = {i: start.reason for i, start in enumerate(starts) if start.reason}
        like = torch.empty(0, dtype=fronts[stitches[0].front].samples.dtype, device=device)
        kinds = {
            i: kind_of(stitches[i].recipe, fronts[stitches[i].front].samples.shape[2])
            for i in range(len(stitches))
            if i not in self._reasons
        }
        self._order = sorted(kinds, key=lambda i: (kinds[i], i))  # of the batch axis
        self._stacks = [
            Stack(
                kind,
                [starts[i].parameters for i in self._order if kinds[i] == kind],
                [stitches[i].recipe for i in self._order if kinds[i] == kind],
                like=like,
            )
            for kind in sorted(set(kinds.values()))
        ]
        self._losses = torch.full((self.n_steps, len(self._order)), torch.nan, dtype=torch.float64)
        self._history: dict[int, list[AffineMap]] = {0: self._maps()}
        if self._order:
            placed = [(stitches[i].front, stitches[i].recipe) for i in self._order]
            self._batches = Batches(placed, fronts, end, schedule, device=device)
            self._objective = Objective([recipe for _, recipe in placed], end, like=like)

    def take_step(self) -> bool:
        """Take the next step; return False where none is left, or no stitch goes on."""
        if self.n_taken >= self.n_steps or len(self._reasons) == self._n_stitches:
            return False
        with full_precision():
            losses = self._measure()
            self._losses[self.n_taken] = losses.detach()
            self._end_where_not_finite(losses.detach(), f"the loss is not finite at step {self.n_taken + 1}")
            self._descend(losses.sum())  # each has its own gradients, whatever the others' losses are
        self.n_taken += 1
        if self.n_taken in self._schedule.history_steps:
            self._history[self.n_taken] = self._maps()
        return True

    def results(self) -> list[TrainedStitch]:
        """Return what each stitch is after the steps taken so far."""
        maps = self._maps()
        sums = torch.tensor([float(fitted.weight.sum() + fitted.bias.sum()) for fitted in maps])
        self._end_where_not_finite(sums, f"the weights are not finite after step {self.n_taken}")
        return [self._result(i, maps) for i in range(self._n_stitches)]

    def state(self) -> dict[str, Tensor]:
        """Return plain tensors from which `load_state` continues, history and losses included."""
        tensors = {"n_taken": torch.tensor(self.n_taken), "losses": self._losses.clone()}
        for n, stack in enumerate(self._stacks):
            tensors |= {f"stack/{n}/{name}": x for name, x in stack.state().items()}
        for step, maps in self._history.items():
            for place, kept in enumerate(maps):
                tensors[f"history/{step}/{place}/weight"] = kept.weight
                tensors[f"history/{step}/{place}/bias"] = kept.bias
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from the state of a training of the same stitches on the same stimuli."""
        self.n_taken = int(tensors["n_taken"])
        self._losses.copy_(tensors["losses"])
        for n, stack in enumerate(self._stacks):
            prefix = f"stack/{n}/"
            own = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
            stack.load_state(own)
        for step in {int(name.split("/")[1]) for name in tensors if name.startswith("history/")}:
            places = [f"history/{step}/{place}" for place in range(len(self._order))]
            parts = [(tensors[f"{place}/weight"], tensors[f"{place}/bias"]) for place in places]
            self._history[step] = [AffineMap(w, b, rank_of(w)) for w, b in parts]
        for step in range(self.n_taken):
            self._end_where_not_finite(self._losses[step], f"the loss is not finite at step {step + 1}")

    def _measure(self) -> Tensor:
        """Return what each stitch minimises at this step."""
        inputs = self._batches.at(self.n_taken)
        weights = [stack.weights() for stack in self._stacks]
        stitched = []
        for width, front in inputs.fronts.items():  # stacks of one width are next to each other
            own = [n for n, stack in enumerate(self._stacks) if stack.kind.n_front == width]
            biases = [self._stacks[n].parameters["bias"] for n in own]
            stitched.append(map_positions(_joined([weights[n] for n in own]), _joined(biases), front))
        return self._objective.measure(_joined(stitched), inputs, weights)

    def _descend(self, loss: Tensor) -> None:
        """Take a step down, by gradients of the stitches' own parameters and nothing else."""
        own = [x for stack in self._stacks for x in stack.trained.values()]
        gradients = iter(torch.autograd.grad(loss, own, allow_unused=True))
        divisor = 10.0 ** (3 * self.n_taken // self.n_steps)
        for stack in self._stacks:
            stack.descend([next(gradients) for _ in stack.trained], self.n_taken + 1, divisor)

    def _maps(self) -> list[AffineMap]:
        return [fitted for stack in self._stacks for fitted in stack.maps()]

    def _end_where_not_finite(self, values: Tensor, reason: str) -> None:
        """Note the reason for each stitch whose value is not finite, unless it has one."""
        for place in (~torch.isfinite(values)).nonzero().flatten().tolist():
            self._reasons.setdefault(self._order[place], reason)

    def _result(self, i: int, maps: Sequence[AffineMap]) -> TrainedStitch:
        reason = self._reasons.get(i, "")
        if i not in self._order:
            return TrainedStitch(None, None, self._masks[i], torch.empty(0, dtype=torch.float64), {}, reason)
        place = self._order.index(i)
        losses = self._losses[: self.n_taken, place]
        finite = torch.isfinite(losses)
        n_finite = len(losses) if bool(finite.all()) else int((~finite).nonzero()[0])
        wanted = self._schedule.history_steps
        kept = {n: maps[place] for n, maps in self._history.items() if n in wanted and n <= n_finite}
        history = {n: at_step for n, at_step in kept.items() if bool(torch.isfinite(at_step.weight).all())}
        fitted = None if reason else maps[place]
        start = self._history[0][place]
        return TrainedStitch(fitted, start, self._masks[i], losses[:n_finite].clone(), history, reason)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Return parts of the batch axis as one; a single one as it is, not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


class Start(NamedTuple):
    """Of one stitch: its parameters and mask, or why there are none."""

    parameters: Parameters
    mask: Tensor | None
    reason: str


def start_stitch(
    stitch: Stitch,
    fronts: Mapping[str, FrontLayer],
    end: EndLayer,
    schedule: Schedule,
    device: torch.device | str,
) -> Start:
    """Return where the training of one stitch starts."""
    recipe, moments = stitch.recipe, fronts[stitch.front].moments
    if moments is None:
        raise ValueError(f"front {stitch.front!r} has no moments; training needs them")

    def train_an_epoch() -> Tensor:
        plain = replace(recipe, mask="identity", optimiser="sgd")
        steps = tuple(range(schedule.n_steps(len(fronts[stitch.front].samples)) + 1))
        short = replace(schedule, n_epochs=1, history_steps=steps)
        [found] = train_stitches([Stitch(stitch.front, plain)], fronts, end, short, device=device)
        if found.reason:
            raise FloatingPointError(f"the epoch for its mask: {found.reason}")
        return torch.stack([kept.weight for kept in found.history.values()])

    generator = Generator().manual_seed(recipe.seed)
    mask = None
    n_steps = replace(schedule, n_epochs=1).n_steps(len(fronts[stitch.front].samples))
    if recipe.mask == "variance" and n_steps < FEWEST_STEPS_OF_VARIANCE:
        return Start({}, None, f"an epoch has {n_steps} step, too few for the mask 'variance'")
    try:
        if recipe.form == "masked":
            mask = MASKS[recipe.mask](
                MaskSource(moments, generator, recipe.mask_percentile, weights_of_an_epoch=train_an_epoch)
            )
        return Start(start_parameters(recipe, moments, mask, generator), mask, "")
    except FloatingPointError as problem:
        return Start({}, mask, str(problem))
