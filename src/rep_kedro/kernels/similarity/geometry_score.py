"""Relative living times: for how long the stimuli of a model, seen from landmarks, have so many loops.

Between landmarks, some stimuli drawn at random, a complex of edges and triangles grows in the order in which
the stimuli see landmarks close to each other. While it grows, loops appear and triangles fill them.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rep_kedro.kernels.similarity.centred import CentredFeatures, centre
from rep_kedro.kernels.similarity.persistence import find_loops
from rep_kedro.kernels.similarity.squared_distances import squared_distance_tile
from rep_kedro.kernels.similarity.witness_complex import witness_complex

N_LANDMARKS = 64
N_COUNTS = 100  # loops are counted from none to one less
LARGEST = 1 / 128  # of the largest distance from a landmark: the complex stops growing there
N_DRAWS = 20
FEWEST_STIMULI = 8  # four landmarks, which can form a loop
SEED = 0


def describe_living_times(representation: Tensor, memory_bytes: int) -> Tensor | str:
    """Return for which share of its growth the complex has 0, 1, ..., 99 loops, on average over draws.

    In each of 20 draws 64 stimuli, or half of them if there are fewer than 128, are the landmarks, the same
    for all models. The complex grows to 1/128 of the largest distance from a landmark; time with 100 loops
    or more is not counted, so that the shares may have a sum below one. One outlying stimulus makes that
    distance large, and all loops short. Landmarks are few: with 1,000 stimuli, scores of two samples of about
    the same shape are about 0.005, and those of other landmarks differ by as much.

    Args:
        representation: Shape (n_stimuli, n_features), finite, at least eight stimuli.
        memory_bytes: Not used: the largest block is distances to the landmarks, 512 bytes for each stimulus.

    Returns:
        Mean relative living times, shape (100,), float64, in [0, 1]; or why there are none.

    Raises:
        ValueError: If there are fewer than eight stimuli.

    Cost:
        For each draw O(n_stimuli * n_features * 64), and at most O(n_stimuli * 64^3) where all landmarks are
        within 1/128 of the largest distance, as an outlying stimulus makes them. One core takes 1.2 s for
        5,000 stimuli with 512 features, and with an outlying stimulus 3 s for 2,000.

    Source:
        Khrulkov & Oseledets 2018, arXiv:1802.02664, algorithm 1. As in the released code the largest distance
        is that between a landmark and any stimulus, and distances are not squared. Its 1/128 grows with the
        number of stimuli, and is this for 5,000; with fewer the value would soon depend on the rounding of
        float32. It draws with replacement, and 1,000 times, for single data sets.
    """
    n_stimuli = len(representation)
    if n_stimuli < FEWEST_STIMULI:
        raise ValueError(f"living times need at least {FEWEST_STIMULI} stimuli, got {n_stimuli}")
    model = centre(representation, dtype=torch.float64)
    if model.flaw:
        return model.flaw
    generator = torch.Generator().manual_seed(SEED)
    times = torch.zeros(N_COUNTS, dtype=torch.float64)
    for _ in range(N_DRAWS):
        landmarks = torch.randperm(n_stimuli, generator=generator)[: min(N_LANDMARKS, n_stimuli // 2)]
        times += torch.from_numpy(_living_times(_distances(model, landmarks)))
    if times.sum() == 0:
        return f"between its landmarks there are always {N_COUNTS} loops or more, which are not counted"
    return (times / N_DRAWS).to(representation.device)


def _distances(model: CentredFeatures, landmarks: Tensor) -> Tensor:
    """Return distances from all stimuli to landmarks, (n_stimuli, n_landmarks)."""
    places = landmarks.to(model.features.device)
    out = model.features.new_empty(len(model.features), len(places))
    squared = squared_distance_tile(model, slice(None), places, out)
    squared[places, torch.arange(len(places), device=places.device)] = 0
    return squared.sqrt_()


def _living_times(distances: Tensor) -> npt.NDArray[np.float64]:
    """Return the share of the growth during which there are 0, 1, ..., 99 loops."""
    largest = LARGEST * float(distances.max())
    faces = [part.cpu().numpy() for face in witness_complex(distances, largest) for part in face]
    births, deaths = find_loops(*faces)
    return share_by_count(births / largest, deaths / largest)


def share_by_count(
    births: npt.NDArray[np.float64], deaths: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the share of [0, 1] during which 0, 1, ..., 99 of some intervals are open, shape (100,).

    Example:
        >>> share_by_count(np.array([0.0, 0.25]), np.array([0.5, np.inf]))[:3].tolist()
        [0.0, 0.75, 0.25]
    """
    times = np.concatenate([[0.0], births, deaths.clip(max=1.0), [1.0]])
    changes = np.concatenate([[0], np.ones(len(births), int), -np.ones(len(deaths), int), [0]])
    order = np.argsort(times, kind="stable")
    counts = np.cumsum(changes[order])[:-1]
    lengths = np.diff(times[order])
    alive = (lengths > 0) & (counts < N_COUNTS)
    shares: npt.NDArray[np.float64] = np.zeros(N_COUNTS)
    np.add.at(shares, counts[alive], lengths[alive])
    return shares
