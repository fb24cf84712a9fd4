"""A number about one representation, or the reason why there is none."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """A value, or NaN where it is undefined.

    Attributes:
        value: The number.
        reason: Why it is NaN; empty where it is not.
    """

    value: float
    reason: str = ""


def undefined(reason: str) -> Measured:
    """Return NaN with its reason."""
    return Measured(math.nan, reason)
