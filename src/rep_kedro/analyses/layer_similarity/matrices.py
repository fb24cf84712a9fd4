"""Plans of the matrices over layers, and the table made from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.layer_similarity.layers import (
    LayerOf,
    choose_layers,
    describe_layers,
    load_layers,
    read_layers,
    select_networks,
)
from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams
from rep_kedro.analyses.similarity.selection import (
    NO_SUBSETS,
    Selection,
    choose_device,
    leave_out_sets,
)
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision
from rep_kedro.measures import get_measure
from rep_kedro.schemas.layer_similarity import LAYER_SIMILARITIES

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, MatrixHandle, TensorsHandle
else:
    ArrowHandle = DataFrame = MatrixHandle = TensorsHandle = Any  # so that Kedro can read the hints


def plan_layer_similarity_matrices(
    features: Mapping[str, TensorsHandle],
    params: LayerSimilarityParams,
    stimulus_subsets: Mapping[str, ArrowHandle] = NO_SUBSETS,
) -> Plan:
    """Plan one matrix over all chosen layers for each stimulus set and measure.

    The measures of one stimulus set share a batch: what they have in common is computed once.

    Args:
        features: Handles by ``<stimulus set>/<model>``; nothing is read while planning.
        params: Which networks, layers, stimulus sets, stimuli and measures.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; ids are read where a subset is named.

    Returns:
        Plan by ``<stimulus set>/<measure>``. Networks are in alphabetical order, the layers of each from the
        input to the output. Networks without features are left out, and the plan lists them.

    Raises:
        ValueError: If a chosen stimulus set, network or layer has no features, two networks saw other stimuli
            or saw them in another order, or a subset has stimuli that they did not see.
    """
    plan = Plan()
    if params.models == []:
        return plan
    leave_out_sets(plan, params.measures, features, params, stimulus_subsets)
    for selection in select_networks(features, params, stimulus_subsets):
        layers = choose_layers(selection, params)
        batch = _comparison_batch(selection, layers, params)
        members = {}
        for measure in map(get_measure, params.measures):
            recipe = {
                "measure": measure.recipe(),
                "features": selection.references,
                **describe_layers(layers),
                "compare": params.compare,
                "code": code_revision(measure.module, "rep_kedro.analyses.layer_similarity.comparison"),
            }
            members[measure.id] = Planned(recipe, batch)
        selection.enter(plan, members)
    return plan


def _comparison_batch(
    selection: Selection, layers: Sequence[LayerOf], params: LayerSimilarityParams
) -> Batch:
    def compute(keys: Sequence[str]) -> Iterator[tuple[str, object]]:
        from rep_kedro.analyses.layer_similarity.comparison import compare_layers

        found = compare_layers(
            load_layers(selection, layers),
            layers,
            [get_measure(MemberKey.parse(key).name) for key in keys],
            compare=params.compare,
            memory_bytes=params.memory_bytes,
            device=choose_device(params.device),
        )
        for measure_id, matrix in found:
            yield str(MemberKey(selection.stimulus_set, measure_id)), matrix

    return Batch(compute)


def tabulate_layer_similarities(layer_similarity_matrices: Mapping[str, MatrixHandle]) -> DataFrame:
    """List every unordered pair of different layers that was compared, per stimulus set and measure.

    A directed measure gives two rows per pair, one for each direction.

    Args:
        layer_similarity_matrices: Handles by ``<stimulus set>/<measure>``.

    Returns:
        Columns as in docs/tables.md; undefined similarities keep their reason.
    """
    rows: list[dict[str, Any]] = []
    for key, handle in sorted(layer_similarity_matrices.items()):
        rows += _rows_of(MemberKey.parse(key), handle)
    return LAYER_SIMILARITIES.frame(rows)


def _rows_of(key: MemberKey, handle: MatrixHandle) -> Iterator[dict[str, Any]]:
    matrix, layers = handle.matrix(), read_layers(handle.meta)
    is_symmetric, compare = get_measure(key.name).symmetric, handle.meta["compare"]
    for i, a in enumerate(layers):
        for j, b in enumerate(layers):
            is_asked = compare == "both" or (a.model == b.model) == (compare == "within")
            if i == j or (is_symmetric and j < i) or not is_asked:
                continue
            yield {
                "stimulus_set": key.stimulus_set,
                "measure": key.name,
                "model_a": a.model,
                "layer_a": a.layer,
                "depth_a": a.depth,
                "model_b": b.model,
                "layer_b": b.layer,
                "depth_b": b.depth,
                "similarity": float(matrix.values[i, j]),
                "reason": matrix.reasons.get((a.label, b.label), ""),
            }
