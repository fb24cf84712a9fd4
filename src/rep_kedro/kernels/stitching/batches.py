"""What stitches see at each step: rows of cached activations and targets, each gathered once and shared."""

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import torch
from torch import Generator, Tensor

from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer
from rep_kedro.kernels.stitching.targets import make_target

Key = TypeVar("Key", bound=Hashable)
_EPOCHS = 2**24  # of one seed before its orders meet those of the next


class Inputs(NamedTuple):
    """Of one step; the first axis is 1 where all stitches share what they see.

    Attributes:
        fronts: By width of the front: (1 or k of this width, batch, n_positions, n_front).
        original: Of the end network, (1 or k, batch, n_positions, n_end); None where nothing needs it.
        target: Shape (1 or k, batch, n_classes); None where no tail is run.
    """

    fronts: dict[int, Tensor]
    original: Tensor | None
    target: Tensor | None


class Batches:
    """Steps through the stimuli; each seed has an order of its own, fresh in each epoch.

    Args:
        stitches: Front and recipe of each, those of one width next to each other.
        fronts: By name.
        end: Where they end.
        schedule: Of the steps.
        device: Where the rows go.
    """

    def __init__(
        self,
        stitches: Sequence[tuple[str, StitchRecipe]],
        fronts: Mapping[str, FrontLayer],
        end: EndLayer,
        schedule: Schedule,
        *,
        device: torch.device | str,
    ) -> None:
        self._fronts, self._end, self._device = fronts, end, device
        samples = fronts[stitches[0][0]].samples
        self._n_stimuli, self._dtype = len(samples), samples.dtype
        self._size = min(schedule.batch_size, self._n_stimuli)
        self._per_epoch = schedule.n_steps(self._n_stimuli) // schedule.n_epochs
        self._views: dict[int, list[tuple[str, int]]] = {}
        for name, recipe in stitches:
            self._views.setdefault(fronts[name].samples.shape[2], []).append((name, recipe.seed))
        self._seeds = [recipe.seed for _, recipe in stitches]
        self._needs_original = any(recipe.needs_original for _, recipe in stitches)
        self._aims = [(_aim_of(name, r), r.seed) for name, r in stitches if r.needs_tail]
        self._targets = {aim: self._make_target(aim) for aim, _ in self._aims}

    def at(self, step: int) -> Inputs:
        """Return what step number ``step``, counted from 0, sees."""
        epoch, place = divmod(step, self._per_epoch)
        rows = {
            seed: draw_order(self._n_stimuli, seed, epoch)[place * self._size :][: self._size]
            for seed in set(self._seeds)
        }
        return Inputs(
            {width: self._gather_fronts(views, rows) for width, views in self._views.items()},
            self._gather_original(rows),
            self._gather_targets(rows),
        )

    def _gather_fronts(self, views: Sequence[tuple[str, int]], rows: Mapping[int, Tensor]) -> Tensor:
        return self._gather({view: self._fronts[view[0]].samples for view in views}, views, rows)

    def _gather_original(self, rows: Mapping[int, Tensor]) -> Tensor | None:
        samples = self._end.samples
        if not self._needs_original or samples is None:
            return None
        views = [("", seed) for seed in self._seeds]
        return self._gather(dict.fromkeys(views, samples), views, rows)

    def _gather_targets(self, rows: Mapping[int, Tensor]) -> Tensor | None:
        if not self._aims:
            return None
        return self._gather({view: self._targets[view[0]] for view in self._aims}, self._aims, rows)

    def _gather(
        self,
        sources: Mapping[tuple[Key, int], Tensor],
        views: Sequence[tuple[Key, int]],
        rows: Mapping[int, Tensor],
    ) -> Tensor:
        """Return of each view the rows of its seed in its source; a single one where all are the same."""
        wanted = views if len(sources) > 1 else views[:1]
        like = sources[wanted[0]]
        found = like.new_empty((len(wanted), self._size, *like.shape[1:]))
        for place, view in enumerate(wanted):
            torch.index_select(sources[view], 0, rows[view[1]], out=found[place])
        return found.to(self._device)

    def _make_target(self, aim: tuple[str, float, str]) -> Tensor:
        name, temperature, front = aim
        if self._end.logits is None or self._end.labels is None:
            raise ValueError("the task loss needs logits of the end network and labels, got none")
        target = make_target(
            name,
            labels=self._end.labels,
            front=self._fronts[front].logits if front else None,
            end=self._end.logits,
            temperature=temperature,
        )
        return target.to(self._dtype)


@lru_cache(maxsize=64)  # as many seeds as share a step; an epoch asks for each order at every step
def draw_order(n_stimuli: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the stimuli in one epoch of one seed; it depends on nothing else."""
    return torch.randperm(n_stimuli, generator=Generator().manual_seed(seed * _EPOCHS + epoch))


def _aim_of(front: str, recipe: StitchRecipe) -> tuple[str, float, str]:
    """Return what a target depends on: its name, temperature, and front if the front's logits are used."""
    return recipe.target, recipe.temperature, "" if recipe.target in {"hard", "soft_2"} else front
