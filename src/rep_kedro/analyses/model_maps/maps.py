"""Maps and clusters of networks on each stimulus set, and on average."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.model_maps.dissimilarity import Closeness, average_matrices, measure_closeness
from rep_kedro.analyses.model_maps.params import ModelMapsParams
from rep_kedro.analyses.model_maps.placing import (
    MIN_TSNE,
    Grouped,
    Placed,
    group_networks,
    limit_perplexity,
    place_by_mds,
    place_by_tsne,
)
from rep_kedro.datasets import MemberKey
from rep_kedro.errors import UserError
from rep_kedro.measures import Measure, get_measure
from rep_kedro.schemas.model_maps import MODEL_CLUSTERS, MODEL_POSITIONS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import LabelledMatrix, MatrixHandle
else:
    DataFrame = LabelledMatrix = MatrixHandle = Any  # so that Kedro can read the hints

MEAN = "mean"
_log = logging.getLogger(__name__)
ALONE = "alone in its cluster"


def compute_model_maps(
    similarity_matrices: Mapping[str, MatrixHandle], params: ModelMapsParams
) -> tuple[DataFrame, DataFrame]:
    """Place networks on planes and group them, on each stimulus set and by the mean over stimulus sets.

    Networks with undefined similarities are left out; their rows give the reason.

    Args:
        similarity_matrices: Handles by ``<stimulus set>/<measure>``.
        params: Which measures, and how. A measure without matrices is left out, and the log reports it.

    Returns:
        Positions and clusters, columns as in docs/tables.md. ``mean`` is the mean
        over stimulus sets. Maps of one method are turned and mirrored to fit that of the mean, which is
        along its principal axes; multidimensional scaling is in units of dissimilarity.

    Raises:
        ValueError: If a stimulus set is named like the mean.
    """
    positions: list[dict[str, Any]] = []
    clusters: list[dict[str, Any]] = []
    numbers_of_networks: set[int] = set()
    for measure_id, matrices in _select_matrices(similarity_matrices, params.measures).items():
        measure = get_measure(measure_id)
        closeness = {
            stimulus_set: measure_closeness(matrix, measure)
            for stimulus_set, matrix in {MEAN: average_matrices(matrices), **matrices}.items()
        }
        for stimulus_set, found in closeness.items():
            about = {"stimulus_set": stimulus_set, "measure": measure_id}
            clusters += [{**about, **row} for row in _cluster_rows(found, measure, params)]
        numbers_of_networks |= {len(found.models) for found in closeness.values()}
        for method in params.methods:
            positions += [{"measure": measure_id, **row} for row in _position_rows(closeness, method, params)]
    _tell_perplexity(numbers_of_networks, params)
    return MODEL_POSITIONS.frame(positions), MODEL_CLUSTERS.frame(clusters)


def _select_matrices(
    handles: Mapping[str, MatrixHandle], wanted: Sequence[str] | None
) -> dict[str, dict[str, LabelledMatrix]]:
    """Read the matrices of the wanted measures, by measure and stimulus set."""
    by_measure: dict[str, dict[str, MatrixHandle]] = {}
    for key in sorted(handles):
        stimulus_set, measure_id = MemberKey.parse(key)
        if stimulus_set == MEAN:
            raise UserError(f"stimulus set name {MEAN!r} is reserved for the mean over sets; rename the set")
        by_measure.setdefault(measure_id, {})[stimulus_set] = handles[key]
    chosen = sorted(by_measure) if wanted is None else wanted
    for name in chosen:
        if name not in by_measure:
            _log.warning(
                "no maps of %s: similarity.measures has %s; set model_maps.measures",
                name,
                ", ".join(by_measure),
            )
    return {
        name: {key: handle.matrix() for key, handle in by_measure[name].items()}
        for name in chosen
        if name in by_measure
    }


def _position_rows(
    closeness: Mapping[str, Closeness], method: str, params: ModelMapsParams
) -> Iterator[dict[str, Any]]:
    """Give the rows of one method, each map turned to fit the first that there is."""
    reference: dict[str, Any] = {}
    for stimulus_set, found in closeness.items():
        if method == "tsne":
            placed = place_by_tsne(found.dissimilarities, params.tsne)
        else:
            placed = place_by_mds(found.dissimilarities, params.mds)
        about = {"stimulus_set": stimulus_set, "method": method}
        positions: dict[str, Any] = {}
        if placed.positions is not None:
            positions = _turn(dict(zip(found.models, placed.positions, strict=True)), reference)
            reference = reference or positions
        for model in sorted({*found.models, *found.left_out}):
            yield {**about, "model": model, **_place(model, positions, placed, found)}


def _tell_perplexity(numbers_of_networks: set[int], params: ModelMapsParams) -> None:
    """Say in one line where t-SNE takes another perplexity than was requested."""
    wanted = params.tsne.perplexity
    taken = {n: limit_perplexity(n, params.tsne) for n in sorted(numbers_of_networks) if n >= MIN_TSNE}
    fewer = [f"{value:.3g} for {n} networks" for n, value in taken.items() if value < wanted]
    if fewer and "tsne" in params.methods:
        _log.info("t-SNE uses perplexity %s, not %g: at most a third of the others", ", ".join(fewer), wanted)


def _place(model: str, positions: Mapping[str, Any], placed: Placed, found: Closeness) -> dict[str, Any]:
    if model not in positions:
        return {"reason": found.left_out.get(model, placed.reason)}
    x, y = positions[model].tolist()
    return {"x": x, "y": y, "stress": placed.stress, "divergence": placed.divergence, "reason": ""}


def _turn(positions: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a map by the networks that it shares with the reference."""
    import numpy as np

    from rep_kedro.kernels.statistics.scaling import find_turn

    shared = sorted(positions.keys() & reference.keys())
    if len(shared) < 2:
        return dict(positions)
    own, target = (np.stack([points[model] for model in shared]) for points in (positions, reference))
    turn = find_turn(own - own.mean(0), target - target.mean(0))
    return {model: position @ turn for model, position in positions.items()}


def _cluster_rows(found: Closeness, measure: Measure, params: ModelMapsParams) -> Iterator[dict[str, Any]]:
    finds_number = params.clusters.method == "affinity_propagation"
    for n_clusters in (None,) if finds_number else params.clusters.n_clusters:
        grouped = group_networks(found, measure, n_clusters, params.clusters)
        for model in sorted({*found.models, *found.left_out}):
            yield {"n_clusters": grouped.n_clusters, "model": model, **_group(model, grouped, found)}


def _group(model: str, grouped: Grouped, found: Closeness) -> dict[str, Any]:
    import numpy as np

    if grouped.labels is None or grouped.silhouettes is None or model in found.left_out:
        return {"cluster": None, "reason": found.left_out.get(model, grouped.reason)}
    index = found.models.index(model)
    cluster, silhouette = int(grouped.labels[index]), float(grouped.silhouettes[index])
    reason = ""
    if np.isnan(silhouette):
        is_alone = int((grouped.labels == cluster).sum()) == 1
        reason = ALONE if is_alone else "clusters do not differ" if grouped.n_clusters > 1 else "one cluster"
    return {"cluster": cluster, "silhouette": silhouette, "reason": reason}
