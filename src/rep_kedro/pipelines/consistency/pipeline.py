"""Wiring of the consistency pipeline, a part of similarity."""

from kedro.pipeline import Pipeline

from rep_kedro.analyses.consistency import anchors, consistency, measure_agreement
from rep_kedro.datasets import RecipeNode


def create_pipeline(**_: object) -> Pipeline:
    """Similarities -> consistency over stimulus sets, by kind of network, anchor and measure."""
    return Pipeline(
        [
            RecipeNode(
                consistency.compute_consistency,
                inputs=["similarities", "model_cards", "params:consistency"],
                outputs="consistency",
                name="consistency",
                tags=["cpu"],
            ),
            RecipeNode(
                consistency.summarise_consistency,
                inputs=["similarities", "model_cards", "params:consistency"],
                outputs="consistency_summary",
                name="consistency_summary",
                tags=["cpu"],
            ),
            RecipeNode(
                anchors.compare_anchors,
                inputs=["similarities", "model_cards", "params:consistency"],
                outputs="anchor_comparisons",
                name="anchor_comparisons",
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
