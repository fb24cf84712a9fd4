"""Optimisers by name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from rep_kedro.errors import UserError
from rep_kedro.training.own_code import OwnCode
from rep_kedro.training.schedule import Schedule


def build_optimizer(parameters: Iterable[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    """Return the schedule's optimiser for some parameters.

    Adam and AdamW are fused: their roots are exact on every processor (see `kernels.training.portable`).
    """
    parameters = list(parameters)
    matrices = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    decay = schedule.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": decay},
        {"params": others, "weight_decay": decay if schedule.decay_of == "all" else 0.0},
    ]
    if schedule.own_optimizer is not None:
        return _build_own(groups, schedule.own_optimizer, schedule.highest_rate)
    return _BUILDERS[schedule.optimizer](groups, schedule)


def _build_own(groups: Any, code: OwnCode, rate: float) -> torch.optim.Optimizer:
    """Return an optimiser of the user's.

    Raises:
        UserError: If the code fails, or makes no optimiser.
    """
    made = code.call(groups, lr=rate)
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"{code.file}: {code.name} gives {type(made).__name__}, which is no torch optimiser")
    return made


def _build_sgd(groups: Any, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups, lr=schedule.highest_rate, momentum=schedule.momentum, nesterov=schedule.uses_nesterov
    )


def _build_adam(groups: Any, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        groups, lr=schedule.highest_rate, betas=schedule.betas, eps=schedule.epsilon, fused=True
    )


def _build_adamw(groups: Any, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        groups, lr=schedule.highest_rate, betas=schedule.betas, eps=schedule.epsilon, fused=True
    )


def _build_radam(groups: Any, schedule: Schedule) -> torch.optim.Optimizer:
    return torch.optim.RAdam(
        groups, lr=schedule.highest_rate, betas=schedule.betas, eps=schedule.epsilon, foreach=False
    )


def _build_lars(groups: Any, schedule: Schedule) -> torch.optim.Optimizer:
    """Return timm's LARS: every matrix is adapted, also without decay; parameters of one dimension never."""
    from timm.optim.lars import Lars

    matrices, others = groups
    adapted = {**matrices, "always_adapt": True}
    return Lars(
        [adapted, {**others, "weight_decay": 0.0, "always_adapt": False}],
        lr=schedule.highest_rate,
        momentum=schedule.momentum,
        nesterov=schedule.uses_nesterov,
    )


_BUILDERS: dict[str, Callable[[Any, Schedule], torch.optim.Optimizer]] = {
    "adam": _build_adam,
    "adamw": _build_adamw,
    "lars": _build_lars,
    "radam": _build_radam,
    "sgd": _build_sgd,
}
