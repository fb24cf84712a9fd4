"""The tables of layers: one node makes them from matrices and best matches."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.layer_similarity.matches import tabulate_matches
from rep_kedro.analyses.layer_similarity.matrices import tabulate_layer_similarities
from rep_kedro.analyses.layer_similarity.params import LayerSimilarityParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import MatrixHandle, TensorsHandle
else:
    DataFrame = MatrixHandle = TensorsHandle = Any  # Kedro reads the hints


def tabulate_layers(
    layer_similarity_matrices: Mapping[str, MatrixHandle],
    layer_matches: Mapping[str, TensorsHandle],
    params: LayerSimilarityParams,
) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Return tables `layer_similarities`, `best_layer_match` and `shared_representations`."""
    return (
        tabulate_layer_similarities(layer_similarity_matrices),
        *tabulate_matches(layer_matches, params),
    )
