"""Registers the eight pipelines and their sum."""

from importlib import import_module

from kedro.pipeline import Pipeline

from rep_kedro.pipelines import PIPELINES


def register_pipelines() -> dict[str, Pipeline]:
    """Return every pipeline by name; ``__default__`` is all of them."""
    made = {
        name: import_module(f"rep_kedro.pipelines.{name}.pipeline").create_pipeline() for name in PIPELINES
    }
    return {**made, "__default__": Pipeline(list(made.values()))}
