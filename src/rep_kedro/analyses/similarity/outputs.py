"""Similarity of the outputs of classifiers, for the networks that have any.

Outputs are compared as they are, never transformed: centred logits would pick other classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.analyses.similarity.selection import Selection, choose_device, select_features
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision
from rep_kedro.errors import UserError, suggest
from rep_kedro.measures import get_measure

if TYPE_CHECKING:
    from torch import Tensor

    from rep_kedro.datasets import ArrowHandle, LabelledMatrix, TensorsHandle
else:
    ArrowHandle = LabelledMatrix = Tensor = TensorsHandle = Any  # so that Kedro can read the hints


def plan_output_similarities(
    features: Mapping[str, TensorsHandle],
    params: SimilarityParams,
    stimulus_subsets: Mapping[str, ArrowHandle],
) -> Plan:
    """Plan one matrix for each stimulus set and chosen measure of outputs.

    Args:
        features: Handles by ``<stimulus set>/<model>``; nothing is read while planning.
        params: Which networks, stimulus sets, stimuli and measures; ``outputs_layer`` names the logits.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; ids are read where a subset is named.

    Returns:
        Plan by ``<stimulus set>/<measure>``; empty without measures of outputs. A matrix has all chosen
        networks: NaN, with the reason, for those without outputs and for pairs with other numbers of classes.

    Raises:
        ValueError: If no network of a stimulus set has the layer, or as for the other measures.
    """
    measures = [m for m in map(get_measure, params.measures) if m.compares == "outputs"]
    layer = params.outputs_layer
    plan = Plan()
    if not measures or layer is None:
        return plan
    for selection in select_features(features, params.model_copy(update={"transform": ()}), stimulus_subsets):
        having = _choose_with_outputs(selection, layer)
        batch = _output_batch(selection, having, layer, params)
        members = {}
        for measure in measures:
            recipe = {
                "measure": measure.recipe(),
                "features": selection.references,
                "layers": dict.fromkeys(having, layer),
                "code": code_revision(measure.module, "rep_kedro.analyses.similarity.output_comparison"),
            }
            members[measure.id] = Planned(recipe, batch)
        selection.enter(plan, members)
    return plan


def _choose_with_outputs(selection: Selection, layer: str) -> list[str]:
    having = [model for model, source in selection.sources.items() if layer in source.meta["layers"]]
    if having:
        return having
    known = {str(name) for source in selection.sources.values() for name in source.meta["layers"]}
    raise UserError(
        f"no network with features of {selection.stimulus_set} has a layer {layer!r} for "
        f"similarity.outputs_layer (features.models names the layers to read); {suggest(layer, known)}"
    )


def _output_batch(selection: Selection, having: Sequence[str], layer: str, params: SimilarityParams) -> Batch:
    def compute(keys: Sequence[str]) -> Iterator[tuple[str, object]]:
        from rep_kedro.analyses.similarity.output_comparison import compare_outputs

        sources = {model: selection.sources[model] for model in having}
        outputs = Selection(selection.stimulus_set, sources).load(dict.fromkeys(having, layer))
        measures = [get_measure(MemberKey.parse(key).name) for key in keys]
        found = compare_outputs(
            outputs, tuple(selection.sources), layer, measures,
            memory_bytes=params.memory_bytes, device=choose_device(params.device),
        )  # fmt: skip
        for measure_id, matrix in found:
            yield str(MemberKey(selection.stimulus_set, measure_id)), matrix

    return Batch(compute)
