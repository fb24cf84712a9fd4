"""Parameters of stitches with the same shapes, stacked: one product and one update serve all of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from rep_kedro.kernels.stitching.forms import CONSTANTS, FORMS
from rep_kedro.kernels.stitching.maps import AffineMap, rank_of
from rep_kedro.kernels.stitching.moments import PairedMoments
from rep_kedro.kernels.stitching.optimisers import OPTIMISERS, Rates
from rep_kedro.kernels.stitching.recipes import StitchRecipe
from rep_kedro.kernels.stitching.starts import LOW_RANK_STARTS, STARTS

Parameters = dict[str, Tensor]


class Kind(NamedTuple):
    """What stitches of one stack have in common."""

    n_front: int
    form: str
    rank: int
    optimiser: str


def kind_of(recipe: StitchRecipe, n_front: int) -> Kind:
    """Return the kind of a stitch."""
    return Kind(n_front, recipe.form, recipe.rank or 0, recipe.optimiser)


def start_parameters(
    recipe: StitchRecipe, moments: PairedMoments, mask: Tensor | None, generator: Generator
) -> Parameters:
    """Return the parameters of one stitch before its first step, float64."""
    if recipe.rank is not None:
        return LOW_RANK_STARTS[recipe.start](moments, recipe.rank, generator)._asdict()
    start = STARTS[recipe.start](moments, generator)
    parameters = {"weight": start.weight, "bias": start.bias}
    return parameters if mask is None else {**parameters, "mask": mask.to(start.weight)}


class Stack:
    """Stitches of one kind, k of them.

    Args:
        kind: What they have in common.
        parameters: One dict per stitch, as `start_parameters` gives them.
        recipes: One per stitch.
        like: Gives dtype and device.
    """

    def __init__(
        self, kind: Kind, parameters: Sequence[Parameters], recipes: Sequence[StitchRecipe], *, like: Tensor
    ) -> None:
        self.kind = kind
        stacked = {name: torch.stack([p[name] for p in parameters]) for name in parameters[0]}
        self.parameters = {name: x.to(like.device, like.dtype) for name, x in stacked.items()}
        self.trained = {
            name: x.requires_grad_(True) for name, x in self.parameters.items() if name not in CONSTANTS
        }
        self.memory: dict[str, dict[str, Tensor]] = {name: {} for name in self.trained}
        self._rates, self._decays = (
            torch.tensor([getattr(recipe, name) for recipe in recipes], dtype=like.dtype, device=like.device)
            for name in ("learning_rate", "weight_decay")
        )

    def weights(self) -> Tensor:
        """Return the weights, (k, n_end, n_front); gradients lead back to the parameters."""
        return FORMS[self.kind.form](self.parameters)

    @torch.no_grad()
    def descend(self, gradients: Sequence[Tensor | None], step: int, divisor: float) -> None:
        """Take a step down.

        Args:
            gradients: Of the trained parameters, in order; None where nothing depends on one.
            step: Counted from 1.
            divisor: Of the learning rates.
        """
        take = OPTIMISERS[self.kind.optimiser]
        for (name, parameter), gradient in zip(self.trained.items(), gradients, strict=True):
            if gradient is not None:
                shape = (-1, *(1,) * (parameter.ndim - 1))
                rates = Rates((self._rates / divisor).view(shape), self._decays.view(shape), step)
                take(parameter, gradient, self.memory[name], rates)

    def state(self) -> dict[str, Tensor]:
        """Return copies of parameters and of what the optimiser remembers, by name."""
        values = {name: parameter.detach().clone() for name, parameter in self.trained.items()}
        memory = {f"{name}/{key}": x.clone() for name, own in self.memory.items() for key, x in own.items()}
        return values | memory

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name, parameter in self.trained.items():
            parameter.copy_(tensors[name])
            prefix = f"{name}/"
            own = {key.removeprefix(prefix): x for key, x in tensors.items() if key.startswith(prefix)}
            self.memory[name] = {key: x.to(parameter.detach(), copy=True) for key, x in own.items()}

    @torch.no_grad()
    def maps(self) -> list[AffineMap]:
        """Return a copy of each map; products of factors are taken in float64 and keep their rank."""
        exact = {name: x.detach().to("cpu", torch.float64) for name, x in self.parameters.items()}
        weights, biases = FORMS[self.kind.form](exact), exact["bias"]
        return [
            AffineMap(weight.clone(), bias.clone(), rank_of(weight))
            for weight, bias in zip(weights, biases, strict=True)
        ]
