"""Reasons for undefined values, as data: a kernel knows models by index, its caller by name."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Undefined:
    """One reason why there is no value for two models.

    Attributes:
        why: What is wrong with the model, or with the pair.
        model: Place of the model that it is about; None if it is about the pair.
    """

    why: str
    model: int | None = None


Reasons: TypeAlias = dict[tuple[int, int], tuple[Undefined, ...]]


def pair_reasons(why: Mapping[int, str], n_models: int) -> Reasons:
    """Spread what is wrong with single models over their rows and columns."""
    reasons: Reasons = {}
    for model, reason in why.items():
        for other in range(n_models):
            for pair in {(model, other), (other, model)}:
                reasons[pair] = (*reasons.get(pair, ()), Undefined(reason, model))
    return reasons


def explain(reasons: Iterable[Undefined], names: Sequence[str]) -> str:
    """Join reasons to one text, models by their names.

    Example:
        >>> explain([Undefined("all its dissimilarities are equal", 1)], ["vit", "cnn"])
        'cnn: all its dissimilarities are equal'
    """
    return "; ".join(
        reason.why if reason.model is None else f"{names[reason.model]}: {reason.why}" for reason in reasons
    )
