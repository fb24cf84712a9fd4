"""The ratio of two shares that were counted on the same stimuli, such as accuracies before and after."""

import math
from collections.abc import Callable
from statistics import NormalDist

from scipy.optimize import brentq


def bound_ratio(n_both: int, n_first: int, n_second: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends of the score interval of the ratio of two paired shares.

    It holds the ratios that a score test does not refuse, as Wilson's interval does for one share: stimuli
    that are in both or in neither count as such, and there is an interval where the two never differ.

    Args:
        n_both: Stimuli that are in both shares.
        n_first: Stimuli that are in the first share alone, the numerator.
        n_second: Stimuli that are in the second share alone, the denominator.
        confidence: Nominal coverage, above 0 and below 1.

    Returns:
        Lower and upper end, from 0 on; NaN where the second share is 0.

    Raises:
        ValueError: If a count is negative.

    Source: Nam & Blackwelder 2002, Stat Med 21:689, equations 3 to 5; stimuli in neither cancel out.

    Example:
        >>> [round(end, 4) for end in bound_ratio(80, 2, 10)]
        [0.8261, 0.9834]
    """
    if min(n_both, n_first, n_second) < 0:
        raise ValueError(f"counts must not be negative, got {n_both}, {n_first} and {n_second}")
    x, y = n_both + n_first, n_both + n_second
    if y == 0:
        return math.nan, math.nan
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def deviate(log_ratio: float) -> float:
        """Return by how many standard deviations the counts exceed a ratio."""
        ratio = math.exp(log_ratio)
        root = math.hypot(x - ratio**2 * y, 2 * ratio * math.sqrt(n_first * n_second))
        first = (ratio**2 * (y + 2 * n_first) - x + root) / (2 * ratio * (ratio + 1))  # expected counts
        second = ratio * first - (ratio - 1) * (x + n_second)
        excess = x - ratio * y
        return excess / math.sqrt(ratio * (first + second)) if excess else 0.0

    middle = math.log((x or 0.5) / y)
    low = math.exp(_find_root(lambda at: deviate(at) - z, middle, -1.0)) if x else 0.0
    return low, math.exp(_find_root(lambda at: deviate(at) + z, middle, 1.0))


def _find_root(falling: Callable[[float], float], start: float, step: float) -> float:
    """Return where a falling function is 0, on the side of `start` to which `step` points."""
    end = start + step
    while falling(end) * step > 0:
        end += step
    return float(brentq(falling, start, end, xtol=1e-12))
