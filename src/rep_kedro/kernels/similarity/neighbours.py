"""All pairs of models under all nearest-neighbour measures: neighbours once per model, then their lists."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.nearest import (
    Distance,
    Neighbours,
    Points,
    find_neighbours,
    prepare_points,
)
from rep_kedro.kernels.similarity.neighbour_alignment import compare_cknna, compare_cknna_reference
from rep_kedro.kernels.similarity.neighbour_lists import (
    Places,
    compare_cycles,
    iterate_places,
    sum_jaccard,
    sum_joint_rank_jaccard,
    sum_mutual_share,
    sum_rank_similarity,
)
from rep_kedro.kernels.similarity.neighbour_rows import (
    compare_information_imbalance,
    compare_second_order_cosine,
)
from rep_kedro.kernels.undefined import Reasons, pair_reasons

LIST_STATISTICS: dict[str, Callable[[Places, int], Tensor]] = {
    "mutual_knn": sum_mutual_share,
    "jaccard": sum_jaccard,
    "rank_similarity": sum_rank_similarity,
    "joint_rank_jaccard": sum_joint_rank_jaccard,
}
COSINE_ONLY = ("cknna", "cknna_reference", "second_order_cosine", "second_order_cosine_distances")
STATISTICS = (*LIST_STATISTICS, "cycle_knn", *COSINE_ONLY, "information_imbalance")


@dataclass(frozen=True)
class Request:
    """One measure: which statistic, of how many neighbours, by which distance."""

    name: str
    statistic: str
    distance: Distance
    n_neighbours: int = 1


def compare_neighbours(
    representations: Sequence[Tensor],
    requests: Mapping[str, Mapping[str, Any]],
    *,
    memory_bytes: int,
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Compare all models by which stimuli are near each other.

    ``mutual_knn`` is the mean share of neighbours in common (n_neighbours / (n_stimuli - 1) by chance);
    ``jaccard`` divides by all neighbours of either model; ``rank_similarity`` weighs common neighbours by how
    early and how close they are in the lists, 0 for a stimulus without any; ``joint_rank_jaccard`` multiplies
    the two for each stimulus; ``cycle_knn`` is the share of stimuli that are on a path to a neighbour in b
    and on to a neighbour of that in a; the others are in the
    modules that compute them.

    Args:
        representations: One matrix for each model, shape (n_stimuli, n_features_i), finite, row s for the
            same stimulus in all; float32 or float64, all on one device.
        requests: By a name of the caller's, what to compute: ``statistic``, one of ``STATISTICS``;
            ``distance``, cosine (of the features as they are) or euclidean; and, but for information
            imbalance, ``n_neighbours``. Neighbours are found once for each distance, as many as any request
            needs.
        memory_bytes: Bound for blocks of work, one stimulus at least. On top come one float64 copy of the
            features and 16 bytes for each neighbour of each stimulus.

    Yields:
        Name, values of shape (n_models, n_models), float64, NaN where undefined, and the reason of each NaN.
        Entry (a, b) of a directed measure goes from a to b.

    Raises:
        ValueError: If there are fewer stimuli than neighbours.

    Cost:
        Time O(n_models * n_stimuli^2 * n_features) for the neighbours and
        O(n_models^2 * n_stimuli * n_neighbours) for the lists.

    Source:
        Huh et al. 2024, arXiv:2405.07987 (mutual and cycle kNN); Jaccard, rank similarity and their product
        of Wang et al. 2020, as in Klabunde et al. 2025, doi:10.1145/3728458, section 3.4.
    """
    by_distance: dict[Distance, list[Request]] = defaultdict(list)
    for name, parameters in requests.items():
        request = Request(name, **parameters)
        by_distance[request.distance].append(request)
    for distance, asked in by_distance.items():
        prepared = [prepare_points(x, distance) for x in representations]
        refused = {model: why for model, why in enumerate(prepared) if isinstance(why, str)}
        kept = [model for model in range(len(prepared)) if model not in refused]
        points = [x for x in prepared if isinstance(x, Points)]
        n_neighbours = max(request.n_neighbours for request in asked)
        neighbours = [find_neighbours(x, n_neighbours, memory_bytes=memory_bytes) for x in points]
        for name, values, reasons in _compare_lists(points, neighbours, asked, memory_bytes):
            yield name, *_spread(values, reasons, kept, refused)


def _compare_lists(
    points: Sequence[Points], neighbours: Sequence[Neighbours], requests: Sequence[Request], memory_bytes: int
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Answer all requests on models that have neighbours."""
    if not points:
        for request in requests:
            yield request.name, torch.empty(0, 0, dtype=torch.float64), {}
        return
    of_lists = [request for request in requests if request.statistic in LIST_STATISTICS]
    yield from _compare_places(neighbours, of_lists, memory_bytes)
    for request in requests:
        k = request.n_neighbours
        match request.statistic:
            case "cycle_knn":
                yield request.name, compare_cycles(neighbours, k, memory_bytes=memory_bytes), {}
            case "cknna":
                yield request.name, *compare_cknna(neighbours, k, memory_bytes=memory_bytes)
            case "cknna_reference":
                yield request.name, *compare_cknna_reference(neighbours, k, memory_bytes=memory_bytes)
            case "second_order_cosine" | "second_order_cosine_distances":
                yield (
                    request.name,
                    *compare_second_order_cosine(
                        points,
                        neighbours,
                        k,
                        of_distances=request.statistic == "second_order_cosine_distances",
                        memory_bytes=memory_bytes,
                    ),
                )
            case "information_imbalance":
                values = compare_information_imbalance(points, neighbours, memory_bytes=memory_bytes)
                yield request.name, values, {}


def _compare_places(
    neighbours: Sequence[Neighbours], requests: Sequence[Request], memory_bytes: int
) -> Iterator[tuple[str, Tensor, Reasons]]:
    """Answer all requests that look at places in lists alone, in one pass."""
    if not requests:
        return
    n_models, n_stimuli = len(neighbours), len(neighbours[0].indices)
    empty = neighbours[0].similarities.new_zeros(n_models, n_models)
    sums = {request.name: empty.clone() for request in requests}
    for places in iterate_places(neighbours, memory_bytes=memory_bytes):
        for request in requests:
            summed = LIST_STATISTICS[request.statistic](places, request.n_neighbours)
            sums[request.name][places.model, places.model :] += summed
    for name, upper in sums.items():
        yield name, (upper + upper.triu(1).T) / n_stimuli, {}


def _spread(
    values: Tensor, reasons: Reasons, kept: Sequence[int], refused: Mapping[int, str]
) -> tuple[Tensor, Reasons]:
    """Put values of the models kept among all models, and say why the others have none."""
    n_models = len(kept) + len(refused)
    matrix = values.new_full((n_models, n_models), torch.nan)
    index = torch.tensor(kept, dtype=torch.int64, device=values.device)
    matrix[index[:, None], index] = values
    spread = {
        (kept[a], kept[b]): tuple(replace(r, model=None if r.model is None else kept[r.model]) for r in own)
        for (a, b), own in reasons.items()
    }
    return matrix, spread | pair_reasons(refused, n_models)
