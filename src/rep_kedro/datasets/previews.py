"""The types by which Kedro-Viz recognises previews: a private module of kedro-datasets, imported here only."""

from kedro_datasets._typing import HTMLPreview, ImagePreview, JSONPreview, PlotlyPreview, TablePreview

__all__ = ["HTMLPreview", "ImagePreview", "JSONPreview", "PlotlyPreview", "TablePreview"]
