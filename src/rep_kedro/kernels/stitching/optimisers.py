"""Steps of gradient descent on stacked parameters: element by element, so that stitches never mix."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Rates(NamedTuple):
    """Of one step; ``learning_rate`` and ``weight_decay`` broadcast against the parameters, step from 1."""

    learning_rate: Tensor
    weight_decay: Tensor
    step: int


def step_adam(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], rates: Rates) -> None:
    """Change parameter and state in place by a step of Adam, with decay added to the gradient.

    Source: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1 (betas 0.9 and 0.999, epsilon 1e-8).
    """
    raise NotImplementedError


def step_sgd(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], rates: Rates) -> None:
    """Change parameter and state in place by a step of gradient descent with Nesterov momentum 0.9.

    Source: Sutskever et al. 2013, PMLR 28(3):1139.
    """
    raise NotImplementedError


OPTIMISERS: dict[str, Callable[[Tensor, Tensor, dict[str, Tensor], Rates], None]] = {
    "adam": step_adam,
    "sgd": step_sgd,
}
