"""Wiring of the similarity pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.pipelines.similarity import consistency, nodes


def create_pipeline(**_: object) -> Pipeline:
    """Features -> similarity matrices -> tidy table -> consistency across stimulus sets and its summary."""
    return Pipeline(
        [
            Node(
                nodes.plan_similarity_matrices,
                inputs=["features", "params:similarity"],
                outputs="similarity_matrices",
                name="similarity_matrices",
                tags=["gpu"],
            ),
            Node(
                nodes.tabulate_similarities,
                inputs=["similarity_matrices", "model_cards"],
                outputs="similarities",
                name="similarities",
                tags=["cpu"],
            ),
            Node(
                consistency.compute_consistency,
                inputs=["similarities", "model_cards", "params:consistency"],
                outputs="consistency",
                name="consistency",
                tags=["cpu"],
            ),
            Node(
                consistency.summarise_consistency,
                inputs=["similarities", "model_cards", "params:consistency"],
                outputs="consistency_summary",
                name="consistency_summary",
                tags=["cpu"],
            ),
        ]
    )
