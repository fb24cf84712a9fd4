"""Ingest: which images, and are they intact?"""

from rep_kedro.pipelines.ingest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
