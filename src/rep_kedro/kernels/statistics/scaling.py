"""Points in a plane whose distances approximate dissimilarities: classical, metric and nonmetric scaling.

Classical scaling is one eigenproblem. Metric and nonmetric scaling minimise stress by majorization (SMACOF)
from several starts, all starts together; the first is classical scaling, so that a good map is never missed
by chance. Nonmetric maps of scikit-learn's SMACOF end at a higher stress and take three to ten times as long
at tens of networks; metric maps are as good as here on average.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
N_DIMS = 2


@dataclass(frozen=True)
class Scaling:
    """A map of items.

    Attributes:
        positions: Shape (n_items, 2), centred, in units of the dissimilarities.
        stress: Kruskal's stress-1 of the map, 0 for a perfect one; NaN where all dissimilarities are 0.
    """

    positions: Numbers
    stress: float


def scale_classically(dissimilarities: Numbers) -> Numbers:
    """Return positions whose distances approximate the dissimilarities, by classical scaling.

    Distances in the plane are too short where the plane does not hold all of the spread.

    Args:
        dissimilarities: Shape (n_items, n_items), symmetric, zero diagonal.

    Returns:
        Positions, shape (n_items, 2), float64, centred; the first axis has the larger spread, and on each
        axis the coordinate farthest from zero is positive.

    Source: Torgerson 1952, doi:10.1007/BF02288916.

    Example:
        >>> positions = scale_classically(np.array([[0.0, 3, 4], [3, 0, 5], [4, 5, 0]]))
        >>> round(float(np.linalg.norm(positions[1] - positions[2])), 6)
        5.0
    """
    squared = dissimilarities**2
    centred = -0.5 * (squared - squared.mean(0) - squared.mean(1)[:, None] + squared.mean())
    eigenvalues, vectors = np.linalg.eigh((centred + centred.T) / 2)
    top = np.argsort(eigenvalues)[::-1][:N_DIMS]
    positions = np.zeros((len(squared), N_DIMS))
    positions[:, : len(top)] = vectors[:, top] * np.sqrt(np.maximum(eigenvalues[top], 0.0))
    return _choose_signs(positions)


def scale_by_majorization(
    dissimilarities: Numbers,
    generator: np.random.Generator,
    *,
    is_metric: bool = True,
    n_starts: int = 4,
    tolerance: float = 1e-6,
    max_iterations: int = 300,
) -> Scaling:
    """Return the map of smallest stress that is found from several starts.

    Metric scaling makes distances equal to dissimilarities; nonmetric scaling puts them in the same order
    (ties may be broken: Kruskal's primary approach), and is then stretched to fit the dissimilarities.

    Args:
        dissimilarities: Shape (n_items, n_items), symmetric, not negative, zero diagonal; items may coincide.
        generator: Draws all starts but the first.
        is_metric: Whether values count, or only their order.
        n_starts: The first is classical scaling, the others are random.
        tolerance: Done when no start's stress, as a share of its squared distances, falls by more.
        max_iterations: Steps after which the map is taken as it is.

    Returns:
        Positions along their principal axes, and stress.

    Source: de Leeuw 1977; Borg & Groenen 2005, doi:10.1007/0-387-28981-X, chapters 8 and 9; Kruskal 1964,
        doi:10.1007/BF02289565 (stress-1).
    """
    n = len(dissimilarities)
    if not dissimilarities.any():
        return Scaling(np.zeros((n, N_DIMS)), float("nan"))
    spread = float(np.sqrt((dissimilarities**2).sum() / (2 * n * n)))  # root mean square from the centre
    drawn = generator.normal(scale=spread / np.sqrt(N_DIMS), size=(n_starts - 1, n, N_DIMS))
    positions = np.concatenate([scale_classically(dissimilarities)[None], drawn])
    before = np.full(n_starts, np.inf)
    for _ in range(max_iterations):
        distances = pairwise_distances(positions)
        wanted = _disparities(dissimilarities, distances, is_metric=is_metric)
        ratio = np.divide(wanted, distances, out=np.zeros_like(distances), where=distances > 0)
        positions = (ratio.sum(-1)[..., None] * positions - ratio @ positions) / n
        distances = pairwise_distances(positions)
        raw = ((distances - wanted) ** 2).sum((1, 2)) / (distances**2).sum((1, 2))
        if (before - raw <= tolerance).all():
            break
        before = raw
    stress = [measure_stress(dissimilarities, each, is_metric=is_metric) for each in positions]
    best = int(np.argmin(stress))
    return Scaling(turn_to_axes(_stretch(positions[best], dissimilarities, is_metric)), stress[best])


def measure_stress(dissimilarities: Numbers, positions: Numbers, *, is_metric: bool = True) -> float:
    """Return Kruskal's stress-1: the root of squared misfits of distances over squared distances.

    Args:
        dissimilarities: Shape (n_items, n_items), symmetric.
        positions: Shape (n_items, n_dims).
        is_metric: Whether misfit is from the dissimilarities, or from the nearest numbers in their order.

    Returns:
        Stress, 0 or more; NaN where all positions coincide.

    Source: Kruskal 1964, doi:10.1007/BF02289565.

    Example:
        >>> line = np.array([[0.0], [1.0], [3.0]])
        >>> measure_stress(np.array([[0.0, 1, 3], [1, 0, 2], [3, 2, 0]]), line)
        0.0
    """
    upper = np.triu_indices(len(positions), 1)
    distances = pairwise_distances(positions[None])[0][upper]
    wanted = dissimilarities[upper]
    if not is_metric:
        wanted = _monotone(wanted, distances)
    square = float((distances**2).sum())
    return float(np.sqrt(((distances - wanted) ** 2).sum() / square)) if square > 0 else float("nan")


def find_turn(positions: Numbers, target: Numbers) -> Numbers:
    """Return the rotation or reflection that brings positions as near to the target as it can.

    Args:
        positions: Shape (n_items, 2), centred.
        target: The same items' other positions, shape (n_items, 2), centred.

    Returns:
        Shape (2, 2); ``positions @ turn`` are near the target, with the distances that they had.

    Source: Schönemann 1966, doi:10.1007/BF02289451.
    """
    left, _, right = np.linalg.svd(positions.T @ target)
    return np.asarray(left @ right)


def turn_to_axes(positions: Numbers) -> Numbers:
    """Return the positions centred and turned to their principal axes, signs as in ``scale_classically``."""
    centred = positions - positions.mean(0)
    return _choose_signs(centred @ np.linalg.svd(centred, full_matrices=False)[2].T)


def pairwise_distances(positions: Numbers) -> Numbers:
    """Return Euclidean distances (n_maps, n_items, n_items) of positions (n_maps, n_items, n_dims)."""
    return np.asarray(np.sqrt(((positions[:, :, None] - positions[:, None]) ** 2).sum(-1)))


def _choose_signs(positions: Numbers) -> Numbers:
    """Make the coordinate that is farthest from zero positive: axes have no sign of their own."""
    largest = np.abs(positions).argmax(axis=0)
    return positions * np.where(positions[largest, range(positions.shape[1])] < 0, -1.0, 1.0)


def _disparities(dissimilarities: Numbers, distances: Numbers, *, is_metric: bool) -> Numbers:
    """Return what each map's distances should be, shape (n_maps, n_items, n_items)."""
    if is_metric:
        return np.broadcast_to(dissimilarities, distances.shape)
    upper = np.triu_indices(len(dissimilarities), 1)
    wanted = np.zeros_like(distances)
    for index, of_map in enumerate(distances):
        monotone = _monotone(dissimilarities[upper], of_map[upper])
        scale = np.sqrt(len(monotone) / (monotone**2).sum())  # else all shrinks to a point
        wanted[index][upper] = monotone * scale
    return wanted + wanted.transpose(0, 2, 1)


def _monotone(dissimilarities: Numbers, distances: Numbers) -> Numbers:
    """Return the numbers nearest to the distances that never fall as dissimilarities rise."""
    from scipy.optimize import isotonic_regression

    order = np.lexsort((distances, dissimilarities))
    found = np.empty_like(distances)
    found[order] = isotonic_regression(distances[order]).x
    return found


def _stretch(positions: Numbers, dissimilarities: Numbers, is_metric: bool) -> Numbers:
    if is_metric:
        return positions
    distances = pairwise_distances(positions[None])[0]
    return positions * float((dissimilarities * distances).sum() / (distances**2).sum())
