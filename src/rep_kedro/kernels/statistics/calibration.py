"""P-values, thresholds and calibrated similarities from permutation nulls, and corrections for many tests."""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

TIE_TOLERANCE = 1e-12  # relative; a null value this close below the observed one differs by rounding only
LARGEST_TOLERANCE = 1e-5  # relative; float32 features may end this much above the largest possible value
ADJUSTMENTS = ("benjamini-hochberg", "bonferroni", "holm")


@dataclass(frozen=True)
class CalibratedSimilarity:
    """Observed similarities compared with a permutation null; all tensors have the same shape.

    Attributes:
        p_value: (1 + number of null values not below the observed one) / (n_permutations + 1).
        threshold: Value that an unrelated pair exceeds with a chance of at most ``level``.
        calibrated: How far above the threshold on the way to the largest value, in [0, 1]; 0 below the
            threshold.
    """

    p_value: Tensor
    threshold: Tensor
    calibrated: Tensor


def calibrate(
    observed: Tensor, null: Tensor, *, level: float = 0.05, largest: float = 1.0
) -> CalibratedSimilarity:
    """Set similarities against their permutation null.

    Observed and null values must come from one computation (the identity as a permutation gives the observed
    value): a difference in rounding would break ties. Where a value is NaN the results are NaN.

    Args:
        observed: Similarities, larger is more similar, shape (...).
        null: Values under permutations, shape (n_permutations, ...).
        level: Chance of an unrelated pair to exceed the threshold, above 0 and below 1. Needs at least
            1 / level - 1 permutations to mean anything.
        largest: Largest possible value of the measure.

    Returns:
        P-values, thresholds and calibrated values, each of shape (...).

    Raises:
        ValueError: If the level is not between 0 and 1, shapes do not fit, or a value exceeds the largest
            possible.

    Source: Groeger, Wen & Brbic 2026, arXiv:2602.14486; Phipson & Smyth 2010, Stat Appl Genet Mol Biol 9:39.

    Example:
        >>> found = calibrate(torch.tensor(0.9), torch.linspace(0, 0.5, 99), level=0.05)
        >>> found.p_value.item(), round(found.threshold.item(), 4)
        (0.01, 0.4796)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    _require_same_shape(observed, null)
    observed, null = observed.double(), null.double()
    highest = max(float(observed.nan_to_num(-torch.inf).max()), float(null.nan_to_num(-torch.inf).max()))
    if highest > largest + LARGEST_TOLERANCE * abs(largest):
        raise ValueError(f"similarity {highest:g} exceeds the largest possible value, given as {largest:g}")
    n_values = len(null) + 1
    reached = (null >= observed - TIE_TOLERANCE * observed.abs()).sum(dim=0)
    place = ceil((1 - level) * n_values - 1e-9)  # 0.95 * 200 must be 190 in spite of rounding
    threshold = torch.cat([null, observed[None]]).sort(dim=0).values[place - 1]
    above = ((observed - threshold) / (largest - threshold)).clamp(max=1)
    calibrated = torch.where(observed > threshold, above, 0.0)  # also where chance reaches the largest value
    undefined = observed.isnan() | null.isnan().any(dim=0)
    return CalibratedSimilarity(
        *(
            torch.where(undefined, torch.nan, values)
            for values in ((1 + reached.double()) / n_values, threshold, calibrated)
        )
    )


def adjust_by_maximum(observed: Tensor, null: Tensor, *, step_down: bool = False) -> Tensor:
    """Return p-values adjusted for many tests from the largest null value of each permutation (maxT).

    Controls the chance of any false finding and, unlike Holm, makes use of the dependence between tests. All
    tests must be on one scale, and each permutation applied to all of them.

    Args:
        observed: One value per test, shape (n_tests,), without NaN.
        null: Values under permutations, shape (n_permutations, n_tests).
        step_down: Compare a value only with the tests that have no larger one (more power).

    Returns:
        Adjusted p-values, float64, shape (n_tests,).

    Raises:
        ValueError: If a value is NaN, or shapes do not fit.

    Source: Westfall & Young 1993, Resampling-based Multiple Testing, algorithms 2.5 and 4.1.
    """
    _require_same_shape(observed, null)
    if observed.isnan().any() or null.isnan().any():
        raise ValueError("values with NaN cannot be adjusted by the maximum; leave those tests out")
    observed, null = observed.double(), null.double()
    order = observed.argsort(descending=True)
    ordered, ordered_null = observed[order], null[:, order]
    if step_down:
        rest = ordered_null.flip(1).cummax(dim=1).values.flip(1)
    else:
        rest = ordered_null.amax(dim=1, keepdim=True)
    reached = (rest >= ordered - TIE_TOLERANCE * ordered.abs()).sum(dim=0)
    p_values = torch.empty_like(observed)
    p_values[order] = ((1 + reached.double()) / (len(null) + 1)).cummax(dim=0).values
    return p_values


def adjust_p_values(p_values: Tensor, *, method: str = "holm") -> Tensor:
    """Correct p-values for the number of tests.

    Give each unordered model pair once. NaN counts as no test and stays NaN.

    Args:
        p_values: In [0, 1] or NaN, any shape; one family of tests.
        method: "holm" or "bonferroni" (chance of any false finding, any dependence), "benjamini-hochberg"
            (expected share of false findings; independent or positively dependent tests).

    Returns:
        Adjusted p-values, float64, same shape.

    Raises:
        ValueError: If the method is unknown, or a p-value is outside [0, 1].

    Source: Holm 1979, Scand J Stat 6:65; Benjamini & Hochberg 1995, J R Stat Soc B 57:289.

    Example:
        >>> adjust_p_values(torch.tensor([0.01, 0.04, 0.03], dtype=torch.float64)).round(decimals=6).tolist()
        [0.03, 0.06, 0.06]
    """
    if method not in ADJUSTMENTS:
        raise ValueError(f"unknown adjustment {method!r}; known: {', '.join(ADJUSTMENTS)}")
    flat = p_values.double().flatten()
    tested = ~flat.isnan()
    if ((flat[tested] < 0) | (flat[tested] > 1)).any():
        raise ValueError(f"p-values must be in [0, 1], got {flat[tested].min():g} to {flat[tested].max():g}")
    ordered, order = flat[tested].sort()
    n_tests = len(ordered)
    places = torch.arange(1, n_tests + 1, dtype=torch.float64, device=flat.device)
    if method == "holm":
        adjusted = (ordered * (n_tests + 1 - places)).cummax(dim=0).values
    elif method == "bonferroni":
        adjusted = ordered * n_tests
    else:
        adjusted = (ordered * n_tests / places).flip(0).cummin(dim=0).values.flip(0)
    placed = torch.empty_like(ordered)
    placed[order] = adjusted.clamp(max=1)
    found = torch.full_like(flat, torch.nan)
    found[tested] = placed
    return found.reshape(p_values.shape)


def _require_same_shape(observed: Tensor, null: Tensor) -> None:
    if null.shape[1:] != observed.shape or len(null) == 0:
        raise ValueError(
            f"null must have shape (n_permutations, *{tuple(observed.shape)}), got {tuple(null.shape)}"
        )
