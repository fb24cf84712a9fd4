"""Reporting: what do the results mean?"""

from rep_kedro.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
