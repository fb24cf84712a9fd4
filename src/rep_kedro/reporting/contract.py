"""The columns of the tables that the report reads; a table may have more."""

from collections.abc import Mapping

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "stimulus_cards": ("stimulus_set", "title", "group"),
    "model_cards": (
        *("model", "source", "architecture", "objective", "seed", "trained_on", "n_parameters"),
        *("n_flops", "n_layers", "feature_width", "test_accuracy"),
    ),
    "training_history": ("model", "architecture", "objective", "seed", "epoch", "metric", "value"),
    "similarities": (
        *(
            "stimulus_set",
            "measure",
            "model_a",
            "model_b",
            "similarity",
            "reason",
            "objective_a",
            "objective_b",
        ),
        *("architecture_a", "architecture_b"),
    ),
    "consistency": (
        *("measure", "anchor", "category", "value_a", "value_b", "stimulus_set_a", "stimulus_set_b"),
        *("n_pairs", "pearson", "spearman", "reason", "pearson_low", "pearson_high", "p_value"),
        *("p_adjusted", "p_smallest", "n_tests"),
    ),
    "consistency_summary": (
        *("measure", "anchor", "category", "value_a", "value_b"),
        *("n_pairs", "n_set_pairs", "n_defined", "median_pearson"),
        *("median_low", "median_high", "smallest", "first_quartile", "third_quartile", "largest", "reason"),
    ),
    "anchor_comparisons": (
        *("measure", "anchor", "category", "value_a", "value_b", "n_a", "n_b", "median_a", "median_b"),
        *("statistic", "p_value", "p_adjusted", "p_smallest", "n_tests", "difference_low"),
        *("difference_high", "reason"),
    ),
    "measure_agreement": (
        *("measure_a", "measure_b", "compared", "n", "pearson", "spearman", "pearson_low", "pearson_high"),
        "reason",
    ),
    "similarity_inference": (
        *("stimulus_set", "measure", "model_a", "model_b", "similarity", "is_biased"),
        *("standard_error", "similarity_low", "similarity_high", "interval_covers", "p_value"),
        *("p_adjusted", "p_smallest", "n_tests"),
        *("null_mean", "threshold"),
        *("calibrated", "n_stimuli", "n_permutations", "n_bootstrap", "reason"),
    ),
    "sample_sizes": (
        *("stimulus_set", "measure", "n_stimuli", "n_orders", "n_pairs", "mean_similarity"),
        *("first_quartile", "third_quartile", "mean_change", "largest_change", "pearson_with_all", "reason"),
    ),
    "noise_ceilings": (
        *("stimulus_set", "measure", "source", "architecture", "objective", "trained_on", "n_repeats"),
        *("ceiling_low", "ceiling_high", "others_mean", "others_largest", "reason"),
    ),
    "model_positions": (
        *("stimulus_set", "measure", "method", "model", "x", "y", "stress", "divergence", "reason"),
    ),
    "model_clusters": (
        *("stimulus_set", "measure", "n_clusters", "model", "cluster", "silhouette", "reason"),
    ),
    "layer_diagnostics": (
        *(
            "stimulus_set",
            "model",
            "layer",
            "depth",
            "n_channels",
            "n_samples",
            "delta",
            "intrinsic_dimension",
        ),
        *("saturation", "rankme", "effective_rank", "participation_ratio"),
    ),
    "receptive_fields": (
        *(
            "model",
            "layer",
            "depth",
            "receptive_field_px",
            "jump_px",
            "input_px",
            "is_border",
            "is_beyond_border",
        ),
    ),
    "probe_results": (
        *("stimulus_set", "model", "layer", "depth", "is_final", "train_accuracy", "validation_accuracy"),
        *(
            "test_accuracy",
            "test_low",
            "test_high",
            "weight_decay",
            "learning_rate",
            "seed",
            "n_train",
            "n_test",
            "n_classes",
        ),
    ),
    "prediction_agreement": (
        *("stimulus_set", "model_a", "model_b", "n_test", "accuracy_a", "accuracy_b", "disagreement"),
        *("disagreement_low_bound", "disagreement_high_bound", "error_consistency", "jensen_shannon"),
        *("reason", "objective_a", "objective_b", "architecture_a", "architecture_b"),
    ),
    "performance_gaps": (
        *("stimulus_set", "measure", "n_pairs", "pearson", "spearman", "pearson_low", "pearson_high"),
        *("p_value", "p_adjusted", "p_smallest", "n_tests", "reason"),
    ),
    "model_selection": (
        *("stimulus_set", "measure", "strategy", "n_models", "draw", "models", "mean_accuracy"),
        *("best_accuracy", "ensemble_accuracy", "ensemble_low", "ensemble_high", "n_test"),
        *("mean_similarity", "reason"),
    ),
    "stitching_results": (
        *("stimulus_set", "front_model", "end_model", "layer", "depth", "front_accuracy", "end_accuracy"),
        *("stitched_accuracy", "relative_accuracy", "agreement", "map_r2", "n_fit", "n_test"),
    ),
    "missing_members": ("collection", "key", "reason"),
    "run_table": (
        *("collection", "key", "seed", "seconds", "computed_at", "versions", "platform", "recipe_digest"),
    ),
}
