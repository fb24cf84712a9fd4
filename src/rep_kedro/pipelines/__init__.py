"""The nine pipelines, and the parts of similarity; they meet only in the catalog."""

PIPELINES = (
    "ingest",
    "training",
    "features",
    "diagnostics",
    "similarity",
    "layer_similarity",
    "probing",
    "stitching",
    "reporting",
)
SIMILARITY_PARTS = ("comparison", "inference", "consistency", "model_maps")
"""Pipelines whose sum is ``similarity``; each can also be run alone."""
