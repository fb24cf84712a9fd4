"""Check the user's code that trainings would run: it is allowed, exists and can be called."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rep_kedro.errors import UserError

if TYPE_CHECKING:
    from rep_kedro.training.own_code import OwnCode
    from rep_kedro.training.params import TrainingParams
    from rep_kedro.training.spec import NetworkSpec


def find_forbidden_code(training: "TrainingParams") -> Iterator[str]:
    """Yield why networks may not be trained in a study that does not allow code."""
    for name, spec in training.networks().items():
        for code in spec.own_code if spec.moment is None else ():
            yield (
                f"network {name!r} would run {code.file}, which may do anything on this machine; read it,"
                " then set features.allow_code: true"
            )


def find_unfit_code(training: "TrainingParams") -> Iterator[str]:
    """Yield why code cannot be used; the files are run, what is in them is not called."""
    seen = set()
    for name, spec in training.networks().items():
        for purpose in ("optimiser", "curve", "metric"):
            for code in _code_for(purpose, spec):
                use = f"{purpose} {json.dumps(code.model_dump(mode='json'), sort_keys=True)}"
                if use in seen:
                    continue
                seen.add(use)
                try:
                    _require_fit(purpose, code)
                except UserError as problem:
                    yield f"network {name!r}: {purpose} {problem}"


def _code_for(purpose: str, spec: "NetworkSpec") -> "tuple[OwnCode, ...]":
    schedule = spec.schedule
    match purpose:
        case "optimiser":
            found = schedule and schedule.own_optimizer
        case "curve":
            found = schedule and schedule.own_curve
        case _:
            return tuple(each for each in spec.metrics if not isinstance(each, str))
    return (found,) if found else ()


def _require_fit(purpose: str, code: "OwnCode") -> None:
    """Refuse code that cannot be called as a training will."""
    from torch.optim import Optimizer

    match purpose:
        case "optimiser":
            code.require_callable("groups", lr="learning rate")
            made = code.load()
            if isinstance(made, type) and not issubclass(made, Optimizer):
                raise UserError(f"{code.file}: {code.name} is not a torch optimiser")
        case "curve":
            code.require_callable("progress")
        case _:
            code.require_callable("logits", "labels")
