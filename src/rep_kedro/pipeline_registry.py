"""Registers the nine pipelines, the parts of similarity, and the sum of all."""

from importlib import import_module

from kedro.pipeline import Pipeline

from rep_kedro.pipelines import PIPELINES, SIMILARITY_PARTS


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name; ``__default__`` is all of them."""
    made = {
        name: import_module(f"rep_kedro.pipelines.{name}.pipeline").create_pipeline()
        for name in (*PIPELINES, *SIMILARITY_PARTS)
    }
    return {**made, "__default__": Pipeline([made[name] for name in PIPELINES])}
