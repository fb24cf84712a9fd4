"""Steps of gradient descent on stacked parameters: element by element, so that stitches never mix."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_MOMENTUM = 0.9


class Rates(NamedTuple):
    """Of one step, counted from 1; tensors that broadcast against the parameters."""

    learning_rate: Tensor
    weight_decay: Tensor
    step: int


def step_adam(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], rates: Rates) -> None:
    """Change parameter and state in place by a step of Adam, with the decay added to the gradient.

    Source: Kingma & Ba 2015, arXiv:1412.6980, algorithm 1.
    """
    gradient = gradient + rates.weight_decay * parameter
    mean, square = (state.setdefault(name, gradient.new_zeros(gradient.shape)) for name in ("mean", "square"))
    mean.lerp_(gradient, 1.0 - _BETAS[0])
    square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1.0 - _BETAS[1])
    bias_of_mean, bias_of_square = (1.0 - beta**rates.step for beta in _BETAS)
    denominator = square.sqrt().div_(bias_of_square**0.5).add_(_EPSILON)
    parameter -= rates.learning_rate / bias_of_mean * mean / denominator


def step_sgd(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], rates: Rates) -> None:
    """Change parameter and state in place by a step of gradient descent with Nesterov momentum 0.9.

    Source: Sutskever et al. 2013, PMLR 28(3):1139, in the form of torch.optim.SGD.
    """
    gradient = gradient + rates.weight_decay * parameter
    velocity = state.setdefault("velocity", gradient.new_zeros(gradient.shape))
    velocity.mul_(_MOMENTUM).add_(gradient)
    parameter -= rates.learning_rate * (gradient + _MOMENTUM * velocity)


OPTIMISERS: dict[str, Callable[[Tensor, Tensor, dict[str, Tensor], Rates], None]] = {
    "adam": step_adam,
    "sgd": step_sgd,
}
