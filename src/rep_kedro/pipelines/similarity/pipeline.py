"""Wiring of the similarity pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.analyses.consistency import anchors, consistency, measure_agreement
from rep_kedro.analyses.inference import ceilings, inference, sample_sizes
from rep_kedro.analyses.model_maps import maps
from rep_kedro.analyses.similarity import matrices as nodes
from rep_kedro.datasets import RecipeNode


def create_pipeline(**_: object) -> Pipeline:
    """Features -> similarity matrices, tables, consistency; nulls, sample sizes and noise ceilings beside."""
    return Pipeline([*_compare(), *_infer()])


def _compare() -> list[Node]:
    return [
        Node(
            nodes.plan_similarity_matrices,
            inputs=["features", "params:similarity", "stimulus_subsets"],
            outputs="similarity_matrices",
            name="similarity_matrices",
            tags=["gpu"],
        ),
        RecipeNode(
            nodes.tabulate_similarities,
            inputs=["similarity_matrices", "model_cards"],
            outputs="similarities",
            name="similarities",
            tags=["cpu"],
        ),
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
            inputs=["similarities", "consistency", "params:consistency"],
            outputs="measure_agreement",
            name="measure_agreement",
            tags=["cpu"],
        ),
    ]


def _infer() -> list[Node]:
    return [
        Node(
            inference.plan_similarity_nulls,
            inputs=["features", "params:similarity", "params:similarity_inference", "stimulus_subsets"],
            outputs="similarity_nulls",
            name="similarity_nulls",
            tags=["gpu"],
        ),
        RecipeNode(
            inference.tabulate_similarity_inference,
            inputs=["similarity_nulls", "params:similarity_inference"],
            outputs="similarity_inference",
            name="similarity_inference",
            tags=["cpu"],
        ),
        Node(
            sample_sizes.plan_sample_size_curves,
            inputs=["features", "params:similarity", "params:sample_sizes", "stimulus_subsets"],
            outputs="sample_size_curves",
            name="sample_size_curves",
            tags=["gpu"],
        ),
        RecipeNode(
            sample_sizes.tabulate_sample_sizes,
            inputs="sample_size_curves",
            outputs="sample_sizes",
            name="sample_sizes",
            tags=["cpu"],
        ),
        RecipeNode(
            ceilings.compute_noise_ceilings,
            inputs=["similarity_matrices", "model_cards"],
            outputs="noise_ceilings",
            name="noise_ceilings",
            tags=["cpu"],
        ),
        RecipeNode(
            maps.compute_model_maps,
            inputs=["similarity_matrices", "params:model_maps"],
            outputs=["model_positions", "model_clusters"],
            name="model_maps",
            tags=["cpu"],
        ),
    ]
