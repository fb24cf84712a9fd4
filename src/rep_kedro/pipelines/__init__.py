"""The eight pipelines; they meet only in the catalog."""

PIPELINES = (
    "ingest",
    "training",
    "features",
    "diagnostics",
    "similarity",
    "probing",
    "stitching",
    "reporting",
)
