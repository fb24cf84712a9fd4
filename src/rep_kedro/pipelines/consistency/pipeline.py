"""Wiring of the consistency pipeline, a part of similarity."""

from kedro.pipeline import Pipeline

from rep_kedro.analyses.consistency import measure_agreement, tables
from rep_kedro.datasets import RecipeNode


def create_pipeline(**_: object) -> Pipeline:
    """Similarities -> consistency over stimulus sets, by kind of network, anchor and measure."""
    return Pipeline(
        [
            RecipeNode(
                tables.tabulate_consistency,
                inputs=["similarities", "model_cards", "params:consistency"],
                outputs=["consistency", "consistency_summary", "anchor_comparisons"],
                name="consistency",
                tags=["cpu"],
            ),
            RecipeNode(
                measure_agreement.compare_measures,
                inputs=["similarities", "consistency", "model_cards", "params:consistency"],
                outputs="measure_agreement",
                name="measure_agreement",
                tags=["cpu"],
            ),
        ]
    )
