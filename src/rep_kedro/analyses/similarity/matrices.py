"""Plans of the similarity matrices, and the table made from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.similarity.given import NO_RDMS, GivenRdm, choose_rdms, select_rdms
from rep_kedro.analyses.similarity.outputs import plan_output_similarities
from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.analyses.similarity.selection import (
    NO_SUBSETS,
    Selection,
    choose_device,
    leave_out_sets,
    select_features,
)
from rep_kedro.datasets import Batch, MemberKey, Plan, Planned, code_revision
from rep_kedro.errors import UserError
from rep_kedro.measures import Measure, get_measure
from rep_kedro.schemas.similarity import SIMILARITIES, TRAITS

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import ArrowHandle, LabelledMatrix, MatrixHandle, TensorsHandle
else:
    ArrowHandle = DataFrame = LabelledMatrix = MatrixHandle = TensorsHandle = (
        Any  # so that Kedro can read the hints
    )


def plan_similarity_matrices(
    features: Mapping[str, TensorsHandle],
    params: SimilarityParams,
    stimulus_subsets: Mapping[str, ArrowHandle] = NO_SUBSETS,
    dissimilarities: Mapping[str, TensorsHandle] = NO_RDMS,
) -> Plan:
    """Plan one similarity matrix for each stimulus set and measure.

    The measures of one stimulus set share a batch: what they have in common is computed once.

    Args:
        features: Handles by ``<stimulus set>/<model>``; nothing is read while planning.
        params: Which networks, stimulus sets, stimuli and measures to compare, transformed how.
        stimulus_subsets: Handles by ``<stimulus set>/<subset>``; ids are read where a subset is named.
        dissimilarities: Matrices made elsewhere, by ``<stimulus set>/<entry>``; compared by RSA alone.

    Returns:
        Plan by ``<stimulus set>/<measure>``. A matrix has shape (n_models, n_models); both axes carry the
        network names in alphabetical order. Networks without features are left out, and the plan lists them.

    Raises:
        ValueError: If a chosen stimulus set, network or layer has no features, two networks saw other stimuli
            or saw them in another order, or a subset has stimuli that they did not see.
    """
    measures = [m for m in map(get_measure, params.measures) if m.compares == "features"]
    wanted, params = choose_rdms(dissimilarities, params)
    plan = plan_output_similarities(features, params, stimulus_subsets)
    leave_out_sets(plan, params.measures, features, params, stimulus_subsets)
    if not measures:
        return plan
    for selection in select_features(features, params, stimulus_subsets):
        layers = selection.layers(params.layer)
        rdms = select_rdms(wanted, selection, params, stimulus_subsets)
        _require_no_choice_of_stimuli(rdms, params)
        batch = _comparison_batch(selection, layers, rdms, params)
        members = {}
        for measure in measures:
            recipe = {
                "measure": measure.recipe(),
                "features": selection.references,
                "layers": layers,
                **({"dissimilarities": [rdm.reference for rdm in rdms.values()]} if rdms else {}),
                "code": code_revision(measure.module, "rep_kedro.analyses.similarity.comparison"),
            }
            if params.flat_stimuli != "keep":
                recipe["flat_stimuli"] = params.flat_stimuli
            members[measure.id] = Planned(recipe, batch)
        selection.enter(plan, members)
    return plan


def _require_no_choice_of_stimuli(rdms: Mapping[str, GivenRdm], params: SimilarityParams) -> None:
    if rdms and params.flat_stimuli == "leave_out":
        name = next(iter(rdms))
        raise UserError(
            f"similarity.flat_stimuli leaves out stimuli of each pair, which {name}, a matrix of "
            f"dissimilarities, does not allow; set it to keep, or leave {name} out of similarity.models"
        )


def tabulate_similarities(
    similarity_matrices: Mapping[str, MatrixHandle], model_cards: DataFrame
) -> DataFrame:
    """List every unordered pair of different networks once per stimulus set and measure.

    A directed measure gives two rows per pair, one for each direction.

    Args:
        similarity_matrices: Handles by ``<stimulus set>/<measure>``.
        model_cards: One row per network.

    Returns:
        Columns as in docs/tables.md; NaN similarities keep their reason. No rows where there
        is only one network.

    Raises:
        ValueError: If a network has no card.
    """
    cards = model_cards.set_index("model")
    rows: list[dict[str, Any]] = []
    for key, handle in sorted(similarity_matrices.items()):
        stimulus_set, measure_id = MemberKey.parse(key)
        matrix = handle.matrix()
        missing = sorted(set(matrix.labels) - set(cards.index))
        if missing:
            raise UserError(f"networks without a model card: {', '.join(missing)}; run the features pipeline")
        rows += _rows_of(matrix, stimulus_set, get_measure(measure_id), cards)
    return SIMILARITIES.frame(rows)


def _rows_of(
    matrix: LabelledMatrix, stimulus_set: str, measure: Measure, cards: DataFrame
) -> Iterator[dict[str, Any]]:
    facts = {model: {name: str(cards.at[model, name]) for name in TRAITS} for model in matrix.labels}
    for i, model_a in enumerate(matrix.labels):
        for j, model_b in enumerate(matrix.labels):
            if i == j or (measure.symmetric and j < i):
                continue
            row: dict[str, Any] = {
                "stimulus_set": stimulus_set,
                "measure": measure.id,
                "model_a": model_a,
                "model_b": model_b,
                "similarity": float(matrix.values[i, j]),
                "reason": matrix.reasons.get((model_a, model_b), ""),
            }
            for name in TRAITS:
                row[f"{name}_a"], row[f"{name}_b"] = facts[model_a][name], facts[model_b][name]
            yield row


def _comparison_batch(
    selection: Selection, layers: Mapping[str, str], rdms: Mapping[str, GivenRdm], params: SimilarityParams
) -> Batch:
    def compute(keys: Sequence[str]) -> Iterator[tuple[str, object]]:
        from rep_kedro.analyses.similarity.comparison import compare_networks

        found = compare_networks(
            selection.load(layers),
            [get_measure(MemberKey.parse(key).name) for key in keys],
            memory_bytes=params.memory_bytes,
            device=choose_device(params.device),
            rdms={name: rdm.load() for name, rdm in rdms.items()},
            leave_out_flat=params.flat_stimuli == "leave_out",
        )
        for measure_id, matrix in found:
            yield str(MemberKey(selection.stimulus_set, measure_id)), matrix

    return Batch(compute)
